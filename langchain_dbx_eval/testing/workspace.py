"""`LocalWorkspace`: the workspace as a test or a demonstration holds it."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.driver.engines.base import Engine
from langchain_dbx_eval.errors import AlreadyExistsError, ConfigurationError
from langchain_dbx_eval.testing.lakehouse.faults import SqlFault
from langchain_dbx_eval.testing.lakehouse.tables import SqlWarehouse, Storage
from langchain_dbx_eval.testing.request_log import RecordedRequest
from langchain_dbx_eval.testing.serving.endpoints import (
    CUSTOM_MODELS,
    TASKS,
    Endpoint,
    EndpointKind,
)
from langchain_dbx_eval.testing.serving.faults import (
    BrokenBody,
    CutStream,
    Delay,
    Failure,
    ResponseFault,
)
from langchain_dbx_eval.testing.serving.models import as_model
from langchain_dbx_eval.testing.state import WorkspaceState

if TYPE_CHECKING:
    from typing_extensions import Self

    from langchain_dbx_eval.testing.http.server import BackgroundServer

__all__ = ["LocalWorkspace"]

_ORG_ID = "1234567890123456"
# Every other way by which databricks-sdk 0.156 takes a login from DATABRICKS_* variables. It
# refuses to choose between two.
_OTHER_LOGINS = (
    "DATABRICKS_AUTH_TYPE",
    "DATABRICKS_CLIENT_ID",
    "DATABRICKS_CLIENT_SECRET",
    "DATABRICKS_CONFIG_PROFILE",
    "DATABRICKS_PASSWORD",
    "DATABRICKS_USERNAME",
)


class LocalWorkspace:
    """A Databricks workspace on a free loopback port of this machine.

    It serves, over real HTTP with keep-alive and server-sent events:

    - ``POST /serving-endpoints/{name}/invocations`` for six kinds of endpoint, and OpenAI's
      ``/serving-endpoints/chat/completions``, ``/completions``, ``/embeddings`` and
      ``/responses``, which name the endpoint in `model`;
    - ``GET /api/2.0/serving-endpoints`` and ``…/{name}``;
    - ``/driver-proxy-api/o/{org}/{cluster}/{port}/{path}``, which forwards to that port of this
      machine, for any cluster that was not stopped;
    - ``/api/2.0/sql/warehouses`` and ``/api/2.0/sql/statements``, Unity Catalog's tables and
      temporary credentials, ``/api/2.0/managed-evals``, and files in volumes, over real tables;
    - the discovery documents that databricks-sdk reads before it logs in.

    All but the last need the bearer token. Clients find it without further ado, for while it
    runs, ``DATABRICKS_HOST``, ``DATABRICKS_TOKEN`` and ``DATABRICKS_CLUSTER_ID`` point here, and
    variables of other logins are out of the way. Of several workspaces the environment belongs
    to the last one started; stop them in reverse order.

    It proves how a client speaks, not what a model says nor all that Databricks checks. Tokens
    in `usage` are words, unless an engine counts them.

    Example:
        >>> with LocalWorkspace() as workspace:
        ...     workspace.add_endpoint("my-chat", lambda messages, **params: "hi", kind="chat")

    Args:
        token: The token that it accepts; one is made when None.
        cluster_id: The cluster that ``DATABRICKS_CLUSTER_ID`` names.
        set_environment: Whether to set the environment variables.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        cluster_id: str = "0000-000000-local000",
        set_environment: bool = True,
    ) -> None:
        self._site = WorkspaceState(token=token or f"dapi{secrets.token_hex(16)}", org_id=_ORG_ID)
        self._cluster_id = cluster_id
        self._set_environment = set_environment
        self._environment_before: dict[str, str | None] = {}
        self._server: BackgroundServer | None = None

    def __repr__(self) -> str:
        where = self.url if self._server else "not started"
        return f"<LocalWorkspace {where}, endpoints: {sorted(self._site.endpoints)}>"

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The address, as for ``DATABRICKS_HOST``.

        Raises:
            ConfigurationError: The workspace is not running.
        """
        if self._server is None:
            msg = "The workspace is not running: use `with LocalWorkspace() as workspace:`."
            raise ConfigurationError(msg)
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def token(self) -> str:
        """The one token that is accepted."""
        return self._site.token

    @property
    def cluster_id(self) -> str:
        """The cluster that ``DATABRICKS_CLUSTER_ID`` names."""
        return self._cluster_id

    @property
    def org_id(self) -> str:
        """The workspace's id, as its discovery document gives it."""
        return self._site.org_id

    @property
    def requests(self) -> list[RecordedRequest]:
        """Every request so far in order of arrival, refused ones and discovery too: a copy."""
        return self._site.log.snapshot()

    def clear_requests(self) -> None:
        """Forget the requests so far."""
        self._site.log.clear()

    def start(self) -> Self:
        """Listen on a free port and set the environment; nothing if it runs already.

        Returns:
            The workspace itself.

        Raises:
            MissingDependencyError: The extra ``driver`` is not installed.
        """
        if self._server is not None:
            return self
        require("flask", extra="driver")
        require("waitress", extra="driver")
        from langchain_dbx_eval.testing.http.app import create_app
        from langchain_dbx_eval.testing.http.server import BackgroundServer

        self._site.closing.clear()
        self._server = BackgroundServer(create_app(self._site))
        if self._set_environment:
            self._point_environment_here()
        return self

    def stop(self) -> None:
        """Restore the environment, hang up on every client and free the port.

        Endpoints, faults and requests stay, and `start` serves them again on another port.
        """
        if self._server is None:
            return
        self._restore_environment()
        self._site.closing.set()
        self._server.close()
        self._server = None

    def add_endpoint(
        self,
        name: str,
        backend: Engine | Callable[..., Any],
        *,
        kind: EndpointKind,
        external: bool = False,
    ) -> None:
        """Serve an engine or a plain function as a serving endpoint.

        What a function is given and may return depends on the kind:

        - ``"custom"``, an MLflow model: ``fn(prompt, **fields)`` for each record, with the
          record's other fields and the request's `params`; any JSON value, which becomes that
          record's prediction.
        - ``"completions"``: ``fn(prompt, **params) -> str`` for each prompt.
        - ``"chat"``: ``fn(messages, **params)`` with a list of dictionaries; the assistant's
          text, a message (``{"content": …, "tool_calls": …}``), or a whole chat completion
          (``{"choices": …}``), which is passed on as it is.
        - ``"embeddings"``: ``fn(texts, **params) -> list[list[float]]``.
        - ``"responses"``, an MLflow ResponsesAgent: ``fn(items, **params)`` with the items of
          `input`; a text, an output item or a list of them (each a text or a dictionary), or a
          whole response (``{"output": …, "custom_outputs": …, "status": …}``).
        - ``"chat_agent"``, an MLflow ChatAgent: ``fn(messages, **params)``; a text, a message or
          a list of them, or a whole answer (``{"messages": …, "custom_outputs": …}``).

        A parameter that the function does not take is answered with 400, as by a real endpoint;
        of an agent's protocol it need not take what it does not use.
        Chat and completions endpoints look after `n`, `stream` and `stop` themselves (`stop` is
        given to a function that takes it, too). What a function raises is logged here and
        answered with 500.

        Args:
            name: The endpoint's name.
            backend: An `Engine` (not for embeddings) or a function. A chat endpoint gives an
                engine the last message of the user.
            kind: What the endpoint speaks.
            external: Whether it passes for an external model: no ``stop: null``, and usage in a
                stream only when `stream_options` asks for it.

        Raises:
            AlreadyExistsError: There is an endpoint of this name.
            ConfigurationError: The name, the kind or the backend cannot be served.
        """
        if not re.fullmatch(r"[\w.-]+", name):
            msg = f"An endpoint's name is made of letters, digits, '-', '_' and '.', not {name!r}."
            raise ConfigurationError(msg)
        if kind not in TASKS:
            msg = f"There is no kind {kind!r} of endpoint; there are {', '.join(TASKS)}."
            raise ConfigurationError(msg)
        if kind in CUSTOM_MODELS and external:
            msg = f"An external endpoint is of kind chat, completions or embeddings, not {kind}."
            raise ConfigurationError(msg)
        if name in self._site.endpoints:
            msg = f"The workspace already has an endpoint '{name}'."
            raise AlreadyExistsError(msg)
        model = as_model(backend, texts_only=kind == "embeddings")
        self._site.endpoints[name] = Endpoint(name, kind, model, external)

    def fail(
        self,
        name: str,
        *,
        status: int,
        retry_after: float | None = None,
        times: int | None = 1,
    ) -> None:
        """Answer the endpoint's next queries with an error status.

        Faults hit queries only, not the endpoint's description, and one after the other in the
        order in which they were asked for; only a delay comes on top of another fault.

        Args:
            name: The endpoint.
            status: From 400 to 599.
            retry_after: Seconds for a ``Retry-After`` header.
            times: How many queries; None for all from now on.

        Raises:
            ConfigurationError: There is no such endpoint, or no such status.
        """
        self._plan(name, Failure(status, retry_after), times)

    def delay(self, name: str, *, seconds: float, times: int | None = None) -> None:
        """Wait before the endpoint's next queries are answered; all of them, unless `times` says.

        Raises:
            ConfigurationError: There is no such endpoint.
        """
        self._plan(name, Delay(seconds), times)

    def break_body(self, name: str, *, times: int | None = 1) -> None:
        """Answer the endpoint's next queries with status 200 and JSON that stops in the middle.

        In a stream it is the first event whose JSON stops in the middle.

        Raises:
            ConfigurationError: There is no such endpoint.
        """
        self._plan(name, BrokenBody(), times)

    def cut_stream(self, name: str, *, after: int, times: int | None = 1) -> None:
        """Hang up on the endpoint's next streams after so many events, without ``[DONE]``.

        Queries that do not stream pass unharmed and are not counted.

        Raises:
            ConfigurationError: There is no such endpoint.
        """
        self._plan(name, CutStream(after), times)

    def add_warehouse(
        self,
        warehouse_id: str,
        *,
        state: str = "RUNNING",
        start_seconds: float | None = 0.0,
        start_failure: str | None = None,
        chunk_rows: int = 1_000,
    ) -> None:
        """Serve a SQL warehouse over the workspace's tables.

        Args:
            warehouse_id: Its id.
            state: The state that it is in, such as ``"STOPPED"``.
            start_seconds: How long it takes to start; None for never.
            start_failure: What it says instead, when that time is over.
            chunk_rows: How many rows a chunk of a result has.
        """
        self._site.lakehouse.warehouses[warehouse_id] = SqlWarehouse(
            warehouse_id, state, start_seconds, start_failure, chunk_rows
        )

    def add_table(self, name: str, rows: Any, *, storage: Storage | None = None) -> None:
        """Create a Delta table in Unity Catalog.

        Args:
            name: Its three-level name, in lower case.
            rows: A list of dicts, or an Arrow table.
            storage: Where it lies; default: a folder that goes with the workspace.

        Raises:
            AlreadyExistsError: There is a table of this name.
            MissingDependencyError: The extra ``testing`` is not installed.
        """
        self._site.lakehouse.add_table(name, rows, storage)

    def add_volume(self, name: str) -> Path:
        """Make a volume in Unity Catalog, by its three-level name; returns its folder here."""
        return self._site.lakehouse.volumes.add(name)

    def inject_fault(self, name: str, fault: SqlFault, *, times: int = 1) -> None:
        """Let a SQL warehouse, a managed dataset or a volume go wrong, the next time it can so.

        Args:
            name: The warehouse's id, or the dataset's or volume's three-level name.
            fault: One of `langchain_dbx_eval.testing.lakehouse.faults`.
            times: How many times.

        Raises:
            ConfigurationError: There is no such warehouse.
        """
        if name not in self._site.lakehouse.warehouses and name.count(".") != 2:
            msg = f"The workspace has no SQL warehouse '{name}'."
            raise ConfigurationError(msg)
        self._site.sql_faults.add(name, fault, times)

    def stop_cluster(self, cluster_id: str) -> None:
        """Let the driver proxy refuse a cluster as terminated (400 ``INVALID_STATE``)."""
        self._site.stopped_clusters.add(cluster_id)

    def _plan(self, name: str, fault: Delay | ResponseFault, times: int | None) -> None:
        if name not in self._site.endpoints:
            known = ", ".join(sorted(self._site.endpoints)) or "none yet"
            msg = f"The workspace has no endpoint '{name}'; it has: {known}."
            raise ConfigurationError(msg)
        self._site.faults.add(name, fault, times)

    def _point_environment_here(self) -> None:
        ours = {
            "DATABRICKS_HOST": self.url,
            "DATABRICKS_TOKEN": self.token,
            "DATABRICKS_CLUSTER_ID": self.cluster_id,
        }
        self._environment_before = {name: os.environ.get(name) for name in (*ours, *_OTHER_LOGINS)}
        for name in _OTHER_LOGINS:
            os.environ.pop(name, None)
        os.environ.update(ours)

    def _restore_environment(self) -> None:
        for name, value in self._environment_before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment_before = {}
