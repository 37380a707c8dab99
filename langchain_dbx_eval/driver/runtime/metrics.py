"""The metrics of one app, in Prometheus' format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_dbx_eval._internal.imports import require

__all__ = ["Metrics"]

# From a cached answer to the 5 minutes after which Databricks model serving times out.
_BUCKETS_S = (0.01, 0.05, 0.1, 0.5, 1, 2, 5, 10, 30, 60, 120, 300)


class Metrics:
    """Counters, a histogram and a gauge of one app.

    Args:
        in_flight: Returns the number of requests in flight.
    """

    def __init__(self, in_flight: Callable[[], float]) -> None:
        self._client: Any = require("prometheus_client", extra="driver")
        # A separate registry: two apps in one notebook would collide in the global one.
        self._registry = self._client.CollectorRegistry()
        common: dict[str, Any] = {"registry": self._registry, "namespace": "dbx_driver"}
        self._requests = self._client.Counter(
            "requests", "Requests answered.", ["route", "status"], **common
        )
        self._seconds = self._client.Histogram(
            "request_seconds",
            "From the arrival of a request to the end of its response.",
            ["route"],
            buckets=_BUCKETS_S,
            **common,
        )
        self._tokens = self._client.Counter(
            "tokens", "Prompt and completion tokens, as counted by the engine.", ["kind"], **common
        )
        gauge = self._client.Gauge("requests_in_flight", "Requests in flight.", **common)
        gauge.set_function(in_flight)

    def count_request(self, route: str, status: int, seconds: float) -> None:
        """Count a request whose response was sent or interrupted."""
        self._requests.labels(route, status).inc()
        self._seconds.labels(route).observe(seconds)

    def count_tokens(self, prompt: int | None, completion: int | None) -> None:
        """Count the tokens of a response; None counts as 0."""
        self._tokens.labels("prompt").inc(prompt or 0)
        self._tokens.labels("completion").inc(completion or 0)

    def render(self) -> tuple[bytes, str]:
        """Return the metrics in Prometheus' text format, and its content type."""
        return self._client.generate_latest(self._registry), self._client.CONTENT_TYPE_LATEST
