"""The driver server as a process: its port, its start, signals, and its graceful stop."""

from __future__ import annotations

import errno
import gc
import os
import resource
import signal
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.daemon_threads import SIGNAL_POLL_S
from langchain_dbx_eval._internal.runtime import current_cluster_id, is_loopback
from langchain_dbx_eval.driver.engines.base import Embedder, Engine
from langchain_dbx_eval.driver.http.app import create_app, executor_of, key_of
from langchain_dbx_eval.driver.http.auth import ApiKey, has_key
from langchain_dbx_eval.driver.http.waitress import WaitressLoop
from langchain_dbx_eval.driver.runtime.limits import Limits
from langchain_dbx_eval.errors import ConfigurationError, DriverServerError

if TYPE_CHECKING:
    from langchain_dbx_eval.driver.http.connections import ConnectionLimits

__all__ = ["ALL_INTERFACES", "DriverServer", "tuned_for_serving"]

_DOCUMENTED_PORTS = range(3000, 8001)
ALL_INTERFACES = "0.0.0.0"  # noqa: S104 - Databricks' proxy connects to the node's own address
_LOOPBACK_FOR = {"": "127.0.0.1", ALL_INTERFACES: "127.0.0.1", "::": "::1"}
_BACKLOG = 1024  # waitress's default
_SPARE_THREADS = 8
# The app answers a body above its limit with a 413 in the server's format. waitress closes the
# connection above its own limit, which a sending client sees as a reset: so that limit is higher.
_HARD_LIMIT_FACTOR = 4
_MAX_CONNECTIONS = 1000
_LAST_EVENT_S = 5.0  # for a client to read the error that ends a stream at its deadline
_WAITRESS = {
    # 64 KiB of headers and 256 KiB of unread output per connection: the defaults, 256 KiB and
    # 16 MiB, are gigabytes in all (waitress 3.0.2).
    "max_request_header_size": 1 << 16,
    "outbuf_high_watermark": 1 << 18,
    # Read while a request runs; otherwise a disconnected client is never detected.
    "channel_request_lookahead": 1,
}
_SWITCH_INTERVAL_S = 0.0005


class DriverServer:
    """Serve a model on a port of this machine, for LangChain's ``cluster_driver_port``.

    A stopped server can be started again. It is a context manager::

        with DriverServer(answer, host="127.0.0.1", port=0) as server:
            requests.get(f"{server.url}/health")

    Args:
        engine: The model, or a function as for `CallableEngine`.
        host: The address to listen on. Databricks' driver proxy connects to the driver node's own
            address, so ``127.0.0.1`` results in a 502 there.
        port: The port; 0: a free one. Databricks documents 3000 to 8000; another port warns.
        api_key: The key that a request must send as ``X-Api-Key``, or, without the driver proxy, as
            ``Authorization: Bearer``. None: the environment variable ``DBX_EVAL_DRIVER_API_KEY``,
            or a generated key, which is printed and assigned to that variable. False: no key is
            required; warns unless `host` is a loopback address.
        limits: The maximum number, duration and size of requests; default: `Limits()`.
        log_prompts: Whether to log the body of each request. An exception of the engine is always
            logged with its text.
        strict: Whether to reject a parameter that the engine does not take even if its value has
            no effect, such as ``top_p=1``, or if the server applies it to the result of a
            function, such as ``max_tokens``.

    Raises:
        ConfigurationError: The port, the key or the function is not supported.
        MissingDependencyError: The extra ``driver`` is not installed.
    """

    def __init__(
        self,
        engine: Engine | Embedder | Callable[..., Any],
        host: str = ALL_INTERFACES,
        port: int | str = 7777,
        api_key: ApiKey = None,
        *,
        limits: Limits | None = None,
        log_prompts: bool = False,
        strict: bool = False,
    ) -> None:
        self._host = host
        self._requested_port = self._port = _parse_port(port)
        self._limits = limits = limits or Limits()
        self._app = create_app(
            engine, api_key=api_key, limits=limits, log_prompts=log_prompts, strict=strict
        )
        self._executor = executor_of(self._app)
        self._loop: WaitressLoop | None = None
        self._lock = threading.Lock()
        if api_key is False and not is_loopback(host):
            msg = f"Without an API key, anyone who reaches {host} can use this driver server."
            warnings.warn(msg, stacklevel=2)
        if self._port and self._port not in _DOCUMENTED_PORTS:
            msg = f"Port {self._port} is outside 3000-8000, which Databricks documents for apps."
            warnings.warn(msg, stacklevel=2)

    @property
    def port(self) -> int:
        """The port; for a requested port 0 the actual one, once the server is started."""
        return self._port

    @property
    def url(self) -> str:
        """The address of the server on this machine, such as ``"http://127.0.0.1:7777"``."""
        host = _LOOPBACK_FOR.get(self._host, self._host)
        return f"http://[{host}]:{self._port}" if ":" in host else f"http://{host}:{self._port}"

    def start(self) -> DriverServer:
        """Serve in the background, and print the address. Has no effect on a running server.

        Returns:
            The server itself.

        Raises:
            DriverServerError: The port is in use, or the address does not belong to this machine.
        """
        with self._lock:
            if self._loop is None:
                listener = _listen(self._host, self._requested_port)
                try:
                    self._executor.start()
                except BaseException:
                    listener.close()
                    raise
                self._port = listener.getsockname()[1]
                settings = {
                    **_WAITRESS,
                    "connection_limit": _connection_limit(),
                    "max_request_body_size": _HARD_LIMIT_FACTOR * self._limits.max_request_bytes,
                    # More threads than slots: they send the 429s, and answer /health and /metrics.
                    "threads": self._limits.max_in_flight + _SPARE_THREADS,
                }
                name = "dbx-eval-driver-server"
                key = key_of(self._app)
                self._loop = WaitressLoop(
                    self._app,
                    listener,
                    name,
                    settings,
                    self._wire_limits(),
                    lambda headers: has_key(
                        key, headers.get("X_API_KEY", ""), headers.get("AUTHORIZATION", "")
                    ),
                )
                self._print_address()
        return self

    def stop(self, grace: float = 30.0) -> None:
        """Stop serving: free the port, wait for the requests in flight, and stop the engine.

        Requests that arrive meanwhile on open connections are answered 503.

        Args:
            grace: Seconds to wait for the requests in flight; then their connections are closed.
        """
        with self._lock:
            if self._loop is not None:
                self._executor.admission.draining = True
                self._loop.close(grace)
                self._loop = None
                self._executor.close()

    def serve_forever(self) -> None:
        """Serve until SIGTERM, Ctrl-C or a `stop` from another thread; then stop as `stop` does.

        The requests in flight may run until their own timeout. A second signal does not wait for
        them.

        Raises:
            DriverServerError: The port is in use, or the address does not belong to this machine.
            KeyboardInterrupt: Ctrl-C was pressed a second time.
        """
        with _stop_signals() as received:
            self.start()
            with tuned_for_serving():
                while self._loop is not None and not received:
                    time.sleep(SIGNAL_POLL_S)
        second = len(received) > 1
        try:
            if second:
                signal.raise_signal(received[-1])
        finally:
            self.stop(grace=0 if second else self._limits.request_timeout)

    def __enter__(self) -> DriverServer:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"DriverServer({self.url}, {'stopped' if self._loop is None else 'serving'})"

    def _wire_limits(self) -> ConnectionLimits:
        from langchain_dbx_eval.driver.http.connections import ConnectionLimits  # imports waitress

        limits = self._limits
        return ConnectionLimits(
            header_timeout=limits.header_timeout,
            body_timeout=limits.body_timeout,
            response_timeout=limits.request_timeout + _LAST_EVENT_S,
            # As many as the threads can execute.
            max_body_bytes=(limits.max_in_flight + _SPARE_THREADS) * limits.max_request_bytes,
        )

    def _print_address(self) -> None:
        cluster = current_cluster_id()
        generates = self._executor.capabilities.generates
        component = "Databricks" if generates else "DatabricksEmbeddings"
        target = f'cluster_id="{cluster}"' if cluster else 'host="local"'
        lines = [
            f"Serving on {self.url}",
            f'From LangChain: {component}({target}, cluster_driver_port="{self._port}")',
        ]
        if cluster:
            host = (os.environ.get("DATABRICKS_HOST") or "<workspace>").rstrip("/")
            workspace = host if "://" in host else f"https://{host}"
            proxy = f"{workspace}/driver-proxy-api/o/0/{cluster}/{self._port}/"
            lines.append(f"From anywhere, with a token of the workspace: {proxy}")
        # The result of the cell or command; a log may be hidden.
        print(*lines, sep="\n", flush=True)  # noqa: T201


@contextmanager
def tuned_for_serving() -> Iterator[None]:
    """Tune the interpreter of a process that only serves.

    torch releases the GIL in each of its calls: with the default switch interval of 5 ms, the
    generating thread then waits that long behind any thread that parses a request.

    With torch and transformers loaded, a full garbage collection takes 0.2 s (400,000 objects,
    measured with CPython 3.11), during which no thread runs. The objects that exist now are never
    garbage, so they are excluded from collections.
    """
    interval = sys.getswitchinterval()
    sys.setswitchinterval(min(_SWITCH_INTERVAL_S, interval))
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
        sys.setswitchinterval(interval)


def _connection_limit() -> int:
    # Half of the descriptors: each connection may also need one for its body on disk.
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(_MAX_CONNECTIONS, soft // 2) if soft != resource.RLIM_INFINITY else _MAX_CONNECTIONS


def _parse_port(port: int | str) -> int:
    # The documentation's examples write ports as strings.
    number = int(port) if isinstance(port, str) and port.isdecimal() else port
    if isinstance(number, bool) or not isinstance(number, int) or not 0 <= number <= 65535:
        msg = f"{port!r} is not a port: use a number from 3000 to 8000, or 0 for any free one."
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
                f"Port {port} is in use by another program, or by a DriverServer of an earlier "
                "cell: call stop() on that server, or choose another port (0: any free one)."
            )
        raise DriverServerError(msg) from error


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Record SIGTERM and SIGINT instead of ending the process; possible in the main thread only."""
    received: list[int] = []
    if threading.current_thread() is not threading.main_thread():
        yield received
        return
    # Not an Event: set() acquires a lock that the interrupted thread may hold.
    previous = {
        number: signal.signal(number, lambda number, _frame: received.append(number))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield received
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
