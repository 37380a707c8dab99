"""The WSGI server waitress in this process, with a start and a graceful shutdown.

`waitress.serve` has neither: it runs until the process ends, and drops the requests in flight.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.deadline import Deadline
from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.log import get_logger

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

    from langchain_dbx_eval.driver.http.connections import ConnectionLimits

__all__ = ["WaitressLoop"]

_log = get_logger(__name__)

_POLL_S = 0.02
_LOOP_END_S = 5.0
_CLEANUP_S = 1  # between two looks at the deadlines of connections


class WaitressLoop:
    """Serve an app on a listening socket, from a thread, until it is closed.

    Args:
        app: The WSGI app.
        listener: A listening socket, which this object closes.
        name: The name of the thread.
        settings: Settings of waitress, such as ``threads``, the number of concurrent requests.
        limits: The limits of its connections; default: `ConnectionLimits()`.
        has_key: As for `LimitedServer`; default: every request is treated as one with the key.
    """

    def __init__(
        self,
        app: WSGIApplication,
        listener: socket.socket,
        name: str,
        settings: Mapping[str, Any],
        limits: ConnectionLimits | None = None,
        has_key: Callable[[Mapping[str, str]], bool] = lambda _: True,
    ) -> None:
        require("waitress", extra="driver")
        from waitress.adjustments import Adjustments
        from waitress.task import ThreadedTaskDispatcher

        from langchain_dbx_eval.driver.http import connections

        get_logger("waitress")  # it logs decoded paths

        # poll(): select() supports file descriptors below 1,024 only (waitress 3.0.2).
        adjustments = Adjustments(
            sockets=[listener], asyncore_use_poll=True, cleanup_interval=_CLEANUP_S, **settings
        )
        threads = ThreadedTaskDispatcher()
        threads.set_thread_count(adjustments.threads)
        self._server: Any = connections.LimitedServer(
            app,
            listener,
            limits or connections.ConnectionLimits(),
            has_key,
            adj=adjustments,
            dispatcher=threads,
        )
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
        # The loop ends without the trigger, which is closed after it: what the loop executes may be
        # over before pull_trigger() has written its byte, to a descriptor that must still be open.
        self._run_in_loop(self._server.trigger.del_channel)
        self._thread.join(_LOOP_END_S)
        if not self._thread.is_alive():
            self._server.close_trigger()

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
