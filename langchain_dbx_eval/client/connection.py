"""What the three components share: where the model is, how to reach it, and the two hooks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, Field, PrivateAttr, SecretStr, model_validator
from typing_extensions import Self

from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval._internal.runtime import current_cluster_id
from langchain_dbx_eval.client import sync_transport
from langchain_dbx_eval.client.credentials import (
    Credentials,
    DataPlaneLogin,
    SdkWorkspace,
    connect,
    header_value,
    normalize_host,
    profile_of,
)
from langchain_dbx_eval.client.hooks import (
    Hook,
    apply_input_hook,
    apply_output_hook,
    display_name,
    hook_id,
)
from langchain_dbx_eval.client.request import Request
from langchain_dbx_eval.client.targets import (
    LOCAL,
    DriverNodeApp,
    DriverProxyApp,
    Gateway,
    OptimizedEndpoint,
    ServingEndpoint,
    Target,
    parse_port,
)
from langchain_dbx_eval.errors import (
    ConfigurationError,
    InvalidResponseError,
    PermissionDeniedError,
    TransformError,
)

__all__ = ["DatabricksConnection"]

_FOUND_OUT = ("_workspace", "_target", "_description")


class DatabricksConnection(BaseModel):
    """Where a model is, how to reach it, and what to change on the way there and back.

    Nothing is sent, and no login is looked up, before the first call.
    """

    host: str | None = None
    """The workspace's host name or URL; default: ``DATABRICKS_HOST``, else the SDK's own search.
    ``"local"`` calls a driver app on this very node, without the workspace in between."""

    api_token: SecretStr | None = Field(default=None, alias="api_key")
    """A personal access token (LangChain's usual name for it, `api_key`, works too); default:
    ``DATABRICKS_TOKEN``, else the SDK's other logins."""

    profile_name: str | None = Field(default=None, alias="profile")
    """A profile of ``~/.databrickscfg`` to log in with."""

    workspace_client: Any = Field(default=None, exclude=True, repr=False)
    """A `databricks.sdk.WorkspaceClient` to log in with."""

    base_url: str | None = None
    """Where an OpenAI-compatible API lies, such as the AI Gateway's ``/ai-gateway/mlflow/v1``: a
    path of the workspace, or a whole URL. The model is then named in the request."""

    route_optimized: bool = False
    """Whether the endpoint is route-optimised: it is then called at a URL of its own, with a token
    for it alone. Needs a login by OAuth."""

    cluster_id: str | None = None
    """The cluster that a driver app runs on; default: the one that this notebook runs on."""

    cluster_driver_port: int | str | None = None
    """The port of a driver app; giving it chooses the driver proxy as the target."""

    org_id: str = "0"
    """The workspace id in the driver proxy's URL."""

    path: str = ""
    """The path of a driver app; default: its root."""

    driver_api_key: SecretStr | None = None
    """The driver app's own key, sent as ``X-Api-Key``; default: ``DBX_EVAL_DRIVER_API_KEY``."""

    timeout: float = Field(default=300.0, gt=0)
    """Seconds for one call, all its retries and waits included; for a stream, until it opens."""

    stream_chunk_timeout: float = Field(default=120.0, gt=0)
    """Seconds that a stream may be silent."""

    max_retries: int = Field(default=3, ge=0)
    """How often a call that may pass is tried again."""

    transform_input_fn: Hook | None = None
    """``transform_input_fn(**request)`` returns the JSON body to send instead. A function, or
    ``"package.module:function"``."""

    transform_output_fn: Hook | None = None
    """``transform_output_fn(response)`` reads the decoded JSON of the answer. A function, or
    ``"package.module:function"``."""

    _workspace: Credentials | None = PrivateAttr(default=None)
    _target: Target | None = PrivateAttr(default=None)
    _description: dict[str, Any] | None = PrivateAttr(default=None)

    def _model(self) -> str | None:
        """The serving endpoint's name, under whatever field the component keeps it."""
        raise NotImplementedError

    def _login_uri(self) -> str | None:
        """The ``databricks://profile`` URI, under whatever field the component keeps it."""
        raise NotImplementedError

    def _route(self) -> str:
        """The route of OpenAI's API that the component speaks, for a `base_url`."""
        raise NotImplementedError

    @model_validator(mode="before")
    @classmethod
    def _refuse_unknown_arguments(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        known = {*cls.model_fields, *(f.alias for f in cls.model_fields.values() if f.alias)}
        for name in values.keys() - known:
            near = get_close_matches(str(name), known, n=1)
            hint = f" Did you mean {near[0]!r}?" if near else ""
            msg = (
                f"{cls.__name__} has no argument {name!r}.{hint} Parameters of the model itself go "
                f"into {cls._name_of_further_parameters()}=."
            )
            raise ConfigurationError(msg)
        return values

    @classmethod
    def _name_of_further_parameters(cls) -> str:
        return "extra_params"

    @model_validator(mode="after")
    def _check_connection(self) -> Self:
        if self.host and self.host != LOCAL:
            normalize_host(self.host)
        profile_of(self._login_uri())
        self._target = self._find_target()
        return self

    def _find_target(self) -> Target:
        endpoint, port = self._model(), self.cluster_driver_port
        if endpoint and port is not None:
            msg = (
                f"Both a serving endpoint ({endpoint!r}) and cluster_driver_port={port!r} are "
                "given. Give the one to call."
            )
            raise ConfigurationError(msg)
        if port is not None:
            return self._driver_app(parse_port(port))
        if self.cluster_id or self.host == LOCAL:
            msg = "cluster_id= and host='local' go with cluster_driver_port=, which is missing."
            raise ConfigurationError(msg)
        if not endpoint:
            msg = (
                "Nothing to call is given. Name a serving endpoint, or give "
                "cluster_driver_port= for an app on a cluster's driver node."
            )
            raise ConfigurationError(msg)
        if self.base_url is not None:
            gateway = Gateway(self.base_url, self._route(), endpoint)
            gateway.url("")
            return gateway
        return ServingEndpoint(endpoint)

    def _driver_app(self, port: int) -> Target:
        if self.host == LOCAL:
            return DriverNodeApp(port, self.path)
        cluster_id = self.cluster_id or current_cluster_id()
        if cluster_id is None:
            msg = (
                "cluster_id= is missing: this code does not run on a Databricks cluster whose id "
                "could be taken. Give the id of the cluster that runs the app, or host='local' "
                "for an app on this machine."
            )
            raise ConfigurationError(msg)
        return DriverProxyApp(cluster_id, port, self.path, self.org_id)

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """LangChain may write it as JSON, and read it again with ``allowed_objects=[…]``."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """Where the secrets come from when it is read again: they are never written."""
        return {"api_token": "DATABRICKS_TOKEN", "driver_api_key": "DBX_EVAL_DRIVER_API_KEY"}

    def to_json(self) -> Any:
        """LangChain's JSON form. A hook survives it as an import string alone."""
        written: Any = super().to_json()  # type: ignore[misc]
        kwargs = written.get("kwargs", {})
        for name in ("transform_input_fn", "transform_output_fn", "workspace_client"):
            if not isinstance(kwargs.get(name), str):
                kwargs.pop(name, None)
        return written

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._forget()
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        memo = {} if memo is None else memo
        # A client holds locks and connections: shared with the copy, for it cannot be copied.
        memo[id(self.workspace_client)] = self.workspace_client
        memo[id(self._workspace)] = None
        copied = super().__deepcopy__(memo)
        copied._forget()
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        # A login belongs to its process; the one that unpickles this finds its own.
        state = super().__getstate__()
        state["__dict__"] = {**state["__dict__"], "workspace_client": None}
        private = state.get("__pydantic_private__") or {}
        state["__pydantic_private__"] = {**private, **dict.fromkeys(_FOUND_OUT)}
        return state

    def _forget(self) -> None:
        """Forget what was found out: a copy may be changed to call something else."""
        for name in _FOUND_OUT:
            setattr(self, name, None)

    @property
    def _is_app(self) -> bool:
        return self.cluster_driver_port is not None

    @property
    def _called(self) -> Target:
        if self._target is None:
            self._target = self._find_target()
        return self._target

    def _identity(self) -> dict[str, Any]:
        """What decides where a request goes and what becomes of it, without any secret.

        LangChain's caches are keyed by it: two workspaces, or two hooks, must not share answers.
        """
        hooks = (self.transform_input_fn, self.transform_output_fn)
        return {
            "target": str(self._called),
            "host": self.host or os.environ.get("DATABRICKS_HOST"),
            "profile": self.profile_name or profile_of(self._login_uri()),
            "path": self.path,
            "hooks": [hook_id(hook) for hook in hooks],
        }

    def _login(self) -> Credentials | None:
        """The login, found once; None for an app on this node, which needs none."""
        if self.host == LOCAL:
            return None
        if self._workspace is None:
            gateway = self._called if isinstance(self._called, Gateway) else None
            own_host = gateway.own_host if gateway else None
            token = self.api_token.get_secret_value() if self.api_token else None
            login = connect(
                host=self.host or (own_host if token else None),
                api_token=token,
                profile=self.profile_name or profile_of(self._login_uri()),
                workspace_client=self.workspace_client,
            )
            if own_host and own_host != login.host and token is None:
                msg = (
                    f"base_url={self.base_url!r} is not on the workspace {login.host}, and its "
                    "token goes nowhere else. Give the token for that host as api_token=."
                )
                raise ConfigurationError(msg)
            self._workspace = login
        return self._workspace

    def _policy(self) -> RetryPolicy:
        return RetryPolicy(self.max_retries, self.timeout)

    def _app_headers(self) -> dict[str, str]:
        if not self._is_app:
            return {}
        given = self.driver_api_key.get_secret_value() if self.driver_api_key else None
        key = given or os.environ.get("DBX_EVAL_DRIVER_API_KEY")
        name = "The app's key (driver_api_key= or DBX_EVAL_DRIVER_API_KEY)"
        return {"X-Api-Key": header_value(key, name)} if key else {}

    def _request(self, body: dict[str, Any], model: str | None = None) -> Request:
        """The request that carries a body; a call may name another model than the component's."""
        target, login = self._called, self._login()
        if isinstance(target, Gateway):
            body = {"model": model or target.model, **body}
        elif model is not None:
            if isinstance(target, ServingEndpoint):
                target = ServingEndpoint(model)
            else:
                body = {"model": model, **body}
        elif self.route_optimized and isinstance(target, ServingEndpoint):
            target, login = self._optimized(target)
        url = target.url(login.host if login else "")
        return Request(
            url,
            target,
            login,
            self._policy(),
            body,
            self._app_headers(),
            timeout=self.timeout,
            read_timeout=self.stream_chunk_timeout,
        )

    def _optimized(self, endpoint: ServingEndpoint) -> tuple[OptimizedEndpoint, Credentials]:
        if isinstance(endpoint, OptimizedEndpoint):
            login = self._workspace
            assert login is not None  # noqa: S101 - it was made together with the target
            return endpoint, login
        login = self._login()
        if not isinstance(login, SdkWorkspace) or login.config.auth_type == "pat":
            msg = "A route-optimised endpoint refuses personal access tokens: log in by OAuth."
            raise ConfigurationError(msg)
        described = (self._described().get("data_plane_info") or {}).get("query_info") or {}
        url = described.get("endpoint_url")
        if not isinstance(url, str) or not url:
            msg = f"The {endpoint} does not say that it is route-optimised."
            raise ConfigurationError(msg)
        details = str(described.get("authorization_details") or "")
        self._workspace = DataPlaneLogin(login.config, url, details)
        self._target = target = OptimizedEndpoint(endpoint.name, url)
        return target, self._workspace

    def _post(self, body: dict[str, Any], model: str | None = None) -> Any:
        """Send a body as it stands, and return the decoded JSON."""
        return sync_transport.post(self._request(body, model))

    async def _apost(self, body: dict[str, Any], model: str | None = None) -> Any:
        from langchain_dbx_eval.client import async_transport  # aiohttp is most of our import time

        return await async_transport.post(await self._arequest(body, model))

    def _open_stream(self, body: dict[str, Any], model: str | None = None) -> Iterator[bytes]:
        """Send a body as it stands; give the answer's bytes as they come, and b"" at the end."""
        yield from sync_transport.stream(replace(self._request(body, model), streams=True))
        yield b""

    async def _aopen_stream(
        self, body: dict[str, Any], model: str | None = None
    ) -> AsyncIterator[bytes]:
        from langchain_dbx_eval.client import async_transport

        request = replace(await self._arequest(body, model), streams=True)
        async for chunk in async_transport.stream(request):
            yield chunk
        yield b""

    async def _arequest(self, body: dict[str, Any], model: str | None) -> Request:
        if self._workspace is None and self.host != LOCAL:
            # Finding a login may read files, ask the network or run a command.
            return await asyncio.to_thread(self._request, body, model)
        return self._request(body, model)

    def _before(self, request: dict[str, Any]) -> dict[str, Any]:
        return apply_input_hook(self.transform_input_fn, request)

    def _after(self, response: Any) -> Any:
        hook = self.transform_output_fn
        return response if hook is None else apply_output_hook(hook, response)

    def _described(self) -> dict[str, Any]:
        """What the serving endpoint says about itself; asked once."""
        target = self._called
        if not isinstance(target, ServingEndpoint):
            return {}
        if self._description is None:
            login = self._login()
            url = target.description_url(login.host if login else "")
            try:
                answer = sync_transport.post(Request(url, target, login, self._policy()))
            except PermissionDeniedError as error:
                error.add_advice("Or pass task=, so that the endpoint need not be asked for it.")
                raise
            self._description = answer if isinstance(answer, dict) else {}
        return self._description

    @contextmanager
    def _decoding(self, *, hooked: bool = False) -> Iterator[None]:
        """Name the target in an error about the shape of its answer, or of its output hook's."""
        try:
            yield
        except InvalidResponseError as error:
            if error.target is not None:
                raise
            target = str(self._called)
            where = f"{target[0].upper()}{target[1:]}"
            if not hooked:
                raise InvalidResponseError(f"{where}: {error}", target=target) from None
            name = display_name(self.transform_output_fn)
            msg = f"{where}: transform_output_fn {name} returned what cannot be used. {error}"
            raise TransformError(msg, target=target) from None
