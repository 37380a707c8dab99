"""Aggregation of the scores of many rows to the metrics of a run."""

from __future__ import annotations

import json
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeAlias

from langchain_dbx_eval._internal.imports import load_object
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.aggregates.names import AMOUNTS, OPERATIONAL, Metrics
from langchain_dbx_eval.scoring.aggregates.repeats import summarize_repeats
from langchain_dbx_eval.scoring.aggregates.summary import (
    MetricSummary,
    Percentage,
    RowCounts,
    Summary,
)
from langchain_dbx_eval.scoring.assessments import (
    JUDGE_DISAGREEMENT,
    Assessment,
    JudgeInstability,
    JudgeUsage,
    RowScores,
)
from langchain_dbx_eval.scoring.context import Outcome
from langchain_dbx_eval.scoring.contract import OUTCOME_COLUMNS, OVERALL_ASSESSMENT
from langchain_dbx_eval.scoring.results import AGGREGATIONS

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "Failures",
    "RecordKey",
    "RowResult",
    "outcome_values",
    "record_value",
    "summarize",
]

_logger = get_logger(__name__)

Failures: TypeAlias = Literal["exclude", "zero"]
"""Whether rows that failed, or have an empty answer and no score, are left out or count as 0."""

RecordKey: TypeAlias = str | Callable[[EvalRecord], Hashable]
"""A column of the records, or a function of a record."""


class RowResult(NamedTuple):
    """What a summary reads of a row.

    Attributes:
        outcome: Its outcome.
        scores: Its scores.
        record: Its record; None: an independent row.
    """

    outcome: Outcome
    scores: RowScores
    record: EvalRecord | None = None


def record_value(record: EvalRecord, key: RecordKey) -> Hashable:
    """Return the value of a record in a column, or of a function; None if it has none."""
    value: Any = key(record) if callable(key) else record.to_row().get(key)
    return value if isinstance(value, Hashable) else repr(value)


def outcome_values(outcome: Outcome) -> dict[str, float | int | None]:
    """Return latency (seconds), token counts and cost of a row by `OUTCOME_COLUMNS`.

    Columns that are not in the documentation are left out if they have no value.
    """
    documented = (
        outcome.latency_seconds,
        outcome.total_tokens,
        outcome.input_tokens,
        outcome.output_tokens,
    )
    others = (outcome.time_to_first_token_seconds, outcome.cost_usd)
    columns = zip(OUTCOME_COLUMNS, (*documented, *others), strict=True)
    required = OUTCOME_COLUMNS[: len(documented)]
    return {name: value for name, value in columns if value is not None or name in required}


def summarize(
    rows: Iterable[RowResult], *, cluster: RecordKey | None = None, failures: Failures = "exclude"
) -> Summary:
    """Aggregate the rows of a run.

    Args:
        rows: Each row.
        cluster: Column of the records, or function of a record: rows with equal values depend on
            each other, such as questions about one document. Default: the rows with one
            ``request_id``.
        failures: ``"exclude"``: a score is the mean of the rows that have one; ``"zero"``: failed
            rows, and empty answers without a score, count as 0.

    Returns:
        The summary. Its metrics are ``<column>/average`` over the rows with a number or a boolean,
        ``<column>/percentage`` over those with "yes", "no" or a boolean, ``<name>/<aggregation>``
        for the aggregations of a scorer, ``judge/<name>/error_count`` for each judge that ran
        (0 if it never failed) and each other scorer that failed, and ``rows/total``,
        ``rows/answered``, ``rows/failed`` and ``rows/empty``, and with an overall assessment
        ``rows/unknown``, with rows whose scorers have not finished ``rows/unscored``. A judge that
        is asked several times has ``judge/<name>/unstable/percentage`` and
        ``judge/<name>/disagreement/average`` too (see `JudgeInstability`).

    Raises:
        ConfigurationError: An argument is invalid, or no record has the column `cluster`.
    """
    if failures not in ("exclude", "zero"):
        msg = f"'failures' must be 'exclude' or 'zero', got: {failures!r}."
        raise ConfigurationError(msg)
    found = _Rows()
    for row in rows:
        found.add(row, cluster)
    if isinstance(cluster, str) and found.total and all(c is None for c in found.named_clusters):
        msg = f"No record has the column {cluster!r} that 'cluster' names."
        raise ConfigurationError(msg)
    details = {detail.name: detail for detail in found.details(failures)}
    percentages = tuple(
        Percentage(d.name, d.value, d.n, *(d.interval or (math.nan, math.nan)))
        for d in details.values()
        if found.samples[d.name].kind == "percentage"
    )
    counted = {f"judge/{name}/error_count": n for name, n in found.errors.items()}
    outcomes = found.row_counts()
    optional = {"unknown": found.unknown, "unscored": found.unscored or None}
    counts = {**vars(outcomes), **optional}
    counted |= {f"rows/{name}": n for name, n in counts.items() if n is not None}
    for name, number in counted.items():
        total = outcomes.total
        details[name] = MetricSummary(name, float(number), None, total, total, total)
    return Summary(
        metrics=Metrics({name: detail.value for name, detail in details.items()}),
        percentages=percentages,
        counts={
            name: detail.n
            for name, detail in details.items()
            if name in found.samples and found.samples[name].kind == "average"
        },
        errors=+found.errors,
        skipped=dict(sum(found.skipped.values(), Counter())),
        skip_reasons={reason: dict(of_reason) for reason, of_reason in found.skipped.items()},
        judging=found.judging,
        rows=outcomes,
        failures=dict(found.failures.most_common()),
        judged=dict(found.judged),
        instability={name: _instability(of) for name, of in found.disagreements.items()},
        details=details,
    )


@dataclass
class _Sample:
    """The values of one metric.

    Attributes:
        column: The column of the score.
        kind: ``average``, ``percentage``, or the aggregation of a scorer.
        values: The values.
        rows: The index of the row of each value.
    """

    column: str
    kind: str
    values: list[float] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)


class _Rows:
    """What the metrics of a run are computed from."""

    def __init__(self) -> None:
        self.samples: dict[str, _Sample] = {}
        self.errors: Counter[str] = Counter()
        self.skipped: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self.judged: Counter[str] = Counter()
        self.disagreements: defaultdict[str, list[float]] = defaultdict(list)
        self.failures: Counter[str] = Counter()
        self.judging = JudgeUsage()
        # None: no row has an overall assessment.
        self.unknown: int | None = None
        self.unscored = 0
        self.named_clusters: list[Hashable] = []
        self._records: list[Hashable] = []
        # The ground truth of each row: it decides to which rows a scorer applies.
        self._ground_truth: list[Hashable] = []
        self._failed: set[int] = set()
        self._empty: set[int] = set()
        # Rows in which a scorer wrote this column, or failed.
        self._scored: defaultdict[str, set[int]] = defaultdict(set)
        self._erroneous: defaultdict[str, set[int]] = defaultdict(set)

    @property
    def total(self) -> int:
        return len(self._records)

    @cached_property
    def _unanswered(self) -> set[int]:
        return self._failed | self._empty

    @cached_property
    def _answered(self) -> set[Hashable]:
        """The ground truths of the rows with an answer."""
        truths = enumerate(self._ground_truth)
        return {truth for row, truth in truths if row not in self._unanswered}

    def row_counts(self) -> RowCounts:
        failed, empty = len(self._failed), len(self._empty)
        answered = self.total - failed - empty
        return RowCounts(self.total, answered, failed, empty, self.unknown or 0, self.unscored)

    def add(self, result: RowResult, cluster: RecordKey | None) -> None:
        row, (outcome, scores, record) = self.total, result
        self._records.append(row if record is None else record.request_id)
        self._ground_truth.append(None if record is None else _ground_truth(record))
        if cluster is not None:
            named = None if record is None else record_value(record, cluster)
            self.named_clusters.append(named)
        if outcome.error is not None:
            self._failed.add(row)
            self.failures[outcome.error_class or ""] += 1
            return
        if outcome.is_empty:
            self._empty.add(row)
        self.unscored += not scores.is_complete
        # An invocation that failed at once was not a fast one.
        for column, value in outcome_values(outcome).items():
            if value is not None:
                self._add_value(f"{column}/average", column, "average", value, row)
        for skip in scores.skipped:
            self.skipped[skip.reason][skip.name] += 1
        for assessment in scores.assessments:
            self._add_assessment(assessment, row)

    def _add_assessment(self, assessment: Assessment, row: int) -> None:
        name, column, number = assessment.name, assessment.value_column, assessment.number
        is_judge = assessment.source == "LLM_JUDGE"
        self.judging += assessment.usage or JudgeUsage()
        self._scored[column].add(row)
        if assessment.column == OVERALL_ASSESSMENT:
            self.unknown = (self.unknown or 0) + (assessment.value == "unknown")
        if assessment.error is not None:
            self.errors[name] += 1
            self._erroneous[assessment.column].add(row)
        elif is_judge:
            self.errors[name] += 0
        if is_judge and assessment.value is not None:
            self.judged[name] += 1
        if JUDGE_DISAGREEMENT in assessment.metadata:
            disagreement = float(assessment.metadata[JUDGE_DISAGREEMENT])
            self.disagreements[name].append(disagreement)
            metric, unstable = f"judge/{name}", float(disagreement > 0)
            self._add_value(f"{metric}/unstable/percentage", column, "percentage", unstable, row)
            self._add_value(f"{metric}/disagreement/average", column, "average", disagreement, row)
        if number is None or not math.isfinite(number):
            return
        if isinstance(assessment.value, bool | str):
            self._add_value(f"{column}/percentage", column, "percentage", number, row)
        if not isinstance(assessment.value, str):
            self._add_value(f"{column}/average", column, "average", number, row)
        for aggregation in json.loads(assessment.metadata.get(AGGREGATIONS, "[]")):
            metric = f"{name}/{aggregation.rpartition(':')[2]}"
            self._add_value(metric, column, aggregation, number, row)

    def _add_value(self, metric: str, column: str, kind: str, value: float, row: int) -> None:
        sample = self.samples.get(metric)
        if sample is None:
            sample = self.samples[metric] = _Sample(column, kind)
        sample.values.append(float(value))
        sample.rows.append(row)

    def details(self, failures: Failures) -> Iterator[MetricSummary]:
        """Yield each metric of `samples`."""
        import numpy as np

        clusters = self.named_clusters or self._records
        numbers: defaultdict[Hashable, int] = defaultdict(count().__next__)
        # A record without the column is a cluster of its own.
        codes = np.array([numbers[(i,) if c is None else c] for i, c in enumerate(clusters)])
        for name, sample in self.samples.items():
            if name.startswith(OPERATIONAL):
                detail = self._detail(name, sample, codes, [], self.total)
            else:
                missing, total = self._missing(sample)
                if failures == "zero":
                    sample.values += [0.0] * len(missing)
                    sample.rows += missing
                    missing = []
                detail = self._detail(name, sample, codes, missing, total)
            if detail is not None:
                yield detail

    def _missing(self, sample: _Sample) -> tuple[list[int], int]:
        """Return the failed and empty rows without a value, and how many rows should have one.

        A scorer does not run on a failed row. It would have if it did on rows with the same ground
        truth, or if there is no other row with that ground truth.
        """
        expected = set(sample.rows) | self._scored[sample.column]
        for column, rows in self._erroneous.items():
            if sample.column.startswith(f"{column}/"):
                expected |= rows
        applies = {self._ground_truth[row] for row in expected}
        missing = [
            row
            for row in sorted(self._unanswered - expected)
            if self._ground_truth[row] in applies or self._ground_truth[row] not in self._answered
        ]
        return missing, len(expected) + len(missing)

    def _detail(
        self,
        name: str,
        sample: _Sample,
        clusters: NDArray[np.int64],
        missing: Sequence[int],
        total: int,
    ) -> MetricSummary | None:
        from langchain_dbx_eval.scoring.statistics import Interval, estimate_mean, interval_of

        estimate = estimate_mean(
            sample.values, clusters[sample.rows], are_amounts=name.startswith(AMOUNTS)
        )
        interval = interval_of(estimate)
        if interval is not None:
            # Student's t may reach beyond what the metric can be.
            least, most = _range_of(name)
            interval = Interval(max(interval.low, least), min(interval.high, most))
        value, repeats = estimate.value, None
        with_zeros: float | None = value * estimate.n / (estimate.n + len(missing))
        if name.startswith(OPERATIONAL):
            with_zeros = None
        elif sample.kind in ("average", "percentage"):
            records = [self._records[row] for row in sample.rows]
            repeats = summarize_repeats(sample.values, records, is_share=estimate.is_share)
        else:
            aggregated = _aggregate(name, sample.kind, sample.values)
            if aggregated is None:
                return None
            value, interval = aggregated, None
            with_zeros = _aggregate(name, sample.kind, [*sample.values, *[0.0] * len(missing)])
        covered = len(set(sample.rows))
        return MetricSummary(
            name, value, interval, covered, total, estimate.clusters, with_zeros, repeats
        )


def _range_of(name: str) -> tuple[float, float]:
    """Return the smallest and the largest possible value of a metric."""
    if name.startswith(OPERATIONAL):
        return 0.0, math.inf
    return (0.0, 1.0) if "/ground_truth/" in name else (-math.inf, math.inf)


def _instability(disagreements: list[float]) -> JudgeInstability:
    return JudgeInstability(
        rows=len(disagreements),
        unstable_rows=sum(value > 0 for value in disagreements),
        disagreement=statistics.fmean(disagreements),
    )


def _ground_truth(record: EvalRecord) -> Hashable:
    """Return the names of the columns that decide which scorers apply to a record."""
    columns = {
        "expected_response": record.expected_response,
        "expected_facts": record.expected_facts,
        "guidelines": record.guidelines,
        "expected_retrieved_context": record.expected_retrieved_context,
        **(record.custom_expected or {}),
        **record.metadata,
    }
    absent = (type(None), str, list, dict)
    return frozenset(k for k, value in columns.items() if value or not isinstance(value, absent))


# As `mlflow.genai.scorers.aggregation` (MLflow 3.17): the population variance, and percentiles by
# linear interpolation.
_AGGREGATIONS: dict[str, Callable[[list[float]], float]] = {
    "min": min,
    "max": max,
    "mean": statistics.fmean,
    "median": statistics.median,
    "variance": statistics.pvariance,
    "p90": lambda values: statistics.quantiles(values, n=10, method="inclusive")[-1],
}


def _aggregate(metric: str, aggregation: str, values: list[float]) -> float | None:
    """Return an aggregation of a scorer; None if it failed."""
    try:
        function = _AGGREGATIONS.get(aggregation) or load_object(aggregation)
        # Before Python 3.13, `quantiles` rejects a single value.
        repeated = values * 2 if aggregation == "p90" and len(values) == 1 else values
        return float(function(repeated))
    except Exception as error:  # the user's function, or one of another process
        _logger.warning("The aggregation %s failed: %s", metric, error)
        return None
