"""`evaluate()`: invoke a model for each record of a dataset, and score the answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval._internal.limiter import AdaptiveLimiter
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.errors import ConfigurationError, JournalError
from langchain_dbx_eval.evaluation.journal.manifest import Destination, EvaluationManifest
from langchain_dbx_eval.evaluation.journal.reconcile import check_resumable, reconcile
from langchain_dbx_eval.evaluation.journal.store import SCORED, Journal
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.run.invoker import ModelInvoker, recorded_answer
from langchain_dbx_eval.evaluation.run.model_resolver import resolve_model
from langchain_dbx_eval.evaluation.run.pipeline import score_sessions
from langchain_dbx_eval.evaluation.run.progress import show_progress
from langchain_dbx_eval.evaluation.run.scheduler import Invoke, RowScheduler
from langchain_dbx_eval.evaluation.run.shutdown import GracefulShutdown
from langchain_dbx_eval.evaluation.tracking.runs import (
    current_destination,
    experiment_of,
    stored_destination,
)
from langchain_dbx_eval.evaluation.tracking.writer import MlflowWriter
from langchain_dbx_eval.scoring import DEFAULT_SCORERS, select_scorers

__all__ = ["EvaluationOptions", "evaluate"]

_MODEL_TYPE = "databricks-agent"


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Options of `evaluate` that are rarely set.

    Attributes:
        judge_cache: A file that stores verdicts, so that the same answer is not judged twice.
        allow_changes: Resume although dataset, model, repeat or scorers changed: answers to
            requests that are still in the dataset are kept, a scorer that changed scores all rows
            again.
    """

    judge_cache: str | Path | None = None
    allow_changes: bool = False


def evaluate(
    model: Any = None,
    data: Any = None,
    *,
    model_type: str = _MODEL_TYPE,
    evaluator_config: Mapping[str, Any] | None = None,
    judge: Any = None,
    scorers: Iterable[Any] = DEFAULT_SCORERS,
    extra_metrics: Iterable[Any] | None = None,
    predict_fn: Any = None,
    input_fn: Callable[[Any], Any] | None = None,
    max_concurrency: int = 32,
    timeout: float | None = None,
    repeat: int = 1,
    resume: str | Path | None = None,
    run_name: str | None = None,
    experiment_name: str | None = None,
    options: EvaluationOptions | None = None,
) -> EvaluationResult:
    """Evaluate a model on a dataset, and log the evaluation to MLflow as one run.

    Each answer and each verdict is saved at once in a journal on this machine. Ctrl-C finishes the
    rows in flight and prints how to continue; after a crash, `resume` runs what is missing.

    Args:
        model: A Runnable, a function, a loaded pyfunc model, or a URI: ``"models:/…"``,
            ``"runs:/…"``, ``"endpoints:/…"``. None scores the responses (or traces) in the data.
        data: Anything that `EvalDataset.load` accepts: a three-level name, a list of dicts, a
            DataFrame.
        model_type: ``"databricks-agent"``, for compatibility with `mlflow.evaluate`.
        evaluator_config: ``{"databricks-agent": {"metrics": […], "global_guidelines": […]}}``: the
            built-in judges that run, and guidelines for every answer. Without ``metrics``, the
            columns of a row decide which judges run on it; an empty list runs none.
        judge: The judge model: a LangChain chat model, an endpoint (``"endpoints:/my-chat"``), or
            an MLflow model URI (``"openai:/gpt-4.1-mini"``). Default: the environment variable
            DBX_EVAL_JUDGE; without either, no built-in judge runs.
        scorers: The scorers and judges, ours or those of ``mlflow.genai``.
        extra_metrics: Further scorers, or metrics of ``make_genai_metric``,
            ``make_genai_metric_from_prompt`` and ``databricks.agents.evals.metric``.
        predict_fn: The same as `model`, under the name that `mlflow.genai.evaluate` uses.
        input_fn: Returns the model's input for a record's request. Default: what the kind of model
            takes: messages (a chat model, an endpoint), ``{"messages": […]}`` for a string (a
            function), the columns of its signature (a logged model), else the request unchanged.
        max_concurrency: The largest number of rows in flight, and of concurrent calls of the judge.
            While an endpoint answers 429 the number is lower, and its requests are repeated.
        timeout: Seconds for one row, after which the row fails; None: no timeout.
        repeat: Number of invocations per record, for models whose answers vary.
        resume: An evaluation that was not finished: the id of its MLflow run, its evaluation id, or
            the path of its journal. Finished rows are not invoked again.
        run_name: The name of the MLflow run; ignored within an active run.
        experiment_name: The MLflow experiment; default: the current one. An evaluation that is
            resumed continues in its MLflow run.
        options: Further options.

    Returns:
        The result, with one row per row of the data and repetition, including those that failed: a
        row that is not a valid record fails with the reason. If MLflow
        cannot be reached, the result shows how to write the missing rows later.

    Raises:
        ConfigurationError: The data, the model or an option is invalid.
        NotFoundError: The dataset, the model or the evaluation to resume does not exist.
        SchemaError: No row of the data is a valid record.
        JournalError: The journal cannot be written, or cannot be resumed.
        KeyboardInterrupt: Ctrl-C was pressed; the message contains how to continue.
    """
    if predict_fn is not None:
        if model is not None:
            msg = "evaluate() got model= and predict_fn=, which are the same argument. Pass one."
            raise ConfigurationError(msg)
        model = predict_fn
    _check_arguments(model, data)
    if model_type != _MODEL_TYPE:
        msg = f"model_type={model_type!r} is not supported. Use {_MODEL_TYPE!r}."
        raise ConfigurationError(msg)
    for name, number in (("max_concurrency", max_concurrency), ("repeat", repeat)):
        if number < 1:
            msg = f"{name} must be at least 1, got {number}."
            raise ConfigurationError(msg)
    if timeout is not None and timeout <= 0:
        msg = f"timeout must be a positive number of seconds, or None, got {timeout}."
        raise ConfigurationError(msg)
    options = options or EvaluationOptions()
    dataset = _load(data)
    selected = select_scorers(
        scorers,
        extra_metrics=extra_metrics,
        judge=judge,
        evaluator_config=evaluator_config,
        judge_cache=options.judge_cache,
        max_concurrency=max_concurrency,
    )
    limiter = AdaptiveLimiter(max_concurrency)
    destination = current_destination(run_name=run_name, experiment_name=experiment_name)
    invoke: Invoke = recorded_answer
    if model is not None:
        runnable, to_input = resolve_model(model)
        experiment_id = experiment_of(destination)
        invoke = ModelInvoker(runnable, input_fn or to_input, limiter, timeout, experiment_id)
    identity = None if model is None else (model, input_fn)
    manifest = EvaluationManifest.describe(dataset, selected, model=identity, repeat=repeat)
    journal = Journal.create(manifest) if resume is None else Journal.find(resume)
    scheduler = RowScheduler(journal, invoke, selected, limiter)
    with journal.locked():
        if resume is not None:
            check_resumable(journal, manifest, allow_changes=options.allow_changes)
            reconcile(journal, manifest, dataset)
            if journal.manifest.run_id is not None:
                destination = stored_destination(journal.manifest)
        after_rows = partial(score_sessions, journal, selected, max_concurrency)
        return _run(scheduler, journal, destination, dataset, repeat, after_rows)


def _check_arguments(model: Any, data: Any) -> None:
    """Reject a missing dataset, and one that was passed as the model."""
    is_frame = hasattr(model, "columns") or hasattr(model, "schema")
    is_callable = callable(model) or hasattr(model, "invoke") or hasattr(model, "predict")
    if isinstance(model, EvalDataset | list | tuple) or (is_frame and not is_callable):
        msg = (
            f"The first argument of evaluate() is the model, and this is a {type(model).__name__}. "
            "Call evaluate(model, data), or evaluate(data=…) to score recorded responses."
        )
        raise ConfigurationError(msg)
    if data is None:
        msg = "evaluate() needs a dataset: evaluate(model, data) or evaluate(data=…)."
        if isinstance(model, str):
            msg += f" To score the responses in {model!r}, pass it as data=."
        raise ConfigurationError(msg)


def _load(data: Any) -> EvalDataset:
    dataset = EvalDataset.load(data)
    if not len(dataset) and dataset.errors:
        raise dataset.errors[0]
    return dataset


def _run(
    scheduler: RowScheduler,
    journal: Journal,
    destination: Destination,
    dataset: EvalDataset,
    repeat: int,
    after_rows: Callable[[], None],
) -> EvaluationResult:
    # An invalid row of the dataset is a failed row.
    total = (len(dataset) + len(dataset.invalid_rows)) * repeat
    writer = MlflowWriter(journal, destination, dataset)
    # The evaluation id, known from the start: MLflow's run id may come late, or never.
    advice = f"Continue with resume={journal.evaluation_id!r}."
    with (
        writer.in_background(),
        GracefulShutdown(scheduler.stop, advice) as shutdown,
        show_progress(total, journal.count(SCORED)) as on_row,
    ):
        event_loop.run(scheduler.run(dataset, repeat, on_row))
    done = journal.count(SCORED)
    if done < total and shutdown.signal is not None:
        try:
            writer.finish(complete=False)
        finally:
            # Also if a second Ctrl-C ends the wait for a slow MLflow server.
            shutdown.end(f"{done} of {total} rows are finished.")
    if done != total:
        msg = f"{done} of {total} rows are finished in {journal.path}, without an error."
        raise JournalError(msg)
    after_rows()
    journal.update_manifest(complete=True)
    return writer.finish()
