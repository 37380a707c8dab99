"""`evaluate()`: asks a chain each question of a dataset, and scores the answers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from langchain_core.runnables import Runnable

from langchain_dbx_eval import event_loop
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.capture import RunCapture
from langchain_dbx_eval.evaluation.events import CaptureHandler
from langchain_dbx_eval.evaluation.models import as_runnable, input_for, resolve_model
from langchain_dbx_eval.evaluation.results import EvaluationResult
from langchain_dbx_eval.evaluation.session import ROW_KEY, EvaluationSession
from langchain_dbx_eval.scoring import DEFAULT_SCORERS, Outcome, select_scorers
from langchain_dbx_eval.scoring.traces import outcome_of_record

__all__ = ["evaluate"]

_logger = logging.getLogger(__name__)
_MODEL_TYPE = "databricks-agent"


def evaluate(
    data: Any,
    model: Any = None,
    *,
    model_type: str = _MODEL_TYPE,
    evaluator_config: Mapping[str, Any] | None = None,
    judge: Any = None,
    judge_cache: str | Path | None = None,
    scorers: Iterable[Any] = DEFAULT_SCORERS,
    input_fn: Callable[[Any], Any] | None = None,
    max_concurrency: int = 32,
    run_name: str | None = None,
    experiment: str | None = None,
) -> EvaluationResult:
    """Evaluate a chain on a dataset, and log it to MLflow as one run.

    Args:
        data: Whatever `EvalDataset.load` takes: a three-level name, a list of dicts, a DataFrame.
        model: A Runnable, a function, a loaded pyfunc model, or a URI: ``"models:/…"``,
            ``"runs:/…"``, ``"endpoints:/…"``; None scores the responses (or traces) that the data
            carries.
        model_type: ``"databricks-agent"``, as in the call that this one replaces.
        evaluator_config: ``{"databricks-agent": {"metrics": […], "global_guidelines": […]}}``:
            which judges run, and rules for every answer. Without ``metrics`` each row is judged by
            what it has; an empty list runs no built-in judge.
        judge: Who judges: a LangChain chat model, an endpoint (``"endpoints:/my-chat"``), or an
            MLflow model URI (``"openai:/gpt-4.1-mini"``); None runs no built-in judge.
        judge_cache: A file that keeps verdicts, so that the same answers are not judged twice.
        scorers: What to score with: our scorers and judges, and those of ``mlflow.genai``.
        input_fn: Makes the model's input of a record's request; default: a Runnable gets the
            request as it stands (messages where its input schema asks for them), a function gets
            ``{"messages": […]}`` for a text.
        max_concurrency: How many rows are in flight at once.
        run_name: The name of the MLflow run, where none is active.
        experiment: The MLflow experiment; default: MLflow's current one.

    Returns:
        The result: as many rows as the data has, those that failed included.

    Raises:
        ConfigurationError: The data, the model or an option cannot be used.
        NotFoundError: There is no such dataset.
        SchemaError: No row of the data is a record.
        TrackingError: MLflow cannot be written to; the error carries the result.
    """
    if model_type != _MODEL_TYPE:
        msg = f"model_type={model_type!r} is not known. The one that is: {_MODEL_TYPE!r}."
        raise ConfigurationError(msg)
    if max_concurrency < 1:
        msg = f"max_concurrency={max_concurrency} would run nothing. Give 1 or more."
        raise ConfigurationError(msg)
    dataset = EvalDataset.load(data)
    chosen = select_scorers(
        scorers, judge=judge, evaluator_config=evaluator_config, judge_cache=judge_cache
    )
    session = EvaluationSession(dataset, chosen, run_name=run_name, experiment=experiment)
    if not session.records and dataset.errors:
        raise dataset.errors[0]
    for error in dataset.errors:
        _logger.warning("Left out of the evaluation: %s", error)
    if model is None:
        _take_responses(session)
    else:
        model = resolve_model(model)
        runnable = as_runnable(model)
        to_input = input_fn or (lambda request: input_for(model, request))
        event_loop.run(_ask_all(runnable, to_input, session, max_concurrency))
    return session.finish()


def _take_responses(session: EvaluationSession) -> None:
    for number, record in enumerate(session.records):
        session.add_outcome(number, outcome_of_record(record))


async def _ask_all(
    runnable: Runnable[Any, Any],
    to_input: Callable[[Any], Any],
    session: EvaluationSession,
    max_concurrency: int,
) -> None:
    handler = CaptureHandler(RunCapture(lambda call: session.add(call.captured())))
    slots = asyncio.Semaphore(max_concurrency)

    async def ask(number: int) -> None:
        record = session.records[number]
        metadata = {"request_id": record.request_id, ROW_KEY: number}
        async with slots:
            try:
                await runnable.ainvoke(
                    to_input(record.request), {"callbacks": [handler], "metadata": metadata}
                )
            except Exception as error:
                # The callback has taken the failure, unless it came before the chain began.
                if not session.has(number):
                    reason = f"{type(error).__name__}: {error}"
                    session.add_outcome(number, Outcome(error=reason))

    await asyncio.gather(*(ask(number) for number in range(len(session.records))))
