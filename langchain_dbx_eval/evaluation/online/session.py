"""The calls of one result of the callback: matched to records and scored in the background."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import ExitStack

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval._internal.daemon_threads import wait_for
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord
from langchain_dbx_eval.errors import JournalError
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun, DocUri
from langchain_dbx_eval.evaluation.journal.manifest import Destination, EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.online.exit_flush import exit_flush
from langchain_dbx_eval.evaluation.online.matching import RecordIndex
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.run.pipeline import save_answer, score_answer, score_sessions
from langchain_dbx_eval.evaluation.tracking.writer import MlflowWriter
from langchain_dbx_eval.scoring import Scorer

__all__ = ["EvaluationSession"]


class EvaluationSession:
    """Saves captured calls, scores them in the background, and collects them in one result.

    Args:
        dataset: The dataset; None scores without ground truth.
        index: Finds the record of a call.
        scorers: The scorers.
        doc_uri: The URI of a retrieved document, as for `CapturedRun.outcome`.
        scorer_timeout: Seconds for each scorer of a row; None: no limit.
        exit_timeout: Seconds that the end of the process waits for scorers.

    Attributes:
        call_count: Number of calls that were added.
        exit_timeout: See above.
    """

    def __init__(
        self,
        dataset: EvalDataset | None,
        index: RecordIndex,
        scorers: Sequence[Scorer],
        doc_uri: DocUri | None,
        *,
        scorer_timeout: float | None,
        exit_timeout: float,
    ) -> None:
        self._dataset = dataset
        self._index = index
        self._scorers = scorers
        self._doc_uri = doc_uri
        self._repetitions: Counter[int] = Counter()
        self.call_count = 0
        self._scorer_timeout = scorer_timeout
        self.exit_timeout = exit_timeout
        self._numbering = threading.Lock()
        self._scoring: set[Future[None]] = set()
        self._journal: Journal | None = None
        self._creating_journal = threading.Lock()
        # Until `finish`, or the end of the process: the evaluation is running.
        self._journal_lock = ExitStack()
        exit_flush.sessions.add(self)

    def unscored(self) -> set[Future[None]]:
        """Return the rows whose scorers have not finished, or that could not be saved."""
        return set(self._scoring)

    def add(self, run: CapturedRun) -> Future[None]:
        """Save a call, and start scoring it.

        Returns:
            A future that is done when the row is scored and saved.
        """
        records = self._index.records
        with self._numbering:
            match = self._index.find(run, self._repetitions)
            # Rows without a record are numbered behind all records of the dataset.
            number = len(records) + self.call_count if match is None else match
            self.call_count += 1
            self._repetitions[number] += 1
            key = RowKey(number, self._repetitions[number])
        answer = Answer(
            record=EvalRecord(request=run.request) if match is None else records[match],
            outcome=run.outcome(self._doc_uri),
            run=run,
            matched=match is not None,
        )
        try:
            journal = self._open_journal()
            answer = save_answer(journal, key, answer)
        except JournalError as error:
            scored: Future[None] = Future()
            scored.set_exception(error)
        else:
            scored = event_loop.start(self._score(journal, key, answer))
        self._scoring.add(scored)
        scored.add_done_callback(self._on_scored)
        return scored

    def finish(self, destination: Destination) -> EvaluationResult:
        """Wait for all scores, write the evaluation to MLflow, and return its result.

        Args:
            destination: The MLflow store, experiment and run.

        Raises:
            JournalError: A row could not be saved.
        """
        scoring = set(self._scoring)
        wait_for(scoring)
        for scored in scoring:
            scored.result()
        journal = self._open_journal()
        score_sessions(journal, self._scorers, self._scorer_timeout)
        journal.update_manifest(complete=True)
        with self._journal_lock:
            result = MlflowWriter(journal, destination, self._dataset).finish()
        exit_flush.journals.pop(journal.evaluation_id, None)
        return result

    async def _score(self, journal: Journal, key: RowKey, answer: Answer) -> None:
        await score_answer(journal, self._scorers, key, answer, self._scorer_timeout)

    def _open_journal(self) -> Journal:
        with self._creating_journal:
            if self._journal is None:
                journal = Journal.create(
                    EvaluationManifest.describe(self._dataset, self._scorers, from_callback=True)
                )
                self._journal_lock.enter_context(journal.locked())
                self._journal = journal
                exit_flush.journals[journal.evaluation_id] = journal.path
            return self._journal

    def _on_scored(self, scored: Future[None]) -> None:
        # Those that failed are kept for `finish`.
        if scored.exception() is None:
            self._scoring.discard(scored)
