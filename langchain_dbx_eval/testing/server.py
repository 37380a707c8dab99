"""The HTTP server under a workspace: waitress in a thread of its own.

Not werkzeug's server: it answers every request with ``Connection: close`` (3.1.9), so that no
client would ever reuse a connection here as it does on Databricks.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from waitress.server import create_server
from waitress.wasyncore import dispatcher

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["BackgroundServer"]

# Each request holds a thread while its answer streams or is delayed. Sixty-four let a client's
# batch of the usual size run at once; an idle thread costs only its stack.
_THREADS = 64
_JOIN_SECONDS = 2


class BackgroundServer:
    """A WSGI application on a free loopback port, served from the moment it is made.

    Attributes:
        port: The port that the operating system gave.
    """

    def __init__(self, application: WSGIApplication) -> None:
        self._server: Any = create_server(
            application,
            host="127.0.0.1",
            port=0,
            threads=_THREADS,
            ident="databricks",
            # An application that raises OSError in mid-stream means to hang up: nothing to log.
            log_socket_errors=False,
            clear_untrusted_proxy_headers=False,
            asyncore_use_poll=True,
        )
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(
            target=self._server.run, name=f"local-workspace-{self.port}", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Hang up on every client, free the port and join the threads.

        A request that sits in the user's own function is left to its daemon thread.
        """
        # Sockets are closed on the server's own thread, which may be polling them; its trigger
        # goes last, for a request that ends meanwhile still pulls it.
        self._on_server_thread(self._close_connections)
        self._server.task_dispatcher.shutdown(timeout=_JOIN_SECONDS)
        self._on_server_thread(self._server.trigger.close)
        self._thread.join()

    def _close_connections(self) -> None:
        for channel in list(self._server.active_channels.values()):
            channel.handle_close()
        # Not `server.close()`, which takes the trigger with it.
        dispatcher.close(self._server)

    def _on_server_thread(self, action: Callable[[], None]) -> None:
        done = threading.Event()

        def run() -> None:
            try:
                action()
            finally:
                done.set()

        self._server.trigger.pull_trigger(run)
        done.wait()
