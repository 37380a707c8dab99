"""The driver server as an object: started in a notebook cell or from the command line."""

from __future__ import annotations

import errno
import os
import signal
import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

from langchain_dbx_eval._internal.runtime import current_cluster_id, is_loopback
from langchain_dbx_eval.driver.engines.base import Embedder, Engine
from langchain_dbx_eval.driver.http.app import create_app, service_of
from langchain_dbx_eval.driver.http.auth import ApiKey
from langchain_dbx_eval.driver.http.waitress import WaitressLoop
from langchain_dbx_eval.driver.own_process import tuned_for_serving
from langchain_dbx_eval.driver.runtime.limits import Limits
from langchain_dbx_eval.errors import ConfigurationError, DriverServerError

__all__ = ["EVERY_ADDRESS", "DriverServer"]

_DOCUMENTED_PORTS = range(3000, 8001)
EVERY_ADDRESS = "0.0.0.0"  # noqa: S104 - Databricks' proxy connects to the node's own address
_LOCAL_ADDRESS_OF = {"": "127.0.0.1", EVERY_ADDRESS: "127.0.0.1", "::": "::1"}
_BACKLOG = 1024  # waitress's own
_SPARE_THREADS = 8
_SIGNAL_POLL_S = 0.2
# The app answers a body over its limit in our form of error. waitress drops the connection of
# one that is longer still, and a client that is sending sees a reset: so not at the same size.
_HARD_LIMIT_FACTOR = 4
_WAITRESS = {
    # The default of 100 is used up by 100 slow connections; with these settings 700 of them left
    # normal requests at 1-12 ms (waitress 3.0.2).
    "connection_limit": 1000,
    "channel_timeout": 30,
    # Keeps reading while a request runs, without which a client that hung up is never noticed.
    "channel_request_lookahead": 1,
}


class DriverServer:
    """Serves a model on this machine's port, for LangChain's ``cluster_driver_port``.

    A server can be started again after it was stopped, and is a context manager::

        with DriverServer(answer, host="127.0.0.1", port=0) as server:
            requests.get(f"{server.url}/health")

    Args:
        engine: The model, or a function as `CallableEngine` takes it.
        host: The address to listen on. Databricks' driver proxy reaches the driver node by its
            own address, so ``127.0.0.1`` gives a 502 there.
        port: The port, or 0 for a free one. The documentation asks for 3000 to 8000; another one
            warns.
        api_key: What a request must carry as ``X-Api-Key``. ``None`` takes the variable
            ``DBX_EVAL_DRIVER_API_KEY`` or makes a key, prints it and sets that variable;
            ``False`` asks for no key, and warns unless `host` is a loopback address.
        limits: How many requests at once, how long and how large; default: `Limits()`.
        log_prompts: Whether each request is logged with what the client sent. An exception of the
            engine is logged with its text in any case.

    Raises:
        ConfigurationError: The port, the key or the function cannot be used.
        MissingDependencyError: The extra ``driver`` is not installed.
    """

    def __init__(
        self,
        engine: Engine | Embedder | Callable[..., Any],
        host: str = EVERY_ADDRESS,
        port: int | str = 7777,
        api_key: ApiKey = None,
        *,
        limits: Limits | None = None,
        log_prompts: bool = False,
    ) -> None:
        self._host = host
        self._asked_port = self._port = _checked_port(port)
        self._limits = limits = limits or Limits()
        self._app = create_app(engine, api_key=api_key, limits=limits, log_prompts=log_prompts)
        self._loop: WaitressLoop | None = None
        self._lock = threading.Lock()
        if api_key is False and not is_loopback(host):
            msg = f"Without an API key, everyone who reaches {host} can use this driver server."
            warnings.warn(msg, stacklevel=2)
        if self._port and self._port not in _DOCUMENTED_PORTS:
            msg = f"Port {self._port} is outside 3000-8000, which Databricks documents for apps."
            warnings.warn(msg, stacklevel=2)

    @property
    def port(self) -> int:
        """The port; the real one, once started, when 0 was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """The address of the server on this machine, such as ``"http://127.0.0.1:7777"``."""
        host = _LOCAL_ADDRESS_OF.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def start(self) -> DriverServer:
        """Serve in the background, and print where. Does nothing when it already serves.

        Returns:
            The server itself.

        Raises:
            DriverServerError: The port is in use, or the address is not this machine's.
        """
        with self._lock:
            if self._loop is None:
                listener = _listen(self._host, self._asked_port)
                try:
                    service_of(self._app).start()
                except BaseException:
                    listener.close()
                    raise
                self._port = listener.getsockname()[1]
                settings = _waitress_settings(self._limits)
                self._loop = WaitressLoop(self._app, listener, "dbx-eval-driver-server", settings)
                self._announce()
        return self

    def stop(self, grace: float = 30.0) -> None:
        """Stop serving: the port is free, and the requests in flight are answered, on return.

        Requests that come meanwhile on open connections are answered 503. What runs behind the
        engine has ended too.

        Args:
            grace: How long, in seconds, to wait for those requests.
        """
        with self._lock:
            if self._loop is not None:
                service = service_of(self._app)
                service.admission.drain()
                self._loop.close(grace)
                self._loop = None
                service.close()

    def serve_forever(self) -> None:
        """Serve until SIGTERM, Ctrl-C or a `stop` from another thread; then stop as `stop` does.

        The requests in flight have as long to finish as any request has. A second signal does not
        wait for them.

        Raises:
            DriverServerError: The port is in use, or the address is not this machine's.
            KeyboardInterrupt: Ctrl-C came again.
        """
        with _stop_signals() as received:
            self.start()
            with tuned_for_serving():
                while self._loop is not None and not received:
                    time.sleep(_SIGNAL_POLL_S)
        again = len(received) > 1
        try:
            if again:
                signal.raise_signal(received[-1])
        finally:
            self.stop(grace=0 if again else self._limits.request_timeout)

    def __enter__(self) -> DriverServer:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"DriverServer({self.url}, {'stopped' if self._loop is None else 'serving'})"

    def _announce(self) -> None:
        cluster, takes = current_cluster_id(), service_of(self._app).takes
        component = "Databricks" if takes.generates else "DatabricksEmbeddings"
        place = f'cluster_id="{cluster}"' if cluster else 'host="local"'
        lines = [
            f"Serving on {self.url}",
            f'From LangChain: {component}({place}, cluster_driver_port="{self._port}")',
        ]
        if cluster:
            proxy = f"{_workspace_url()}/driver-proxy-api/o/0/{cluster}/{self._port}/"
            lines.append(f"From anywhere, with a token of the workspace: {proxy}")
        # The answer to the cell or command that was just run, which a log would hide.
        print(*lines, sep="\n", flush=True)  # noqa: T201


def _workspace_url() -> str:
    host = (os.environ.get("DATABRICKS_HOST") or "<workspace>").rstrip("/")
    return host if "://" in host else f"https://{host}"


def _waitress_settings(limits: Limits) -> dict[str, int]:
    return {
        **_WAITRESS,
        "max_request_body_size": _HARD_LIMIT_FACTOR * limits.max_request_bytes,
        # Beyond the places there are threads to say so, and to answer /health and /metrics.
        "threads": limits.max_in_flight + _SPARE_THREADS,
    }


def _checked_port(port: int | str) -> int:
    # The documentation's own snippets write ports as strings.
    number = int(port) if isinstance(port, str) and port.isdecimal() else port
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 65535:
        msg = f"{port!r} is no port: use a number from 3000 to 8000, or 0 for any free one."
        raise ConfigurationError(msg)
    return number


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except OSError as error:
        msg = f"Cannot listen on port {port} of {host!r}: {error.strerror}."
        if error.errno == errno.EADDRINUSE:
            msg = (
                f"Port {port} is in use, by another program or by a DriverServer of an earlier "
                "cell: call stop() on that one, or choose another port (0 is any free one)."
            )
        raise DriverServerError(msg) from error


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect SIGTERM and SIGINT instead of ending by them; only the main thread can."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    # No Event: set() takes a lock that the interrupted thread may hold.
    previous = {
        number: signal.signal(number, lambda number, _frame: received.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
