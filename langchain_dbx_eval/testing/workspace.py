"""`LocalWorkspace`, a Databricks workspace on this machine."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.driver.engines.base import Engine
from langchain_dbx_eval.errors import AlreadyExistsError, ConfigurationError
from langchain_dbx_eval.testing.faults import (
    BrokenBody,
    CutStream,
    Delay,
    Failure,
    ResponseFault,
    SqlFault,
)
from langchain_dbx_eval.testing.lakehouse.tables import SqlWarehouse, Storage
from langchain_dbx_eval.testing.serving.backends import as_backend
from langchain_dbx_eval.testing.serving.endpoints import Endpoint, EndpointKind
from langchain_dbx_eval.testing.serving.kinds import ENDPOINT_KINDS
from langchain_dbx_eval.testing.state import RecordedRequest, WorkspaceState

if TYPE_CHECKING:
    import pyarrow as pa
    from typing_extensions import Self

    from langchain_dbx_eval.testing.http.server import BackgroundServer

__all__ = ["LocalWorkspace"]

_ORG_ID = "1234567890123456"
# The variables of all other logins that databricks-sdk 0.156 reads. It raises if it finds two.
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

    It serves over HTTP, with keep-alive and server-sent events:

    - ``POST /serving-endpoints/{name}/invocations`` for six kinds of endpoint, and OpenAI's
      ``/serving-endpoints/chat/completions``, ``/completions``, ``/embeddings`` and
      ``/responses``, which name the endpoint in `model`;
    - ``GET /api/2.0/serving-endpoints`` and ``…/{name}``, and ``POST`` to create an endpoint with
      one external model;
    - ``/driver-proxy-api/o/{org}/{cluster}/{port}/{path}``, which forwards to that port of this
      machine, for all clusters that are not stopped;
    - ``/api/2.0/sql/warehouses`` and ``/api/2.0/sql/statements``, Unity Catalog's tables and
      temporary credentials, ``/api/2.0/managed-evals``, and files in volumes, over Delta tables;
    - the discovery documents that databricks-sdk reads before it authenticates.

    All paths but the discovery documents require the bearer token. While the workspace runs,
    ``DATABRICKS_HOST``, ``DATABRICKS_TOKEN`` and ``DATABRICKS_CLUSTER_ID`` are set to its values,
    so clients need no configuration, and the variables of other logins are unset. If several
    workspaces run, the environment is that of the last one started; stop them in reverse order.

    The workspace tests the protocol of a client, not the quality of a model, and it does not
    perform all validation of Databricks. Tokens in `usage` are words, unless an engine counts
    tokens.

    Example:
        >>> with LocalWorkspace() as workspace:
        ...     workspace.add_endpoint("my-chat", lambda messages, **params: "hi", kind="chat")

    Args:
        token: The bearer token; default: a random one.
        cluster_id: The value of ``DATABRICKS_CLUSTER_ID``.
        set_environment: Whether to set the environment variables.
    """

    def __init__(
        self,
        *,
        token: str | None = None,
        cluster_id: str = "0000-000000-local000",
        set_environment: bool = True,
    ) -> None:
        self._state = WorkspaceState(token=token or f"dapi{secrets.token_hex(16)}", org_id=_ORG_ID)
        self._cluster_id = cluster_id
        self._set_environment = set_environment
        self._environment_before: dict[str, str | None] = {}
        self._server: BackgroundServer | None = None

    def __repr__(self) -> str:
        address = self.url if self._server else "not started"
        return f"<LocalWorkspace {address}, endpoints: {sorted(self._state.endpoints)}>"

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
        """The address, which is the value of ``DATABRICKS_HOST``.

        Raises:
            ConfigurationError: The workspace is not running.
        """
        if self._server is None:
            msg = "The workspace is not running: use `with LocalWorkspace() as workspace:`."
            raise ConfigurationError(msg)
        return f"http://127.0.0.1:{self._server.port}"

    @property
    def token(self) -> str:
        """The only bearer token that is accepted."""
        return self._state.token

    @property
    def cluster_id(self) -> str:
        """The value of ``DATABRICKS_CLUSTER_ID``."""
        return self._cluster_id

    @property
    def org_id(self) -> str:
        """The id of the workspace, as in its discovery document."""
        return self._state.org_id

    @property
    def requests(self) -> list[RecordedRequest]:
        """A copy of all requests so far in order of arrival, rejected ones and discovery too."""
        return list(self._state.requests)

    def clear_requests(self) -> None:
        """Delete the recorded requests."""
        self._state.requests.clear()

    def start(self) -> Self:
        """Start the server on a free port and set the environment.

        Without effect if the workspace is running.

        Returns:
            The workspace itself.

        Raises:
            MissingDependencyError: The extra ``testing`` is not installed.
        """
        if self._server is not None:
            return self
        require("flask", extra="testing")
        require("waitress", extra="testing")
        from langchain_dbx_eval.testing.http.app import create_app
        from langchain_dbx_eval.testing.http.server import BackgroundServer

        self._state.closing.clear()
        self._server = BackgroundServer(create_app(self._state))
        if self._set_environment:
            self._override_environment()
        return self

    def stop(self) -> None:
        """Restore the environment, close all connections and free the port.

        Endpoints, faults and recorded requests are kept; `start` serves them on another port.
        Without effect if the workspace is not running.
        """
        if self._server is None:
            return
        self._restore_environment()
        self._state.closing.set()
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
        """Add a serving endpoint with an engine or a plain function behind it.

        The arguments and the return value of a function depend on the kind:

        - ``"custom"``, an MLflow model: ``fn(prompt, **fields)`` per record, with the record's
          other fields and the request's `params`; returns a JSON value, the prediction.
        - ``"completions"``: ``fn(prompt, **params) -> str`` per prompt.
        - ``"chat"``: ``fn(messages, **params)`` with a list of dictionaries; returns the
          assistant's text, a message (``{"content": …, "tool_calls": …}``), or a complete chat
          completion (``{"choices": …}``), which is sent unchanged.
        - ``"embeddings"``: ``fn(texts, **params) -> list[list[float]]``.
        - ``"responses"``, an MLflow ResponsesAgent: ``fn(items, **params)`` with the items of
          `input`; returns a string, an output item or a list of them (each a string or a
          dictionary), or a complete response (``{"output": …, "custom_outputs": …, "status": …}``).
        - ``"chat_model"``, an MLflow ChatModel: as ``"chat"``.
        - ``"chat_agent"``, an MLflow ChatAgent: ``fn(messages, **params)``; returns a string, a
          message or a list of them, or a complete answer (``{"messages": …}`` with optional
          ``custom_outputs``).

        The complete answer of an agent may contain its MLflow trace, ``"databricks_output":
        {"trace": …}``, which is sent if ``databricks_options`` requests ``return_trace``.

        A field that the function does not accept is answered with 400, as by a real endpoint; the
        optional fields of the agents' protocols are dropped instead. For chat, completions and
        embeddings, ``**params`` accepts the documented fields of the task only. Chat and
        completions endpoints implement `n`, `stream` and `stop` themselves (`stop` is also passed
        to a function that accepts it). An exception of the function is logged, and answered with
        500.

        Args:
            name: The name of the endpoint: letters, digits, ``-``, ``_`` and ``.``.
            backend: An `Engine` (not for embeddings) or a function. The prompt of an engine behind
                a chat endpoint is the last message of the user.
            kind: The protocol of the endpoint.
            external: Whether to emulate an external model: ``stop: null`` is rejected, a stream
                contains usage only if `stream_options` requests it, and messages may have a
                ``name``.

        Raises:
            AlreadyExistsError: The endpoint exists.
            ConfigurationError: The name, the kind or the backend is invalid.
        """
        if not re.fullmatch(r"[\w.-]+", name):
            msg = f"Endpoint names contain only letters, digits, '-', '_' and '.', got {name!r}."
            raise ConfigurationError(msg)
        spec = ENDPOINT_KINDS.get(kind)
        if spec is None:
            msg = f"Unknown kind {kind!r}; must be one of {', '.join(ENDPOINT_KINDS)}."
            raise ConfigurationError(msg)
        if spec.is_custom_model and external:
            msg = f"external=True requires kind chat, completions or embeddings, not {kind}."
            raise ConfigurationError(msg)
        if name in self._state.endpoints:
            msg = f"The workspace already has an endpoint '{name}'."
            raise AlreadyExistsError(msg)
        function_only = kind == "embeddings"
        self._state.endpoints[name] = Endpoint(
            name, spec, as_backend(backend, function_only=function_only), external
        )

    def add_external_model(self, name: str, backend: Engine | Callable[..., Any]) -> None:
        """Add a model of an external provider, for endpoints that are created over REST.

        ``mlflow.deployments.get_deploy_client("databricks").create_endpoint(…)`` and databricks-sdk
        then create endpoints with this `external_model`. The task is that of the request, the
        secrets and the provider's settings are not read. An existing model is replaced.

        Args:
            name: The name of the model, such as ``"gpt-4"``.
            backend: An `Engine` or a function, as in `add_endpoint`.
        """
        self._state.external_models[name] = backend

    def fail(
        self,
        name: str,
        *,
        status: int,
        retry_after: float | None = None,
        times: int | None = 1,
    ) -> None:
        """Answer the next queries of an endpoint with an error status.

        Faults affect queries only, not the description of the endpoint. Each query consumes one
        fault, in the order of these calls; a delay is consumed in addition.

        Args:
            name: The endpoint.
            status: The HTTP status, from 400 to 599.
            retry_after: Seconds for the header ``Retry-After``; None: no header.
            times: The number of queries; None: all from now on.

        Raises:
            ConfigurationError: The endpoint does not exist, or an argument is out of range.
        """
        self._plan_fault(name, Failure(status, retry_after), times)

    def delay(self, name: str, *, seconds: float, times: int | None = None) -> None:
        """Delay the answers to the next queries of an endpoint.

        Args:
            name: The endpoint.
            seconds: The delay in seconds; it ends early when the workspace stops.
            times: The number of queries; None: all from now on.

        Raises:
            ConfigurationError: The endpoint does not exist, or `times` is below 1.
        """
        self._plan_fault(name, Delay(seconds), times)

    def break_body(self, name: str, *, times: int | None = 1) -> None:
        """Answer the next queries of an endpoint with status 200 and truncated JSON.

        In a stream, the JSON of the first event is truncated.

        Args:
            name: The endpoint.
            times: The number of queries; None: all from now on.

        Raises:
            ConfigurationError: The endpoint does not exist, or `times` is below 1.
        """
        self._plan_fault(name, BrokenBody(), times)

    def cut_stream(self, name: str, *, after: int, times: int | None = 1) -> None:
        """Close the connection of the next streams of an endpoint before ``[DONE]``.

        Queries without a stream are not affected and not counted.

        Args:
            name: The endpoint.
            after: The number of events that are sent, 0 or more.
            times: The number of streams; None: all from now on.

        Raises:
            ConfigurationError: The endpoint does not exist, or an argument is out of range.
        """
        self._plan_fault(name, CutStream(after), times)

    def add_warehouse(
        self,
        warehouse_id: str,
        *,
        state: str = "RUNNING",
        start_seconds: float | None = 0.0,
        start_failure: str | None = None,
        chunk_rows: int = 1_000,
    ) -> None:
        """Add a SQL warehouse over the tables of the workspace.

        Args:
            warehouse_id: The id.
            state: The initial state, such as ``"STOPPED"``.
            start_seconds: The duration of a start in seconds; None: it never ends.
            start_failure: The error with which a start ends; None: it succeeds.
            chunk_rows: Rows per chunk of a result.

        Raises:
            MissingDependencyError: The extra ``testing`` is not installed.
        """
        # Otherwise a statement fails, in a thread of the server.
        for module in ("duckdb", "sqlglot"):
            require(module, extra="testing")
        self._state.lakehouse.warehouses[warehouse_id] = SqlWarehouse(
            warehouse_id, state, start_seconds, start_failure, chunk_rows
        )

    def add_table(
        self,
        name: str,
        rows: Sequence[Mapping[str, Any]] | pa.Table,
        *,
        storage: Storage | None = None,
    ) -> None:
        """Create a Delta table in Unity Catalog.

        Args:
            name: The three-level name, in lower case.
            rows: A list of dicts, or an Arrow table.
            storage: The storage location; default: a temporary folder of the workspace.

        Raises:
            AlreadyExistsError: The table exists.
            MissingDependencyError: The extra ``testing`` is not installed.
        """
        self._state.lakehouse.add_table(name, rows, storage)

    def add_volume(self, name: str) -> Path:
        """Create a volume in Unity Catalog.

        Args:
            name: The three-level name.

        Returns:
            The folder of the volume on this machine.
        """
        return self._state.lakehouse.volumes.add(name)

    def inject_fault(self, name: str, fault: SqlFault, *, times: int = 1) -> None:
        """Inject a fault into the next requests that it applies to.

        Args:
            name: The id of a SQL warehouse, or the three-level name of a managed dataset or volume.
            fault: A fault of `langchain_dbx_eval.testing.faults`, such as `Unavailable()`.
            times: The number of requests.

        Raises:
            ConfigurationError: The warehouse does not exist, or `times` is below 1.
        """
        if name not in self._state.lakehouse.warehouses and name.count(".") != 2:
            msg = f"The workspace has no SQL warehouse '{name}'."
            raise ConfigurationError(msg)
        self._state.faults.add(name, fault, times)

    def stop_cluster(self, cluster_id: str) -> None:
        """Stop a cluster: the driver proxy answers 400 ``INVALID_STATE`` for it."""
        self._state.stopped_clusters.add(cluster_id)

    def _plan_fault(self, name: str, fault: Delay | ResponseFault, times: int | None) -> None:
        if name not in self._state.endpoints:
            known = ", ".join(sorted(self._state.endpoints)) or "none yet"
            msg = f"The workspace has no endpoint '{name}'; it has: {known}."
            raise ConfigurationError(msg)
        self._state.faults.add(name, fault, times)

    def _override_environment(self) -> None:
        variables = {
            "DATABRICKS_HOST": self.url,
            "DATABRICKS_TOKEN": self.token,
            "DATABRICKS_CLUSTER_ID": self.cluster_id,
        }
        self._environment_before = {n: os.environ.get(n) for n in (*variables, *_OTHER_LOGINS)}
        for name in _OTHER_LOGINS:
            os.environ.pop(name, None)
        os.environ.update(variables)

    def _restore_environment(self) -> None:
        for name, value in self._environment_before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._environment_before = {}
