"""`EvaluationResult`: the result of an evaluation, in the names of Agent Evaluation."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Row, RowKey
from langchain_dbx_eval.evaluation.journal.store import (
    FAILED,
    REPEATED,
    UNWRITTEN,
    UNWRITTEN_ANSWERS,
    Journal,
)
from langchain_dbx_eval.scoring.aggregates import (
    Failures,
    Metrics,
    RecordKey,
    RowResult,
    Summary,
    summarize,
)
from langchain_dbx_eval.scoring.contract import OUTCOME_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

    from langchain_dbx_eval.reporting.gate import CheckReport

__all__ = ["EvaluationResult", "Rows", "compute_on_rows", "frame_of", "summarize_rows"]

_FIRST_COLUMNS = ("request_id", "repetition", "request", "response", "expected_response")
_PAGE = 200


class Rows(Sequence[Row]):
    """The rows of a journal in the order of the dataset; each access reads the journal."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @cached_property
    def _keys(self) -> list[RowKey]:
        return self._journal.row_keys()

    def __len__(self) -> int:
        return len(self._keys)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return list(self._journal.read_rows(self._keys[index]))
        return self._journal.row(self._keys[index])

    def __iter__(self) -> Iterator[Row]:
        return self._journal.rows()


class EvaluationResult:
    """The result of an evaluation, read from its journal.

    Attributes:
        rows: Its rows in the order of the dataset: a sequence that reads each row when it is
            accessed.
        computes_remotely: Whether its rows are on other machines.
    """

    computes_remotely = False

    def __init__(self, journal: Journal, dataset: EvalDataset | None = None) -> None:
        self._journal = journal
        self._dataset = dataset
        self.rows: Sequence[Row] = Rows(journal)

    @classmethod
    def load(cls, run_id: str | Path) -> EvaluationResult:
        """Load the result of an earlier evaluation on this machine, finished or not.

        Args:
            run_id: The id of its MLflow run, its evaluation id, or the path of its journal.

        Raises:
            NotFoundError: This machine has no such evaluation.
            JournalError: Its journal cannot be read.
        """
        return cls(Journal.find(run_id))

    @property
    def journal(self) -> Path:
        """The path of the journal, which contains all of this result: the file may be copied.

        While the evaluation runs, it contains what was saved before this was read.
        """
        self._journal.checkpoint()
        return self._journal.path

    @property
    def manifest(self) -> EvaluationManifest:
        """What the evaluation consists of, and how far it got."""
        return self._journal.manifest

    @property
    def evaluation_id(self) -> str:
        """The id of the evaluation, which it has before MLflow is reached."""
        return self._journal.evaluation_id

    @property
    def run_id(self) -> str | None:
        """The id of the MLflow run; None until MLflow was reached."""
        return self._journal.manifest.run_id

    @property
    def experiment_id(self) -> str | None:
        """The id of the MLflow experiment of the run; None until MLflow was reached."""
        return self._journal.manifest.experiment_id

    @property
    def tracking_uri(self) -> str | None:
        """The MLflow store of the run; None until MLflow was reached."""
        return self._journal.manifest.destination.tracking_uri

    @property
    def pending_rows(self) -> int:
        """Number of rows that are not in MLflow yet: ``langchain-dbx-eval sync`` writes them."""
        # The calls of a callback cannot be scored later.
        is_final = self._journal.manifest.from_callback
        return self._journal.count(UNWRITTEN_ANSWERS if is_final else UNWRITTEN)

    @property
    def dataset(self) -> EvalDataset | None:
        """The dataset, pinned to the version that was evaluated; None if there was none.

        A result that was loaded contains the records that have a row.
        """
        if self._dataset is None and self._journal.manifest.dataset is not None:
            rows = (row for row in self.rows if row.matched and row.repetition == 1)
            self._dataset = EvalDataset.load([row.record for row in rows])
        return self._dataset

    @property
    def dataset_name(self) -> str | None:
        """The name of the dataset; None if it has none."""
        return (self._journal.manifest.dataset or {}).get("name")

    @property
    def is_complete(self) -> bool:
        """Whether every row is scored; always true for calls that a callback captured."""
        manifest = self._journal.manifest
        return manifest.complete or manifest.from_callback

    @property
    def metrics(self) -> Metrics:
        """The run's metrics by name, such as ``retrieval/ground_truth/document_recall/average``.

        The shorter names of the documentation (``response/llm_judged/groundedness/percentage``) are
        accepted too.
        """
        return self.summary.metrics

    @cached_property
    def summary(self) -> Summary:
        """The metrics with their coverage and intervals, the rows by outcome, and the failures.

        ``summary["<metric>"]`` returns one metric. Rows with one ``request_id``, such as those of
        one record with ``repeat=``, are a cluster.
        """
        return self.summarize()

    def summarize(
        self, *, cluster: RecordKey | None = None, failures: Failures = "exclude"
    ) -> Summary:
        """Summarize the rows with other clusters, or with failures as zeros.

        Args:
            cluster: Column of the records, or function of a record: rows with equal values depend
                on each other, such as questions about one document. Default: the rows with one
                ``request_id``.
            failures: ``"exclude"``: a score is the mean of the rows that have one; ``"zero"``:
                failed rows, and empty answers without a score, count as 0.

        Raises:
            ConfigurationError: An argument is invalid, or no record has the column `cluster`.
        """
        summary: Summary = compute_on_rows(
            partial(summarize_rows, failures=failures), self, cluster=cluster
        )
        return summary

    def compute(
        self,
        function: Callable[..., Any],
        results: Sequence[EvaluationResult],
        keys: Mapping[str, Any],
    ) -> Any:
        """Call a function of this package where the rows are; see `compute_on_rows`."""
        return function(*(result.rows for result in results), **keys)

    def check(
        self,
        *conditions: str,
        cluster: RecordKey | None = None,
        failures: Failures = "exclude",
    ) -> CheckReport:
        """Check conditions on the metrics, such as ``"correctness >= 0.9"``.

        ``docs/gate.md`` describes the conditions. `compare(…).check` also compares with a baseline.

        Args:
            *conditions: The conditions. All must pass.
            cluster: See `summarize`.
            failures: See `summarize`.

        Returns:
            The report: its ``verdict`` is "pass", "regression", "inconclusive" or "could not
            run".

        Raises:
            ConfigurationError: A condition is invalid, or there is none.
        """
        from langchain_dbx_eval.reporting.gate.check import check_result

        return check_result(self, conditions, cluster=cluster, failures=failures)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """``{"eval_results": …}``: one line per row, with its inputs, outcome and assessments.

        If records were repeated, the column ``repetition`` contains which invocation a row is.
        """
        return {"eval_results": frame_of(self.rows)}

    def table_pages(self) -> Iterator[pd.DataFrame]:
        """Yield ``tables["eval_results"]`` in pages, for tables that do not fit in memory.

        Yields:
            At least one frame, each with all columns of the whole table.
        """
        pandas = require("pandas", extra="eval")
        names = dict.fromkeys(name for row in self.rows for name in _line(row))
        if not self._journal.count(REPEATED):
            names.pop("repetition", None)
        columns = _sort_columns(names)
        for start in range(0, len(self.rows) or 1, _PAGE):
            page = self.rows[start : start + _PAGE]
            yield pandas.DataFrame(_columns(page), columns=columns)

    @property
    def trace_ids(self) -> tuple[str | None, ...]:
        """The MLflow trace of each row; None for a row that is not written yet."""
        return tuple(row.trace_id for row in self.rows)

    @property
    def sample(self) -> EvaluationResult:
        """The rows for a report: all of them, except of an evaluation on Spark."""
        return self

    @property
    def failures(self) -> list[Row]:
        """The rows whose invocation failed."""
        return list(self._journal.rows(FAILED))

    @property
    def unmatched(self) -> list[Row]:
        """The rows without a record of the dataset: calls that a callback captured."""
        return [row for row in self.rows if not row.matched]

    @property
    def next_step(self) -> str:
        """How to complete the evaluation, or its MLflow run; empty if both are complete."""
        manifest = self._journal.manifest
        run = manifest.run_id or self._journal.evaluation_id
        if manifest.logged:
            return ""
        if not self.is_complete:
            return f"incomplete: continue with evaluate(…, resume={run!r})"
        return f"not all in MLflow yet: langchain-dbx-eval sync {run}"

    def show(self, path: str | Path | None = None) -> Path:
        """Write the HTML report, and open it: in a notebook inline, else in the browser.

        Args:
            path: The file; default: a file of this evaluation in ``reports`` of ``DBX_EVAL_HOME``.

        Returns:
            The file. Its path is printed.
        """
        from langchain_dbx_eval.reporting.notebook import show_result

        return show_result(self, path)

    def __repr__(self) -> str:
        data = f" on {self.dataset_name}" if self.dataset_name else ""
        rows = f"{len(self.rows)} rows{data}, 0 failed"
        if warning := self.summary.warning:
            rows = f"{warning}{data}"
        if errors := self.summary.errors:
            named = ", ".join(f"{name} {number}" for name, number in sorted(errors.items()))
            rows += f", scorer errors in rows: {named}"
        text = f"EvaluationResult({rows}, run_id={self.run_id!r})"
        return f"{text} {self.next_step}".rstrip()

    def _repr_html_(self) -> str:
        from langchain_dbx_eval.reporting.notebook import result_html

        return result_html(self)


def compute_on_rows(
    function: Callable[..., Any], *results: EvaluationResult, **keys: RecordKey | None
) -> Any:
    """Call a function with the rows of results; if some are on a cluster, in a task there.

    Args:
        function: A function of this package, or a partial of one with plain arguments. Its
            parameters are the rows of each result, which can be iterated several times, and `keys`.
        *results: The results.
        **keys: Columns of the records, or functions of a record.
    """
    place = next((result for result in results if result.computes_remotely), results[0])
    return place.compute(function, results, keys)


def summarize_rows(
    rows: Iterable[Row], *, cluster: RecordKey | None = None, failures: Failures = "exclude"
) -> Summary:
    """Summarize rows; see `EvaluationResult.summarize`."""
    results = (RowResult(row.outcome, row.scores, row.record) for row in rows)
    return summarize(results, cluster=cluster, failures=failures)


def frame_of(rows: Iterable[Row]) -> pd.DataFrame:
    """Return rows as ``tables["eval_results"]``."""
    pandas = require("pandas", extra="eval")
    table: pd.DataFrame = pandas.DataFrame(_columns(rows))
    if "repetition" in table and (table["repetition"] == 1).all():
        table = table.drop(columns="repetition")
    if "trace_id" in table and table["trace_id"].isna().all():
        table = table.drop(columns="trace_id")
    return table[_sort_columns(table.columns)]


def _line(row: Row) -> dict[str, Any]:
    return {**row.to_dict(), "repetition": row.repetition, "trace_id": row.trace_id}


def _columns(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """Return the values of all lines by column; NaN for a line that lacks the column.

    A frame that is built from lines needs a dict per line in memory at the same time.
    """
    columns: dict[str, list[Any]] = {}
    for number, row in enumerate(rows):
        line = _line(row)
        for name in [name for name in line if name not in columns]:
            columns[name] = [math.nan] * number
        for name, values in columns.items():
            values.append(line.get(name, math.nan))
    return columns


def _sort_columns(names: Iterable[str]) -> list[str]:
    """Put request and response first, trace, latency and tokens last."""
    remaining = list(names)
    first = [column for column in _FIRST_COLUMNS if column in remaining]
    last = [column for column in ("trace_id", *OUTCOME_COLUMNS) if column in remaining]
    return [*first, *(c for c in remaining if c not in {*first, *last}), *last]
