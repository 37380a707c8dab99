"""Asks a chain one question, and captures all that it does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from langchain_core.runnables import Runnable

from langchain_dbx_eval._internal.limiter import AdaptiveLimiter
from langchain_dbx_eval._internal.retry import retry_listener
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.handler import CaptureHandler
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun, Recording, RunCapture
from langchain_dbx_eval.evaluation.journal.rows import Answer, RowKey
from langchain_dbx_eval.scoring import Outcome
from langchain_dbx_eval.scoring.mlflow.traces import outcome_of_record

__all__ = ["Model", "ModelInvoker", "recorded_answer"]

_ROW = "dbx_eval_row"
"""Where a row's place stands in the config's metadata: request ids may repeat."""
_TIME_TO_GO_S = 1.0

_Reply: TypeAlias = "tuple[Any, BaseException | None]"


@dataclass(frozen=True)
class Model:
    """What is asked.

    Attributes:
        runnable: Whatever is evaluated, as a Runnable.
        to_input: Makes its input of a record's request.
        timeout: Seconds for one row; None for as long as it takes.
    """

    runnable: Runnable[Any, Any]
    to_input: Callable[[Any], Any]
    timeout: float | None = None

    async def ask(self, request: Any, config: Mapping[str, Any]) -> _Reply:
        """Ask once; the callbacks in `config` are told how it came about.

        Returns:
            What it answered, and what it failed with; None where it answered.
        """
        asking = asyncio.ensure_future(self._invoke(request, config))
        try:
            await asyncio.wait({asking}, timeout=self.timeout)
        finally:
            asking.cancel()
        if not asking.done():
            # So that the callbacks hear of its end. A thread cannot be stopped, and goes on.
            await asyncio.wait({asking}, timeout=_TIME_TO_GO_S)
            return None, TimeoutError(f"no answer within {self.timeout:g} s (timeout=)")
        if asking.cancelled():
            return None, RuntimeError("the chain cancelled itself")
        return asking.result()

    async def _invoke(self, request: Any, config: Any) -> _Reply:
        try:
            return await self.runnable.ainvoke(self.to_input(request), config), None
        except asyncio.CancelledError:
            raise
        except BaseException as error:
            # `sys.exit()` in a chain fails its row; let through, it would end the event loop.
            return None, error


class ModelInvoker:
    """Asks for the answer of a row, and again while the endpoint says that it is asked too much.

    It belongs to one event loop.

    Args:
        model: What is asked.
        pace: Told how it goes; a row that asks has one of its slots.
    """

    def __init__(self, model: Model, limiter: AdaptiveLimiter) -> None:
        self._model = model
        self._limiter = limiter
        self._handler = CaptureHandler(RunCapture(self._captured))
        self._loop = asyncio.get_running_loop()
        self._runs: dict[RowKey, CapturedRun] = {}

    async def __call__(self, place: RowKey, record: EvalRecord) -> Answer:
        """Ask for one row; a chain that fails is an answer that says so."""
        where = {"request_id": record.request_id, _ROW: [place.number, place.repetition]}
        config = {"callbacks": [self._handler], "metadata": where}
        # Each row is asked in a task of its own, and so in a context of its own.
        retry_listener.set(self._heard)
        while True:
            response, error = await self._model.ask(record.request, config)
            run = self._runs.pop(place, None)
            if not self._limiter.on_error(error):
                self._limiter.on_success()
                return _answer(record, run, response, error)
            if self._limiter.exhausted:
                return _answer(record, run, response, error)
            self._limiter.release()
            await self._limiter.acquire()

    def _heard(self, error: BaseException) -> None:
        """A client inside the chain was refused, and is patient: the others should be, too."""
        self._loop.call_soon_threadsafe(self._limiter.on_error, error)

    def _captured(self, call: Recording) -> None:
        run = call.captured()
        if (place := run.metadata.get(_ROW)) is not None:
            self._runs[RowKey(*place)] = run


async def recorded_answer(place: RowKey, record: EvalRecord) -> Answer:  # noqa: ARG001 - as `ModelInvoker`
    """The answer that the data carries, where there is no model to ask."""
    return Answer(record=record, outcome=outcome_of_record(record))


def _answer(
    record: EvalRecord, run: CapturedRun | None, response: Any, error: BaseException | None
) -> Answer:
    # The chain's own answer, not the call's that was captured: a Runnable of the user's need not
    # tell its callbacks anything, and what they hear is then a part of it, or nothing.
    reason = None if error is None else f"{type(error).__name__}: {error}"
    outcome = replace(run.outcome() if run else Outcome(), response=response, error=reason)
    return Answer(record=record, outcome=outcome, run=run)
