"""A notebook starts the server in a cell, calls it, stops it, and starts it again."""

from __future__ import annotations

import random
import socket
from contextlib import suppress

import nbformat
from nbclient import NotebookClient

START = """
from langchain_dbx_eval.driver import DriverServer

def complete(prompt: str, temperature: float = 0.0) -> str:
    return f"You said: {prompt}"

server = DriverServer(complete, port=PORT).start()
"""
CALL = """
from langchain_dbx_eval import Databricks

llm = Databricks(cluster_driver_port=str(PORT), host="local")
print(llm.invoke("How are you?"))
"""
ASYNC = 'print(await llm.ainvoke("And you?"))'
STOP = "server.stop()"


def free_port() -> int:
    """Return a free port in the documented range, outside of which client and server warn."""
    for port in random.sample(range(3000, 7777), 1000):
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
    raise AssertionError


def test_a_server_can_be_started_again_in_a_notebook() -> None:
    first = f"PORT = {free_port()}\n" + START
    cells = [first, CALL, STOP, START, CALL, ASYNC, STOP, START, STOP]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    NotebookClient(notebook, timeout=60, kernel_name="python3").execute()
    printed = [
        "".join(output.get("text", "") for output in cell["outputs"]) for cell in notebook["cells"]
    ]
    assert "Serving on http://127.0.0.1:" in printed[0]
    assert "New API key" in printed[0]
    assert "Serving on" in printed[3]
    assert printed[1] == printed[4] == "You said: How are you?\n"
    assert printed[5] == "You said: And you?\n"
