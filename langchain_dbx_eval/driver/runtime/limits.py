"""What one server takes on at once, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_dbx_eval.driver.runtime.admission import MAX_IN_FLIGHT
from langchain_dbx_eval.driver.runtime.request_context import KEEP_ALIVE_S
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["MAX_REQUEST_BYTES", "REQUEST_TIMEOUT_S", "Limits"]

REQUEST_TIMEOUT_S = 290.0
"""Just under the 297 s after which Databricks' model serving gives up on a model."""

MAX_REQUEST_BYTES = 1 << 20
"""About 250,000 tokens of English: more than the models that fit on a driver node read."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on.

    Attributes:
        max_in_flight: The most requests at once; the next one is answered 429.
        request_timeout: Seconds for one request, its time in a queue included; then 504.
        keep_alive: Seconds of silence after which a stream sends a comment, which clients skip.
        max_request_bytes: A longer body is answered with 413. An image in base64 may need more.

    Raises:
        ConfigurationError: One of them is no number above 0, or a fraction where things are
            counted.
    """

    max_in_flight: int = MAX_IN_FLIGHT
    request_timeout: float = REQUEST_TIMEOUT_S
    keep_alive: float = KEEP_ALIVE_S
    max_request_bytes: int = MAX_REQUEST_BYTES

    def __post_init__(self) -> None:
        for name in ("max_in_flight", "max_request_bytes"):
            _check(name, getattr(self, name), int, "a whole number, at least 1")
        for name in ("request_timeout", "keep_alive"):
            _check(name, getattr(self, name), (int, float), "a number of seconds above 0")


def _check(name: str, value: object, types: type | tuple[type, ...], wanted: str) -> None:
    number = isinstance(value, types) and not isinstance(value, bool)
    # NaN is above nothing.
    if not number or not value > 0:  # type: ignore[operator]
        msg = f"{name} is {wanted}, not {value!r}."
        raise ConfigurationError(msg)
