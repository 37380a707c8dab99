"""What one server takes on at once, and for how long."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_dbx_eval.driver.admission import MAX_IN_FLIGHT
from langchain_dbx_eval.driver.call import KEEP_ALIVE_S
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["REQUEST_TIMEOUT_S", "Limits"]

REQUEST_TIMEOUT_S = 290.0
"""Just under the 297 s after which Databricks' model serving gives up on a model."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What one server takes on.

    Attributes:
        max_in_flight: The most requests at once; the next one is answered 429.
        request_timeout: Seconds for one request, its time in a queue included; then 504.
        keep_alive: Seconds of silence after which a stream sends a comment, which clients skip.
    """

    max_in_flight: int = MAX_IN_FLIGHT
    request_timeout: float = REQUEST_TIMEOUT_S
    keep_alive: float = KEEP_ALIVE_S

    def __post_init__(self) -> None:
        if self.max_in_flight < 1 or self.request_timeout <= 0 or self.keep_alive <= 0:
            msg = "max_in_flight is at least 1; request_timeout and keep_alive are above 0 seconds."
            raise ConfigurationError(msg)
