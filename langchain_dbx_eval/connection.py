"""What the three components share: where the model is, how to reach it, and the two hooks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from pydantic import BaseModel, Field, PrivateAttr, SecretStr, model_validator
from typing_extensions import Self

from langchain_dbx_eval.client.retry import RetryPolicy
from langchain_dbx_eval.client.targets import (
    LOCAL,
    DriverNodeApp,
    DriverProxyApp,
    ServingEndpoint,
    Target,
    parse_port,
)
from langchain_dbx_eval.client.transport import Request, post, stream
from langchain_dbx_eval.client.workspace import (
    Workspace,
    connect,
    current_cluster_id,
    normalise_host,
    profile_of,
)
from langchain_dbx_eval.errors import (
    ConfigurationError,
    DatabricksError,
    InvalidResponseError,
    PermissionDeniedError,
)
from langchain_dbx_eval.hooks import Hook, apply_input_hook, apply_output_hook

__all__ = ["DatabricksConnection"]


class DatabricksConnection(BaseModel):
    """Where a model is, how to reach it, and what to change on the way there and back.

    Nothing is sent, and no login is looked up, before the first call.
    """

    host: str | None = None
    """The workspace's host name or URL; default: ``DATABRICKS_HOST``, else the SDK's own search.
    ``"local"`` calls a driver app on this very node, without the workspace in between."""

    api_token: SecretStr | None = None
    """A personal access token; default: ``DATABRICKS_TOKEN``, else the SDK's other logins."""

    profile: str | None = None
    """A profile of ``~/.databrickscfg`` to log in with."""

    workspace_client: Any = Field(default=None, exclude=True, repr=False)
    """A `databricks.sdk.WorkspaceClient` to log in with."""

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
    """Seconds for one call, all its retries and waits included."""

    max_retries: int = Field(default=3, ge=0)
    """How often a call that may pass is tried again."""

    transform_input_fn: Hook | None = None
    """``transform_input_fn(**request)`` returns the JSON body to send instead. A function, or
    ``"package.module:function"``."""

    transform_output_fn: Hook | None = None
    """``transform_output_fn(response)`` reads the decoded JSON of the answer. A function, or
    ``"package.module:function"``."""

    _workspace: Workspace | None = PrivateAttr(default=None)
    _target: Target | None = PrivateAttr(default=None)
    _description: dict[str, Any] | None = PrivateAttr(default=None)

    def _endpoint(self) -> str | None:
        """The serving endpoint's name, under whatever field the component keeps it."""
        raise NotImplementedError

    def _login_uri(self) -> str | None:
        """The ``databricks://profile`` URI, under whatever field the component keeps it."""
        raise NotImplementedError

    @model_validator(mode="after")
    def _check_connection(self) -> Self:
        if self.host and self.host != LOCAL:
            normalise_host(self.host)
        profile_of(self._login_uri())
        self._target = self._find_target()
        return self

    def _find_target(self) -> Target:
        endpoint, port = self._endpoint(), self.cluster_driver_port
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

    @property
    def _is_app(self) -> bool:
        return self.cluster_driver_port is not None

    @property
    def _called(self) -> Target:
        if self._target is None:
            self._target = self._find_target()
        return self._target

    def _host(self) -> str:
        return "" if self.host == LOCAL else self._login().host

    def _login(self) -> Workspace:
        if self._workspace is None:
            self._workspace = connect(
                host=self.host,
                api_token=self.api_token.get_secret_value() if self.api_token else None,
                profile=self.profile or profile_of(self._login_uri()),
                workspace_client=self.workspace_client,
            )
        return self._workspace

    def _policy(self) -> RetryPolicy:
        return RetryPolicy(max_retries=self.max_retries, timeout=self.timeout)

    def _headers(self) -> dict[str, str]:
        headers = {} if self.host == LOCAL else self._login().headers()
        if self._is_app and (key := self._driver_key()):
            headers["X-Api-Key"] = key
        return headers

    def _driver_key(self) -> str | None:
        if self.driver_api_key is not None:
            return self.driver_api_key.get_secret_value()
        return os.environ.get("DBX_EVAL_DRIVER_API_KEY")

    def _request(self, body: dict[str, Any]) -> Request:
        url = self._called.url(self._host())
        return Request(url, self._called, self._headers(), body)

    def _post(self, body: dict[str, Any]) -> Any:
        """Send a body as it stands, and return the decoded JSON."""
        return post(self._request(body), self._policy())

    def _open_stream(self, body: dict[str, Any]) -> Iterator[bytes]:
        """Send a body as it stands, and return the answer's bytes as they come."""
        return stream(self._request(body), self._policy())

    def _before(self, request: dict[str, Any]) -> dict[str, Any]:
        return apply_input_hook(self.transform_input_fn, request)

    def _after(self, response: Any) -> Any:
        return apply_output_hook(self.transform_output_fn, response)

    def _endpoint_task(self) -> str | None:
        """The task that the endpoint says it has, such as ``llm/v1/chat``; asked once."""
        target = self._called
        if not isinstance(target, ServingEndpoint):
            return None
        if self._description is None:
            url = target.description_url(self._host())
            try:
                answer = post(Request(url, target, self._headers()), self._policy())
            except PermissionDeniedError as error:
                msg = f"{error} Or pass task=, so that the endpoint need not be asked for it."
                raise PermissionDeniedError(msg, **_facts(error)) from error
            self._description = answer if isinstance(answer, dict) else {}
        task = self._description.get("task")
        return task if isinstance(task, str) and task else None

    @contextmanager
    def _decoding(self) -> Iterator[None]:
        """Name the target in an error about the shape of its answer."""
        try:
            yield
        except InvalidResponseError as error:
            if error.target is not None:
                raise
            target = str(self._called)
            msg = f"{target[0].upper()}{target[1:]}: {error}"
            raise InvalidResponseError(msg, target=target) from None


def _facts(error: DatabricksError) -> dict[str, Any]:
    return {
        "status_code": error.status_code,
        "error_code": error.error_code,
        "request_id": error.request_id,
        "target": error.target,
    }
