"""A workspace host, and the headers that authenticate requests to it.

A personal access token is sent as it is. Every other authentication (OAuth, Azure, profiles,
notebooks) is databricks-sdk's: its `Config` provides the headers of each request, and refreshes
expired tokens.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from typing_extensions import override

from langchain_dbx_eval._internal.daemon_threads import SharedCall
from langchain_dbx_eval._internal.runtime import is_loopback
from langchain_dbx_eval._redaction import contains_secret, remember
from langchain_dbx_eval.errors import AuthenticationError, ConfigurationError

if TYPE_CHECKING:
    from databricks.sdk.core import Config
    from databricks.sdk.data_plane import DataPlaneTokenSource
    from databricks.sdk.oauth import Token

__all__ = [
    "Credentials",
    "DataPlaneCredentials",
    "SdkCredentials",
    "TokenCredentials",
    "header_value",
    "normalize_host",
    "profile_from_uri",
    "resolve_credentials",
]

# Seconds for which databricks-sdk retries its requests by default.
_SDK_RETRIES_S = 300.0


@dataclass(frozen=True)
class Credentials(ABC):
    """A host, and the headers that authenticate requests to it.

    Attributes:
        host: The URL of the workspace: scheme and host, without a trailing slash.
        is_static: Whether `headers` returns at once, without a request or a subprocess.
    """

    host: str
    is_static: ClassVar[bool] = False

    @abstractmethod
    def headers(self) -> dict[str, str]:
        """Return the authentication headers of one request.

        Raises:
            AuthenticationError: No token could be obtained.
        """

    def refresh(self) -> bool:
        """Log in again after a 401; return False if that would change nothing."""
        return False

    @cached_property
    def shared_headers(self) -> SharedCall[dict[str, str]]:
        """`headers`, which concurrent requests wait for together."""
        return SharedCall(self.headers)


@dataclass(frozen=True)
class TokenCredentials(Credentials):
    """A personal access token.

    Attributes:
        token: The token.
    """

    token: str = field(repr=False)
    is_static = True

    @override
    def headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"}


@dataclass(frozen=True)
class SdkCredentials(Credentials):
    """Any authentication that databricks-sdk supports.

    Attributes:
        config: The SDK's configuration.
    """

    config: Config = field(repr=False)

    @override
    def headers(self) -> dict[str, str]:
        try:
            # All headers: an Azure service principal needs more than `Authorization`.
            headers = dict(self.config.authenticate())
        except Exception as error:
            # The SDK, its identity providers and the command lines that it runs raise different
            # exceptions when a token cannot be refreshed.
            raise _login_error(error) from (None if contains_secret(error) else error)
        for value in headers.values():
            remember(str(value).removeprefix("Bearer "))
        return headers

    @override
    def refresh(self) -> bool:
        if self.config.auth_type == "pat":
            return False
        self.config.init_auth()  # type: ignore[no-untyped-call]
        return True


@dataclass(frozen=True)
class DataPlaneCredentials(Credentials):
    """A token for one route-optimized endpoint, whose URL is the `host`.

    Protocol: the workspace exchanges the user's OAuth token for one that is limited to the
    endpoint; personal access tokens cannot be exchanged.

    Attributes:
        tokens: The SDK's source of such tokens.
        authorization_details: The scope of the token, from the endpoint's description.
    """

    tokens: DataPlaneTokenSource = field(repr=False)
    authorization_details: str

    @override
    def headers(self) -> dict[str, str]:
        try:
            token: Token = self.tokens.token(  # type: ignore[no-untyped-call]
                self.host, self.authorization_details
            )
        except Exception as error:
            raise _login_error(error) from (None if contains_secret(error) else error)
        remember(token.access_token)
        return {"Authorization": f"Bearer {token.access_token}"}


def resolve_credentials(
    *,
    host: str | None = None,
    api_token: str | None = None,
    profile: str | None = None,
    workspace_client: Any = None,
    environment: Mapping[str, str] = os.environ,
    timeout: float = _SDK_RETRIES_S,
) -> Credentials:
    """Find the credentials to use.

    The first of these that is given is used: `workspace_client`, `host` with `api_token`,
    `profile`, the environment, and last the SDK's default chain, which includes its configuration
    file and the notebook's own authentication.

    Args:
        host: The workspace's host name or URL.
        api_token: A personal access token.
        profile: A profile of ``~/.databrickscfg``.
        workspace_client: A `databricks.sdk.WorkspaceClient`.
        environment: Contains ``DATABRICKS_HOST`` and ``DATABRICKS_TOKEN``.
        timeout: Seconds after which databricks-sdk no longer retries the requests of its login.

    Returns:
        The credentials. No request has been made with them yet.

    Raises:
        ConfigurationError: The host is invalid.
        AuthenticationError: No credentials were found.
    """
    if workspace_client is not None:
        config = workspace_client.config
        return SdkCredentials(normalize_host(config.host or ""), config)
    if profile is None:
        host = host or environment.get("DATABRICKS_HOST")
        api_token = api_token or _environment_token(environment)
        if host and api_token:
            token = header_value(api_token, "The token (api_token= or DATABRICKS_TOKEN)")
            remember(token)
            return TokenCredentials(normalize_host(host), token)
    from databricks.sdk.core import Config

    host = normalize_host(host) if host else None
    try:
        config = Config(
            host=host,
            token=api_token,
            profile=profile,
            # At least 1: the SDK replaces 0 by its default.
            retry_timeout_seconds=math.ceil(min(timeout, _SDK_RETRIES_S)),
        )
    except ValueError as error:
        raise _login_error(error) from (None if contains_secret(error) else error)
    return SdkCredentials(normalize_host(config.host or ""), config)


def normalize_host(raw: str) -> str:
    """Normalize a host to ``https://name[:port]``.

    Args:
        raw: A host name or URL; a path, query or trailing slash is dropped.

    Returns:
        Scheme and host. ``http`` is kept for loopback addresses only, where no network carries it.

    Raises:
        ConfigurationError: The string contains no host, another scheme, or a user name.
    """
    text = raw.strip()
    if "@" in text:
        # The part after '@' is the real host: such a URL sends the token elsewhere. The part before
        # it may be a token, so it is not shown.
        msg = "The workspace host contains a user name or password ('…@host'). Give the host alone."
        raise ConfigurationError(msg)
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        name, port = parts.hostname, parts.port
    except ValueError as error:
        msg = f"The workspace host {raw!r} is not a URL: {error}."
        raise ConfigurationError(msg) from error
    if not name or parts.scheme not in {"http", "https"} or any(c.isspace() for c in name):
        msg = (
            f"The workspace host {raw!r} is invalid. Give it as in your browser's address bar, "
            "such as 'https://my-workspace.cloud.databricks.com'."
        )
        raise ConfigurationError(msg)
    if parts.scheme == "http" and not is_loopback(name):
        msg = f"The workspace host {raw!r} is http, which would expose the token. Use https."
        raise ConfigurationError(msg)
    address = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{address}" + (f":{port}" if port else "")


def header_value(secret: str, name: str) -> str:
    """Return a token or key as a header value, without the line end of the file it came from.

    Args:
        secret: The token or key.
        name: Its name, for messages.

    Raises:
        ConfigurationError: It is empty, or contains characters that a header cannot contain: an
            HTTP library would show it in its own error.
    """
    text = secret.strip()
    if not text or not text.isascii() or not text.isprintable():
        msg = f"{name} is empty or contains invalid characters. Copy it once more."
        raise ConfigurationError(msg)
    return text


def profile_from_uri(uri: str | None) -> str | None:
    """Return the profile of a ``databricks://<profile>`` URI; None for plain ``databricks``.

    Raises:
        ConfigurationError: The URI has another form.
    """
    if uri is None or uri == "databricks":
        return None
    scheme, _, profile = uri.partition("://")
    if scheme != "databricks" or not profile:
        msg = f"The URI {uri!r} is invalid. Give 'databricks' or 'databricks://<profile>'."
        raise ConfigurationError(msg)
    return profile


def _environment_token(environment: Mapping[str, str]) -> str | None:
    """Return ``DATABRICKS_TOKEN``; None if other variables make the SDK choose the login."""
    others = ("DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CLIENT_ID", "DATABRICKS_AUTH_TYPE")
    if any(environment.get(name) for name in others):
        return None
    return environment.get("DATABRICKS_TOKEN")


def _login_error(error: Exception) -> AuthenticationError:
    return AuthenticationError(
        f"The login to Databricks failed. Set DATABRICKS_HOST and DATABRICKS_TOKEN, run "
        f"`databricks auth login`, or pass host= and api_token=. databricks-sdk reported: {error}"
    )
