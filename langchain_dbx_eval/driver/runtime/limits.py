"""The limits of one server."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_dbx_eval.driver.runtime.request_context import KEEP_ALIVE_S
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["MAX_IN_FLIGHT", "Limits"]

MAX_IN_FLIGHT = 64
"""As many requests as a model usefully batches. An engine queues what it cannot start at once."""


@dataclass(frozen=True, slots=True)
class Limits:
    """The limits of one server.

    Attributes:
        max_in_flight: The maximum number of concurrent requests; further ones are answered 429.
        request_timeout: Seconds for one request, time in a queue included; then 504.
        keep_alive: Seconds without output after which a stream sends a comment, which clients
            skip.
        max_request_bytes: A longer body is answered with 413. An image in base64 may need more.
        header_timeout: Seconds within which a connection must send the header of a request; then
            408.
        body_timeout: Seconds within which a request must have arrived, its body included; then 408.

    Raises:
        ConfigurationError: A limit is not a number above 0, or a count is not a whole number.
    """

    max_in_flight: int = MAX_IN_FLIGHT
    # Just under the 297 s after which Databricks model serving times out.
    request_timeout: float = 290.0
    keep_alive: float = KEEP_ALIVE_S
    # About 250,000 tokens of English: more than the context of models that fit on a driver node.
    max_request_bytes: int = 1 << 20
    header_timeout: float = 10.0
    body_timeout: float = 60.0

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "max_request_bytes"):
            _check(name, getattr(self, name), int, "a whole number, at least 1")
        for name in ("request_timeout", "keep_alive", "header_timeout", "body_timeout"):
            _check(name, getattr(self, name), (int, float), "a number of seconds above 0")


def _check(name: str, value: object, types: type | tuple[type, ...], expected: str) -> None:
    is_number = isinstance(value, types) and not isinstance(value, bool)
    # `not value > 0` is true for NaN.
    if not is_number or not value > 0:  # type: ignore[operator]
        msg = f"{name} must be {expected}, not {value!r}."
        raise ConfigurationError(msg)
