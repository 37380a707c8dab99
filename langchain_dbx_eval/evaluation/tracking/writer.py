"""Writes the rows of a journal to MLflow: in the background during an evaluation, then the rest."""

from __future__ import annotations

import contextlib
import itertools
import threading
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from langchain_dbx_eval._internal.daemon_threads import SIGNAL_POLL_S
from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.log import describe_error, get_logger
from langchain_dbx_eval._internal.retry import RetryPolicy
from langchain_dbx_eval._redaction import contains_secret, remember_login
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.errors import TrackingError
from langchain_dbx_eval.evaluation.journal.manifest import Destination
from langchain_dbx_eval.evaluation.journal.rows import RowKey
from langchain_dbx_eval.evaluation.journal.store import (
    MAYBE_WRITTEN,
    UNSCORED,
    UNWRITTEN,
    UNWRITTEN_ANSWERS,
    Journal,
)
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.tracking.runs import MlflowRun, stored_destination
from langchain_dbx_eval.evaluation.tracking.store_access import redact_uri

__all__ = ["MlflowWriter", "sync"]

_logger = get_logger(__name__)

_INTERVAL_S = 5.0
_MAX_INTERVAL_S = 60.0
_BATCH = 200
_FLUSH_TIMEOUT_S = 20.0
_MAX_REJECTED = 10
_OPEN_TIMEOUT_S = 10.0
_MAX_NAMED = 5


class MlflowWriter:
    """Writes the rows that are scored and not in MLflow yet.

    Args:
        journal: Contains the rows, and which of them are written.
        destination: The store, experiment and run to write to.
        dataset: The dataset, which is logged as the run's input; None without one.
        is_new: Whether the evaluation was started by this process, and so has no run yet.
        includes_unscored: Whether rows whose scorers have not finished are written too, with the
            assessments that they have.

    Attributes:
        experiment_id: The experiment of the run; None until it is known.
    """

    def __init__(
        self,
        journal: Journal,
        destination: Destination,
        dataset: EvalDataset | None,
        *,
        is_new: bool = False,
        includes_unscored: bool = False,
    ) -> None:
        self._journal = journal
        self._unwritten = UNWRITTEN_ANSWERS if includes_unscored else UNWRITTEN
        self._is_new = is_new
        self._destination = destination
        self._dataset = dataset
        self._rejected: set[RowKey] = set()
        self._has_written = False
        self._stopping = threading.Event()
        self._run: MlflowRun | None = None
        self._has_dataset = dataset is None
        # Set after the first attempt to open the run, which may have failed.
        self._is_tried = threading.Event()
        self._error: Exception | None = None
        self.experiment_id = destination.experiment_id
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
        while thread.is_alive():
            thread.join(SIGNAL_POLL_S)

    def wait_for_run(self) -> None:
        """Wait until the run exists in MLflow and its id is logged, at most ten seconds.

        To be called in the block of `in_background`. If MLflow cannot be reached, the evaluation id
        is logged; the run is created as soon as it can be.
        """
        if not self._is_tried.wait(_OPEN_TIMEOUT_S) or self._run is None:
            reason = self._error or f"MLflow did not answer within {_OPEN_TIMEOUT_S:g} s"
            _logger.warning(
                "There is no MLflow run yet: %s. The evaluation runs without it; if it is "
                "interrupted, continue with resume=%r.",
                " ".join(str(reason).split()).rstrip("."),
                self._journal.evaluation_id,
            )

    def mark_failed(self) -> None:
        """Set the status of the run to FAILED, if it exists and was created for the evaluation."""
        if self._run is not None:
            try:
                self._run.mark_failed()
            except TrackingError as error:
                _logger.warning("%s", error)

    def finish(self, *, complete: bool = True) -> EvaluationResult:
        """Write the remaining rows and end the run; log a warning if that fails.

        Args:
            complete: Whether all rows of the evaluation are finished.

        Returns:
            The result.
        """
        try:
            return self.flush(complete=complete)
        except TrackingError as error:
            _logger.warning("%s", error)
        return EvaluationResult(self._journal, self._dataset)

    def flush(self, *, complete: bool) -> EvaluationResult:
        """Write the remaining rows and end the run; transient errors are retried for 20 seconds.

        Args:
            complete: Whether all rows of the evaluation are finished; if not, the status of the run
                is KILLED until the evaluation is resumed.

        Returns:
            The result, whose summary is the one that was written.

        Raises:
            TrackingError: The store could not be written to; nothing is lost.
        """
        mlflow = require("mlflow", extra="eval")

        def write() -> EvaluationResult:
            run, rejected = self._open(), None
            try:
                self._write_pending()
            except TrackingError as error:
                if error.retryable:
                    raise
                rejected = error
            # A row that MLflow rejects for good does not withhold the metrics of all rows.
            result = EvaluationResult(self._journal, self._dataset)
            status: Literal["FINISHED", "KILLED"] = "FINISHED" if complete else "KILLED"
            run.finish(result.metrics, result.table_pages(), status=status, summary=result.summary)
            self._journal.update_manifest(logged=complete and rejected is None)
            if rejected is not None:
                raise rejected
            return result

        policy = RetryPolicy(100, timeout=_FLUSH_TIMEOUT_S, initial_wait=1.0, max_wait=5.0)
        try:
            return policy.run(write)
        except Exception as error:  # the errors of a store: SQLAlchemy's, requests', MLflow's
            uri = self._destination.tracking_uri or mlflow.get_tracking_uri()
            remember_login(uri)
            msg = (
                f"The evaluation is saved in {self._journal.path}, but "
                f"{self._journal.count(self._unwritten)} of its rows are not in MLflow at "
                f"{redact_uri(uri)}: {error}. Write them later with: langchain-dbx-eval sync "
                f"{self._journal.manifest.run_id or self._journal.evaluation_id}"
            )
            raise TrackingError(msg) from (None if contains_secret(error) else error)

    def _write_at_intervals(self) -> None:
        try:
            self._announce(self._open())
        except Exception as error:
            self._error = error
        finally:
            self._is_tried.set()
        is_announced = self._run is not None
        interval = _INTERVAL_S
        while not self._stopping.wait(interval):
            try:
                run = self._write_pending()
                if not is_announced:
                    self._announce(run)
                    is_announced = True
                interval = _INTERVAL_S
            except Exception as error:
                interval = min(2 * interval, _MAX_INTERVAL_S)
                _logger.warning(
                    "Writing to MLflow failed (%s). The evaluation continues; the next "
                    "attempt is in %.0f s.",
                    error,
                    interval,
                )

    def _announce(self, run: MlflowRun) -> None:
        _logger.warning(
            "Evaluation %s is MLflow run %s. If it is interrupted, continue with resume=%r.",
            self._journal.evaluation_id,
            run.run_id,
            run.run_id,
        )

    def _write_pending(self) -> MlflowRun:
        run = self._open()
        if self._dataset is not None and not self._has_dataset:
            self._log_dataset(run, self._dataset)
            self._has_dataset = True
        self._delete_replaced(run)
        errors: list[TrackingError] = []
        self._has_written = False
        # Rows that were rejected before come last: they must not delay others.
        keys = iter(
            sorted(self._journal.row_keys(self._unwritten), key=self._rejected.__contains__)
        )
        while batch := list(itertools.islice(keys, _BATCH)):
            try:
                self._write(run, batch)
            except TrackingError as error:
                if error.retryable:
                    raise
                errors += self._write_one_by_one(run, batch)
        if errors:
            raise errors[0]
        return run

    def _log_dataset(self, run: MlflowRun, dataset: EvalDataset) -> None:
        try:
            run.log_dataset(dataset.mlflow_input())
        except Exception as error:  # a store that fails to describe itself, or MLflow
            if isinstance(error, TrackingError) and error.retryable:
                raise
            _logger.warning("The run has no dataset as its input: %s", describe_error(error))

    def _delete_replaced(self, run: MlflowRun) -> None:
        """Delete what retried rows replace, before their new traces are written."""
        traces = self._journal.manifest.replaced_traces
        if not traces:
            return
        try:
            run.delete_replaced(traces)
        except TrackingError as error:
            if error.retryable:
                raise
            _logger.warning("Traces of rows that were retried stay in the run: %s", error)
        self._journal.update_manifest(replaced_traces={})

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

    def _open(self) -> MlflowRun:
        """Return the run; the first call creates it, and stores its id in the journal."""
        if self._run is None:
            is_new, self._is_new = self._is_new, False
            run = MlflowRun.open(self._destination, self._journal.evaluation_id, is_new=is_new)
            self._journal.update_manifest(run_id=run.run_id, experiment_id=run.experiment_id)
            self.experiment_id, self._run = run.experiment_id, run
        return self._run


def sync(reference: str | Path) -> EvaluationResult:
    """Write the rows, metrics and table of an evaluation to MLflow that are not there yet.

    Rows of a callback whose scorers had not finished when its process ended are written with the
    assessments that they have: their calls cannot be repeated, and the journal does not contain the
    scorers. They are logged, and ``rows/unscored`` counts them. Those of `evaluate` are not
    written: resuming the evaluation scores them.

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
        is_final = manifest.from_callback
        destination = stored_destination(manifest)
        writer = MlflowWriter(journal, destination, None, includes_unscored=is_final)
        if is_final:
            journal.update_manifest(complete=True)
        result = writer.flush(complete=manifest.complete or is_final)
        if unscored := journal.row_keys(UNSCORED):
            _logger.warning(
                "%d of %d rows %s, since their scorers had not finished when the process ended: %s",
                len(unscored),
                journal.count(),
                "are in MLflow without the scores that are missing"
                if is_final
                else f"are not written (continue with resume={journal.evaluation_id!r})",
                _names(journal, unscored),
            )
        return result


def _names(journal: Journal, keys: Sequence[RowKey]) -> str:
    """Return the request ids of some rows, not all if these are many."""
    ids = [row.record.request_id for row in journal.read_rows(keys[:_MAX_NAMED])]
    return ", ".join([*ids, *(["…"] if len(keys) > len(ids) else [])])
