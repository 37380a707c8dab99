"""The result of an evaluation on Spark: numbers on the driver, rows in the results table."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Any, overload

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.result import EvaluationResult, frame_of
from langchain_dbx_eval.evaluation.spark.aggregation import (
    RowFrame,
    compute_in_task,
    decode_result,
    frame_of_journal,
)
from langchain_dbx_eval.scoring.aggregates import Summary

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ResultsTable", "SampledResult", "SparkEvaluationResult"]

_ENCODED = ("number", "repetition", "answer", "outputs")
_INTERNAL = ("answer", "outputs", "version", "model", "scorers", "dataset")


class ResultsTable(Sequence[Row]):
    """The rows of an evaluation, which stay in the results table.

    It is ``result.tables["eval_results"]``, and as a sequence ``result.rows``: each access reads
    the table, and an iteration has one page of rows in memory.

    Args:
        frame: The rows of the evaluation, one per key.
        columns: The columns of the scorers, in their order.
        location: The name or path of the table.
        count: The number of rows.
    """

    def __init__(self, frame: Any, columns: Sequence[str], location: str, count: int) -> None:
        self._frame = frame
        self._columns = columns
        self._count = count
        self.location = location

    def to_spark(self) -> Any:
        """Return a Spark frame with one line per row.

        Its columns: ``request_id``, ``repetition``, ``request``, ``response``, ``error``,
        ``latency_seconds``, ``total_tokens``, ``cost_usd``, and ``scores``, a map from the column
        of a score to its number (1 for "yes" and True).
        """
        return self._frame.drop(*_INTERNAL)

    def head(self, n: int = 5) -> pd.DataFrame:
        """Return the first rows in the columns of the local engine."""
        return self.to_pandas(limit=n)

    def to_pandas(self, limit: int | None = 1000) -> pd.DataFrame:
        """Return rows in the columns that ``tables["eval_results"]`` has in the local engine.

        Args:
            limit: The largest number of rows; None: all of them, which must fit in memory.
        """
        require("pandas", extra="eval")
        return frame_of(self._read(limit))

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Row]:
        return self._read(None)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        numbers = range(self._count)[index]
        if isinstance(numbers, int):
            return next(islice(self._read(numbers + 1), numbers, None))
        wanted = set(numbers)
        found = enumerate(self._read(max(wanted, default=-1) + 1))
        rows = {number: row for number, row in found if number in wanted}
        return [rows[number] for number in numbers]

    def __repr__(self) -> str:
        return (
            f"ResultsTable({self._count} rows in {self.location}): .to_spark(), .head(), "
            ".to_pandas(limit=…)"
        )

    def _read(self, limit: int | None) -> Iterator[Row]:
        frame = self._frame.select(*_ENCODED).orderBy("number", "repetition")
        if limit is not None:
            frame = frame.limit(limit)
        for row in frame.toLocalIterator():
            yield decode_result(row.asDict(), self._columns)


class SampledResult(EvaluationResult):
    """The rows of an evaluation on Spark that are on the driver, with the summary of all rows."""

    def __init__(self, journal: Journal, dataset: EvalDataset, summary: Summary) -> None:
        super().__init__(journal, dataset)
        self.__dict__["summary"] = summary


class SparkEvaluationResult(EvaluationResult):
    """The result of ``evaluate(…, engine="spark")``.

    Metrics and summary are those of all rows, computed on the cluster. ``rows`` and
    ``tables["eval_results"]`` read the results table when they are accessed.

    Attributes:
        rows: All rows, in the order of the dataset if it has one.
        results_table: The name or path of the results table.
    """

    computes_remotely = True

    def __init__(
        self,
        journal: Journal,
        dataset: EvalDataset,
        summary: Summary,
        rows: RowFrame,
        location: str,
    ) -> None:
        super().__init__(journal, dataset)
        self._frame = rows
        self.__dict__["summary"] = summary
        self._sample = SampledResult(journal, dataset, summary)
        self.results_table = location
        self.rows = ResultsTable(rows.frame, rows.columns, location, summary.rows.total)

    @property
    def sample(self) -> EvaluationResult:
        """The rows that are on this machine: the sample of ``trace_sample``, and failed rows."""
        return self._sample

    def compute(
        self,
        function: Callable[..., Any],
        results: Sequence[EvaluationResult],
        keys: Mapping[str, Any],
    ) -> Any:
        """See `EvaluationResult.compute`: it is called in one task of the cluster."""
        session = self._frame.frame.sparkSession
        frames = [
            result._frame
            if isinstance(result, SparkEvaluationResult)
            else frame_of_journal(result._journal, session)
            for result in results
        ]
        if any(frame.frame.sparkSession is not session for frame in frames):
            msg = (
                "The evaluations are of two Spark sessions, so no task can read both. Evaluate "
                "again in one session: rows that are in a results table are not invoked again."
            )
            raise ConfigurationError(msg)
        return compute_in_task(function, frames, keys)

    @cached_property
    def tables(self) -> dict[str, Any]:
        """``{"eval_results": …}``: a `ResultsTable`, which reads the rows when they are needed."""
        return {"eval_results": self.rows}

    def table_pages(self) -> Iterator[pd.DataFrame]:
        """Yield the rows of `sample` in pages."""
        return self.sample.table_pages()
