"""What is called, and its URL: a serving endpoint, a gateway or a driver app.

Each part of a URL that a caller gives is validated or quoted here, because a ``../`` would send the
token to another API of the workspace.
"""

from __future__ import annotations

import re
import warnings
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import quote, urlsplit

from typing_extensions import override

from langchain_dbx_eval.client.credentials import normalize_host
from langchain_dbx_eval.errors import ConfigurationError

__all__ = [
    "LOCAL",
    "DriverNodeApp",
    "DriverProxyApp",
    "Gateway",
    "OptimizedEndpoint",
    "ServingEndpoint",
    "Target",
    "parse_port",
]

LOCAL = "local"
"""The value of `host` for an app on the driver node that runs this code."""

_DOCUMENTED_PORTS = range(3000, 8001)
_CLUSTER_ID = re.compile(r"[A-Za-z0-9-]+")
_ORG_ID = re.compile(r"[0-9]+")

_OVERLOAD_ADVICE = {
    429: "Send fewer requests at once (max_concurrency), or allow more retries (max_retries=, "
    "timeout=).",
    503: "It may be starting or overloaded. Allow more retries (max_retries=, timeout=).",
}


class Target(Protocol):
    """Something that answers a POST of JSON. Its `str` is its name in messages."""

    @property
    def title(self) -> str:
        """Its name at the start of a message."""
        return f"{str(self)[0].upper()}{str(self)[1:]}"

    @property
    def connection_advice(self) -> str:
        """What to do if no connection can be made."""
        return (
            "Check the host name, the network and the proxy settings (HTTPS_PROXY, NO_PROXY, "
            "REQUESTS_CA_BUNDLE)."
        )

    def url(self, host: str) -> str:
        """Return the URL to send to, given the host of the workspace."""
        ...

    def advice(self, status: int, code: str | None = None) -> str:
        """Return what to do about a response of this status and Databricks error code, or ""."""
        ...


@dataclass(frozen=True)
class ServingEndpoint(Target):
    """A model serving endpoint.

    Protocol: ``POST /serving-endpoints/{name}/invocations`` (Databricks REST API, "Query a
    serving endpoint").

    Attributes:
        name: The name of the endpoint.
    """

    name: str

    def __post_init__(self) -> None:
        if self.name in {"", ".", ".."}:
            msg = f"{self.name!r} is not the name of a serving endpoint."
            raise ConfigurationError(msg)

    @override
    def url(self, host: str) -> str:
        return f"{host}/serving-endpoints/{quote(self.name, safe='')}/invocations"

    def description_url(self, host: str) -> str:
        """Return the URL of its description (Databricks REST API, "Get a serving endpoint")."""
        return f"{host}/api/2.0/serving-endpoints/{quote(self.name, safe='')}"

    @override
    def advice(self, status: int, code: str | None = None) -> str:
        return {
            401: "Check DATABRICKS_TOKEN (or api_token=), and that it belongs to this workspace.",
            403: f"Ask for CAN QUERY on {self.name!r}.",
            404: "It does not exist here, or you lack CAN QUERY on it. "
            "List yours with `databricks serving-endpoints list`.",
            413: "The request is larger than the endpoint accepts. Send fewer or shorter texts.",
        }.get(status, _OVERLOAD_ADVICE.get(status, ""))

    def __str__(self) -> str:
        return f"serving endpoint {self.name!r}"


@dataclass(frozen=True)
class OptimizedEndpoint(ServingEndpoint):
    """A route-optimized serving endpoint, which has a URL of its own.

    Protocol: Databricks, "Route optimization on serving endpoints".

    Attributes:
        endpoint_url: The URL.
    """

    endpoint_url: str = ""

    @override
    def url(self, host: str) -> str:
        return self.endpoint_url


@dataclass(frozen=True)
class Gateway(Target):
    """A model behind the base URL of an OpenAI-compatible API, such as an AI Gateway.

    Attributes:
        base_url: The URL without the route: a path of the workspace (``/ai-gateway/mlflow/v1``),
            or a whole URL.
        route: ``chat/completions``, ``completions``, ``embeddings`` or ``responses``.
        model: The model to name in the body.
    """

    base_url: str
    route: str
    model: str

    def __post_init__(self) -> None:
        self.url("")  # raises if the base URL is invalid

    @property
    def own_host(self) -> str | None:
        """The host of the base URL; None if it is a path of the workspace."""
        return None if self.base_url.startswith("/") else normalize_host(self.base_url)

    @override
    def url(self, host: str) -> str:
        path = self.base_url if self.own_host is None else urlsplit(self.base_url).path
        return f"{self.own_host or host}/{_quote_path(f'{path}/{self.route}')}"

    @override
    def advice(self, status: int, code: str | None = None) -> str:
        return {
            401: "Check the token (api_token= or DATABRICKS_TOKEN), and that it is for this host.",
            403: f"Ask for permission to query {self.model!r} through this gateway.",
            404: f"Check base_url={self.base_url!r}, and the model's name {self.model!r}.",
        }.get(status, _OVERLOAD_ADVICE.get(status, ""))

    def __str__(self) -> str:
        return f"model {self.model!r} behind {self.base_url}"


@dataclass(frozen=True)
class DriverProxyApp(Target):
    """An HTTP app on a cluster's driver node, called through the workspace.

    Protocol: ``POST /driver-proxy-api/o/{org_id}/{cluster_id}/{port}/{path}``. The proxy strips
    the prefix and does not forward ``Authorization``.

    Attributes:
        cluster_id: The cluster.
        port: The port of the app.
        path: The path of the app.
        org_id: The workspace id.
    """

    cluster_id: str
    port: int
    path: str = ""
    org_id: str = "0"

    def __post_init__(self) -> None:
        if not _CLUSTER_ID.fullmatch(self.cluster_id):
            msg = (
                f"cluster_id={self.cluster_id!r} is not a cluster id (letters, digits and "
                "hyphens, such as '0927-034054-wqx8yh0g'). Copy it from the cluster's page."
            )
            raise ConfigurationError(msg)
        if not _ORG_ID.fullmatch(self.org_id):
            msg = f"org_id={self.org_id!r} is not a workspace id: it may contain digits only."
            raise ConfigurationError(msg)
        _quote_path(self.path)

    @override
    def url(self, host: str) -> str:
        prefix = f"{host}/driver-proxy-api/o/{self.org_id}/{self.cluster_id}/{self.port}/"
        return prefix + _quote_path(self.path)

    @override
    def advice(self, status: int, code: str | None = None) -> str:
        # Any other 400 is the answer of the app.
        if code == "INVALID_STATE":
            return f"Start the cluster {self.cluster_id!r}, and the app on it."
        return {
            401: "Either the workspace rejected DATABRICKS_TOKEN, or the app rejected its key: "
            "pass driver_api_key= or set DBX_EVAL_DRIVER_API_KEY.",
            403: "You need CAN ATTACH TO on the cluster, a token with the scope 'clusters', and, "
            "on a dedicated cluster, to be its user.",
            404: "The app has no such path, or the cluster does not exist in this workspace.",
            502: f"Nothing answers on port {self.port} of the driver: start the app there, and "
            "make it listen on 0.0.0.0, not on localhost.",
        }.get(status, "")

    def __str__(self) -> str:
        return f"driver-proxy app on cluster {self.cluster_id!r}, port {self.port}"


@dataclass(frozen=True)
class DriverNodeApp(Target):
    """An HTTP app on the driver node, called from that node, not through the driver proxy.

    Attributes:
        port: The port of the app.
        path: The path of the app.
    """

    port: int
    path: str = ""

    def __post_init__(self) -> None:
        _quote_path(self.path)

    @property
    @override
    def connection_advice(self) -> str:
        return (
            f"If nothing listens on port {self.port} of this machine, start the app, such as "
            f"DriverServer(function, port={self.port}).start(), or correct cluster_driver_port=."
        )

    @override
    def url(self, host: str) -> str:
        return f"http://127.0.0.1:{self.port}/{_quote_path(self.path)}"

    @override
    def advice(self, status: int, code: str | None = None) -> str:
        if status == 401:
            return "The app rejected its key: pass driver_api_key= or set DBX_EVAL_DRIVER_API_KEY."
        return ""

    def __str__(self) -> str:
        return f"app on this driver node, port {self.port}"


def parse_port(port: int | str) -> int:
    """Return the port of a driver app as a number.

    Raises:
        ConfigurationError: It is not a port number.

    Warns:
        UserWarning: It is outside 3000-8000, the range that Databricks documents.
    """
    text = str(port)
    number = int(text) if text.isascii() and text.isdigit() and len(text) <= 5 else 0
    if isinstance(port, bool) or not 1 <= number <= 65535:
        msg = f"cluster_driver_port={port!r} is not a port number (1 to 65535)."
        raise ConfigurationError(msg)
    if number not in _DOCUMENTED_PORTS:
        warnings.warn(
            f"cluster_driver_port={number} is outside 3000-8000, the range that Databricks "
            "documents for driver-proxy apps.",
            UserWarning,
            stacklevel=2,
        )
    return number


def _quote_path(path: str) -> str:
    parts = [part for part in path.split("/") if part]
    if any(part in {".", ".."} for part in parts):
        msg = f"path={path!r} contains '.' or '..', which would leave the app."
        raise ConfigurationError(msg)
    return "/".join(quote(part, safe="") for part in parts)
