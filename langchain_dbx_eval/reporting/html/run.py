"""An evaluation as the report shows it: overview, index of its rows, and pages of rows."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any
from zlib import crc32

from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.manifest import package_versions
from langchain_dbx_eval.reporting.html.model import (
    MetricData,
    RatingDetail,
    RowDetail,
    RowIndex,
    RunData,
    ScoreColumn,
    SliceData,
)
from langchain_dbx_eval.reporting.html.redaction import Redactor
from langchain_dbx_eval.reporting.html.rows import describe_row
from langchain_dbx_eval.reporting.metric_names import column_order, displayed_metrics, metric_kind
from langchain_dbx_eval.scoring.aggregates import (
    MetricSummary,
    RowResult,
    Summary,
    summarize,
)
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT

__all__ = ["describe_run"]

_PAGE_ROWS = 100
_PAGE_CHARACTERS = 300_000
# The table shows two lines of a row, which are cut where they end on a wide screen.
_SNIPPET = 240
_MAX_SLICES = 20
_MAX_SLICE_COLUMNS = 8
_MAX_SLICE_TEXT = 80
_MODELS = ("LLM", "CHAT_MODEL")


def describe_run(
    result: EvaluationResult, redact: Redactor, add_page: Callable[[str], None]
) -> RunData:
    """Describe an evaluation.

    Args:
        result: The evaluation.
        redact: What is left out.
        add_page: Receives each page of rows, as JSON.

    Returns:
        Its overview.
    """
    manifest, summary = result.manifest, result.summary
    builder = _IndexBuilder()
    slices = _Slices()
    page: list[str] = []
    size = pages = 0
    for row in result.rows:
        if page and (len(page) == _PAGE_ROWS or size > _PAGE_CHARACTERS):
            add_page(f"[{','.join(page)}]")
            page, size, pages = [], 0, pages + 1
        detail: RowDetail = redact(describe_row(row))
        builder.add(detail, pages)
        # A summary reads of an outcome whether there is an answer, not which.
        is_empty = row.outcome.response is None or row.outcome.is_empty
        response = "" if is_empty else "answered"
        outcome = replace(row.outcome, response=response, retrieved_context=None)
        slices.add(detail["metadata"], RowResult(outcome, row.scores, row.record))
        page.append(json.dumps(detail))
        size += len(page[-1])
    if page:
        add_page(f"[{','.join(page)}]")
        pages += 1
    index = builder.index
    described = list(slices.describe())
    for name in dict.fromkeys(one["column"] for one in described):
        values = [one["value"] for one in described if one["column"] == name]
        numbers = {value: number for number, value in enumerate(values)}
        index["slice_values"][name] = values
        index["slices"][name] = [
            None if text is None else numbers.get(text) for text in slices.texts(name)
        ]
    label = manifest.destination.run_name or result.evaluation_id
    return RunData(
        label=redact.text(label),
        facts=[[name, redact.text(text)] for name, text in _facts(result, builder)],
        evaluation_id=result.evaluation_id,
        run_id=result.run_id,
        rows=vars(summary.rows).copy(),
        warning=redact.text(summary.warning),
        notes=[redact.text(line) for line in _notes(result, builder.unmatched)],
        metrics=_metrics(summary, redact),
        columns=[builder.columns[name] for name in sorted(builder.columns, key=column_order)],
        slices=redact(described),
        index=index,
        pages=pages,
    )


class _IndexBuilder:
    """The index of the rows, column by column."""

    def __init__(self) -> None:
        self.columns: dict[str, ScoreColumn] = {}
        self.unmatched = 0
        self.judges: set[str] = set()
        self.models: set[str] = set()
        self.index = RowIndex(
            id=[],
            number=[],
            repetition=[],
            page=[],
            verdict=[],
            cause=[],
            error=[],
            question=[],
            answer=[],
            digest=[],
            latency=[],
            tokens=[],
            scores={},
            slices={},
            slice_values={},
        )

    def add(self, row: RowDetail, page: int) -> None:
        index, position = self.index, len(self.index["id"])
        self.unmatched += not row["matched"]
        index["id"].append(row["id"])
        index["number"].append(row["number"])
        index["repetition"].append(row["repetition"])
        index["page"].append(page)
        index["verdict"].append(row["verdict"])
        index["cause"].append(row["cause"])
        index["error"].append(row["error_class"])
        index["question"].append(_snippet(row["question"]))
        index["answer"].append(_snippet(row["error"] or row["answer"] or ""))
        answer = (row["answer"] or "").encode("utf-8", "surrogatepass")
        index["digest"].append(f"{crc32(answer):x}")
        # An invocation that failed at once was not a fast one.
        index["latency"].append(None if row["error"] else _rounded(row["latency"]))
        tokens = [row["input_tokens"], row["output_tokens"]]
        index["tokens"].append(None if tokens == [None, None] else sum(t or 0 for t in tokens))
        self.models |= {span["name"] for span in row["spans"] if span["kind"] in _MODELS}
        for rating in row["ratings"]:
            column = rating["column"]
            if rating["judge"]:
                self.judges.add(rating["judge"])
            if column.startswith(OVERALL_ASSESSMENT):
                continue
            if column not in self.columns:
                self.columns[column] = ScoreColumn(
                    column=column, name=rating["name"], kind="number", source=rating["source"]
                )
                index["scores"][column] = [None] * position
            if isinstance(rating["value"], str | bool):
                self.columns[column]["kind"] = "rating"
            index["scores"][column].append(_score(rating))
        for values in index["scores"].values():
            # A scorer may have several assessments of one column: the first one counts.
            del values[position + 1 :]
            values.extend([None] * (position + 1 - len(values)))


class _Slices:
    """The rows by the values of the columns of their records."""

    def __init__(self) -> None:
        self._rows: list[RowResult] = []
        self._texts: defaultdict[str, dict[int, str]] = defaultdict(dict)

    def add(self, metadata: dict[str, Any], row: RowResult) -> None:
        for name, value in metadata.items():
            if isinstance(value, str | int | bool) and len(str(value)) <= _MAX_SLICE_TEXT:
                self._texts[name][len(self._rows)] = str(value)
        self._rows.append(row)

    def texts(self, column: str) -> list[str | None]:
        """Return the value of each row in a column."""
        return [self._texts[column].get(number) for number in range(len(self._rows))]

    def describe(self) -> Iterator[SliceData]:
        """Yield the slices of the columns with a few values, the most frequent value first."""
        found = 0
        for column in sorted(self._texts):
            rows: defaultdict[str, list[RowResult]] = defaultdict(list)
            for number, text in self._texts[column].items():
                rows[text].append(self._rows[number])
            is_few = 2 <= len(rows) <= min(_MAX_SLICES, len(self._rows) // 2)
            if not is_few or found == _MAX_SLICE_COLUMNS:
                continue
            found += 1
            for text in sorted(rows, key=lambda text: (-len(rows[text]), text)):
                summary = summarize(rows[text])
                yield SliceData(
                    column=column,
                    value=text,
                    rows=summary.rows.total,
                    failed=summary.rows.failed,
                    metrics=[one for one in _metrics(summary) if one["kind"] == "score"],
                )


def _metrics(summary: Summary, redact: Redactor | None = None) -> list[MetricData]:
    return [
        _metric(summary.details[name], redact.text(name) if redact else name)
        for name in displayed_metrics(summary.details)
    ]


def _metric(detail: MetricSummary, name: str) -> MetricData:
    interval = detail.interval
    return MetricData(
        name=name,
        text=str(detail),
        kind=metric_kind(detail.name),
        value=_rounded(detail.value),
        low=_rounded(interval.low) if interval else None,
        high=_rounded(interval.high) if interval else None,
        n=detail.n,
        total=detail.total,
        clusters=detail.clusters,
        zeros=_rounded(detail.failures_as_zero),
    )


def _facts(result: EvaluationResult, builder: _IndexBuilder) -> Iterator[tuple[str, str]]:
    """Yield the lines of the header. Addresses of servers and paths are not among them."""
    manifest, index = result.manifest, builder.index
    dataset = manifest.dataset or {}
    if name := dataset.get("name"):
        yield "Dataset", str(name)
    if dataset.get("version") is not None:
        yield "Version", str(dataset["version"])
    if digest := dataset.get("digest"):
        yield "Digest", str(digest)
    yield "Started", manifest.created_at
    if manifest.destination.run_name:
        yield "Run", manifest.destination.run_name
    if result.run_id:
        yield "MLflow run", result.run_id
    yield "Evaluation", result.evaluation_id
    models = ", ".join(sorted(builder.models))
    yield "Model", f"{models} ({manifest.model})" if models else manifest.model
    if builder.judges:
        yield "Judge", ", ".join(sorted(builder.judges))
    if manifest.repeat > 1:
        yield "Repetitions", str(manifest.repeat)
    latencies = [seconds for seconds in index["latency"] if seconds is not None]
    if latencies:
        yield "Model time", f"{sum(latencies):,.1f} s"
    tokens = [number for number in index["tokens"] if number is not None]
    if tokens:
        yield "Model tokens", f"{sum(tokens):,}"
    if (cost := result.summary.metrics.get("agent/cost_usd/average")) is not None:
        covered = result.summary["agent/cost_usd/average"].n
        yield "Model cost", f"${cost * covered:,.4f}"
    judging = result.summary.judging
    if judging.calls or judging.cached:
        cached = f", {judging.cached:,} from the cache" if judging.cached else ""
        yield "Judge calls", f"{judging.calls:,}{cached}"
        yield "Judge tokens", f"{judging.input_tokens + judging.output_tokens:,}"
    if judging.cost_usd is not None:
        yield "Judge cost", f"${judging.cost_usd:,.4f}"
    # Of a journal of an earlier release they are not known.
    title = "Packages" if manifest.versions else "Packages of the report, not of the evaluation"
    versions = manifest.versions or package_versions()
    yield title, ", ".join(f"{name} {number}" for name, number in versions.items())


def _notes(result: EvaluationResult, unmatched: int) -> Iterator[str]:
    if not result.is_complete:
        yield "This evaluation is incomplete: not all rows were invoked and scored."
    if unmatched:
        yield f"{unmatched} rows belong to no record of the dataset."
    yield from result.summary.notes()


def _score(rating: RatingDetail) -> float | str | None:
    """Return what the table shows of an assessment."""
    if rating["number"] is not None:
        return _rounded(rating["number"])
    if rating["error"] is not None:
        return "error"
    return None if rating["value"] is None else str(rating["value"])[:_MAX_SLICE_TEXT]


def _snippet(text: str) -> str:
    return " ".join(text[: 4 * _SNIPPET].split())[:_SNIPPET]


def _rounded(number: float | None) -> float | None:
    # Six digits are what a person reads, and half of the index otherwise.
    return None if number is None or number != number else float(f"{number:.6g}")
