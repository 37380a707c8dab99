"""Assessments of many rows as the metrics of a run, under Agent Evaluation's names."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any

from langchain_dbx_eval.scoring.assessments import Assessment, JudgeUsage, RowScores
from langchain_dbx_eval.scoring.context import Outcome
from langchain_dbx_eval.scoring.contract import OUTCOME_COLUMNS, canonical_metric

__all__ = ["Metrics", "Percentage", "Summary", "outcome_values", "summarize", "wilson_interval"]


class Metrics(dict[str, float]):
    """A run's metrics by name, readable under the documentation page's spelling too.

    ``response/llm_judged/groundedness/percentage`` finds
    ``response/llm_judged/groundedness/rating/percentage``; only the latter is listed.
    """

    def __missing__(self, name: str) -> float:
        canonical = canonical_metric(name)
        if canonical in self.keys():
            return self[canonical]
        raise KeyError(f"{name} (this run has: {', '.join(self.keys()) or 'none'})")

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (
            isinstance(name, str) and super().__contains__(canonical_metric(name))
        )

    def get(self, name: str, default: Any = None) -> Any:
        """The metric under either spelling, or the default."""
        return super().get(name, super().get(canonical_metric(name), default))


@dataclass(frozen=True)
class Percentage:
    """The share of rows that a judge says yes to.

    Attributes:
        name: The metric's name.
        value: The share, from 0 to 1.
        n: How many rows have a verdict.
        low: The lower end of the share's 95 % interval.
        high: Its upper end.
    """

    name: str
    value: float
    n: int
    low: float
    high: float


@dataclass(frozen=True)
class Summary:
    """What a run's scores come to, and how far they can be trusted.

    Attributes:
        metrics: Every metric by name.
        percentages: Each share, with its number of rows and interval.
        counts: By metric that is an average: over how many rows it is taken.
        errors: By scorer, in how many rows it failed.
        skipped: By judge, in how many rows it had nothing to judge by.
        judging: What the judges took, all together.
    """

    metrics: Metrics
    percentages: tuple[Percentage, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    errors: Mapping[str, int] = field(default_factory=dict)
    skipped: Mapping[str, int] = field(default_factory=dict)
    judging: JudgeUsage = field(default_factory=JudgeUsage)


def outcome_values(outcome: Outcome) -> dict[str, float | int | None]:
    """What a row cost, by the columns of `OUTCOME_COLUMNS`."""
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
    """Aggregate a run.

    Args:
        rows: Each row's outcome and scores.

    Returns:
        ``<column>/average`` over the rows that have a number there, ``<column>/percentage`` over
        those that have a "yes" or "no", ``judge/<name>/error_count`` for each judge that ran (0
        where it never failed) and for each other scorer that failed somewhere.
    """
    numbers: defaultdict[str, list[float]] = defaultdict(list)
    ratings: defaultdict[str, list[bool]] = defaultdict(list)
    errors: Counter[str] = Counter()
    skipped: Counter[str] = Counter()
    judging = JudgeUsage()
    for outcome, scores in rows:
        for column, value in outcome_values(outcome).items():
            if value is not None:
                numbers[column].append(value)
        skipped.update(skip.name for skip in scores.skipped)
        for assessment in scores.assessments:
            _count_error(assessment, errors)
            judging += assessment.usage or JudgeUsage()
            if assessment.value in ("yes", "no"):
                ratings[assessment.value_column].append(assessment.value == "yes")
            elif assessment.number is not None:
                numbers[assessment.value_column].append(assessment.number)
    percentages = tuple(_percentage(column, said) for column, said in ratings.items())
    counts = {f"{column}/average": len(values) for column, values in numbers.items()}
    metrics = Metrics({f"{column}/average": sum(v) / len(v) for column, v in numbers.items()})
    metrics |= {share.name: share.value for share in percentages}
    metrics |= {f"judge/{name}/error_count": float(n) for name, n in errors.items()}
    return Summary(Metrics(metrics), percentages, counts, +errors, dict(skipped), judging)


def wilson_interval(successes: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """The interval of a share that was seen in a sample.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of
    the American Statistical Association 22 (1927): centre ``(p + z²/2n) / (1 + z²/n)``, half-width
    ``z/(1 + z²/n) · √(p(1-p)/n + z²/4n²)``. Unlike the textbook's ``p ± z√(p(1-p)/n)`` it stays
    within 0 and 1, and is not empty when all rows agree.

    Args:
        successes: How many said yes.
        n: Of how many, 1 or more.
        confidence: How often such an interval holds the true share.

    Returns:
        Its two ends, from 0 to 1.
    """
    z = NormalDist().inv_cdf((1 + confidence) / 2)
    share = successes / n
    centre = (share + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * ((share * (1 - share) + z * z / (4 * n)) / n) ** 0.5
    return max(0.0, centre - half), min(1.0, centre + half)


def _count_error(assessment: Assessment, errors: Counter[str]) -> None:
    if assessment.error is not None:
        errors[assessment.name] += 1
    elif assessment.source == "LLM_JUDGE":
        errors[assessment.name] += 0


def _percentage(column: str, said: list[bool]) -> Percentage:
    low, high = wilson_interval(sum(said), len(said))
    return Percentage(f"{column}/percentage", sum(said) / len(said), len(said), low, high)
