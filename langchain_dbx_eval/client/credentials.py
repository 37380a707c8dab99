"""Who am I: one workspace identity for everything that is sent.

A personal access token is used as it is. Every other way to log in (OAuth, Azure, profiles,
notebooks) is databricks-sdk's: its `Config` is asked for the headers of each request, so a token
that expires is refreshed by the library that knows how.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from typing_extensions import override

from langchain_dbx_eval._internal.runtime import is_loopback
from langchain_dbx_eval.errors import AuthenticationError, ConfigurationError

if TYPE_CHECKING:
    from databricks.sdk.core import Config
    from databricks.sdk.oauth import Token

__all__ = [
    "Credentials",
    "DataPlaneLogin",
    "SdkWorkspace",
    "connect",
    "header_value",
    "normalize_host",
    "profile_of",
]


class Credentials(Protocol):
    """A host, and the headers that log in there."""

    @property
    def host(self) -> str:
        """The workspace's URL: scheme and host, without a trailing slash."""
        ...

    @property
    def is_static(self) -> bool:
        """Whether `headers` answers at once, without asking anybody."""
        ...

    def headers(self) -> dict[str, str]:
        """Headers that authenticate one request, made anew for each."""
        ...

    def refresh(self) -> bool:
        """Log in anew after a refusal; False where that would change nothing."""
        ...


@dataclass(frozen=True)
class TokenWorkspace:
    """A workspace entered with a personal access token."""

    host: str
    token: str = field(repr=False)

    is_static = True

    def headers(self) -> dict[str, str]:
        """See `Credentials`."""
        return {"Authorization": f"Bearer {self.token}"}

    def refresh(self) -> bool:
        """See `Credentials`: a personal access token stays what it is."""
        return False


@dataclass(frozen=True)
class SdkWorkspace(Credentials):
    """A workspace entered by whatever login databricks-sdk was configured with."""

    config: Config = field(repr=False)

    is_static = False

    @property
    @override
    def host(self) -> str:
        return normalize_host(self.config.host or "")

    @override
    def headers(self) -> dict[str, str]:
        try:
            # All of them: an Azure service principal needs more than `Authorization`.
            return dict(self.config.authenticate())
        except Exception as error:
            # A token that could not be refreshed: the SDK, its identity provider and the command
            # lines that it runs each fail in their own way.
            raise _login_error(error) from error

    @override
    def refresh(self) -> bool:
        if self.config.auth_type == "pat":
            return False
        self.config.init_auth()  # type: ignore[no-untyped-call]
        return True


class DataPlaneLogin(Credentials):
    """The login of a route-optimised endpoint, which takes a token for itself alone.

    Protocol: the workspace exchanges the user's OAuth token for one that is limited to the
    endpoint (`databricks.sdk.data_plane`); personal access tokens cannot be exchanged.

    Args:
        config: The workspace's login.
        endpoint_url: The endpoint's own URL.
        authorization_details: What the token is to be limited to, as the endpoint describes it.
    """

    is_static = False

    def __init__(self, config: Config, endpoint_url: str, authorization_details: str) -> None:
        from databricks.sdk.data_plane import DataPlaneTokenSource

        self._config = config
        self._details = authorization_details
        self._endpoint_url = endpoint_url
        self._tokens = DataPlaneTokenSource(config.host, config.oauth_token)

    @property
    @override
    def host(self) -> str:
        return normalize_host(self._endpoint_url)

    @override
    def headers(self) -> dict[str, str]:
        try:
            token: Token = self._tokens.token(  # type: ignore[no-untyped-call]
                self._endpoint_url, self._details
            )
        except Exception as error:
            raise _login_error(error) from error
        return {"Authorization": f"Bearer {token.access_token}"}

    @override
    def refresh(self) -> bool:
        return False


def connect(
    *,
    host: str | None = None,
    api_token: str | None = None,
    profile: str | None = None,
    workspace_client: Any = None,
    environment: Mapping[str, str] = os.environ,
) -> Credentials:
    """Find the workspace to talk to.

    The first of these that is given decides: `workspace_client`, `host` with `api_token`,
    `profile`, the environment, and last the SDK's default chain (its configuration file and the
    notebook's own login included).

    Args:
        host: The workspace's host name or URL.
        api_token: A personal access token.
        profile: A profile of ``~/.databrickscfg``.
        workspace_client: A `databricks.sdk.WorkspaceClient` whose login is used.
        environment: Where ``DATABRICKS_HOST`` and ``DATABRICKS_TOKEN`` are looked up.

    Returns:
        The identity. No request has been made with it yet.

    Raises:
        ConfigurationError: The host is not usable.
        AuthenticationError: No credentials were found.
    """
    if workspace_client is not None:
        return SdkWorkspace(workspace_client.config)
    if profile is None:
        host = host or environment.get("DATABRICKS_HOST")
        api_token = api_token or _environment_token(environment)
        if host and api_token:
            token = header_value(api_token, "The token (api_token= or DATABRICKS_TOKEN)")
            return TokenWorkspace(normalize_host(host), token)
    return _sdk_workspace(host=host, token=api_token, profile=profile)


def normalize_host(raw: str) -> str:
    """Bring a host to the form ``https://name[:port]``.

    Args:
        raw: A host name or URL; a path, query or trailing slash is dropped.

    Returns:
        Scheme and host. ``http`` is kept for loopback addresses only, where no network sees it.

    Raises:
        ConfigurationError: There is no host in it, or it hides credentials or another host.
    """
    text = raw.strip()
    try:
        parts = urlsplit(text if "://" in text else f"https://{text}")
        name, port = parts.hostname, parts.port
    except ValueError as error:
        msg = f"The workspace host {raw!r} is not a URL: {error}."
        raise ConfigurationError(msg) from error
    if not name or parts.scheme not in {"http", "https"} or any(c.isspace() for c in name):
        msg = (
            f"The workspace host {raw!r} is not usable. Give it as in your browser's address bar, "
            "such as 'https://my-workspace.cloud.databricks.com'."
        )
        raise ConfigurationError(msg)
    if parts.username is not None or parts.password is not None:
        # The part after '@' is the real host: such a URL sends the token elsewhere.
        msg = (
            "The workspace host has a user name or password in it ('…@host'). Give the host alone."
        )
        raise ConfigurationError(msg)
    if parts.scheme == "http" and not is_loopback(name):
        msg = f"The workspace host {raw!r} is http, which would show the token. Use https."
        raise ConfigurationError(msg)
    address = f"[{name}]" if ":" in name else name
    return f"{parts.scheme}://{address}" + (f":{port}" if port else "")


def header_value(secret: str, name: str) -> str:
    """A token or key as a header can carry it: without the line end that a file ends in.

    Raises:
        ConfigurationError: There is something in it that no header can carry. An HTTP library
            would show it in its own error.
    """
    text = secret.strip()
    if not text or not text.isascii() or not text.isprintable():
        msg = f"{name} is empty, or has characters in it that no token has. Copy it once more."
        raise ConfigurationError(msg)
    return text


def profile_of(uri: str | None) -> str | None:
    """The profile that a ``databricks://profile`` URI names, or None for plain ``databricks``.

    Raises:
        ConfigurationError: The URI is neither.
    """
    if uri is None or uri == "databricks":
        return None
    scheme, _, profile = uri.partition("://")
    if scheme != "databricks" or not profile:
        msg = f"The URI {uri!r} is not usable. Give 'databricks' or 'databricks://<profile>'."
        raise ConfigurationError(msg)
    return profile


def _environment_token(environment: Mapping[str, str]) -> str | None:
    """The token of the environment, unless it also names a login that the SDK must arbitrate."""
    rivals = ("DATABRICKS_CONFIG_PROFILE", "DATABRICKS_CLIENT_ID", "DATABRICKS_AUTH_TYPE")
    if any(environment.get(name) for name in rivals):
        return None
    return environment.get("DATABRICKS_TOKEN")


def _sdk_workspace(*, host: str | None, token: str | None, profile: str | None) -> SdkWorkspace:
    from databricks.sdk.core import Config

    try:
        config = Config(host=normalize_host(host) if host else None, token=token, profile=profile)
    except ConfigurationError:
        raise
    except ValueError as error:
        raise _login_error(error) from error
    return SdkWorkspace(config)


def _login_error(error: Exception) -> AuthenticationError:
    return AuthenticationError(
        f"Databricks did not let us log in. Set DATABRICKS_HOST and DATABRICKS_TOKEN, run "
        f"`databricks auth login`, or pass host= and api_token=. The SDK says: {error}"
    )
