"""`DatabricksConnection`: the fields and calls that the three components share."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, Field, PrivateAttr, SecretStr, model_validator
from typing_extensions import Self

from langchain_dbx_eval._internal.daemon_threads import SharedCall
from langchain_dbx_eval._internal.runtime import current_cluster_id
from langchain_dbx_eval._redaction import remember
from langchain_dbx_eval.client.arguments import (
    OTHER_NAMES,
    ComponentSignature,
    advice_for_unknown,
)
from langchain_dbx_eval.client.credentials import (
    Credentials,
    DataPlaneCredentials,
    SdkCredentials,
    header_value,
    normalize_host,
    profile_from_uri,
    resolve_credentials,
)
from langchain_dbx_eval.client.flow import Blocking, Flow, naming_target
from langchain_dbx_eval.client.hooks import Hook, apply_input_hook, call_hook, display_name, hook_id
from langchain_dbx_eval.client.request import Request
from langchain_dbx_eval.client.request_options import (
    NO_OPTIONS,
    RequestOptions,
    hide_secret_headers,
)
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
    DatabricksError,
    InvalidResponseError,
    PermissionDeniedError,
    TransformError,
)

__all__ = ["DatabricksConnection"]

_Result = TypeVar("_Result")
# The private attributes that are resolved from the fields.
_RESOLVED = ("_credentials", "_target", "_description", "_optimized", "_resolving")
_SECRETS = ("api_token", "driver_api_key")
# The fields that may contain `extra_headers`.
_PARAMS = ("extra_params", "model_kwargs", "query_params", "documents_params")


class DatabricksConnection(BaseModel):
    """The target of a component, its credentials, and the two hooks.

    No request is sent, and no credentials are resolved, before the first call.
    """

    host: str | None = None
    """The workspace's host name or URL; default: ``DATABRICKS_HOST``, else databricks-sdk's.
    ``"local"`` calls a driver app on the node that runs this code, without the workspace."""

    api_token: SecretStr | None = None
    """A personal access token (also `api_key=`, LangChain's usual name); default:
    ``DATABRICKS_TOKEN``, else databricks-sdk's authentication."""

    profile_name: str | None = None
    """A profile of ``~/.databrickscfg`` to log in with (also `profile=`)."""

    workspace_client: Any = Field(default=None, exclude=True, repr=False)
    """A `databricks.sdk.WorkspaceClient` to log in with."""

    base_url: str | None = None
    """The base URL of an OpenAI-compatible API, such as the AI Gateway's
    ``/ai-gateway/mlflow/v1``: a path of the workspace, or a whole URL. The model is then named in
    the request."""

    route_optimized: bool = False
    """Whether the endpoint is route-optimized: it is called at its own URL with its own token.
    Needs an OAuth login."""

    cluster_id: str | None = None
    """The cluster of a driver app; default: the one that this notebook runs on."""

    cluster_driver_port: int | str | None = None
    """The port of a driver app; setting it selects the driver proxy as the target."""

    org_id: str = "0"
    """The workspace id in the driver proxy's URL."""

    path: str = ""
    """The path of a driver app; default: its root."""

    driver_api_key: SecretStr | None = None
    """The driver app's own key, sent as ``X-Api-Key``; default: ``DBX_EVAL_DRIVER_API_KEY``."""

    timeout: float = Field(default=300.0, gt=0)
    """Seconds for one call, all retries and waits included; for a stream, until it opens."""

    stream_chunk_timeout: float = Field(default=120.0, gt=0)
    """Seconds to wait for the next chunk of a stream, whatever `timeout` is. Comments and other
    bytes that are not a part of the answer do not extend it."""

    max_retries: int = Field(default=3, ge=0)
    """Retries of a call that failed with a transient error. Unless it is given, a 503 is retried
    until `timeout`: an endpoint that scales from zero takes minutes."""

    max_response_bytes: int = Field(default=100_000_000, gt=0)
    """The largest response to read, decompressed; a longer one is an `InvalidResponseError`."""

    transform_input_fn: Hook | None = None
    """``transform_input_fn(**request)`` returns the JSON body to send instead. A function, or
    ``"package.module:function"``."""

    transform_output_fn: Hook | None = None
    """``transform_output_fn(response)`` converts the decoded JSON of the response. A function, or
    ``"package.module:function"``."""

    _credentials: Credentials | None = PrivateAttr(default=None)
    _target: Target | None = PrivateAttr(default=None)
    _description: dict[str, Any] | None = PrivateAttr(default=None)
    _optimized: tuple[OptimizedEndpoint, Credentials] | None = PrivateAttr(default=None)
    _resolving: SharedCall[Credentials] | None = PrivateAttr(default=None)
    _is_unpickled: bool = PrivateAttr(default=False)

    OTHER_NAMES: ClassVar[dict[str, str]] = OTHER_NAMES
    """Other names of the component's arguments, and their fields."""

    ENDPOINT_FIELD: ClassVar[str]
    """The component's field for the name of the serving endpoint."""

    LOGIN_URI_FIELD: ClassVar[str]
    """The component's field for the ``databricks://<profile>`` URI."""

    PARAMS_FIELDS: ClassVar[str]
    """The component's fields for parameters of the model, for messages."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        if arguments:
            cls = type(self)
            msg = (
                f"{cls.__name__} has named arguments only: "
                f"{cls.__name__}({cls.ENDPOINT_FIELD}={arguments[0]!r})."
            )
            raise ConfigurationError(msg)
        super().__init__(**named)

    @property
    def _route(self) -> str:
        """The route of OpenAI's API to call behind a `base_url`."""
        raise NotImplementedError

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        cls.__signature__ = ComponentSignature()  # type: ignore[assignment]

    @model_validator(mode="before")
    @classmethod
    def _name_arguments(cls, values: Any) -> Any:
        """Replace the other names of arguments by those of the fields."""
        if not isinstance(values, dict) or cls.OTHER_NAMES.keys().isdisjoint(values):
            return values
        named = {name: value for name, value in values.items() if name not in cls.OTHER_NAMES}
        for other in cls.OTHER_NAMES.keys() & values.keys():
            name, value = cls.OTHER_NAMES[other], values[other]
            if value is None:
                continue
            if named.get(name) not in (None, value):
                msg = f"{name}= and {other}= are two names of one argument. Give one of them."
                raise ConfigurationError(msg)
            named[name] = value
        return named

    @model_validator(mode="before")
    @classmethod
    def _reject_unknown_arguments(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        known = {*cls.model_fields, *cls.OTHER_NAMES}
        for name in values.keys() - known:
            advice = advice_for_unknown(str(name), known, cls.PARAMS_FIELDS)
            msg = f"{cls.__name__} has no argument {name!r}. {advice}"
            raise ConfigurationError(msg)
        return values

    @model_validator(mode="before")
    @classmethod
    def _check_secrets(cls, values: Any) -> Any:
        # Pydantic's own error shows the value.
        for name, value in values.items() if isinstance(values, dict) else ():
            is_secret = cls.OTHER_NAMES.get(name, name) in _SECRETS
            if is_secret and not isinstance(value, str | SecretStr | None):
                msg = f"{name}= must be a string, not {type(value).__name__}."
                raise ConfigurationError(msg)
        return values

    @model_validator(mode="after")
    def _check_connection(self) -> Self:
        if self.host and self.host != LOCAL:
            normalize_host(self.host)
        _ = self._profile, self._called, self._route  # all raise if a field is invalid
        return self

    @classmethod
    def is_lc_serializable(cls) -> bool:
        """Return True: LangChain may serialize it, and load it with ``allowed_objects=[…]``."""
        return True

    @property
    def lc_secrets(self) -> dict[str, str]:
        """The variables that replace the secrets in LangChain's JSON form."""
        return {"api_token": "DATABRICKS_TOKEN", "driver_api_key": "DBX_EVAL_DRIVER_API_KEY"}

    def to_json(self) -> Any:
        """Return LangChain's JSON form, without hooks that are not import strings."""
        serialized: Any = super().to_json()  # type: ignore[misc]
        kwargs = serialized.get("kwargs", {})
        for name in ("transform_input_fn", "transform_output_fn", "workspace_client"):
            if not isinstance(kwargs.get(name), str):
                kwargs.pop(name, None)
        kwargs.update(_without_secrets(kwargs))
        return serialized

    def __repr_args__(self) -> Any:
        # Its text is in logs and, as the name of a judge or model, in MLflow.
        named = {name or "": value for name, value in super().__repr_args__()}
        return _without_secrets(named).items()

    def __copy__(self) -> Self:
        copied = super().__copy__()
        copied._reset()
        return copied

    def __deepcopy__(self, memo: dict[int, Any] | None = None) -> Self:
        memo = {} if memo is None else memo
        # A workspace client has locks and connections, which cannot be copied.
        memo[id(self.workspace_client)] = self.workspace_client
        for resolved in (self._credentials, self._optimized, self._resolving):
            memo[id(resolved)] = None
        copied = super().__deepcopy__(memo)
        copied._reset()
        return copied

    def __getstate__(self) -> dict[Any, Any]:
        # Credentials belong to their process; the process that unpickles this resolves its own. A
        # pickle is a file like any other: it contains no secret.
        state = super().__getstate__()
        left_out = dict.fromkeys((*_SECRETS, "workspace_client"))
        state["__dict__"] = _without_secrets({**state["__dict__"], **left_out})
        private = state.get("__pydantic_private__") or {}
        had_secret = self._is_unpickled or any(getattr(self, name) for name in _SECRETS)
        changed = {**dict.fromkeys(_RESOLVED), "_is_unpickled": had_secret}
        state["__pydantic_private__"] = {**private, **changed}
        return state

    def _reset(self) -> None:
        """Drop what was resolved: `model_copy(update=…)` may have changed the fields."""
        for name in _RESOLVED:
            setattr(self, name, None)

    @property
    def _called(self) -> Target:
        if self._target is None:
            self._target = self._find_target()
        return self._target

    def _find_target(self) -> Target:
        endpoint, port = getattr(self, self.ENDPOINT_FIELD), self.cluster_driver_port
        if port is not None:
            if endpoint:
                msg = (
                    f"Both a serving endpoint ({endpoint!r}) and cluster_driver_port={port!r} are "
                    "given. Give the one to call."
                )
                raise ConfigurationError(msg)
            return self._driver_app(parse_port(port))
        if self.cluster_id or self.host == LOCAL:
            msg = "cluster_id= and host='local' need cluster_driver_port=, which is missing."
            raise ConfigurationError(msg)
        if not endpoint:
            msg = (
                "No target is given. Name a serving endpoint, or give cluster_driver_port= for an "
                "app on a cluster's driver node."
            )
            raise ConfigurationError(msg)
        if self.base_url is not None:
            return Gateway(self.base_url, self._route, endpoint)
        return ServingEndpoint(endpoint)

    def _driver_app(self, port: int) -> Target:
        if self.host == LOCAL:
            return DriverNodeApp(port, self.path)
        cluster_id = self.cluster_id or current_cluster_id()
        if cluster_id is None:
            msg = (
                "cluster_id= is missing, and this code does not run on a Databricks cluster. Give "
                "the id of the cluster that runs the app, or host='local' for an app on this "
                "machine."
            )
            raise ConfigurationError(msg)
        return DriverProxyApp(cluster_id, port, self.path, self.org_id)

    @property
    def _profile(self) -> str | None:
        from_uri = profile_from_uri(getattr(self, self.LOGIN_URI_FIELD))
        return self.profile_name or from_uri

    def _identity(self) -> dict[str, Any]:
        """Everything that affects a response, without secrets.

        LangChain's caches are keyed by it: two workspaces, or two hooks, must not share responses.
        """
        hooks = (self.transform_input_fn, self.transform_output_fn)
        return {
            "target": str(self._called),
            "host": self.host or os.environ.get("DATABRICKS_HOST"),
            "profile": self._profile,
            "path": self.path,
            "hooks": [hook and hook_id(hook) for hook in hooks],
        }

    def _resolve_credentials(self, timeout: float) -> Credentials:
        target = self._called
        gateway_host = target.own_host if isinstance(target, Gateway) else None
        token = self.api_token.get_secret_value() if self.api_token else None
        credentials = resolve_credentials(
            host=self.host or (gateway_host if token else None),
            api_token=token,
            profile=self._profile,
            workspace_client=self.workspace_client,
            timeout=timeout,
        )
        if gateway_host and gateway_host != credentials.host and token is None:
            msg = (
                f"base_url={self.base_url!r} is not on the workspace {credentials.host}, whose "
                "token is not sent to other hosts. Give the token for that host as api_token=."
            )
            raise ConfigurationError(msg)
        return credentials

    def _login(self, timeout: float | None = None) -> Flow[Credentials | None]:
        """Return the credentials, resolved once; None for an app on this node."""
        if self._credentials is None and self.host != LOCAL:
            # This may read files, send requests or run a command.
            if self._resolving is None:
                # Calls with a shorter timeout wait for the same login, which outlasts them.
                longest = max(self.timeout, timeout or 0)
                self._resolving = SharedCall(partial(self._resolve_credentials, longest))
            try:
                self._credentials = yield Blocking(self._resolving, timeout or self.timeout)
            except DatabricksError as error:
                if self._is_unpickled:
                    error.add_advice(
                        "A pickle does not contain the api_token= of the original: set "
                        "DATABRICKS_TOKEN in this process."
                    )
                raise
        return self._credentials

    def _send(
        self,
        body: dict[str, Any],
        *,
        model: str | None = None,
        streams: bool = False,
        options: RequestOptions = NO_OPTIONS,
    ) -> Flow[Any]:
        """Send a body.

        Args:
            body: The body.
            model: The model that this call names instead of the component's.
            streams: Whether to return the open body of the response.
            options: What this call adds to the request.

        Returns:
            The decoded JSON of the response, or its open body.
        """
        credentials = yield from self._login(options.timeout)
        target = self._called
        if options.body:
            body = {**body, **options.body}
        if isinstance(target, Gateway):
            body = {"model": model or target.model, **body}
        elif model is not None and isinstance(target, ServingEndpoint):
            target = ServingEndpoint(model)
        elif model is not None:
            body = {"model": model, **body}
        elif self.route_optimized and isinstance(target, ServingEndpoint):
            route = self._optimized_route(target, credentials, options.timeout)
            target, credentials = yield from route
        url = target.url(credentials.host if credentials else "")
        if options.query:
            url += f"{'&' if '?' in url else '?'}{options.query}"
        return (yield self._request(url, target, credentials, body, streams, options))

    def _request(
        self,
        url: str,
        target: Target,
        credentials: Credentials | None,
        payload: Any,
        streams: bool,
        options: RequestOptions = NO_OPTIONS,
    ) -> Request:
        headers = {**options.headers}
        if self.cluster_driver_port is not None:
            given = self.driver_api_key.get_secret_value() if self.driver_api_key else None
            if key := given or os.environ.get("DBX_EVAL_DRIVER_API_KEY"):
                name = "The app's key (driver_api_key= or DBX_EVAL_DRIVER_API_KEY)"
                key = header_value(key, name)
                remember(key)
                headers = {"X-Api-Key": key, **headers}
        return Request(
            url,
            target,
            credentials,
            payload,
            headers,
            streams,
            timeout=options.timeout or self.timeout,
            chunk_timeout=self.stream_chunk_timeout,
            max_retries=self.max_retries,
            waits_for_start="max_retries" not in self.model_fields_set,
            max_response_bytes=self.max_response_bytes,
        )

    def _optimized_route(
        self, endpoint: ServingEndpoint, credentials: Credentials | None, timeout: float | None
    ) -> Flow[tuple[OptimizedEndpoint, Credentials]]:
        if self._optimized is not None:
            return self._optimized
        if not isinstance(credentials, SdkCredentials) or credentials.config.auth_type == "pat":
            msg = (
                "A route-optimized endpoint rejects personal access tokens: log in with OAuth, "
                "such as with the client id and secret of a service principal."
            )
            raise ConfigurationError(msg)
        description = yield from self._describe(timeout)
        query_info = (description.get("data_plane_info") or {}).get("query_info") or {}
        url = query_info.get("endpoint_url")
        if not isinstance(url, str) or not url:
            msg = f"The description of the {endpoint} contains no route-optimized URL."
            raise ConfigurationError(msg)
        details = str(query_info.get("authorization_details") or "")
        # Imported here, because only this login needs it.
        from databricks.sdk.data_plane import DataPlaneTokenSource

        tokens = DataPlaneTokenSource(credentials.host, credentials.config.oauth_token)
        route = OptimizedEndpoint(endpoint.name, url), DataPlaneCredentials(url, tokens, details)
        self._optimized = route
        return route

    def _describe(self, timeout: float | None = None) -> Flow[dict[str, Any]]:
        """Return the serving endpoint's description, requested once; empty for other targets."""
        options = RequestOptions(timeout=timeout)
        target = self._called
        if self._description is None and isinstance(target, ServingEndpoint):
            credentials = yield from self._login(timeout)
            url = target.description_url(credentials.host if credentials else "")
            try:
                description = yield self._request(url, target, credentials, None, False, options)
            except PermissionDeniedError as error:
                error.add_advice("Or pass task=, which makes this request unnecessary.")
                raise
            self._description = description if isinstance(description, dict) else {}
        return self._description or {}

    def _transform_input(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the body that the input hook returns for a body; without a hook, the same."""
        hook = self.transform_input_fn
        return body if hook is None else apply_input_hook(hook, body)

    def _decode(
        self,
        payload: Any,
        decode: Callable[[Any], _Result],
        decode_output: Callable[[Any], _Result],
    ) -> _Result:
        """Decode a response, or what the output hook returns for it.

        Args:
            payload: The decoded JSON of the response, or a part of it.
            decode: Decodes the payload.
            decode_output: Decodes what `transform_output_fn` returns.

        Raises:
            InvalidResponseError: `decode` raised it; it names the target.
            TransformError: The hook raised, or `decode_output` raised an InvalidResponseError.
        """
        if self.transform_output_fn is None:
            with naming_target(self._called):
                return decode(payload)
        output = call_hook("transform_output_fn", self.transform_output_fn, payload)
        try:
            return decode_output(output)
        except InvalidResponseError as error:
            name = display_name(self.transform_output_fn)
            msg = (
                f"{self._called.title}: transform_output_fn {name} returned an invalid value. "
                f"{error}"
            )
            raise TransformError(msg, target=str(self._called)) from None


def _without_secrets(fields: dict[str, Any]) -> dict[str, Any]:
    """Return fields without the keys in the headers of their parameters."""
    hidden = {name: hide_secret_headers(fields[name]) for name in _PARAMS if name in fields}
    return {**fields, **hidden}
