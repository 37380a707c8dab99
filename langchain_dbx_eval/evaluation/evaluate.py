"""`evaluate()`: invoke a model for each record of a dataset, and score the answers."""

from __future__ import annotations

import inspect
import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from numbers import Integral
from pathlib import Path
from typing import Any, Literal

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval._internal.limiter import AdaptiveLimiter
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError, JournalError
from langchain_dbx_eval.evaluation.journal.listing import find_last
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.reconcile import check_resumable, reconcile
from langchain_dbx_eval.evaluation.journal.rows import expected_rows
from langchain_dbx_eval.evaluation.journal.store import FAILED, SCORED, Journal
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.run.budget import Budget
from langchain_dbx_eval.evaluation.run.invoker import ModelInvoker, recorded_answer
from langchain_dbx_eval.evaluation.run.model_resolver import resolve_model
from langchain_dbx_eval.evaluation.run.pipeline import score_sessions
from langchain_dbx_eval.evaluation.run.preflight import check_data
from langchain_dbx_eval.evaluation.run.progress import show_progress
from langchain_dbx_eval.evaluation.run.retry import reopen_failures
from langchain_dbx_eval.evaluation.run.scheduler import Invoke, RowScheduler
from langchain_dbx_eval.evaluation.run.shutdown import GracefulShutdown
from langchain_dbx_eval.evaluation.run.timeouts import DEFAULT_SCORER_TIMEOUT, check_timeouts
from langchain_dbx_eval.evaluation.spark import SparkEvaluation, SparkOptions, evaluate_on_spark
from langchain_dbx_eval.evaluation.tracking.runs import current_destination, stored_destination
from langchain_dbx_eval.evaluation.tracking.writer import MlflowWriter
from langchain_dbx_eval.scoring import DEFAULT_SCORERS, Scorer, select_scorers
from langchain_dbx_eval.scoring.judges.scorer import JudgeScorer

__all__ = ["EvaluationOptions", "evaluate"]

_logger = get_logger(__name__)
_MODEL_TYPE = "databricks-agent"
_MAX_ERRORS = 5

_PATH = "a string or a path", (str, Path)
_STRING = "a string", (str,)


@dataclass(frozen=True, kw_only=True)
class EvaluationOptions:
    """Options of `evaluate` that are rarely set.

    Attributes:
        judge_cache: A file that stores verdicts, so that the same answer is not judged twice.
        judge_repeats: Number of times that each judge of this package rates a row; the majority
            decides, and ``result.summary.instability`` shows how often the repeats disagree.
        allow_changes: Resume although dataset, model, repeat or scorers changed: answers to
            requests that are still in the dataset are kept, a scorer that changed scores all rows
            again.
        settings: Plain JSON, stored in the journal: how to start the same evaluation again. The
            command line stores its arguments, and ``langchain-dbx-eval resume`` reads them.
        scorer_timeout: Seconds for each scorer of a row, and for each request to a judge model with
            its retries, after which the row has an error of this scorer; None: no limit.
    """

    judge_cache: str | Path | None = None
    judge_repeats: int = 1
    allow_changes: bool = False
    settings: Mapping[str, Any] | None = None
    scorer_timeout: float | None = DEFAULT_SCORER_TIMEOUT


_TYPES: dict[str, tuple[str, tuple[type[Any], ...]]] = {
    "resume": _PATH,
    "judge_cache": _PATH,
    "run_name": _STRING,
    "experiment_name": _STRING,
    "input_fn": ("a function", (Callable,)),  # type: ignore[dict-item]
    "options": ("EvaluationOptions(…)", (EvaluationOptions,)),
}


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
    retry_failures: bool = False,
    max_tokens: int | None = None,
    max_cost: float | None = None,
    prices: Any = None,
    run_name: str | None = None,
    experiment_name: str | None = None,
    engine: Literal["local", "spark"] | SparkOptions = "local",
    options: EvaluationOptions | None = None,
) -> EvaluationResult:
    """Evaluate a model on a dataset, and log the evaluation to MLflow as one run.

    Each answer and each verdict is saved at once in a journal on this machine. The MLflow run
    exists, and its id is logged, before the first row is invoked. Ctrl-C finishes the rows in
    flight and prints how to continue; after a crash, `resume` runs what is missing.

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
        scorers: The scorers and judges, of this package or of ``mlflow.genai``.
        extra_metrics: Further scorers, or metrics of ``make_genai_metric``,
            ``make_genai_metric_from_prompt`` and ``databricks.agents.evals.metric``.
        predict_fn: The same as `model`, under the name that `mlflow.genai.evaluate` uses.
        input_fn: Returns the model's input for a record's request. Default: what the kind of model
            takes: messages (a chat model, an endpoint), ``{"messages": […]}`` for a string (a
            function), the columns of its signature (a logged model), else the request unchanged.
        max_concurrency: The largest number of rows in flight, and of concurrent calls of the judge.
            While an endpoint answers 429 the number is lower, and its requests are repeated.
        timeout: Seconds for the model to answer one row, after which the row fails; None: no
            timeout. `EvaluationOptions.scorer_timeout` limits its scorers.
        repeat: Number of invocations per record, for models whose answers vary.
        resume: An evaluation that was not finished: the id of its MLflow run, its evaluation id, or
            the path of its journal; ``"last"``: the newest one of the same dataset and model on
            this machine. Finished rows are not invoked again.
        retry_failures: With `resume`: invoke the rows that failed again, and run the scorers again
            that have an error; what they replace is deleted in MLflow.
        max_tokens: The largest number of tokens of the evaluation, those of judges and of earlier
            calls that it resumes included. When it is reached, no further row is started, those in
            flight are finished, and BudgetExceededError is raised.
        max_cost: The same for the cost in US dollars, by `prices`.
        prices: US dollars per million tokens by model: ``{"my-model": {"input": 2.5,
            "cached_input": 1.25, "output": 10}}``, a frame or a list of dicts with the same
            columns and ``model``, or the path of a JSON or CSV file; ``"*"`` is any other model.
            The cost of each row is then in `Outcome.cost_usd` and in the column and metric
            ``agent/cost_usd``.
        run_name: The name of the MLflow run; ignored within an active run.
        experiment_name: The MLflow experiment; default: the current one. An evaluation that is
            resumed continues in its MLflow run.
        engine: ``"local"``: this process; ``"spark"`` or ``SparkOptions(…)``: the tasks of a Spark
            session, see ``docs/scaling.md``. Then `model` is an import string, a
            models-from-code file, or a URI; `data` may be a Spark frame; and `resume` may be the
            results table.
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
        AuthenticationError, PermissionDeniedError, NotFoundError, ConnectionFailedError: The first
            row met an error of the model or of a judge that all others would meet too. It runs
            alone for up to a second if the model or a scorer calls a service.
        MissingDependencyError: A scorer cannot import a package.
        BudgetExceededError: `max_tokens` or `max_cost` was reached before all rows were finished;
            the message contains how to continue.
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
    options = options or EvaluationOptions()
    _check_types(
        {
            "resume": resume,
            "run_name": run_name,
            "experiment_name": experiment_name,
            "input_fn": input_fn,
            "options": options,
            "judge_cache": getattr(options, "judge_cache", None),
        }
    )
    _check_settings(options.settings)
    repeats = options.judge_repeats
    _check_counts(max_concurrency=max_concurrency, repeat=repeat, judge_repeats=repeats)
    if retry_failures and resume is None:
        msg = "retry_failures=True needs resume=: the evaluation whose failed rows run again."
        raise ConfigurationError(msg)
    budget = Budget(max_tokens=max_tokens, max_cost=max_cost, prices=prices)
    check_timeouts(timeout=timeout, scorer_timeout=options.scorer_timeout)
    if engine != "local":
        return _on_spark(
            engine,
            budget,
            options,
            SparkEvaluation(
                model=model,
                data=data,
                scorers={
                    "scorers": scorers,
                    "extra_metrics": extra_metrics,
                    "judge": judge,
                    "evaluator_config": evaluator_config,
                    "judge_repeats": options.judge_repeats,
                    "max_concurrency": max_concurrency,
                },
                input_fn=input_fn,
                max_concurrency=max_concurrency,
                timeout=timeout,
                scorer_timeout=options.scorer_timeout,
                repeat=repeat,
                resume=resume,
                retry_failures=retry_failures,
                prices=prices,
                run_name=run_name,
                experiment_name=experiment_name,
                allow_changes=options.allow_changes,
            ),
        )
    dataset = _load(data)
    selected = select_scorers(
        scorers,
        extra_metrics=extra_metrics,
        judge=judge,
        evaluator_config=evaluator_config,
        judge_cache=options.judge_cache,
        judge_repeats=options.judge_repeats,
        max_concurrency=max_concurrency,
    )
    # An evaluation that is resumed has its answers.
    check_data(dataset, has_model=model is not None or resume is not None)
    limiter = AdaptiveLimiter(max_concurrency)
    destination = current_destination(run_name=run_name, experiment_name=experiment_name)
    resolved = None if model is None else resolve_model(model)
    identity = None if model is None else (model, input_fn)
    manifest = EvaluationManifest.describe(dataset, selected, model=identity, repeat=repeat)
    if resume == "last":
        journal = find_last(manifest, allow_complete=retry_failures)
    else:
        journal = Journal.create(manifest) if resume is None else Journal.find(resume)
    with journal.locked():
        if options.settings is not None:
            journal.save_settings(options.settings)
        if resume is not None:
            check_resumable(journal, manifest, allow_changes=options.allow_changes)
            reconcile(journal, manifest, dataset)
            if retry_failures:
                reopen_failures(journal)
            if journal.manifest.run_id is not None:
                destination = stored_destination(journal.manifest)
        writer = MlflowWriter(journal, destination, dataset, is_new=resume is None)
        invoke: Invoke = recorded_answer
        if resolved is not None:
            runnable, to_input = resolved
            experiment_id = lambda: writer.experiment_id  # noqa: E731 - known when the run exists
            invoke = ModelInvoker(runnable, input_fn or to_input, limiter, timeout, experiment_id)
        scheduler = RowScheduler(
            journal,
            budget.with_cost(invoke),
            selected,
            limiter,
            is_exhausted=partial(budget.is_exhausted, journal),
            scorer_timeout=options.scorer_timeout,
            first_row="alone" if _calls_a_service(model, selected) else "checked",
        )
        after_rows = partial(
            score_sessions,
            journal,
            selected,
            options.scorer_timeout,
            max_concurrency=max_concurrency,
        )
        return _run(scheduler, journal, writer, budget, dataset, repeat, after_rows)


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


def _check_types(arguments: Mapping[str, Any]) -> None:
    """Reject arguments of a wrong type, such as ``timeout="5"``; None is left to its default."""
    for name, value in arguments.items():
        expected, types = _TYPES[name]
        if value is not None and (not isinstance(value, types) or isinstance(value, bool)):
            msg = f"{name} must be {expected}, got {value!r:.100} ({type(value).__name__})."
            raise ConfigurationError(msg)


def _check_settings(settings: Any) -> None:
    try:
        json.dumps(settings)
    except (TypeError, ValueError, RecursionError) as error:
        msg = f"EvaluationOptions(settings=…) must be plain JSON, got {settings!r:.100}: {error}."
        raise ConfigurationError(msg) from error


def _check_counts(**arguments: Any) -> None:
    for name, number in arguments.items():
        if not isinstance(number, Integral) or isinstance(number, bool):
            msg = f"{name} must be an integer, got {number!r:.100}."
            raise ConfigurationError(msg)
        if number < 1:
            msg = f"{name} must be at least 1, got {number}."
            raise ConfigurationError(msg)


def _on_spark(
    engine: Any, budget: Budget, options: EvaluationOptions, evaluation: SparkEvaluation
) -> EvaluationResult:
    """Check what only the local engine supports, and run the evaluation on Spark."""
    spark = SparkOptions() if engine == "spark" else engine
    if not isinstance(spark, SparkOptions):
        msg = f"engine={engine!r} is not supported. Use 'local', 'spark' or SparkOptions(…)."
        raise ConfigurationError(msg)
    unsupported = {
        "max_tokens": budget.max_tokens,
        "max_cost": budget.max_cost,
        "judge_cache": options.judge_cache,
        "settings": options.settings,
    }
    if given := [name for name, value in unsupported.items() if value is not None]:
        msg = (
            f"engine='spark' does not support {', '.join(given)}: tasks on several machines share "
            "no file. Limit the cost with a smaller dataset, or use the local engine."
        )
        raise ConfigurationError(msg)
    return evaluate_on_spark(evaluation, spark)


def _load(data: Any) -> EvalDataset:
    dataset = EvalDataset.load(data)
    if not len(dataset) and dataset.errors:
        raise dataset.errors[0]
    return dataset


def _run(
    scheduler: RowScheduler,
    journal: Journal,
    writer: MlflowWriter,
    budget: Budget,
    dataset: EvalDataset,
    repeat: int,
    after_rows: Callable[[], None],
) -> EvaluationResult:
    # An invalid row of the dataset is a failed row.
    total = (len(dataset) + len(dataset.invalid_rows)) * repeat
    # The evaluation id, known from the start: MLflow's run id may come late, or never.
    advice = f"Continue with resume={journal.evaluation_id!r}."
    try:
        with writer.in_background(), GracefulShutdown(scheduler.stop, advice) as shutdown:
            writer.wait_for_run()
            done, used = journal.count(SCORED), partial(budget.used, journal)
            with show_progress(total, done, used=used, limiter=scheduler.limiter) as on_row:
                event_loop.run(scheduler.run(expected_rows(dataset, repeat), on_row))
    except DatabricksError:
        writer.mark_failed()
        raise
    done = journal.count(SCORED)
    if done < total and shutdown.signal is not None:
        try:
            writer.finish(complete=False)
        finally:
            # Also if a second Ctrl-C ends the wait for a slow MLflow server.
            shutdown.end(f"{done} of {total} rows are finished.")
    if done < total and budget.is_exhausted(journal):
        writer.finish(complete=False)
        raise budget.error(journal, done, total)
    if done != total:
        msg = f"{done} of {total} rows are finished in {journal.path}, without an error."
        raise JournalError(msg)
    _report_failures(journal, total, scheduler.exception)
    after_rows()
    journal.update_manifest(complete=True)
    return writer.finish()


def _calls_a_service(model: Any, scorers: Iterable[Scorer]) -> bool:
    """Return whether a row costs a call of an endpoint, as far as is known: not of a function."""
    has_judge = any(isinstance(scorer, JudgeScorer) for scorer in scorers)
    return has_judge or not (model is None or inspect.isroutine(model))


def _report_failures(journal: Journal, total: int, first: BaseException | None) -> None:
    """Log the errors by their text, with the traceback of the first one, if all rows failed."""
    if not total or journal.count(FAILED) < total:
        return
    errors = Counter(row.outcome.error for row in journal.rows(FAILED))
    groups = [f"{n} x {error}" for error, n in errors.most_common(_MAX_ERRORS)]
    if len(errors) > _MAX_ERRORS:
        groups.append(f"and {len(errors) - _MAX_ERRORS} other errors")
    _logger.error("All %d rows failed: %s", total, "; ".join(groups), exc_info=first)
