"""Removal of secrets from the text of errors.

Each token and key passes `remember` before it is sent for the first time, and each error of this
package passes `redact` when it is created. A server that repeats a request's headers, a proxy's URL
in an HTTP library's error, or a token in a mistyped host therefore reach no log, journal or table.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

__all__ = ["contains_secret", "redact", "remember", "shorten"]

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


def redact(text: str) -> str:
    """Replace the secrets in a text, and the user names and passwords in its URLs."""
    # The longest first: one secret may be the beginning of another.
    for secret in sorted(_secrets, key=len, reverse=True):
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
