"""Removal of secrets from the text of errors and logs.

Each token and key passes `remember` before it is sent for the first time. Each error of this
package passes `redact` when it is created, the text of any other exception in `describe_error`, and
each record of a log in `get_logger` (`_internal.log`). A server that repeats a request's headers, a
proxy's URL in an HTTP library's error, or a token in a mistyped host therefore reach no log,
journal or table.
"""

from __future__ import annotations

import os
import re
from base64 import b64encode
from collections.abc import Iterator, Mapping
from urllib.parse import unquote, urlsplit

__all__ = [
    "SECRET_HEADER",
    "contains_secret",
    "redact",
    "remember",
    "remember_login",
    "remember_request",
    "shorten",
]

SECRET_HEADER = re.compile(r"auth|key|token|secret|cookie|password", re.IGNORECASE)
"""The names of headers whose values are secrets."""
_SECRET_VARIABLES = ("TOKEN", "API_KEY", "SECRET", "PASSWORD", "ACCESS_KEY")
"""How the names of environment variables end whose values are secrets."""

_REDACTED = "[redacted]"
_MIN_CHARS = 8
"""Shorter values are not searched for: they would be found in ordinary words."""
_MAX_CHARS = 20_000
"""The longest secret that is recognized at the end of a shortened text."""
_MAX_SECRETS = 1024
"""The most recent secrets are kept: the tokens of a long-lived process expire and are replaced."""

_secrets: dict[str, None] = {}
# The part of a URL before "@"; bounded, so that the search is linear.
_USERINFO = re.compile(r"(?<=://)[^\s/]{1,1000}@")


def remember(secret: str) -> None:
    """Let `redact` remove a token, key or password from now on."""
    if len(secret) < _MIN_CHARS or secret in _secrets:
        return
    _secrets[secret] = None
    while len(_secrets) > _MAX_SECRETS:
        _secrets.pop(next(iter(_secrets)), None)


def remember_login(url: str) -> None:
    """Let `redact` remove the user name and the password of a URL, also in a header."""
    login = urlsplit(url).netloc.rpartition("@")[0]
    user, _, password = unquote(login).partition(":")
    # A user name alone may be a token.
    for secret in (password or user, login.partition(":")[2]):
        remember(secret)
    remember(b64encode(f"{user}:{password}".encode()).decode())


def remember_request(error: BaseException) -> None:
    """Let `redact` remove the keys of the request that failed with an error.

    The errors of requests, httpx and the libraries above them, such as openai, have that request. A
    key that was given to the model of another package is known only there.
    """
    for one in _chain(error):
        headers = getattr(getattr(one, "request", None), "headers", None)
        for name, value in headers.items() if isinstance(headers, Mapping) else ():
            if SECRET_HEADER.search(str(name)):
                remember(re.sub(r"^(Bearer|Basic) ", "", str(value)))


def redact(text: str) -> str:
    """Replace the secrets in a text, and the user names and passwords in its URLs.

    Secrets are what `remember` was called with, and the values of variables such as OPENAI_API_KEY.
    """
    variables = (v for name, v in os.environ.items() if name.endswith(_SECRET_VARIABLES))
    known = {*_secrets, *(value for value in variables if len(value) >= _MIN_CHARS)}
    # The longest first: one secret may be the beginning of another.
    for secret in sorted(known, key=len, reverse=True):
        if secret in text:
            text = text.replace(secret, _REDACTED)
    return _USERINFO.sub(f"{_REDACTED}@", text) if "://" in text else text


def shorten(text: str, length: int) -> str:
    """Return the beginning of a text without secrets.

    Cut first, a secret at the end would lose its last characters only, and not be recognized.

    Args:
        text: The text, of any length.
        length: The number of characters to keep.
    """
    text = redact(text[: length + _MAX_CHARS])
    return text if len(text) <= length else text[:length] + "…"


def contains_secret(error: BaseException | None) -> bool:
    """Whether the text of an error, or of one that caused it, contains a secret."""
    return any(redact(text) != text for one in _chain(error) for text in (str(one), repr(one)))


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__
