"""Brings a journal's rows to MLflow: in the background while the evaluation runs, then the rest."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.errors import TrackingError
from langchain_dbx_eval.evaluation.journal.rows import RowKey
from langchain_dbx_eval.evaluation.journal.store import MAYBE_WRITTEN, UNWRITTEN, Journal
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.tracking.destination import Destination
from langchain_dbx_eval.evaluation.tracking.spans import written_row

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation.tracking.runs import MlflowRun

__all__ = ["MlflowWriter", "sync"]

_logger = logging.getLogger(__name__)

_INTERVAL_S = 5.0
_LONGEST_INTERVAL_S = 60.0
_BATCH = 200
_PATIENCE_S = 20.0


class MlflowWriter:
    """Writes what is scored and not yet written.

    A store that cannot be reached is tried again and again, while the evaluation goes on.

    Args:
        journal: Where the rows are, and where it is kept how far they are written.
        destination: Where they go.
        dataset: The dataset, which the run is linked to; None without one.
    """

    def __init__(
        self, journal: Journal, destination: Destination, dataset: EvalDataset | None
    ) -> None:
        self._journal = journal
        self._destination = destination
        self._dataset = dataset
        self._run: MlflowRun | None = None
        self._ending = threading.Event()
        journal.note(destination=destination.to_json())

    @contextlib.contextmanager
    def in_background(self) -> Iterator[None]:
        """Write from time to time meanwhile, in a thread of its own."""
        thread = threading.Thread(target=self._work, name="dbx-eval-mlflow", daemon=True)
        thread.start()
        try:
            yield
        except BaseException:
            # Whoever ends it now does not wait for a server that may not answer.
            self._ending.set()
            raise
        self._ending.set()
        thread.join()

    def finish(self, *, complete: bool = True) -> EvaluationResult:
        """Write all that is left, and end the run; say so where that cannot be done, and go on.

        Args:
            complete: As for `flush`.

        Returns:
            The result.
        """
        try:
            self.flush(complete=complete)
        except TrackingError as error:
            _logger.warning("%s", error)
        return EvaluationResult(self._journal, self._dataset)

    def flush(self, *, complete: bool) -> None:
        """Write all that is left, and end the run.

        Args:
            complete: Whether the evaluation has come to its end; else the run is marked as killed,
                until it is gone on with.

        Raises:
            TrackingError: The store could not be written to for a while; nothing is lost.
        """
        give_up = time.monotonic() + _PATIENCE_S
        for pause in itertools.chain([1.0, 2.0], itertools.repeat(5.0)):
            try:
                self._write_all()
                self._end_run(complete)
                return
            except Exception as error:  # a store fails in its own ways: SQLAlchemy's, requests'
                passing = isinstance(error, TrackingError) and error.retryable
                if not passing or time.monotonic() + pause > give_up:
                    raise self._failure(error) from error
                _logger.info("MLflow could not be written to, trying again: %s", error)
            time.sleep(pause)

    def _work(self) -> None:
        interval = _INTERVAL_S
        while not self._ending.wait(interval):
            try:
                self._write_all()
                interval = _INTERVAL_S
            except Exception as error:
                interval = min(2 * interval, _LONGEST_INTERVAL_S)
                _logger.warning(
                    "MLflow could not be written to (%s). The evaluation goes on; trying again in "
                    "%.0f s.",
                    error,
                    interval,
                )

    def _write_all(self) -> None:
        run = self._opened()
        refused: dict[RowKey, TrackingError] = {}
        # From a list of their places: those that are refused stay unwritten, and are passed by.
        places = self._journal.places(UNWRITTEN)
        while places:
            batch, places = places[:_BATCH], places[_BATCH:]
            try:
                self._write(run, batch)
            except TrackingError as error:
                if error.retryable:
                    raise
                # One row may be what is refused: the others are not to wait behind it.
                refused |= self._write_each(run, batch)
        if refused:
            raise next(iter(refused.values()))

    def _write_each(self, run: MlflowRun, places: Sequence[RowKey]) -> dict[RowKey, TrackingError]:
        refused = {}
        for place in places:
            try:
                self._write(run, [place])
            except TrackingError as error:
                if error.retryable:
                    raise
                refused[place] = error
        return refused

    def _write(self, run: MlflowRun, places: Sequence[RowKey]) -> None:
        rows = [self._journal.row(place) for place in places]
        unsure = self._journal.count(MAYBE_WRITTEN) > 0
        self._journal.mark_writing(places)
        written = [written_row(row, self._journal.evaluation_id) for row in rows]
        trace_ids = run.write_rows(written, maybe_written=unsure)
        self._journal.mark_written(dict(zip(places, trace_ids, strict=True)))

    def _opened(self) -> MlflowRun:
        if self._run is None:
            run = self._destination.open(self._journal.evaluation_id)
            self._journal.note(run_id=run.run_id, experiment_id=run.experiment_id)
            if self._dataset is not None:
                run.log_dataset(self._dataset.mlflow_input())
            self._run = run
        return self._run

    def _end_run(self, complete: bool) -> None:
        result = EvaluationResult(self._journal)
        self._opened().finish(
            result.metrics,
            result.table_pages(),
            status="FINISHED" if complete else "KILLED",
        )
        self._journal.note(logged=complete)

    def _failure(self, error: Exception) -> TrackingError:
        left = self._journal.count(UNWRITTEN)
        run = self._journal.facts.get("run_id") or self._journal.evaluation_id
        msg = (
            f"The evaluation is done and saved in {self._journal.path}, but {left} of its rows are "
            f"not in MLflow at {self._destination.shown}: {error}. Write them later with: "
            f"langchain-dbx-eval sync {run}"
        )
        return TrackingError(msg)


def sync(reference: str | Path) -> EvaluationResult:
    """Write to MLflow what an evaluation could not write when it ran.

    Args:
        reference: The id of its MLflow run, its own id, or its journal's file.

    Returns:
        The result.

    Raises:
        NotFoundError: No such evaluation is known on this machine.
        JournalError: It is being run at this moment, or its journal cannot be read.
        TrackingError: MLflow still cannot be written to.
    """
    require("mlflow", extra="eval")
    journal = Journal.find(reference)
    with journal.claimed():
        facts = journal.facts
        destination = Destination.of_journal(facts) or Destination.planned(facts)
        writer = MlflowWriter(journal, destination, None)
        writer.flush(complete=bool(facts.get("complete")))
    return EvaluationResult(journal)
