"""The API keys of the driver server: where they come from.

Databricks' driver proxy authenticates by ``Authorization`` and does not forward it, so the app has
its own header; clients on the node may use either. Without a key, the port is open to the cluster's
whole network.
"""

from __future__ import annotations

import hmac
import os
import secrets
from typing import Literal

from langchain_dbx_eval._redaction import remember
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["KEY_HEADER", "KEY_VARIABLE", "ApiKey", "has_key", "resolve_key", "upstream_key"]

KEY_HEADER = "X-Api-Key"
KEY_VARIABLE = "DBX_EVAL_DRIVER_API_KEY"
_UPSTREAM_KEY_VARIABLE = "DBX_EVAL_UPSTREAM_API_KEY"

ApiKey = str | Literal[False] | None
"""A key; None: the key of the environment or a generated one; False: an open server."""


def resolve_key(api_key: ApiKey) -> str | None:
    """Return the key that requests must send.

    A generated key is printed once and assigned to the environment variable of this process, which
    the LangChain components read: in the same notebook it need not be copied.

    Args:
        api_key: See `ApiKey`.

    Returns:
        The key, or None for an open server.

    Raises:
        ConfigurationError: The key is empty, or cannot be sent in a header: HTTP libraries
            support only printable ASCII consistently.
    """
    if api_key is False:
        return None
    if api_key is not None:
        return _check(api_key, "api_key")
    if os.environ.get(KEY_VARIABLE):
        return _check(os.environ[KEY_VARIABLE], f"The variable {KEY_VARIABLE}")
    key = secrets.token_urlsafe(32)
    remember(key)
    os.environ[KEY_VARIABLE] = key
    # Printed for the user of the notebook or terminal; a log would store the secret.
    print(f"New API key, to be set as {KEY_VARIABLE} where clients run: {key}", flush=True)  # noqa: T201
    return key


def has_key(key: str | None, header: str, authorization: str) -> bool:
    """Return whether a request has the key, compared in constant time.

    Args:
        key: The key; None: every request is accepted.
        header: The value of the header `KEY_HEADER`, or an empty string.
        authorization: The value of the header ``Authorization``, or an empty string.
    """
    if key is None:
        return True
    scheme, _, token = authorization.partition(" ")
    bearer = token.strip() if scheme.lower() == "bearer" else ""
    # Compared as bytes: compare_digest raises TypeError for a str that is not ASCII.
    expected = key.encode("ascii")
    return any(hmac.compare_digest(sent.encode("utf-8"), expected) for sent in (header, bearer))


def upstream_key() -> str | None:
    """Return the key of the upstream server, which is not read from the visible command line.

    Returns:
        The value of ``DBX_EVAL_UPSTREAM_API_KEY``; None if it is not set.

    Raises:
        ConfigurationError: It cannot be sent in a header.
    """
    key = os.environ.get(_UPSTREAM_KEY_VARIABLE)
    return _check(key, f"The variable {_UPSTREAM_KEY_VARIABLE}") if key else None


def _check(key: object, source: str) -> str:
    if not isinstance(key, str):
        msg = (
            f"{source} must be a string, None (use {KEY_VARIABLE} or generate a key) or False "
            "(no key)."
        )
        raise ConfigurationError(msg)
    if not key or not key.isascii() or not key.isprintable() or key != key.strip():
        msg = (
            f"{source} cannot be sent in an HTTP header: it must be printable ASCII, not empty, "
            "without spaces at its ends. secrets.token_urlsafe() generates a suitable key."
        )
        raise ConfigurationError(msg)
    remember(key)
    return key
