"""The WSGI server waitress in this process, with a start and a graceful shutdown.

`waitress.serve` has neither: it runs until the process ends, and drops the requests in flight.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.driver.errors import RequestError, error_body

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["WaitressLoop"]

_log = logging.getLogger(__name__)

_POLL_S = 0.02
_LOOP_END_S = 5.0
_ERROR_CODES = {
    400: "MALFORMED_REQUEST",
    413: "REQUEST_TOO_LARGE",
    431: "REQUEST_TOO_LARGE",
    501: "NOT_IMPLEMENTED",
}


class WaitressLoop:
    """Serve an app on a listening socket, from a thread, until it is closed.

    Args:
        app: The WSGI app.
        listener: A listening socket, which this object closes.
        name: The name of the thread.
        settings: Settings of waitress, such as ``threads``, the number of concurrent requests.
    """

    def __init__(
        self, app: WSGIApplication, listener: socket.socket, name: str, settings: Mapping[str, Any]
    ) -> None:
        waitress = require("waitress.server", extra="driver")
        # poll(): select() supports file descriptors below 1,024 only (waitress 3.0.2).
        self._server: Any = waitress.create_server(
            app, sockets=[listener], asyncore_use_poll=True, **settings
        )
        self._server.channel_class = _json_error_channel()
        self._thread = threading.Thread(target=self._server.run, name=name, daemon=True)
        self._thread.start()

    def close(self, grace: float, linger: float = 0.0) -> None:
        """Free the port, wait for the requests in flight, and end all threads.

        Args:
            grace: Seconds to wait for those requests; then their connections are closed.
            linger: Seconds to wait for the threads of closed connections. Python cannot stop a
                thread: one that takes longer continues.
        """
        deadline = Deadline(grace)
        self._run_in_loop(self._stop_listening)
        while self._is_busy() and not deadline.passed:
            time.sleep(_POLL_S)
        if grace and self._is_busy():
            _log.warning("Requests that ran longer than %.0f s were aborted", grace)
        self._run_in_loop(self._close_connections)
        self._server.task_dispatcher.shutdown(timeout=max(linger, deadline.remaining))
        # Closed last: a thread that finishes a response wakes the loop through the trigger.
        self._run_in_loop(self._server.trigger.close)
        self._thread.join(_LOOP_END_S)

    def _run_in_loop(self, action: Callable[[], None]) -> None:
        # The thread that polls the sockets also closes them: a file descriptor that another thread
        # closes may already be reused when poll() returns.
        done = threading.Event()

        def run() -> None:
            action()
            done.set()

        self._server.trigger.pull_trigger(run)
        done.wait(_LOOP_END_S)

    def _is_busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)

    def _stop_listening(self) -> None:
        # The server's own close() would also close the trigger, which sends the last responses.
        require("waitress.wasyncore", extra="driver").dispatcher.close(self._server)

    def _close_connections(self) -> None:
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()


def _json_error_channel() -> type:
    """Return waitress's channel class, with errors as in `error_body`."""
    from waitress.channel import HTTPChannel
    from waitress.task import ErrorTask

    class JsonErrorTask(ErrorTask):
        """The response to what no app receives: too large a body, or bytes that are not HTTP."""

        def execute(self) -> None:
            error = self.request.error
            code = _ERROR_CODES.get(error.code, "INTERNAL_ERROR")
            # The body of a 500 is a traceback if waitress exposes those: it is not sent.
            detail = f": {error.body}" if error.code in _ERROR_CODES else ""
            rejection = RequestError(error.code, code, f"{error.reason}{detail}.")
            body = json.dumps(error_body(rejection)).encode()
            self.status = f"{error.code} {error.reason}"
            self.response_headers.append(("Content-Type", "application/json"))
            self.set_close_on_finish()
            self.content_length = len(body)
            self.write(body)

    class JsonErrorChannel(HTTPChannel):
        error_task_class = JsonErrorTask

    return JsonErrorChannel
