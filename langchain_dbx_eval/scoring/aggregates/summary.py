"""`Summary`: the metrics of a run, what they cover, and how reliable they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_dbx_eval.scoring.aggregates.names import Metrics
from langchain_dbx_eval.scoring.aggregates.repeats import RepeatSummary
from langchain_dbx_eval.scoring.assessments import JudgeUsage

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

    def __str__(self) -> str:
        bounds = ""
        if self.interval is not None:
            bounds = f" [{_text_of(self.interval.low)}, {_text_of(self.interval.high)}]"
        return f"{_text_of(self.value)}{bounds}, {self.coverage}"


@dataclass(frozen=True)
class RowCounts:
    """The rows of a run by outcome: ``total = answered + failed + empty``.

    Attributes:
        total: Number of rows.
        answered: Rows with an answer.
        failed: Rows whose invocation failed.
        empty: Rows whose answer is None, or contains no text.
    """

    total: int = 0
    answered: int = 0
    failed: int = 0
    empty: int = 0


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
    details: Mapping[str, MetricSummary] = field(default_factory=dict, repr=False)

    def __getitem__(self, name: str) -> MetricSummary:
        return self.details[self.metrics.canonical_name(name)]


def _text_of(number: float) -> str:
    """Return a number with two decimals; with more if it would look like 0 or 1 otherwise."""
    if abs(number) >= 100:
        return f"{number:.0f}"
    for digits in range(2, 6):
        text = f"{number:.{digits}f}"
        if float(text) not in (0.0, 1.0) or float(text) == number:
            return text
    return f"{number:.3g}"
