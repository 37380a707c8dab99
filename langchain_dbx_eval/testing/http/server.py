"""The WSGI server of a workspace: the driver server's event loop on a free loopback port.

Not werkzeug's server: it answers every request with ``Connection: close`` (3.1.9), so clients could
not reuse connections as they do on Databricks.
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
    # A request occupies a thread while its response streams or is delayed. With 64 threads a
    # client's batch of the usual size runs concurrently; an idle thread costs only its stack.
    "threads": 64,
    # Beyond that, idle connections are closed: clients keep some per thread.
    "connection_limit": 300,
    "ident": "databricks",
    # The application raises OSError to close a connection: that is no error to log.
    "log_socket_errors": False,
    "clear_untrusted_proxy_headers": False,
}


class BackgroundServer:
    """WSGI server on a free loopback port, running in threads from its creation on.

    Args:
        application: The WSGI application.

    Attributes:
        port: The port, chosen by the operating system.
    """

    def __init__(self, application: WSGIApplication) -> None:
        listener = socket.create_server(("127.0.0.1", 0), backlog=_BACKLOG)
        self.port: int = listener.getsockname()[1]
        self._loop = WaitressLoop(application, listener, f"local-workspace-{self.port}", _WAITRESS)

    def close(self) -> None:
        """Close all connections, free the port and join the threads.

        A request in a function of the user keeps its daemon thread.
        """
        self._loop.close(grace=0, linger=_LINGER_S)
