"""`Metrics`: the metrics of a run by name and alias."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

__all__ = ["AMOUNTS", "OPERATIONAL", "Metrics"]

OPERATIONAL = ("agent/", "judge/", "rows/")
"""Prefixes of metrics that are not scores: latency, tokens, cost, failures. Lower is better."""

AMOUNTS = ("agent/", "judge/cost_usd/")
"""Prefixes of metrics that are amounts: 1 token per row does not mean 100 %."""


class Metrics(dict[str, float]):
    """The metrics of a run by name.

    Each metric has one canonical name, such as
    ``response/llm_judged/groundedness/rating/percentage``, the documentation's shorter alias
    ``response/llm_judged/groundedness/percentage``, and that of ``mlflow.genai.evaluate``:
    ``groundedness/mean``. Lookup (``metrics[name]``, ``name in metrics``, ``get``) accepts all of
    them. Everything that lists or compares (iteration, ``len``, ``keys``, ``values``, ``items``,
    ``==``, ``copy``, pickle) covers canonical names only.
    """

    def __missing__(self, name: str) -> float:
        return self[self.canonical_name(name)]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (
            isinstance(name, str) and self._canonical(name) is not None
        )

    def canonical_name(self, name: str) -> str:
        """Return the canonical name of a metric.

        Args:
            name: The name, or an alias.

        Raises:
            KeyError: This run has no such metric; the message lists those that it has.
        """
        if super().__contains__(name):
            return name
        canonical = self._canonical(name) if isinstance(name, str) else None
        if canonical is None:
            raise KeyError(f"{name} (this run has: {', '.join(self) or 'none'})")
        return canonical

    def _canonical(self, alias: str) -> str | None:
        stem, _, kind = alias.rpartition("/")
        if kind == "percentage":
            name = f"{stem}/rating/percentage"
            return name if super().__contains__(name) else None
        if kind != "mean":
            return None
        return next(self._averages(stem), None)

    def _averages(self, stem: str) -> Iterator[str]:
        """Yield the averages and shares of a scorer, by its name without a family."""
        pattern = re.compile(
            rf"(.+/)?{re.escape(stem)}(/(value|rating|score|precision))?/(average|percentage)"
        )
        return (name for name in self if pattern.fullmatch(name))

    def candidates(self, name: str) -> list[str]:
        """Return the canonical names of the metrics that a name can mean.

        Args:
            name: The name, an alias, or the name of a scorer alone: ``exact_match`` is its mean.

        Returns:
            No name if there is no such metric; several if scorers of different families share the
            name, such as a judge of responses and one of retrieved chunks.
        """
        if name in self:
            return [self.canonical_name(name)]
        # The first one of each column: `…/rating/percentage` and `…/rating/average` are the same.
        found: dict[str, str] = {}
        for metric in self._averages(name):
            found.setdefault(metric.rpartition("/")[0], metric)
        return list(found.values())

    def get(self, name: str, default: Any = None) -> Any:
        """Return the metric with this name or alias; `default` if there is none."""
        try:
            return self[name]
        except KeyError:
            return default

    def copy(self) -> Metrics:
        """Return a copy that accepts aliases too."""
        return Metrics(self)
