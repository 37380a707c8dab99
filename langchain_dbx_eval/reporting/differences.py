"""The differences between paired rows: metrics, latency, changed rows, slices."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from langchain_dbx_eval.reporting.pairing import FAILED, RowId, ScoredRow
from langchain_dbx_eval.scoring.aggregates import AMOUNTS, OPERATIONAL

if TYPE_CHECKING:
    from langchain_dbx_eval.scoring.statistics import Interval, PairedDifference, PairedTest

__all__ = [
    "OPERATIONAL",
    "Flip",
    "MetricDifference",
    "Pairs",
    "QuantileDifference",
    "RowChanges",
    "Slice",
    "flips",
    "latency_differences",
    "metric_differences",
    "row_changes",
    "slice_differences",
]

_LATENCIES = ("agent/latency_seconds/average", "agent/time_to_first_token_seconds/average")
_QUANTILES = (0.5, 0.9, 0.95, 0.99)
Pairs: TypeAlias = Sequence[tuple[ScoredRow, ScoredRow]]
"""Row of the baseline and row of the candidate, of the same record and repetition."""


@dataclass(frozen=True)
class MetricDifference:
    """One metric of two evaluations, on the rows that both have.

    Attributes:
        name: The name of the metric.
        baseline: Its value in the baseline; None: it has no such metric.
        candidate: Its value in the candidate; None: it has no such metric.
        paired: The statistics of the pairs; None for a metric without pairs, whose `baseline` and
            `candidate` are those of the whole evaluations.
        only_baseline: Pairs of rows with a value in the baseline only.
        only_candidate: Pairs of rows with a value in the candidate only.
        p_adjusted: The p-value, adjusted for the number of metrics; None without a test.
        non_inferior: Whether the candidate is worse by less than the margin, with 97.5 %
            confidence; None without a margin.
    """

    name: str
    baseline: float | None
    candidate: float | None
    paired: PairedDifference | None = None
    only_baseline: int = 0
    only_candidate: int = 0
    p_adjusted: float | None = None
    non_inferior: bool | None = None

    @property
    def difference(self) -> float | None:
        """Candidate minus baseline; None without pairs, except for counts of errors."""
        if self.baseline is None or self.candidate is None:
            return None
        if self.paired is None and not self.name.endswith("/error_count"):
            return None
        return self.candidate - self.baseline

    @property
    def interval(self) -> Interval | None:
        """95 % interval of the difference; None without pairs, or with a single cluster."""
        return self.paired.interval if self.paired else None

    @property
    def p_value(self) -> float | None:
        """Two-sided p-value of the difference; None without pairs, or with a single cluster."""
        return self.paired.p_value if self.paired else None

    @property
    def pairs(self) -> int:
        """Number of pairs with a value on both sides."""
        return self.paired.pairs if self.paired else 0

    @property
    def is_significant(self) -> bool:
        """Whether the adjusted p-value is below 5 %."""
        return self.p_adjusted is not None and self.p_adjusted < 0.05

    @property
    def is_better(self) -> bool | None:
        """Whether the candidate is significantly better, or worse; None if neither."""
        if not self.is_significant or not self.difference:
            return None
        return (self.difference > 0) != self.name.startswith(OPERATIONAL)

    @property
    def minimum_detectable_effect(self) -> float | None:
        """Smallest true difference that this number of pairs finds in 80 % of all cases."""
        return self.paired.minimum_detectable_effect if self.paired else None

    def required_pairs(self, effect: float) -> int | None:
        """Return the number of pairs that finds a true difference in 80 % of all cases.

        Args:
            effect: The difference, in units of the metric, other than 0.

        Returns:
            The number of pairs; None without pairs, or with a single cluster.
        """
        return self.paired.required_pairs(effect) if self.paired else None


@dataclass(frozen=True)
class RowChanges:
    """The changes of one score between two evaluations, in numbers of rows.

    Attributes:
        column: The column of the score.
        higher: Rows with a higher score in the candidate.
        lower: Rows with a lower score in the candidate.
        equal: Rows with equal scores.
    """

    column: str
    higher: int
    lower: int
    equal: int


@dataclass(frozen=True)
class Flip:
    """A row whose pass or fail changed.

    Attributes:
        metric: The name of the metric.
        row_id: The row of the candidate.
        before: The value in the baseline, 0 or 1.
        after: The value in the candidate, 0 or 1.
        root_cause_before: The judge that failed the row in the baseline, or the error of the
            invocation; None if neither.
        root_cause_after: The same in the candidate.
        reason_before: The rationale of the value in the baseline, if it has one.
        reason_after: The same in the candidate.
    """

    metric: str
    row_id: RowId
    before: float
    after: float
    root_cause_before: str | None
    root_cause_after: str | None
    reason_before: str | None
    reason_after: str | None

    @property
    def passed(self) -> bool:
        """Whether the row passes in the candidate, and failed in the baseline."""
        # A failed invocation is 1 in its metric.
        return (self.after > self.before) != (self.metric == FAILED)


@dataclass(frozen=True)
class QuantileDifference:
    """A quantile of the latency in two evaluations, on the rows that both answered.

    Attributes:
        column: The column of the latency.
        quantile: Between 0 and 1.
        baseline: The quantile in the baseline, in seconds.
        candidate: The quantile in the candidate, in seconds.
        interval: 95 % interval of candidate minus baseline; None with too few rows for it.
    """

    column: str
    quantile: float
    baseline: float
    candidate: float
    interval: Interval | None

    @property
    def difference(self) -> float:
        """Candidate minus baseline."""
        return self.candidate - self.baseline


@dataclass(frozen=True)
class Slice:
    """The differences of the rows with one value of a column.

    Attributes:
        value: The value as text; ``"(none)"`` for records without one.
        paired: Number of pairs.
        metrics: The differences; `p_adjusted` counts the metrics of all slices.
    """

    value: str
    paired: int
    metrics: tuple[MetricDifference, ...]


def metric_differences(
    pairs: Pairs,
    test: PairedTest,
) -> Iterator[tuple[str, MetricDifference]]:
    """Yield the name and the difference of each metric of the rows."""
    from langchain_dbx_eval.scoring.statistics import compare_pairs

    for name in sorted({name for pair in pairs for row in pair for name in row.values}):
        both = [pair for pair in pairs if all(name in row.values for row in pair)]
        only_baseline = sum(name in before.values for before, _ in pairs) - len(both)
        only_candidate = sum(name in after.values for _, after in pairs) - len(both)
        if not both:
            yield name, MetricDifference(name, None, None, None, only_baseline, only_candidate)
            continue
        paired = compare_pairs(
            [before.values[name] for before, _ in both],
            [after.values[name] for _, after in both],
            [after.cluster for _, after in both],
            test=test,
            are_amounts=name.startswith(AMOUNTS),
        )
        yield (
            name,
            MetricDifference(
                name, paired.before, paired.after, paired, only_baseline, only_candidate
            ),
        )


def slice_differences(
    pairs: Pairs,
    test: PairedTest,
) -> Iterator[Slice]:
    """Yield the differences of each slice, sorted by its value."""
    values = dict.fromkeys(after.slice for _, after in pairs)
    for value in sorted(values, key=str):
        chosen = [pair for pair in pairs if pair[1].slice == value]
        metrics = tuple(difference for _, difference in metric_differences(chosen, test))
        yield Slice("(none)" if value is None else str(value), len(chosen), metrics)


def row_changes(metrics: Iterable[MetricDifference]) -> Iterator[RowChanges]:
    """Yield the changes of each score."""
    for metric in metrics:
        if metric.paired is not None and not metric.name.startswith(OPERATIONAL):
            column, paired = metric.name.rpartition("/")[0], metric.paired
            yield RowChanges(column, paired.higher, paired.lower, paired.equal)


def flips(pairs: Pairs) -> Iterator[Flip]:
    """Yield each row whose pass or fail changed, by metric."""
    rows = [row for pair in pairs for row in pair]
    names = {name for row in rows for name in row.values}
    graded = {name for row in rows for name, value in row.values.items() if value not in (0.0, 1.0)}
    names = {name for name in names - graded if name == FAILED or not name.startswith(OPERATIONAL)}
    for name in sorted(names):
        for before, after in pairs:
            values = before.values.get(name), after.values.get(name)
            if None in values or values[0] == values[1]:
                continue
            yield Flip(
                metric=name,
                row_id=after.row_id,
                before=before.values[name],
                after=after.values[name],
                root_cause_before=before.root_cause,
                root_cause_after=after.root_cause,
                reason_before=before.reasons.get(name),
                reason_after=after.reasons.get(name),
            )


def latency_differences(pairs: Pairs) -> Iterator[QuantileDifference]:
    """Yield the quantiles of each latency."""
    from langchain_dbx_eval.scoring.statistics import quantile_differences

    for name in _LATENCIES:
        both = [pair for pair in pairs if all(name in row.values for row in pair)]
        if not both:
            continue
        found = quantile_differences(
            [before.values[name] for before, _ in both],
            [after.values[name] for _, after in both],
            _QUANTILES,
            [after.cluster for _, after in both],
        )
        for quantile, values in zip(_QUANTILES, found, strict=True):
            yield QuantileDifference(name.rpartition("/")[0], quantile, *values)
