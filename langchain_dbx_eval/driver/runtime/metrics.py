"""What ``GET /metrics`` tells Prometheus."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_dbx_eval._internal.extras import require

__all__ = ["Metrics"]

# From an answer out of a cache to the five minutes after which Databricks' serving gives up.
_SECONDS = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Metrics:
    """The counts of one app.

    Args:
        in_flight: Tells how many requests are in flight.
    """

    def __init__(self, in_flight: Callable[[], float]) -> None:
        self._client: Any = require("prometheus_client", extra="driver")
        # A registry of its own: two apps in one notebook would collide in the global one.
        self._registry = self._client.CollectorRegistry()
        made: dict[str, Any] = {"registry": self._registry, "namespace": "dbx_driver"}
        self._requests = self._client.Counter(
            "requests", "Requests answered.", ["route", "status"], **made
        )
        self._seconds = self._client.Histogram(
            "request_seconds",
            "From a request's arrival to the end of its answer.",
            ["route"],
            buckets=_SECONDS,
            **made,
        )
        self._tokens = self._client.Counter(
            "tokens", "Tokens read and generated, as the engine counts them.", ["kind"], **made
        )
        gauge = self._client.Gauge("requests_in_flight", "Requests being worked on.", **made)
        gauge.set_function(in_flight)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request whose answer has been sent, or was cut off."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def count_tokens(self, prompt: int | None, completion: int | None) -> None:
        """Count the tokens of an answer."""
        self._tokens.labels("prompt").inc(prompt or 0)
        self._tokens.labels("completion").inc(completion or 0)

    def render(self) -> tuple[bytes, str]:
        """The counts in Prometheus' text format, and its content type."""
        return self._client.generate_latest(self._registry), self._client.CONTENT_TYPE_LATEST
