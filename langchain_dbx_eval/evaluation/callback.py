"""`EvaluationCallbackHandler`: listens to any chain, and scores what it does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from langchain_core.documents import Document

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.evaluation.capture import recorder as capture
from langchain_dbx_eval.evaluation.capture.handler import CaptureHandler
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun, RunCapture
from langchain_dbx_eval.evaluation.online.backlog import Backlog, OnFull
from langchain_dbx_eval.evaluation.online.matching import MatchFn, RecordIndex
from langchain_dbx_eval.evaluation.online.sampling import Sampler
from langchain_dbx_eval.evaluation.online.session import EvaluationSession
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.scoring import DEFAULT_SCORERS, select_scorers

__all__ = ["EvaluationCallbackHandler"]


class EvaluationCallbackHandler(CaptureHandler):
    """Attaches to any chain, and scores each of its calls against an evaluation dataset.

    A call belongs to the record that ``metadata["request_id"]`` of its config names, else to the
    one that asks the same, else to the one that `match_fn` names. A call of no record is scored by
    what needs no ground truth. All of this happens in the background: it neither slows the chain
    nor breaks it.

    Latency is that of the call as LangChain tells it. In `batch`, LangChain takes a chain's steps
    for all inputs together, so each call lasts as long as the batch; `invoke` and `evaluate` tell
    each row's own.

    Example:
        ```python
        handler = EvaluationCallbackHandler("main.default.questions")
        chain.batch(questions, config={"callbacks": [handler]})
        result = handler.result()
        ```

    Args:
        dataset: Whatever `EvalDataset.load` takes; None scores without ground truth.
        evaluator_config: Which judges run, as for `evaluate`.
        judge: Who judges, as for `evaluate`; None runs no built-in judge.
        judge_cache: A file that keeps verdicts.
        scorers: What to score with; default: `DEFAULT_SCORERS`.
        run_name: The name of the MLflow run.
        experiment_name: The MLflow experiment; default: MLflow's current one.
        match_fn: A function that is given a call (`CapturedRun`: its `request`, `metadata`, `tags`
            and `spans`) and returns its record's `request_id`, or None.
        doc_uri: Where a retrieved document comes from: a key of its metadata, or a function that is
            given the document; default: its ``doc_uri``, ``uri``, ``source`` or ``url``.
        sample_rate: The share of calls that are looked at, from 0 to 1; by the id of the run, so
            that two handlers of one rate look at the same calls.
        max_pending: How many calls may wait or be judged at once.
        on_full: What a call does that finds no place: ``"block"``, or ``"drop"`` its row, which
            `dropped` counts. Default: wait with a dataset, where a lost row spoils the result; drop
            without one, where a stalled chain is worse.

    Raises:
        NotFoundError: There is no such dataset.
        ConfigurationError: The judge, its configuration or another argument cannot be used.
    """

    def __init__(
        self,
        dataset: Any = None,
        *,
        evaluator_config: Mapping[str, Any] | None = None,
        judge: Any = None,
        judge_cache: str | Path | None = None,
        scorers: Iterable[Any] = DEFAULT_SCORERS,
        run_name: str | None = None,
        experiment_name: str | None = None,
        match_fn: MatchFn | None = None,
        doc_uri: str | Callable[[Document], str | None] | None = None,
        sample_rate: float = 1.0,
        max_pending: int = 1000,
        on_full: OnFull | None = None,
    ) -> None:
        self._sampler = Sampler(sample_rate)
        self._backlog = Backlog(
            self._score,
            max_pending=max_pending,
            on_full=on_full or ("drop" if dataset is None else "block"),
        )
        runs = RunCapture(
            self._backlog.put,
            keep=None if sample_rate == 1 else self._sampler,
            doc_uri_of=_doc_uri_of(doc_uri),
        )
        super().__init__(runs)
        self._dataset = None if dataset is None else EvalDataset.load(dataset)
        self._scorers = select_scorers(
            scorers, judge=judge, evaluator_config=evaluator_config, judge_cache=judge_cache
        )
        self._run_name = run_name
        self._experiment = experiment_name
        self._index = RecordIndex(list(self._dataset or ()), match_fn=match_fn)
        self._session = self._new_session()
        self._result: EvaluationResult | None = None
        self._making_result = threading.Lock()

    @property
    def dropped(self) -> int:
        """How many calls are not evaluated because `max_pending` others were."""
        return self._backlog.dropped

    @property
    def sampled_out(self) -> int:
        """How many calls `sample_rate` left out."""
        return self._sampler.left_out

    @property
    def abandoned(self) -> int:
        """How many calls were given up: 10,000 others had begun before they ended.

        A stream that is neither read to its end nor closed never ends.
        """
        return self.capture.abandoned

    @property
    def match_failures(self) -> int:
        """How often `match_fn` raised; each is logged, and the call taken as one of no record."""
        return self._index.match_failures

    @property
    def internal_errors(self) -> int:
        """How often this handler itself failed; each is logged, none reaches the chain."""
        return self._backlog.failures

    def result(self) -> EvaluationResult:
        """Wait until every call so far is scored, and write them to MLflow as one run.

        Returns:
            The result. Calls that end later belong to the next one; as long as there are none,
            the same result is returned again. Where MLflow could not be reached, the result says
            what is not written yet, and how to write it.

        Raises:
            JournalError: A row could not be saved on this machine.
            ConfigurationError: It is called by async code that an evaluation runs, which cannot
                wait for it.
        """
        event_loop.ensure_off_loop()
        # Of two threads that ask at once, the second gets what the first makes, not an empty one.
        with self._making_result:
            with self._backlog.emptied():
                if self._result is not None and not len(self._session):
                    return self._result
                session, self._session = self._session, self._new_session()
            self._result = session.finish(run_name=self._run_name, experiment_name=self._experiment)
            return self._result

    def _new_session(self) -> EvaluationSession:
        return EvaluationSession(self._dataset, self._index, self._scorers)

    def _score(self, run: CapturedRun) -> Future[Any]:
        return self._session.add(run)


def _doc_uri_of(
    doc_uri: str | Callable[[Document], str | None] | None,
) -> Callable[[Document], str | None]:
    if doc_uri is None:
        return capture.doc_uri
    if callable(doc_uri):
        return doc_uri
    key = doc_uri
    return lambda document: document.metadata.get(key)
