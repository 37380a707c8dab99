"""The HTTP server under a workspace: the driver server's own loop, on a free loopback port.

Not werkzeug's server: it answers every request with ``Connection: close`` (3.1.9), so that no
client would ever reuse a connection here as it does on Databricks.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from langchain_dbx_eval.driver.http.waitress import WaitressLoop

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication

__all__ = ["BackgroundServer"]

_BACKLOG = 1024
_LINGER_S = 2.0
_WAITRESS = {
    # Each request holds a thread while its answer streams or is delayed. Sixty-four let a client's
    # batch of the usual size run at once; an idle thread costs only its stack.
    "threads": 64,
    "ident": "databricks",
    # An application that raises OSError in mid-stream means to hang up: nothing to log.
    "log_socket_errors": False,
    "clear_untrusted_proxy_headers": False,
}


class BackgroundServer:
    """A WSGI application on a free loopback port, served from the moment it is made.

    Attributes:
        port: The port that the operating system gave.
    """

    def __init__(self, application: WSGIApplication) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.port: int = listener.getsockname()[1]
        self._loop = WaitressLoop(application, listener, f"local-workspace-{self.port}", _WAITRESS)

    def close(self) -> None:
        """Hang up on every client, free the port and join the threads.

        A request that sits in the user's own function is left to its daemon thread.
        """
        self._loop.close(grace=0, linger=_LINGER_S)
