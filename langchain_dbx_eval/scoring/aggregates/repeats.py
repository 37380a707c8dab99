"""The scores of records that were answered several times."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_dbx_eval.scoring.statistics import Interval, VarianceComponents

__all__ = [
    "PassEstimate",
    "RepeatSummary",
    "number_text",
    "summarize_repeats",
    "text_with_interval",
]


@dataclass(frozen=True)
class PassEstimate:
    """A probability over k answers to one record.

    Attributes:
        value: The estimate, unbiased.
        interval: Its 95 % interval.
        records: Number of records with at least k answers.
    """

    value: float
    interval: Interval | None
    records: int


@dataclass(frozen=True)
class RepeatSummary:
    """A score of records that were answered several times.

    Attributes:
        record_means: The mean score of each record, by its request id.
        variance: The variance between the records and within them.
        pass_at: By k: at least one of k answers passes, pass@k; empty if it is not a share.
        pass_hat: By k: all of k answers pass, pass^k; empty if it is not a share.
    """

    record_means: Mapping[str, float] = field(repr=False)
    variance: VarianceComponents | None
    pass_at: Mapping[int, PassEstimate] = field(default_factory=dict)
    pass_hat: Mapping[int, PassEstimate] = field(default_factory=dict)

    def __str__(self) -> str:
        parts = []
        for k in list(self.pass_at)[-1:]:
            for name, rates in ((f"pass@{k}", self.pass_at), (f"pass^{k}", self.pass_hat)):
                parts.append(f"{name} {text_with_interval(rates[k].value, rates[k].interval)}")
        if self.variance is not None:
            share = self.variance.intraclass_correlation
            parts.append(f"{share:.0%} of the variance between records")
        return ", ".join(parts) or "one record"


def number_text(number: float) -> str:
    """Return a number with two decimals; with more if it would look like 0 or 1 otherwise."""
    if abs(number) >= 100:
        return f"{number:.0f}"
    for digits in range(2, 6):
        text = f"{number:.{digits}f}"
        # A bound may be 1 except for rounding.
        if float(text) not in (0.0, 1.0) or abs(float(text) - number) < 1e-12:
            return text
    return f"{number:.3g}"


def text_with_interval(value: float, interval: Interval | None) -> str:
    """Return ``0.82 [0.74, 0.88]``, or the value alone."""
    if interval is None:
        return number_text(value)
    return f"{number_text(value)} [{number_text(interval.low)}, {number_text(interval.high)}]"


def summarize_repeats(
    values: Sequence[float], records: Sequence[Hashable], *, is_share: bool
) -> RepeatSummary | None:
    """Summarize the scores of records that were answered several times.

    Args:
        values: The scores.
        records: The request id of each score.
        is_share: Whether each score is 0 or 1.

    Returns:
        The summary; None if each record has one score.
    """
    from langchain_dbx_eval.scoring.statistics import (
        Interval,
        estimate_pass,
        interval_of,
        variance_components,
    )

    of_record: dict[str, list[float]] = {}
    for value, record in zip(values, records, strict=True):
        of_record.setdefault(str(record), []).append(value)
    most = max(map(len, of_record.values()))
    if most == 1:
        return None
    rates: list[dict[int, PassEstimate]] = [{}, {}]
    for every, of_k in enumerate(rates):
        for k in range(1, most + 1) if is_share else ():
            estimate = estimate_pass(values, records, k, every=bool(every))
            if estimate is not None:
                interval = interval_of(estimate)
                if interval is not None:
                    # Student's t does not know that these are probabilities.
                    interval = Interval(max(0.0, interval.low), min(1.0, interval.high))
                of_k[k] = PassEstimate(estimate.value, interval, estimate.n)
    return RepeatSummary(
        record_means={record: sum(found) / len(found) for record, found in of_record.items()},
        variance=variance_components(values, records),
        pass_at=rates[0],
        pass_hat=rates[1],
    )
