"""`EvaluationCallbackHandler`: evaluate the calls of a running chain."""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.evaluation.capture.handler import CaptureHandler
from langchain_dbx_eval.evaluation.capture.spans import DocUri
from langchain_dbx_eval.evaluation.online.matching import MatchFn, RecordIndex
from langchain_dbx_eval.evaluation.online.queue import OnFull, ScoringQueue
from langchain_dbx_eval.evaluation.online.row_selection import RowSelector
from langchain_dbx_eval.evaluation.online.session import EvaluationSession
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.run.timeouts import DEFAULT_SCORER_TIMEOUT, check_timeouts
from langchain_dbx_eval.evaluation.tracking.runs import current_destination
from langchain_dbx_eval.scoring import DEFAULT_SCORERS, select_scorers

__all__ = ["CallbackOptions", "EvaluationCallbackHandler"]


@dataclass(frozen=True, kw_only=True)
class CallbackOptions:
    """Options of `EvaluationCallbackHandler` that are rarely set.

    Attributes:
        doc_uri: The URI of a retrieved document: a key of its metadata, or a function of the
            document. Default: its ``doc_uri``, ``uri``, ``source`` or ``url``.
        max_pending: The largest number of calls that wait or are being scored.
        on_full: What happens to a call beyond `max_pending`: ``"block"`` its thread until there is
            space, or ``"drop"`` the row, which `dropped` counts. Default: block with a dataset,
            where a lost row distorts the result; drop without one, where a blocked chain is worse.
        judge_cache: A file that stores verdicts, so that the same answer is not judged twice.
        judge_repeats: Number of times that each judge of this package rates a row; the majority
            decides, and ``result.summary.instability`` shows how often the repeats disagree.
        scorer_timeout: Seconds for each scorer of a row, as for `EvaluationOptions`.
        exit_timeout: Seconds that the end of the process waits for the scorers of calls that no
            `result` has collected. A warning then says how many rows are saved, and how many are
            scored; ``langchain-dbx-eval sync`` writes them to MLflow.
    """

    doc_uri: DocUri | None = None
    max_pending: int = 1000
    on_full: OnFull | None = None
    judge_cache: str | Path | None = None
    judge_repeats: int = 1
    scorer_timeout: float | None = DEFAULT_SCORER_TIMEOUT
    exit_timeout: float = 10.0


class EvaluationCallbackHandler(CaptureHandler):
    """Callback handler that scores each call of a chain, against a dataset if there is one.

    A call belongs to the record with the id ``metadata["request_id"]`` of its config, else to the
    record with the same request, else to the one that `match_fn` returns. A call
    without a record is scored by the scorers that need no ground truth. Scoring runs in the
    background: it neither slows the chain down nor makes it fail.

    The latency of a row is that of the call as LangChain reports it. `batch` runs each step of a
    chain for all inputs before the next step, so each of its calls lasts as long as the batch;
    `invoke` and `evaluate` measure each row on its own.

    Example:
        ```python
        handler = EvaluationCallbackHandler("main.default.questions")
        chain.batch(questions, config={"callbacks": [handler]})
        result = handler.result()
        ```

    Args:
        dataset: Anything that `EvalDataset.load` accepts; None scores without ground truth.
        evaluator_config: The built-in judges that run, as for `evaluate`.
        judge: The judge model, as for `evaluate`; default: DBX_EVAL_JUDGE.
        scorers: The scorers and judges; default: `DEFAULT_SCORERS`.
        extra_metrics: Further scorers and metrics, as for `evaluate`.
        match_fn: Returns the `request_id` of a call's record, or None. It is called with the
            `CapturedRun` (its `request`, `metadata`, `tags` and `spans`) if neither
            ``metadata["request_id"]`` nor the input matches a record.
        sample_rate: The fraction of calls that are evaluated, from 0 to 1. It is decided by the run
            id, so two handlers with the same rate evaluate the same calls.
        run_name: The name of the MLflow run.
        experiment_name: The MLflow experiment; default: the current one.
        options: Further options.

    Attributes:
        abandoned: Number of calls that were dropped because they did not end. Of more than 10,000
            running calls the oldest is dropped; a stream that is neither read to its end nor closed
            never ends.

    Raises:
        NotFoundError: The dataset does not exist.
        ConfigurationError: An argument is invalid.
    """

    def __init__(
        self,
        dataset: Any = None,
        *,
        evaluator_config: Mapping[str, Any] | None = None,
        judge: Any = None,
        scorers: Iterable[Any] = DEFAULT_SCORERS,
        extra_metrics: Iterable[Any] | None = None,
        match_fn: MatchFn | None = None,
        sample_rate: float = 1.0,
        run_name: str | None = None,
        experiment_name: str | None = None,
        options: CallbackOptions | None = None,
    ) -> None:
        self._options = options or CallbackOptions()
        check_timeouts(scorer_timeout=self._options.scorer_timeout)
        check_timeouts(exit_timeout=self._options.exit_timeout, minimum=0)
        self._run_name = run_name
        self._experiment_name = experiment_name
        self._selector = RowSelector(sample_rate)
        self._queue = ScoringQueue(
            lambda run: self._session.add(run),
            max_pending=self._options.max_pending,
            on_full=self._options.on_full or ("drop" if dataset is None else "block"),
        )
        super().__init__(self._queue.put, is_selected=self._selector)
        self._dataset = None if dataset is None else EvalDataset.load(dataset)
        self._scorers = select_scorers(
            scorers,
            extra_metrics=extra_metrics,
            judge=judge,
            evaluator_config=evaluator_config,
            judge_cache=self._options.judge_cache,
            judge_repeats=self._options.judge_repeats,
        )
        self._index = RecordIndex(list(self._dataset or ()), match_fn=match_fn)
        self._session = self._new_session()
        self._result: EvaluationResult | None = None
        self._result_lock = threading.Lock()

    @property
    def dropped(self) -> int:
        """Number of calls that were not evaluated because `max_pending` others were pending."""
        return self._queue.dropped

    @property
    def sampled_out(self) -> int:
        """Number of calls that `sample_rate` left out."""
        return self._selector.left_out

    @property
    def match_failures(self) -> int:
        """How often `match_fn` raised; each error is logged, and its call has no record."""
        return self._index.match_failures

    @property
    def internal_errors(self) -> int:
        """How often this handler itself failed; each error is logged, none reaches the chain."""
        return self._queue.errors

    def result(self) -> EvaluationResult:
        """Wait until all calls so far are scored, and write them to MLflow as one run.

        Returns:
            The result. Later calls belong to the next result; without any, the same result is
            returned again. If MLflow cannot be reached, the result shows how to write the missing
            rows later.

        Raises:
            JournalError: A row could not be saved on this machine.
            ConfigurationError: It is called by async code that an evaluation runs, where waiting
                would deadlock.
        """
        event_loop.ensure_off_loop()
        # Of two threads that call this at once, the second gets the result of the first.
        with self._result_lock:
            with self._queue.drained():
                if self._result is not None and not self._session.call_count:
                    return self._result
                session, self._session = self._session, self._new_session()
            destination = current_destination(
                run_name=self._run_name, experiment_name=self._experiment_name
            )
            self._result = session.finish(destination)
            return self._result

    def _new_session(self) -> EvaluationSession:
        return EvaluationSession(
            self._dataset,
            self._index,
            self._scorers,
            self._options.doc_uri,
            scorer_timeout=self._options.scorer_timeout,
            exit_timeout=self._options.exit_timeout,
        )
