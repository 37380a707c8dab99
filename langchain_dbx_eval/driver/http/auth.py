"""The driver server's API key: where it comes from, and how one is compared.

The driver proxy authenticates with ``Authorization`` and does not forward it, so the app has a
header of its own. Without a key the port is open to the cluster's whole network.
"""

from __future__ import annotations

import hmac
import os
import secrets
from typing import Literal

from langchain_dbx_eval.errors import ConfigurationError

__all__ = [
    "KEY_HEADER",
    "KEY_VARIABLE",
    "UPSTREAM_KEY_VARIABLE",
    "ApiKey",
    "key_matches",
    "resolve_key",
    "upstream_key",
]

KEY_HEADER = "X-Api-Key"
KEY_VARIABLE = "DBX_EVAL_DRIVER_API_KEY"
UPSTREAM_KEY_VARIABLE = "DBX_EVAL_UPSTREAM_API_KEY"

ApiKey = str | Literal[False] | None
"""A key; ``None`` for the environment's or a new one; ``False`` for an open server."""


def resolve_key(api_key: ApiKey) -> str | None:
    """Find the key that requests have to carry.

    A new key is printed once, and put into this process's environment, where the LangChain
    components read it: in the same notebook nothing has to be copied.

    Args:
        api_key: See `ApiKey`.

    Returns:
        The key, or ``None`` for an open server.

    Raises:
        ConfigurationError: The key is empty, or cannot travel in a header: HTTP libraries
            disagree about anything but printable ASCII there.
    """
    if api_key is False:
        return None
    if api_key is not None:
        return _usable(api_key, "api_key")
    if os.environ.get(KEY_VARIABLE):
        return _usable(os.environ[KEY_VARIABLE], f"The variable {KEY_VARIABLE}")
    key = secrets.token_urlsafe(32)
    os.environ[KEY_VARIABLE] = key
    # For the person at the notebook or terminal; a log would keep the secret.
    print(f"New API key, to be set as {KEY_VARIABLE} where clients run: {key}", flush=True)  # noqa: T201
    return key


def upstream_key() -> str | None:
    """Find the key of a server behind this one, which a command line would show to everybody.

    Returns:
        The value of ``DBX_EVAL_UPSTREAM_API_KEY``, or ``None`` where it is not set.

    Raises:
        ConfigurationError: It cannot travel in a header.
    """
    key = os.environ.get(UPSTREAM_KEY_VARIABLE)
    return _usable(key, f"The variable {UPSTREAM_KEY_VARIABLE}") if key else None


def key_matches(given: str, key: str) -> bool:
    """Compare a header's value with the key, in a time that tells nothing about the key.

    Args:
        given: What the client sent; any characters.
        key: The server's key.

    Returns:
        Whether they are equal.
    """
    # On bytes, because compare_digest raises TypeError for a str that is not ASCII.
    return hmac.compare_digest(given.encode("utf-8"), key.encode("ascii"))


def _usable(key: object, origin: str) -> str:
    if not isinstance(key, str):
        msg = f"{origin} is a string, None (take {KEY_VARIABLE} or make one) or False (no key)."
        raise ConfigurationError(msg)
    if not key or not key.isascii() or not key.isprintable() or key != key.strip():
        msg = (
            f"{origin} cannot be sent in an HTTP header: it must be printable ASCII, not empty, "
            "without spaces at its ends. secrets.token_urlsafe() makes a good one."
        )
        raise ConfigurationError(msg)
    return key
