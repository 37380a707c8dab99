"""Answers, rated by a judge and by people."""

from __future__ import annotations

import asyncio
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from langchain_dbx_eval.datasets import EvalDataset, EvalRecord, InvalidRow
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import RowKey
from langchain_dbx_eval.reporting.agreement.labels import (
    Labels,
    Rating,
    labels_of_record,
    majority,
    parse_rating,
)
from langchain_dbx_eval.scoring import RowScores, Scorer, ScoringContext, ascore
from langchain_dbx_eval.scoring.aggregates import RecordKey, record_value
from langchain_dbx_eval.scoring.answer_text import answer_text, request_text
from langchain_dbx_eval.scoring.judges.scales import Scale
from langchain_dbx_eval.scoring.mlflow.traces import outcome_of_record

__all__ = [
    "LabeledRow",
    "conclude",
    "judge_rows",
    "parse_labels",
    "parse_row_rating",
    "read_data",
    "rows_of_result",
]

Status: TypeAlias = Literal[
    "compared", "tied", "error", "skipped", "failed", "invalid", "unlabeled"
]


@dataclass(frozen=True)
class LabeledRow:
    """One answer, rated by a judge and by people.

    Attributes:
        request_id: The id of its record.
        repetition: Which invocation for that record it is, from 1.
        request: Text of the request.
        response: Text of the answer; None if there is none.
        labels: The labels, by the person who gave them, or by their column.
        label: The most frequent label, or the median of numbers; None if there is none, or if two
            are equally frequent.
        rating: The judge's rating; None if there is none.
        rationale: The judge's explanation.
        status: ``compared``: label and rating are there; ``tied``: people are divided; ``error``:
            the judge failed; ``skipped``: the judge lacks an input, or gave no rating; ``failed``:
            there is no answer; ``invalid``: it is not a valid record; ``unlabeled``.
        reason: Why it is not compared.
        cluster: The cluster of the row.
    """

    request_id: str
    repetition: int
    request: str
    response: str | None
    labels: Mapping[str, Any]
    label: Rating | None = None
    rating: Rating | None = None
    rationale: str | None = None
    status: Status = "unlabeled"
    reason: str | None = None
    cluster: Hashable = None


def read_data(
    labeled: Any, names: Sequence[str], cluster: RecordKey | None
) -> Iterator[tuple[LabeledRow, ScoringContext | None]]:
    """Read the answers and labels; the context is that of an answer to judge."""
    dataset = EvalDataset.load(labeled)
    clusters = _ClusterReader(cluster)
    for item in dataset.iter_rows():
        record = item.to_record() if isinstance(item, InvalidRow) else item
        outcome = outcome_of_record(record)
        row = LabeledRow(
            request_id=record.request_id,
            repetition=1,
            request=request_text(record.request),
            response=answer_text(outcome.response),
            labels=labels_of_record(record, names),
            cluster=clusters.read(record),
        )
        if isinstance(item, InvalidRow):
            yield replace(row, status="invalid", reason=str(item.error)), None
        elif not row.labels:
            yield row, None
        elif outcome.error is not None:
            yield replace(row, status="failed", reason=outcome.error), None
        else:
            yield row, ScoringContext(record, outcome)
    clusters.check()


async def judge_rows(
    pairs: Sequence[tuple[LabeledRow, ScoringContext | None]],
    scorer: Scorer,
    name: str,
    max_concurrency: int,
) -> list[LabeledRow]:
    """Judge the rows that have a context, concurrently."""
    slots = asyncio.Semaphore(max_concurrency)

    async def judge(row: LabeledRow, context: ScoringContext | None) -> LabeledRow:
        if context is None:
            return row
        async with slots:
            return _with_scores(row, await ascore(context, [scorer]), name)

    return list(await asyncio.gather(*(judge(*pair) for pair in pairs)))


def rows_of_result(
    result: EvaluationResult,
    name: str,
    labels: Mapping[RowKey, Labels],
    cluster: RecordKey | None,
) -> list[LabeledRow]:
    """Read the rows that a judge rated in an evaluation."""
    clusters = _ClusterReader(cluster)
    rows = []
    judges: set[str] = set()
    for row in result.rows:
        judges |= {a.name for a in row.assessments} | {s.name for s in row.scores.skipped}
        read = LabeledRow(
            request_id=row.record.request_id,
            repetition=row.repetition,
            request=request_text(row.record.request),
            response=answer_text(row.outcome.response),
            labels=labels.get(row.key, {}),
            cluster=clusters.read(row.record),
        )
        if row.outcome.error is not None:
            rows.append(replace(read, status="failed", reason=row.outcome.error))
        else:
            rows.append(_with_scores(read, row.scores, name))
    clusters.check()
    is_known = {name, name.split("/")[0]} & judges or any(j.startswith(f"{name}/") for j in judges)
    if rows and not is_known:
        known = ", ".join(sorted(judges - {"overall_assessment"})) or "none"
        msg = f"No row of the evaluation was rated by a judge {name!r}. It has: {known}."
        raise ConfigurationError(msg)
    return rows


class _ClusterReader:
    """Reads the cluster of each record; by default its request id."""

    def __init__(self, key: RecordKey | None) -> None:
        self._key = key
        self._is_found = key is None or callable(key)

    def read(self, record: EvalRecord) -> Hashable:
        if self._key is None:
            return record.request_id
        value = record_value(record, self._key)
        self._is_found = self._is_found or value is not None
        return record.request_id if value is None else value

    def check(self) -> None:
        if not self._is_found:
            msg = f"No record has the column {self._key!r} that 'cluster' names."
            raise ConfigurationError(msg)


def _with_scores(row: LabeledRow, scores: RowScores, name: str) -> LabeledRow:
    """Add the rating of the judge `name`, or why there is none."""
    groups = [a for a in scores.assessments if a.name.startswith(f"{name}/")]
    found = next((a for a in scores.assessments if a.name == name), None)
    found = groups[0] if found is None and len(groups) == 1 else found
    if found is not None and found.value is not None:
        # Checked by the scale later.
        rating: Any = found.value
        return replace(row, rating=rating, rationale=found.rationale)
    if found is not None and found.error is not None:
        return replace(row, status="error", reason=found.error)
    skip = next((s for s in scores.skipped if s.name == name.split("/")[0]), None)
    reason = "no rating" + (f", but of {', '.join(a.name for a in groups)}" if groups else "")
    return replace(row, status="skipped", reason=f"without {skip.reason}" if skip else reason)


def parse_labels(rows: Sequence[LabeledRow], scale: Scale, name: str) -> list[LabeledRow]:
    """Convert the labels to the scale of the judge, and choose the most frequent one per row."""
    parsed, wrong = [], []
    for row in rows:
        labels = {who: parse_rating(value, scale) for who, value in row.labels.items()}
        wrong += [(row, value) for who, value in row.labels.items() if labels[who] is None]
        known = [label for label in labels.values() if label is not None]
        parsed.append(replace(row, labels=labels, label=majority(known, scale) if known else None))
    if wrong:
        row, value = wrong[0]
        msg = (
            f"judge_agreement: {len(wrong)} labels are not on the scale of the judge {name!r} "
            f"({scale.description}), the first: {value!r:.60} for the request {row.request!r:.60}. "
            "Correct them, or leave them empty."
        )
        raise ConfigurationError(msg)
    return parsed


def parse_row_rating(row: LabeledRow, scale: Scale) -> LabeledRow:
    """Convert the rating of a row to the scale of the judge."""
    if row.rating is None:
        return row
    rating = parse_rating(row.rating, scale)
    if rating is None:
        reason = f"the rating {row.rating!r:.60} is not {scale.description}"
        return replace(row, rating=None, status="error", reason=reason)
    return replace(row, rating=rating)


def conclude(row: LabeledRow) -> LabeledRow:
    """Set the status of a row."""
    if row.status == "invalid":
        return row
    if not row.labels:
        return replace(row, status="unlabeled", reason=None)
    if row.rating is None:
        return row
    if row.label is None:
        return replace(row, status="tied", reason="people are divided")
    return replace(row, status="compared")
