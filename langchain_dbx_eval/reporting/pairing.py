"""The rows of two evaluations, paired by record and repetition."""

from __future__ import annotations

import math
from collections import defaultdict, deque
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.scoring.aggregates import RecordKey, outcome_values, record_value
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT

__all__ = [
    "FAILED",
    "JUDGE_COST",
    "PairedRows",
    "RecordKey",
    "RowId",
    "ScoredRow",
    "pair_rows",
    "read_rows",
]

FAILED = "rows/failed/percentage"
"""Share of the rows whose invocation failed."""

JUDGE_COST = "judge/cost_usd/average"
"""Cost of judging one row, in US dollars."""


class RowId(NamedTuple):
    """A row of an evaluation.

    Attributes:
        request_id: The id of its record.
        repetition: Which invocation for that record it is, from 1.
        number: The index of its record in the dataset.
    """

    request_id: str
    repetition: int
    number: int


@dataclass(frozen=True)
class ScoredRow:
    """The part of a row that a comparison needs.

    Attributes:
        row_id: The row.
        content: Hash of the ground truth and metadata, which tells records with equal ids apart.
        values: The numbers of the row, by the metric that averages them.
        reasons: Why the row has a value, by metric: the judge's rationale, or the error.
        root_cause: The judge that failed the row, or the error of the invocation; None if neither.
        cluster: The cluster of the row.
        slice: The slice of the row; None without slices.
    """

    row_id: RowId
    content: int
    values: dict[str, float]
    reasons: dict[str, str]
    root_cause: str | None
    cluster: Hashable
    slice: Hashable = None


@dataclass
class PairedRows:
    """The rows of two evaluations.

    Attributes:
        pairs: Baseline and candidate row of the same record and repetition.
        only_baseline: Rows that the candidate lacks.
        only_candidate: Rows that the baseline lacks.
        duplicates: Number of pairs of records that share their id with another record.
    """

    pairs: list[tuple[ScoredRow, ScoredRow]] = field(default_factory=list)
    only_baseline: list[RowId] = field(default_factory=list)
    only_candidate: list[RowId] = field(default_factory=list)
    duplicates: int = 0


def read_rows(
    rows: Iterable[Row], cluster: RecordKey | None = None, by: RecordKey | None = None
) -> list[ScoredRow]:
    """Read what a comparison needs of each row.

    Args:
        rows: The rows of an evaluation.
        cluster: Rows with equal values depend on each other; default: those of one record.
        by: Rows with equal values are one slice; default: no slices.

    Raises:
        ConfigurationError: No record has the column `cluster` or `by`.
    """
    keys = {"cluster": cluster, "by": by}
    found = {name: key is None or callable(key) for name, key in keys.items()}
    scored = []
    for row in rows:
        values = {
            name: None if key is None else record_value(row.record, key)
            for name, key in keys.items()
        }
        for name, value in values.items():
            found[name] = found[name] or value is not None
        group = row.record.request_id if values["cluster"] is None else values["cluster"]
        scored.append(_scored_row(row, group, values["by"]))
    if scored and (missing := [name for name in keys if not found[name]]):
        name = missing[0]
        msg = f"No record has the column {keys[name]!r} that {name!r} names."
        raise ConfigurationError(msg)
    return scored


def pair_rows(baseline: Sequence[ScoredRow], candidate: Sequence[ScoredRow]) -> PairedRows:
    """Pair rows by the id of their record and their repetition.

    Rows of different records with one id are paired by ground truth and metadata, then in the order
    of the dataset.

    Args:
        baseline: The rows of the baseline.
        candidate: The rows of the candidate.

    Returns:
        The pairs, in the order of the candidate, and the rows without a partner.
    """
    before, after = _by_key(baseline), _by_key(candidate)
    paired = PairedRows()
    for key, rows in after.items():
        partners = before.pop(key, [])
        pairs = _match(partners, rows)
        paired.pairs.extend(pairs)
        if max(len(rows), len(partners)) > 1:
            paired.duplicates += len(pairs)
        for rest, side in ((partners, paired.only_baseline), (rows, paired.only_candidate)):
            used = {id(row) for pair in pairs for row in pair}
            side.extend(row.row_id for row in rest if id(row) not in used)
    paired.only_baseline.extend(row.row_id for rows in before.values() for row in rows)
    return paired


def _by_key(rows: Sequence[ScoredRow]) -> dict[tuple[str, int], list[ScoredRow]]:
    grouped = defaultdict(list)
    for row in rows:
        grouped[row.row_id.request_id, row.row_id.repetition].append(row)
    return grouped


def _match(
    before: Sequence[ScoredRow], after: Sequence[ScoredRow]
) -> list[tuple[ScoredRow, ScoredRow]]:
    partners: defaultdict[int, deque[ScoredRow]] = defaultdict(deque)
    for row in before:
        partners[row.content].append(row)
    pairs, unmatched = [], []
    for row in after:
        if partners[row.content]:
            pairs.append((partners[row.content].popleft(), row))
        else:
            unmatched.append(row)
    matched = {id(partner) for partner, _ in pairs}
    left = [row for row in before if id(row) not in matched]
    return [*pairs, *zip(left, unmatched, strict=False)]


def _scored_row(row: Row, cluster: Hashable, slice_value: Hashable) -> ScoredRow:
    error = row.outcome.error
    values, reasons = {FAILED: float(error is not None)}, {}
    root_cause = error
    if error is None:
        # An invocation that failed at once was not a fast one.
        numbers = outcome_values(row.outcome).items()
        values |= {f"{column}/average": float(v) for column, v in numbers if v is not None}
    else:
        reasons[FAILED] = error
    costs = []
    for assessment in row.assessments:
        if assessment.usage is not None and assessment.usage.cost_usd is not None:
            costs.append(assessment.usage.cost_usd)
        number = assessment.number
        if number is None or not math.isfinite(number):
            continue
        # As `scoring.aggregates.summarize`: a boolean has both metrics.
        kinds = ["percentage"] if isinstance(assessment.value, bool | str) else []
        kinds += [] if isinstance(assessment.value, str) else ["average"]
        for name in (f"{assessment.value_column}/{kind}" for kind in kinds):
            values[name] = number
            if assessment.rationale is not None:
                reasons[name] = assessment.rationale
        if assessment.column == OVERALL_ASSESSMENT:
            root_cause = root_cause or assessment.metadata.get("root_cause_assessment")
    if costs:
        values[JUDGE_COST] = sum(costs)
    record = row.record
    content = hash(repr((record.expectations, record.metadata)))
    row_id = RowId(record.request_id, row.repetition, row.number)
    return ScoredRow(row_id, content, values, reasons, root_cause, cluster, slice_value)
