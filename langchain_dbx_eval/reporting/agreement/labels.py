"""Labels of people for answers: where they are read from, and the scale on which they are."""

from __future__ import annotations

import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets import EvalRecord, InvalidRow
from langchain_dbx_eval.datasets.base import LoadOptions
from langchain_dbx_eval.datasets.record import parse_json
from langchain_dbx_eval.datasets.schema.validation import parse_rows
from langchain_dbx_eval.datasets.sources.mlflow_store import mlflow_errors
from langchain_dbx_eval.datasets.sources.registry import open_rows
from langchain_dbx_eval.errors import ConfigurationError, SchemaError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import Row, RowKey
from langchain_dbx_eval.scoring import Categorical, Numeric, PromptJudge, YesNo
from langchain_dbx_eval.scoring.answer_text import answer_text
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.judges.scales import Scale
from langchain_dbx_eval.scoring.judges.scorer import JudgeScorer
from langchain_dbx_eval.scoring.mlflow.traces import parse_trace

if TYPE_CHECKING:
    from mlflow.entities import Assessment as MlflowAssessment

__all__ = [
    "Labels",
    "Rating",
    "infer_scale",
    "labels_of_record",
    "labels_of_result",
    "majority",
    "parse_rating",
    "scale_of",
]

Rating: TypeAlias = str | float
Labels: TypeAlias = Mapping[str, Any]
"""The labels of one row, by the person who gave them, or by their column."""

_YES_NO = {"true": "yes", "1": "yes", "1.0": "yes", "false": "no", "0": "no", "0.0": "no"}
_PAGE = 200


def labels_of_record(record: EvalRecord, names: Sequence[str]) -> dict[str, Any]:
    """Return the labels that a record contains.

    They are in its columns `names`: a label, a list of labels, or a dict of labels by person.
    Without any, they are the assessments `names` that people logged on its MLflow trace.
    """
    columns = {**record.expectations, **record.metadata}
    found: dict[str, Any] = {}
    for name in names:
        found |= _read_cell(name, columns.get(name))
    if found or record.trace is None:
        return found
    try:
        trace = parse_trace(record.trace)
    except SchemaError:
        return {}
    return _human_labels(trace.search_assessments(), names)


def labels_of_result(
    result: EvaluationResult, labels: Any, names: Sequence[str]
) -> tuple[dict[RowKey, Labels], int]:
    """Return the labels of the rows of an evaluation.

    Args:
        result: The evaluation.
        labels: Labels by request id, or data with the columns `names`; None: those in the records
            of the evaluation, else the assessments that people logged on its traces in MLflow.
        names: The names of the columns or assessments.

    Returns:
        The labels by row, and the number of labels that belong to no row.

    Raises:
        ConfigurationError: A label belongs to several rows.
    """
    if labels is not None:
        return _match(result, labels, names)
    found: dict[RowKey, Labels] = {
        row.key: labels_of_record(row.record, names) for row in result.rows
    }
    if not any(found.values()) and result.run_id is not None:
        of_trace = _labels_in_mlflow(result, names)
        found = {row.key: of_trace.get(row.trace_id or "", {}) for row in result.rows}
    return {key: of_row for key, of_row in found.items() if of_row}, 0


def scale_of(judge: Any) -> Scale | None:
    """Return the scale of a judge or of a built-in one's name; None if only its ratings show it."""
    spec = judge.spec if isinstance(judge, JudgeScorer) else None
    if isinstance(judge, str):
        spec = BUILT_IN_JUDGES.get(judge.split("/")[0])
    if spec is not None:
        return Numeric(0.0, 1.0) if spec.unit == "chunk" else spec.scale
    return judge.scale if isinstance(judge, PromptJudge) else None


def infer_scale(ratings: Iterable[Any], labels: Iterable[Any]) -> Scale:
    """Return the scale of a judge whose definition is not known: that of its ratings.

    Yes or no, any number, or the texts that occur.
    """
    given = list(ratings)
    if given and all(YesNo().parse(rating) for rating in given):
        return YesNo()
    if given and all(Numeric(-math.inf, math.inf).parse(rating) is not None for rating in given):
        return Numeric(-math.inf, math.inf)
    return Categorical(tuple(dict.fromkeys(str(value).strip() for value in (*given, *labels))))


def parse_rating(value: Any, scale: Scale) -> Rating | None:
    """Return a rating or label on a scale; None if it is not on it.

    On the scale yes/no, True, 1, ``"true"`` and ``"1"`` are "yes" too, as files contain them.
    """
    value = value.item() if hasattr(value, "item") else value  # a number of NumPy
    if isinstance(scale, YesNo):
        value = _YES_NO.get(str(value).strip().lower(), value)
    elif isinstance(scale, Categorical):
        value = str(value)
    return scale.parse(value)


def majority(labels: Sequence[Rating], scale: Scale) -> Rating | None:
    """Return the most frequent label (of numbers: the median); None if two are equally frequent."""
    if isinstance(scale, Numeric):
        return statistics.median(float(label) for label in labels)
    (first, count), *others = Counter(labels).most_common(2)
    return None if any(number == count for _, number in others) else first


def _read_cell(name: str, cell: Any) -> dict[str, Any]:
    value = parse_json(cell) if isinstance(cell, str) and cell.strip()[:1] in ("[", "{") else cell
    if isinstance(value, Mapping):
        by_person = {str(person): label for person, label in value.items()}
    elif isinstance(value, list | tuple):
        by_person = {f"{name} {number}": label for number, label in enumerate(value, start=1)}
    else:
        by_person = {name: value}
    return {person: label for person, label in by_person.items() if not _is_absent(label)}


def _is_absent(label: Any) -> bool:
    if isinstance(label, str):
        return not label.strip()
    return label is None or (isinstance(label, float) and math.isnan(label))


def _human_labels(assessments: Iterable[MlflowAssessment], names: Sequence[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for assessment in assessments:
        value: Any = getattr(assessment, "value", None)
        is_human = assessment.source is not None and assessment.source.source_type == "HUMAN"
        # One that was replaced by a later one is not valid.
        if not is_human or assessment.name not in names or assessment.valid is False:
            continue
        if not _is_absent(value):
            _add(found, {assessment.source.source_id or "person": value})
    return found


def _add(found: dict[str, Any], labels: Labels) -> None:
    """Add labels; a second one of the same person (MLflow calls many "default") gets a number."""
    for person, label in labels.items():
        count = sum(known.partition(" #")[0] == person for known in found)
        found[f"{person} #{count + 1}" if count else person] = label


def _labels_in_mlflow(result: EvaluationResult, names: Sequence[str]) -> dict[str, Labels]:
    client = require("mlflow", extra="eval").MlflowClient(result.tracking_uri)
    found: dict[str, Labels] = {}
    token = None
    with mlflow_errors("Reading the human assessments of the evaluation"):
        while True:
            page = client.search_traces(
                locations=[result.experiment_id],
                run_id=result.run_id,
                max_results=_PAGE,
                page_token=token,
                include_spans=False,
            )
            for trace in page:
                found[trace.info.trace_id] = _human_labels(trace.info.assessments, names)
            token = page.token
            if not token:
                return found


@dataclass(frozen=True)
class _Entry:
    """The labels of one row, and what identifies the row."""

    request_id: str
    labels: Labels
    repetition: int | None = None
    response: str | None = None
    trace_id: str | None = None


def _match(
    result: EvaluationResult, labels: Any, names: Sequence[str]
) -> tuple[dict[RowKey, Labels], int]:
    by_id: defaultdict[str, list[Row]] = defaultdict(list)
    by_trace: defaultdict[str, list[Row]] = defaultdict(list)
    for row in result.rows:
        by_id[row.record.request_id].append(row)
        by_trace[row.trace_id or ""].append(row)
    found: dict[RowKey, dict[str, Any]] = {}
    unmatched = 0
    for entry in _entries(labels, names):
        rows = by_trace.get(entry.trace_id or "-") or by_id.get(entry.request_id, [])
        if entry.repetition is not None:
            rows = [row for row in rows if row.repetition == entry.repetition]
        if len(rows) > 1 and entry.response is not None:
            rows = [row for row in rows if answer_text(row.outcome.response) == entry.response]
        if len(rows) > 1:
            msg = (
                f"labels: the label of request_id {entry.request_id!r} belongs to {len(rows)} rows "
                "of the evaluation. Add the column 'repetition' or 'response', for example by "
                "labeling a copy of result.tables['eval_results']."
            )
            raise ConfigurationError(msg)
        unmatched += not rows
        for row in rows:
            # A file may have one line per person.
            _add(found.setdefault(row.key, {}), entry.labels)
    if unmatched and not found:
        msg = (
            f"labels: none of the {unmatched} labels belongs to a row of the evaluation. They are "
            "matched by 'request_id', which is by default the hash of the request."
        )
        raise ConfigurationError(msg)
    return dict(found), unmatched


def _entries(labels: Any, names: Sequence[str]) -> Iterator[_Entry]:
    """Iterate over the labels that are given apart from the evaluation."""
    if isinstance(labels, Mapping):
        rows: Iterable[Any] = [
            {"request_id": key[0], "repetition": key[1], names[0]: cell}
            if isinstance(key, tuple)
            else {"request_id": str(key), names[0]: cell}
            for key, cell in labels.items()
        ]
    else:
        rows = open_rows(labels, LoadOptions())
    count = 0
    for row in rows:
        entry = _entry(row, names)
        if entry.labels:
            count += 1
            yield entry
    if not count:
        msg = f"labels: no row has a label in {_listed(names)}. Name the column with label=…."
        raise ConfigurationError(msg)


def _entry(row: Any, names: Sequence[str]) -> _Entry:
    if isinstance(row, Mapping) and not {"request", "inputs", "trace"} & row.keys():
        # Labels alone, without the rows that they belong to.
        row = {"request": "", **row}
    (record,) = parse_rows([row])
    if isinstance(record, InvalidRow):
        msg = f"labels: {record.error}"
        raise ConfigurationError(msg) from record.error
    repetition: Any = record.metadata.get("repetition")
    return _Entry(
        record.request_id,
        labels_of_record(record, names),
        None if _is_absent(repetition) else int(float(repetition)),
        answer_text(record.response),
        record.trace_id,
    )


def _listed(names: Sequence[str]) -> str:
    return " or ".join(repr(name) for name in names)
