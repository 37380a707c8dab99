"""`EvaluationResult`: what an evaluation found, in the names of Agent Evaluation."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.evaluation.journal.rows import Row, RowKey
from langchain_dbx_eval.evaluation.journal.store import FAILED, UNWRITTEN, Journal
from langchain_dbx_eval.scoring.aggregates import Metrics, Summary, summarize
from langchain_dbx_eval.scoring.contract import OUTCOME_COLUMNS

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["EvaluationResult", "Rows"]

_FIRST = ("request_id", "repetition", "request", "response", "expected_response")
_PAGE = 200


class Rows(Sequence[Row]):
    """The rows of a journal, in the order of the dataset; each is read when it is asked for."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    @cached_property
    def _places(self) -> list[RowKey]:
        return self._journal.places()

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self._journal.row(place) for place in self._places[index]]
        return self._journal.row(self._places[index])

    def __iter__(self) -> Iterator[Row]:
        return self._journal.rows()


class EvaluationResult:
    """What an evaluation found, read from its journal.

    Attributes:
        rows: Its rows, in the order of the dataset: a sequence that reads each when asked for it.
    """

    def __init__(self, journal: Journal, dataset: EvalDataset | None = None) -> None:
        self._journal = journal
        self._dataset = dataset
        self.rows = Rows(journal)

    @classmethod
    def load(cls, run_id: str | Path) -> EvaluationResult:
        """Read the result of an earlier evaluation, finished or not, on this machine.

        Args:
            run_id: The id of its MLflow run, or the path of its journal.

        Raises:
            NotFoundError: No such evaluation is known here.
            JournalError: Its journal cannot be read.
        """
        return cls(Journal.find(run_id))

    @property
    def journal(self) -> Path:
        """The file that holds all of this result."""
        return self._journal.path

    @property
    def run_id(self) -> str | None:
        """The MLflow run that it is logged to; None until MLflow could be reached."""
        run_id: str | None = self._fact("run_id")
        return run_id

    @property
    def experiment_id(self) -> str | None:
        """The MLflow experiment of that run."""
        experiment_id: str | None = self._fact("experiment_id")
        return experiment_id

    @property
    def pending_rows(self) -> int:
        """How many rows are not in MLflow yet: ``langchain-dbx-eval sync`` writes them."""
        return self._journal.count(UNWRITTEN)

    @property
    def dataset(self) -> EvalDataset | None:
        """The dataset, pinned to the version that was evaluated; None where none was given.

        Of a result that was loaded: its records, as they were asked.
        """
        if self._dataset is None and self._fact("dataset") is not None:
            asked = (row for row in self.rows if row.matched and row.repetition == 1)
            self._dataset = EvalDataset.load([row.record for row in asked])
        return self._dataset

    @property
    def metrics(self) -> Metrics:
        """The run's metrics by name, such as ``retrieval/ground_truth/document_recall/average``.

        The documentation page's shorter spelling (``response/llm_judged/groundedness/percentage``)
        is found too.
        """
        return self.summary.metrics

    @cached_property
    def summary(self) -> Summary:
        """The metrics with how far they can be trusted: numbers of rows, intervals, errors."""
        return summarize((row.outcome, row.scores) for row in self.rows)

    @cached_property
    def tables(self) -> dict[str, pd.DataFrame]:
        """``{"eval_results": …}``: one line a row, with its inputs, outcome and assessments.

        Where records were asked more than once, ``repetition`` says which asking it was.
        """
        pandas = require("pandas", extra="eval")
        table = pandas.DataFrame(_columns(self.rows))
        if "repetition" in table and (table["repetition"] == 1).all():
            table = table.drop(columns="repetition")
        if "trace_id" in table and table["trace_id"].isna().all():
            table = table.drop(columns="trace_id")
        return {"eval_results": table[_in_order(table.columns)]}

    def table_pages(self) -> Iterator[pd.DataFrame]:
        """The lines of ``tables["eval_results"]``, some at a time: for tables too large for memory.

        Yields:
            Frames with all columns of the whole table, at least one.
        """
        pandas = require("pandas", extra="eval")
        names = dict.fromkeys(name for row in self.rows for name in _line(row))
        if not self._journal.count("repetition > 1"):
            names.pop("repetition", None)
        columns = _in_order(names)
        rows = iter(self.rows)
        page = list(itertools.islice(rows, _PAGE))
        while True:
            yield pandas.DataFrame(_columns(page), columns=columns)
            if not (page := list(itertools.islice(rows, _PAGE))):
                return

    @property
    def trace_ids(self) -> tuple[str | None, ...]:
        """The MLflow trace of each row; None for one that is not there yet."""
        return tuple(row.trace_id for row in self.rows)

    @property
    def failures(self) -> list[Row]:
        """The rows whose call failed."""
        return list(self._journal.rows(FAILED))

    @property
    def unmatched(self) -> list[Row]:
        """The rows whose call belongs to no record of the dataset."""
        return [row for row in self.rows if not row.matched]

    def __repr__(self) -> str:
        name = (self._fact("dataset") or {}).get("name")
        data = f" on {name}" if name else ""
        told = (
            f"EvaluationResult({len(self.rows)} rows{data}, {self._journal.count(FAILED)} failed, "
            f"run_id={self.run_id!r})"
        )
        if self._fact("logged"):
            return told
        run = self.run_id or self._journal.evaluation_id
        if not self._fact("complete") and not self._fact("of_calls"):
            return f"{told} not at its end: evaluate(…, resume={run!r}) goes on with it"
        return f"{told} not all in MLflow yet: langchain-dbx-eval sync {run}"

    def _repr_html_(self) -> str:
        pandas = require("pandas", extra="eval")
        metrics = pandas.DataFrame(sorted(self.metrics.items()), columns=["metric", "value"])
        return f"<p>{self!r}</p>{metrics.to_html(index=False)}"

    def _fact(self, name: str) -> Any:
        return self._journal.facts.get(name)


def _line(row: Row) -> dict[str, Any]:
    return {**row.to_dict(), "repetition": row.repetition, "trace_id": row.trace_id}


def _columns(rows: Iterable[Row]) -> dict[str, list[Any]]:
    """The values of all lines by column; NaN, as in any frame, where a line has none.

    A frame made of lines would need all of them as dicts beside it.
    """
    columns: dict[str, list[Any]] = {}
    for number, row in enumerate(rows):
        line = _line(row)
        for name in [name for name in line if name not in columns]:
            columns[name] = [math.nan] * number
        for name, values in columns.items():
            values.append(line.get(name, math.nan))
    return columns


def _in_order(names: Iterable[str]) -> list[str]:
    """What was asked and answered first, what it cost last."""
    given = list(names)
    first = [column for column in _FIRST if column in given]
    last = [column for column in ("trace_id", *OUTCOME_COLUMNS) if column in given]
    return [*first, *(c for c in given if c not in {*first, *last}), *last]
