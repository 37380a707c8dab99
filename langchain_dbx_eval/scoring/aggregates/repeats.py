"""The scores of records that were answered several times."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from langchain_dbx_eval.scoring.statistics import Interval, VarianceComponents

__all__ = ["PassEstimate", "RepeatSummary", "summarize_repeats"]


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
    from langchain_dbx_eval.scoring.statistics import estimate_pass, interval_of
    from langchain_dbx_eval.scoring.statistics import variance_components as components

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
                of_k[k] = PassEstimate(estimate.value, interval_of(estimate), estimate.n)
    return RepeatSummary(
        record_means={record: sum(found) / len(found) for record, found in of_record.items()},
        variance=components(values, records),
        pass_at=rates[0],
        pass_hat=rates[1],
    )
