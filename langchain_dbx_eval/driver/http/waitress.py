"""waitress inside this process, with an end: it is started and drained like any other object.

`waitress.serve` has neither: it runs until the process ends, and drops what is in flight.
"""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.extras import require

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["WaitressLoop"]

_log = logging.getLogger(__name__)

_POLL_S = 0.02
_LOOP_END_S = 5.0


class WaitressLoop:
    """Serves an app on a listening socket, from a thread, until it is closed.

    Args:
        app: The WSGI app.
        listener: A socket that listens. It is the loop's from now on.
        name: The thread's.
        settings: waitress's, such as ``threads``: the most requests at once.
    """

    def __init__(
        self, app: WSGIApplication, listener: socket.socket, name: str, settings: Mapping[str, Any]
    ) -> None:
        waitress = require("waitress.server", extra="driver")
        # select(), the other way, ends at 1,024 files (waitress 3.0.2).
        self._server: Any = waitress.create_server(
            app, sockets=[listener], asyncore_use_poll=True, **settings
        )
        from langchain_dbx_eval.driver.http.waitress_errors import (
            JsonErrorChannel,  # imports waitress
        )

        self._server.channel_class = JsonErrorChannel
        self._thread = threading.Thread(target=self._server.run, name=name, daemon=True)
        self._thread.start()

    def close(self, grace: float, linger: float = 0.0) -> None:
        """Free the port, let the requests in flight finish, and end all threads.

        Args:
            grace: How long, in seconds, to wait for those requests. What takes longer is cut off.
            linger: How long to wait for the threads of what was cut off. One that goes on, which
                Python cannot stop, is left to end by itself.
        """
        deadline = time.monotonic() + grace
        self._run_in_loop(self._stop_listening)
        while self._busy() and time.monotonic() < deadline:
            time.sleep(_POLL_S)
        if grace and self._busy():
            _log.warning("Requests still ran after %.0f s and were cut off", grace)
        self._run_in_loop(self._hang_up)
        rest = deadline - time.monotonic()
        self._server.task_dispatcher.shutdown(timeout=max(linger, rest))
        # The last of all: by it an answer that ends meanwhile still wakes the loop.
        self._run_in_loop(self._server.trigger.close)
        self._thread.join(_LOOP_END_S)

    def _run_in_loop(self, action: Callable[[], None]) -> None:
        # Sockets are closed by the thread that polls them: closed under it, a file descriptor
        # may already be another file's when poll() returns.
        done = threading.Event()

        def act() -> None:
            action()
            done.set()

        self._server.trigger.pull_trigger(act)
        done.wait(_LOOP_END_S)

    def _busy(self) -> bool:
        channels = list(self._server.active_channels.values())
        return any(channel.requests or channel.total_outbufs_len for channel in channels)

    def _stop_listening(self) -> None:
        # The server's own close() would also close the trigger, by which answers get out.
        require("waitress.wasyncore", extra="driver").dispatcher.close(self._server)

    def _hang_up(self) -> None:
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
