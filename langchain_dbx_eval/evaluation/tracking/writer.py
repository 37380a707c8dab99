"""Writes the rows of a journal to MLflow: in the background during an evaluation, then the rest."""

from __future__ import annotations

import contextlib
import itertools
import logging
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Literal

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.errors import TrackingError
from langchain_dbx_eval.evaluation.journal.manifest import Destination
from langchain_dbx_eval.evaluation.journal.rows import RowKey
from langchain_dbx_eval.evaluation.journal.store import MAYBE_WRITTEN, UNWRITTEN, Journal
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.tracking.runs import MlflowRun, stored_destination
from langchain_dbx_eval.evaluation.tracking.store_access import redact_uri

__all__ = ["MlflowWriter", "sync"]

_logger = logging.getLogger(__name__)

_INTERVAL_S = 5.0
_MAX_INTERVAL_S = 60.0
_BATCH = 200
_FLUSH_TIMEOUT_S = 20.0
_MAX_REJECTED = 10


class MlflowWriter:
    """Writes the rows that are scored and not in MLflow yet.

    Args:
        journal: Contains the rows, and which of them are written.
        destination: The store, experiment and run to write to.
        dataset: The dataset, which is logged as the run's input; None without one.
    """

    def __init__(
        self, journal: Journal, destination: Destination, dataset: EvalDataset | None
    ) -> None:
        self._journal = journal
        self._destination = destination
        self._dataset = dataset
        self._rejected: set[RowKey] = set()
        self._has_written = False
        self._stopping = threading.Event()
        uri = destination.tracking_uri
        if uri and redact_uri(uri) != uri:
            # A password is not stored: `sync` uses MLflow's current store (MLFLOW_TRACKING_URI).
            destination = replace(destination, tracking_uri=None)
        journal.update_manifest(destination=destination)

    @contextlib.contextmanager
    def in_background(self) -> Iterator[None]:
        """Write rows at intervals in a thread while the `with` block runs."""
        thread = threading.Thread(
            target=self._write_at_intervals, name="dbx-eval-mlflow", daemon=True
        )
        thread.start()
        try:
            yield
        finally:
            self._stopping.set()
        # Not after an exception: an interrupted evaluation does not wait for a slow server.
        thread.join()

    def finish(self, *, complete: bool = True) -> EvaluationResult:
        """Write the remaining rows and end the run; log a warning if that fails.

        Args:
            complete: Whether all rows of the evaluation are finished.

        Returns:
            The result.
        """
        try:
            self.flush(complete=complete)
        except TrackingError as error:
            _logger.warning("%s", error)
        return EvaluationResult(self._journal, self._dataset)

    def flush(self, *, complete: bool) -> None:
        """Write the remaining rows and end the run; transient errors are retried for 20 seconds.

        Args:
            complete: Whether all rows of the evaluation are finished; if not, the status of the run
                is KILLED until the evaluation is resumed.

        Raises:
            TrackingError: The store could not be written to; nothing is lost.
        """
        mlflow = require("mlflow", extra="eval")

        def write() -> None:
            self._write_pending()
            result = EvaluationResult(self._journal)
            status: Literal["FINISHED", "KILLED"] = "FINISHED" if complete else "KILLED"
            self._run.finish(
                result.metrics, result.table_pages(), status=status, summary=result.summary
            )
            self._journal.update_manifest(logged=complete)

        policy = RetryPolicy(100, timeout=_FLUSH_TIMEOUT_S, initial_wait=1.0, max_wait=5.0)
        try:
            policy.run(write)
        except Exception as error:  # the errors of a store: SQLAlchemy's, requests', MLflow's
            uri = self._destination.tracking_uri or mlflow.get_tracking_uri()
            msg = (
                f"The evaluation is saved in {self._journal.path}, but "
                f"{self._journal.count(UNWRITTEN)} of its rows are not in MLflow at "
                f"{redact_uri(uri)}: {error}. Write them later with: langchain-dbx-eval sync "
                f"{self._journal.manifest.run_id or self._journal.evaluation_id}"
            )
            raise TrackingError(msg) from error

    def _write_at_intervals(self) -> None:
        interval = _INTERVAL_S
        while not self._stopping.wait(interval):
            try:
                self._write_pending()
                interval = _INTERVAL_S
            except Exception as error:
                interval = min(2 * interval, _MAX_INTERVAL_S)
                _logger.warning(
                    "Writing to MLflow failed (%s). The evaluation continues; the next "
                    "attempt is in %.0f s.",
                    error,
                    interval,
                )

    def _write_pending(self) -> None:
        run = self._run
        errors: list[TrackingError] = []
        self._has_written = False
        # Rows that were rejected before come last: they must not delay others.
        keys = iter(sorted(self._journal.row_keys(UNWRITTEN), key=self._rejected.__contains__))
        while batch := list(itertools.islice(keys, _BATCH)):
            try:
                self._write(run, batch)
            except TrackingError as error:
                if error.retryable:
                    raise
                errors += self._write_one_by_one(run, batch)
        if errors:
            raise errors[0]

    def _write_one_by_one(self, run: MlflowRun, keys: Sequence[RowKey]) -> list[TrackingError]:
        """Write the rows of a rejected batch: the store may have rejected it for some of them only.

        Returns:
            The error of each rejected row.

        Raises:
            TrackingError: A transient error, or `_MAX_REJECTED` rows were rejected and none was
                written: the store probably rejects every row.
        """
        errors: list[TrackingError] = []
        # The first rows tried are spread over the batch: neighbors may fail for the same reason.
        stride = max(1, len(keys) // _MAX_REJECTED)
        for key in itertools.chain.from_iterable(keys[start::stride] for start in range(stride)):
            try:
                self._write(run, [key])
            except TrackingError as error:
                errors.append(error)
                self._rejected.add(key)
                if error.retryable or (not self._has_written and len(errors) >= _MAX_REJECTED):
                    raise
        return errors

    def _write(self, run: MlflowRun, keys: Sequence[RowKey]) -> None:
        rows = list(self._journal.read_rows(keys))
        maybe_written = self._journal.count(MAYBE_WRITTEN) > 0
        self._journal.mark_writing(keys)
        trace_ids = run.write_rows(rows, maybe_written=maybe_written)
        self._has_written = True
        self._journal.mark_written({row.key: t for row, t in zip(rows, trace_ids, strict=True)})

    @cached_property
    def _run(self) -> MlflowRun:
        run = MlflowRun.open(self._destination, self._journal.evaluation_id)
        self._journal.update_manifest(run_id=run.run_id, experiment_id=run.experiment_id)
        if self._dataset is not None:
            run.log_dataset(self._dataset.mlflow_input())
        return run


def sync(reference: str | Path) -> EvaluationResult:
    """Write the rows, metrics and table of an evaluation to MLflow that are not there yet.

    Args:
        reference: The id of its MLflow run, its evaluation id, or the path of its journal.

    Returns:
        The result.

    Raises:
        NotFoundError: This machine has no such evaluation.
        JournalError: Another process is running it, or its journal cannot be read.
        TrackingError: MLflow cannot be written to.
    """
    journal = Journal.find(reference)
    with journal.locked():
        manifest = journal.manifest
        writer = MlflowWriter(journal, stored_destination(manifest), None)
        writer.flush(complete=manifest.complete)
    return EvaluationResult(journal)
