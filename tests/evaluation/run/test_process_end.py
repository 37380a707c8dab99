"""The end of a process that used the event loop."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
from langchain_dbx_eval import ChatDatabricks
from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.testing import LocalWorkspace

with LocalWorkspace() as workspace:
    workspace.add_endpoint("m", lambda messages: "hi", kind="chat")
    print(event_loop.run(ChatDatabricks(model="m").ainvoke("hi")).text)
"""


def test_no_session_is_left_unclosed() -> None:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "hi"
    assert "Unclosed" not in done.stderr
