"""Aggregation of the scores of many rows to the metrics of a run."""

from __future__ import annotations

import json
import logging
import re
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_dbx_eval._internal.import_string import load_object
from langchain_dbx_eval.scoring.assessments import (
    JUDGE_DISAGREEMENT,
    Assessment,
    JudgeInstability,
    JudgeUsage,
    RowScores,
)
from langchain_dbx_eval.scoring.context import Outcome
from langchain_dbx_eval.scoring.contract import OUTCOME_COLUMNS
from langchain_dbx_eval.scoring.results import AGGREGATIONS

__all__ = ["Metrics", "Percentage", "Summary", "outcome_values", "summarize", "wilson_interval"]

_logger = logging.getLogger(__name__)


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
        canonical = self._canonical(name) if isinstance(name, str) else None
        if canonical is None:
            raise KeyError(f"{name} (this run has: {', '.join(self) or 'none'})")
        return self[canonical]

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (
            isinstance(name, str) and self._canonical(name) is not None
        )

    def _canonical(self, alias: str) -> str | None:
        stem, _, kind = alias.rpartition("/")
        if kind == "percentage":
            name = f"{stem}/rating/percentage"
            return name if super().__contains__(name) else None
        if kind != "mean":
            return None
        pattern = rf"(.+/)?{re.escape(stem)}(/(value|rating|score|precision))?/(average|percentage)"
        return next((name for name in self if re.fullmatch(pattern, name)), None)

    def get(self, name: str, default: Any = None) -> Any:
        """Return the metric with this name or alias; `default` if there is none."""
        try:
            return self[name]
        except KeyError:
            return default

    def copy(self) -> Metrics:
        """Return a copy that accepts aliases too."""
        return Metrics(self)


@dataclass(frozen=True)
class Percentage:
    """Share of the rows rated "yes".

    Attributes:
        name: Name of the metric.
        value: The share, from 0 to 1.
        n: Number of rows with a rating.
        low: Lower bound of the 95 % Wilson interval.
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

    Attributes:
        metrics: All metrics by name.
        percentages: Each share with its number of rows and its interval.
        counts: Number of rows by metric, for the averages.
        errors: Number of rows with an error, by scorer.
        skipped: Number of rows that lacked an input, by scorer.
        skip_reasons: The same by the missing input, then by scorer. Judges that did not run for
            want of a judge model are below ``judge (or DBX_EVAL_JUDGE)``.
        judging: Cost of all judges.
        instability: How often each judge that was asked several times contradicted itself.
    """

    metrics: Metrics
    percentages: tuple[Percentage, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    skip_reasons: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    judging: JudgeUsage = field(default_factory=JudgeUsage)
    instability: Mapping[str, JudgeInstability] = field(default_factory=dict)


def outcome_values(outcome: Outcome) -> dict[str, float | int | None]:
    """Return latency (seconds) and token counts of a row by the columns of `OUTCOME_COLUMNS`."""
    documented = (
        outcome.latency_seconds,
        outcome.total_tokens,
        outcome.input_tokens,
        outcome.output_tokens,
    )
    first_token = outcome.time_to_first_token_seconds
    values = documented if first_token is None else (*documented, first_token)
    return dict(zip(OUTCOME_COLUMNS, values, strict=False))


def summarize(rows: Iterable[tuple[Outcome, RowScores]]) -> Summary:
    """Aggregate the rows of a run.

    Args:
        rows: Outcome and scores of each row.

    Returns:
        The summary. Its metrics are ``<column>/average`` over the rows with a number or a boolean,
        ``<column>/percentage`` over those with "yes", "no" or a boolean, ``<name>/<aggregation>``
        for the aggregations of a scorer, and ``judge/<name>/error_count`` for each judge that ran
        (0 if it never failed) and each other scorer that failed. A judge that is asked several
        times has ``judge/<name>/unstable/percentage`` and ``judge/<name>/disagreement/average`` too
        (see `JudgeInstability`).
    """
    numbers: defaultdict[str, list[float]] = defaultdict(list)
    ratings: defaultdict[str, list[bool]] = defaultdict(list)
    aggregated: defaultdict[tuple[str, str], list[float]] = defaultdict(list)
    disagreements: defaultdict[str, list[float]] = defaultdict(list)
    errors: Counter[str] = Counter()
    skipped: defaultdict[str, Counter[str]] = defaultdict(Counter)
    judging = JudgeUsage()
    for outcome, scores in rows:
        for column, value in outcome_values(outcome).items():
            if value is not None:
                numbers[column].append(value)
        for skip in scores.skipped:
            skipped[skip.reason][skip.name] += 1
        for assessment in scores.assessments:
            _count_error(assessment, errors)
            judging += assessment.usage or JudgeUsage()
            if JUDGE_DISAGREEMENT in assessment.metadata:
                disagreement = float(assessment.metadata[JUDGE_DISAGREEMENT])
                disagreements[assessment.name].append(disagreement)
            number = assessment.number
            if number is None:
                continue
            if isinstance(assessment.value, bool | str):
                ratings[assessment.value_column].append(number == 1)
            if not isinstance(assessment.value, str):
                numbers[assessment.value_column].append(number)
            for aggregation in json.loads(assessment.metadata.get(AGGREGATIONS, "[]")):
                aggregated[assessment.name, aggregation].append(number)
    percentages = tuple(_percentage(column, passed) for column, passed in ratings.items())
    metrics = {f"{column}/average": sum(v) / len(v) for column, v in numbers.items()}
    metrics |= {share.name: share.value for share in percentages}
    metrics |= _aggregate(aggregated)
    metrics |= {f"judge/{name}/error_count": float(n) for name, n in errors.items()}
    instability = {name: _instability(values) for name, values in disagreements.items()}
    for name, judge in instability.items():
        metrics[f"judge/{name}/unstable/percentage"] = judge.share
        metrics[f"judge/{name}/disagreement/average"] = judge.disagreement
    counts = {f"{column}/average": len(values) for column, values in numbers.items()}
    return Summary(
        metrics=Metrics(metrics),
        percentages=percentages,
        counts=counts,
        errors=+errors,
        skipped=dict(sum(skipped.values(), Counter())),
        skip_reasons={reason: dict(of_reason) for reason, of_reason in skipped.items()},
        judging=judging,
        instability=instability,
    )


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson score interval of a binomial proportion.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of
    the American Statistical Association 22 (1927): center ``(p + z²/2n) / (1 + z²/n)``, half-width
    ``z/(1 + z²/n) · √(p(1-p)/n + z²/4n²)``. Unlike the normal approximation
    ``p ± z√(p(1-p)/n)`` it stays within 0 and 1, and has a width above 0 if all rows agree.

    Args:
        successes: Number of rows rated "yes".
        n: Number of rows, 1 or more.
        confidence: Confidence level, between 0 and 1.

    Returns:
        Lower and upper bound, from 0 to 1.
    """
    z = statistics.NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    center = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5
    return max(0.0, center - half), min(1.0, center + half)


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


def _aggregate(values: Mapping[tuple[str, str], list[float]]) -> dict[str, float]:
    """Return the aggregations of scorers, ``<name>/<aggregation>``."""
    metrics = {}
    for (name, aggregation), of_scorer in values.items():
        try:
            function = _AGGREGATIONS.get(aggregation) or load_object(aggregation)
            # Before Python 3.13, `quantiles` rejects a single value.
            repeated = of_scorer * 2 if aggregation == "p90" and len(of_scorer) == 1 else of_scorer
            metrics[f"{name}/{aggregation.rpartition(':')[2]}"] = float(function(repeated))
        except Exception as error:  # the user's function, or one of another process
            _logger.warning("The aggregation %s of %s failed: %s", aggregation, name, error)
    return metrics


def _instability(disagreements: list[float]) -> JudgeInstability:
    return JudgeInstability(
        rows=len(disagreements),
        unstable_rows=sum(value > 0 for value in disagreements),
        disagreement=statistics.fmean(disagreements),
    )


def _count_error(assessment: Assessment, errors: Counter[str]) -> None:
    if assessment.error is not None:
        errors[assessment.name] += 1
    elif assessment.source == "LLM_JUDGE":
        errors[assessment.name] += 0


def _percentage(column: str, passed: list[bool]) -> Percentage:
    low, high = wilson_interval(sum(passed), len(passed))
    return Percentage(f"{column}/percentage", sum(passed) / len(passed), len(passed), low, high)
