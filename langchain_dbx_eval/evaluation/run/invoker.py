"""Invokes the model for one row, and captures the call."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable

from langchain_dbx_eval._internal.deadline import DeadlineError, run_task
from langchain_dbx_eval._internal.limiter import MAX_WAIT_S, AdaptiveLimiter, refused_wait
from langchain_dbx_eval._internal.log import describe_error, get_logger
from langchain_dbx_eval._internal.retry import rate_limit_error, retry_listener
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.handler import CaptureHandler
from langchain_dbx_eval.evaluation.capture.live_trace import (
    LiveTrace,
    split_agent_trace,
    take_agent_traces,
)
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun, Recording
from langchain_dbx_eval.evaluation.journal.rows import Answer
from langchain_dbx_eval.evaluation.run.model_input import ChatInput
from langchain_dbx_eval.scoring import Outcome
from langchain_dbx_eval.scoring.mlflow.traces import SESSION, outcome_of_record

__all__ = ["ModelInvoker", "recorded_answer"]

_logger = get_logger(__name__)
_TRACE_TIMEOUT_S = 20.0

_Result: TypeAlias = "tuple[Any, BaseException | None]"


class ModelInvoker:
    """Invokes a model for one row; repeats the invocation if the endpoint answers 429.

    Args:
        model: The model.
        to_input: Returns the model's input for the request of a record.
        limiter: Limits concurrent rows. The caller holds a slot of it during an invocation.
        timeout: Seconds for one row; None: no timeout.
        experiment_id: Returns the MLflow experiment of the traces of models that record spans of
            their own; None: their spans are not captured.
    """

    def __init__(
        self,
        model: Runnable[Any, Any],
        to_input: Callable[[Any], Any],
        limiter: AdaptiveLimiter,
        timeout: float | None,
        experiment_id: Callable[[], str | None],
    ) -> None:
        self._model = model
        self._to_input = to_input
        self._limiter = limiter
        self._timeout = timeout
        self._experiment_id = experiment_id

    async def __call__(self, record: EvalRecord) -> Answer:
        """Invoke the model for one row. If the model fails, the outcome contains the error."""
        loop = asyncio.get_running_loop()
        max_wait = self._timeout or MAX_WAIT_S
        on_error = self._limiter.on_error
        # A client inside the model that retries after a 429 slows down all rows. The row has a task
        # and so a context of its own; the client may call this in another thread.
        retry_listener.set(lambda error: loop.call_soon_threadsafe(on_error, error, max_wait))
        trace = self._start_trace(record)
        while True:
            calls: list[Recording] = []
            handler = CaptureHandler(calls.append, is_for_one_call=True)
            config = {"callbacks": [handler], "metadata": {"request_id": record.request_id}}
            with nullcontext() if trace is None else trace.active():
                response, error = await self._invoke_within_timeout(record.request, config)
            if rate_limit_error(error) is None:
                self._limiter.on_success()
                break
            if not on_error(error, max_wait):
                break
            await self._limiter.reacquire()
        reason = None if error is None else describe_error(error)
        if refused := refused_wait(error, max_wait, "timeout="):
            reason = f"{reason}{refused}"
        # Of several calls, the last one to end: a custom Runnable may report only its steps.
        run = await _complete(trace, calls[-1] if calls else None, response, reason)
        # The model's return value, not that of the captured call: a custom Runnable may report
        # nothing to its callbacks, or only a step of it.
        response, _ = split_agent_trace(response)
        outcome = replace(run.outcome() if run else Outcome(), response=response, error=reason)
        return Answer(record=record, outcome=outcome, run=run, exception=error)

    def _start_trace(self, record: EvalRecord) -> LiveTrace | None:
        experiment_id = self._experiment_id()
        if experiment_id is None:
            return None
        session = record.metadata.get(SESSION) or record.metadata.get("session_id")
        return LiveTrace.start(
            self._model.get_name(),
            record.request,
            experiment_id=experiment_id,
            metadata={SESSION: str(session)} if session else {},
        )

    async def _invoke_within_timeout(self, request: Any, config: Mapping[str, Any]) -> _Result:
        try:
            return await run_task(self._invoke(request, config), self._timeout)
        except DeadlineError:
            return None, TimeoutError(f"no answer within {self._timeout:g} s (timeout=)")
        except RuntimeError:
            return None, RuntimeError("the model canceled its own task")

    async def _invoke(self, request: Any, config: Any) -> _Result:
        try:
            value = self._to_input(request)
            if isinstance(value, ChatInput):
                return await self._model.ainvoke(value.value, config, **value.params), None
            return await self._model.ainvoke(value, config), None
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # `sys.exit()` in a model fails its row; if it were raised, it would end the event loop.
            return None, error


async def _complete(
    trace: LiveTrace | None, recording: Recording | None, response: Any, error: str | None
) -> CapturedRun | None:
    """Return the captured call, with the spans that the model recorded in MLflow."""
    run, agent_traces = (None, []) if recording is None else take_agent_traces(recording.to_run())
    if trace is None:
        return run
    known = {} if recording is None else recording.mlflow_spans
    try:
        if trace.has_spans() or agent_traces:
            # In a thread: MLflow may write the trace before it returns, to a server that is frozen.
            finishing = asyncio.to_thread(trace.finish, run, known, agent_traces, response, error)
            return await run_task(finishing, _TRACE_TIMEOUT_S)
        trace.drop()
    except Exception:
        # MLflow's internals may change: the answer does not depend on them.
        _logger.exception("The MLflow trace of a row could not be completed.")
    return run


async def recorded_answer(record: EvalRecord) -> Answer:
    """Return the answer that the record contains, for an evaluation without a model."""
    return Answer(record=record, outcome=outcome_of_record(record))
