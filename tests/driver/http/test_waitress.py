"""The end of an HTTP server, at the moments that need a busy machine."""

from __future__ import annotations

import os
import socket
import threading
from typing import Any

import pytest
import requests
from waitress.trigger import trigger

from langchain_dbx_eval.driver.http.waitress import WaitressLoop
from tests.polling import wait_until


def _app(environ: Any, start_response: Any) -> list[bytes]:
    start_response("200 OK", [("Content-Length", "2")])
    return [b"ok"]


def test_a_loop_that_closes_before_it_is_woken_ends_without_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A request thread wakes the loop between the two steps of waking it to close."""
    write = trigger._physical_pull

    def write_after_the_loop_was_woken_by_another(self: Any) -> None:
        write(self)
        wait_until(lambda: not self.thunks)
        write(self)

    listener = socket.create_server(("127.0.0.1", 0))
    loop = WaitressLoop(_app, listener, "server", {"threads": 1})
    assert requests.get(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout=20).text == "ok"
    monkeypatch.setattr(trigger, "_physical_pull", write_after_the_loop_was_woken_by_another)
    loop.close(grace=1)
    assert "server" not in {thread.name for thread in threading.enumerate()}


def test_a_request_that_ends_after_the_close_writes_to_no_other_file() -> None:
    listener = socket.create_server(("127.0.0.1", 0))
    loop = WaitressLoop(_app, listener, "server", {"threads": 1})
    loop.close(grace=0)
    reader, writer = os.pipe()  # the system gives the lowest free numbers: those of the loop
    try:
        loop._server.pull_trigger()  # as at the end of a request
        os.set_blocking(reader, False)
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
    finally:
        os.close(reader)
        os.close(writer)
