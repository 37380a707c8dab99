"""`Summary`: the metrics of a run, what they cover, and how reliable they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval.scoring.aggregates.names import Metrics
from langchain_dbx_eval.scoring.aggregates.repeats import (
    RepeatSummary,
    number_text,
    text_with_interval,
)
from langchain_dbx_eval.scoring.assessments import JudgeInstability, JudgeUsage

if TYPE_CHECKING:
    from langchain_dbx_eval.scoring.statistics import Interval

__all__ = ["MetricSummary", "Percentage", "RowCounts", "Summary"]

_SHOWN_CLASSES = 3


@dataclass(frozen=True)
class MetricSummary:
    """One metric of a run; its text is ``0.82 [0.74, 0.88], 96 of 100 rows``.

    Attributes:
        name: Name of the metric.
        value: Its value.
        interval: Its 95 % interval; None for a count, an aggregation of a scorer, or a mean of a
            single cluster.
        n: Number of rows that it covers.
        total: Number of rows that it should cover: also those whose invocation failed, whose answer
            is empty, or whose judge had an error. Rows to which its scorer does not apply, such as
            those without ground truth, are not among them.
        clusters: Number of clusters of the rows that it covers: `n` if they are independent.
        failures_as_zero: Its value if failed rows, and empty answers without a score, count as 0;
            None for a metric that is not a score.
        repeats: The same by record; None if no record was answered several times.
    """

    name: str
    value: float
    interval: Interval | None
    n: int
    total: int
    clusters: int
    failures_as_zero: float | None = None
    repeats: RepeatSummary | None = field(default=None, repr=False)

    @property
    def coverage(self) -> str:
        """``96 of 100 rows``."""
        return f"{self.n} of {self.total} rows"

    @property
    def is_count(self) -> bool:
        """Whether it is a number of rows, such as ``rows/failed``."""
        return self.name.startswith("rows/") or self.name.endswith("/error_count")

    def __str__(self) -> str:
        if self.is_count:
            return f"{self.value:.0f} of {self.total} rows"
        return f"{text_with_interval(self.value, self.interval)}, {self.coverage}"

    def to_dict(self) -> dict[str, Any]:
        """Return the metric as one line of a table: numbers, and None for what it does not have."""
        low, high = self.interval or (None, None)
        return {
            "metric": self.name,
            "value": self.value,
            "low": low,
            "high": high,
            "rows": self.n,
            "of_rows": self.total,
            "clusters": self.clusters,
            "failures_as_zero": self.failures_as_zero,
        }


@dataclass(frozen=True)
class RowCounts:
    """The rows of a run by outcome: ``total = answered + failed + empty``.

    Attributes:
        total: Number of rows.
        answered: Rows with an answer.
        failed: Rows whose invocation failed.
        empty: Rows whose answer is None, or contains nothing.
        unknown: Rows whose overall assessment is unknown because a judge had an error.
        unscored: Rows with an answer whose scorers have not all finished.
    """

    total: int = 0
    answered: int = 0
    failed: int = 0
    empty: int = 0
    unknown: int = 0
    unscored: int = 0


@dataclass(frozen=True)
class Percentage:
    """Share of the rows rated "yes".

    Attributes:
        name: Name of the metric.
        value: The share, from 0 to 1.
        n: Number of rows with a rating.
        low: Lower bound of the 95 % interval.
        high: Its upper bound.
    """

    name: str
    value: float
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """The metrics of a run, and how reliable they are.

    ``summary["<metric or alias>"]`` returns one metric with its interval and coverage.

    Attributes:
        metrics: All metrics by name.
        percentages: Each share with its number of rows and its interval.
        counts: Number of rows by metric, for the averages.
        errors: Number of rows with an error, by scorer.
        skipped: Number of rows that lacked an input, by scorer.
        skip_reasons: The same by the missing input, then by scorer. Judges that did not run for
            want of a judge model are below ``judge (or DBX_EVAL_JUDGE)``.
        judging: Cost of all judges.
        rows: Number of rows by outcome.
        failures: Number of failed rows by the class of the error, most frequent first.
        judged: Number of rows with a verdict, by judge.
        instability: How often each judge that was asked several times contradicted itself.
        details: Each metric with its interval and coverage, by canonical name.
    """

    metrics: Metrics
    percentages: tuple[Percentage, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    skip_reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    judging: JudgeUsage = field(default_factory=JudgeUsage)
    rows: RowCounts = field(default_factory=RowCounts)
    failures: Mapping[str, int] = field(default_factory=dict)
    judged: Mapping[str, int] = field(default_factory=dict)
    instability: Mapping[str, JudgeInstability] = field(default_factory=dict)
    details: Mapping[str, MetricSummary] = field(default_factory=dict, repr=False)

    @property
    def warning(self) -> str:
        """What the metrics do not cover, such as ``4 of 100 rows failed (TimeoutError 4)``.

        Empty if all rows are answered and scored, and no overall assessment is unknown.
        """
        rows, parts = self.rows, []
        if rows.failed:
            classes = [f"{name} {n}" for name, n in self.failures.items()]
            if len(classes) > _SHOWN_CLASSES:
                others = sum([*self.failures.values()][_SHOWN_CLASSES:])
                classes[_SHOWN_CLASSES:] = [f"others {others}"]
            parts.append(f"{rows.failed} of {rows.total} rows failed ({', '.join(classes)})")
        if rows.empty:
            parts.append(f"{rows.empty} of {rows.total} answers empty")
        if rows.unknown:
            parts.append(f"{rows.unknown} of {rows.total} overall assessments unknown")
        if rows.unscored:
            parts.append(f"{rows.unscored} of {rows.total} rows not scored")
        return ", ".join(parts)

    def __getitem__(self, name: str) -> MetricSummary:
        candidates = self.metrics.candidates(name)
        if len(candidates) > 1:
            raise KeyError(f"{name} (it may be: {' or '.join(candidates)})")
        return self.details[self.metrics.canonical_name(candidates[0] if candidates else name)]

    def lines(self) -> list[tuple[str, str, str]]:
        """Return name, value with coverage, and value with failures as 0, of each metric by name.

        The third text is empty if no failed row or empty answer is missing in the metric.
        """
        return [
            (
                name,
                str(metric),
                ""
                if metric.failures_as_zero in (None, metric.value)
                else number_text(metric.failures_as_zero),
            )
            for name, metric in sorted(self.details.items())
        ]

    def notes(self) -> list[str]:
        """Return what else a reader must know, one sentence each.

        That is errors of scorers, inputs that scorers lacked, and the scores of repeated records.
        """
        found = []
        if self.errors:
            errors = (f"{name} ({self.errors[name]} rows)" for name in sorted(self.errors))
            found.append(f"Errors of scorers: {', '.join(errors)}")
        for reason, counts in sorted(self.skip_reasons.items()):
            skipped = (f"{name} ({counts[name]} rows)" for name in sorted(counts))
            found.append(f"Skipped without {reason}: {', '.join(skipped)}")
        for name, metric in sorted(self.details.items()):
            if metric.repeats is not None:
                found.append(
                    f"{name} of {len(metric.repeats.record_means)} records: {metric.repeats}"
                )
        return found
