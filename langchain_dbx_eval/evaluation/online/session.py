"""The calls of one result of the callback: matched to records and scored in the background."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import Future, wait

from langchain_core.documents import Document

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.evaluation.journal.store import Journal
from langchain_dbx_eval.evaluation.online.matching import RecordIndex
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.run.pipeline import process_answer, score_sessions
from langchain_dbx_eval.evaluation.tracking.runs import Destination
from langchain_dbx_eval.evaluation.tracking.writer import MlflowWriter
from langchain_dbx_eval.scoring import Scorer

__all__ = ["EvaluationSession"]


class EvaluationSession:
    """Scores captured calls in the background, and collects them in one result.

    Args:
        dataset: The dataset; None scores without ground truth.
        index: Finds the record of a call.
        scorers: The scorers.
        doc_uri: Returns the URI of a retrieved document.
    """

    def __init__(
        self,
        dataset: EvalDataset | None,
        index: RecordIndex,
        scorers: Sequence[Scorer],
        doc_uri: Callable[[Document], str | None],
    ) -> None:
        self._dataset = dataset
        self._index = index
        self._scorers = scorers
        self._doc_uri = doc_uri
        self._repetitions: Counter[int] = Counter()
        self._call_count = 0
        self._numbering = threading.Lock()
        self._scoring: set[Future[None]] = set()
        self._errors: list[BaseException] = []
        self._journal: Journal | None = None
        self._creating_journal = threading.Lock()

    def __len__(self) -> int:
        return self._call_count

    def add(self, run: CapturedRun) -> Future[None]:
        """Start scoring a call.

        Returns:
            A future that is done when the row is scored and saved.
        """
        match = self._index.find(run)
        records = self._index.records
        with self._numbering:
            # Rows without a record are numbered behind all records of the dataset.
            number = len(records) + self._call_count if match is None else match
            self._call_count += 1
            self._repetitions[number] += 1
            key = RowKey(number, self._repetitions[number])
        answer = Answer(
            record=EvalRecord(request=run.request) if match is None else records[match],
            outcome=run.outcome(self._doc_uri),
            run=run,
            matched=match is not None,
        )
        scored = event_loop.start(self._process(key, answer))
        self._scoring.add(scored)
        scored.add_done_callback(self._on_scored)
        return scored

    def finish(self, *, run_name: str | None, experiment_name: str | None) -> EvaluationResult:
        """Wait for all scores, write the evaluation to MLflow, and return its result.

        Args:
            run_name: The name of the MLflow run.
            experiment_name: The MLflow experiment; None for the current one.

        Raises:
            JournalError: A row could not be saved.
        """
        pending = set(self._scoring)
        wait(pending)
        # A future is done before its callbacks run, so `_errors` may lack the last ones.
        last_errors = (scored.exception() for scored in pending)
        if error := next(filter(None, (*self._errors, *last_errors)), None):
            raise error
        journal = self._open_journal()
        score_sessions(journal, self._scorers)
        journal.update_manifest(complete=True)
        destination = Destination.current(run_name=run_name, experiment_name=experiment_name)
        return MlflowWriter(journal, destination, self._dataset).finish()

    async def _process(self, key: RowKey, answer: Answer) -> None:
        journal = self._journal
        if journal is None:
            # The manifest contains the digest of the dataset: reading the dataset may take long.
            journal = await asyncio.to_thread(self._open_journal)
        await process_answer(journal, self._scorers, key, answer)

    def _open_journal(self) -> Journal:
        with self._creating_journal:
            if self._journal is None:
                self._journal = Journal.create(
                    EvaluationManifest.describe(self._dataset, self._scorers, from_callback=True)
                )
            return self._journal

    def _on_scored(self, scored: Future[None]) -> None:
        if (error := scored.exception()) is not None:
            self._errors.append(error)
        self._scoring.discard(scored)
