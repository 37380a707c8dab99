"""`evaluate()`: asks a chain each question of a dataset, and scores the answers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval._internal.limiter import AdaptiveLimiter
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.errors import ConfigurationError, JournalError
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.store import SCORED, Journal
from langchain_dbx_eval.evaluation.result import EvaluationResult
from langchain_dbx_eval.evaluation.run.interruption import Interruption, listening
from langchain_dbx_eval.evaluation.run.invoker import Model, ModelInvoker, recorded_answer
from langchain_dbx_eval.evaluation.run.pipeline import Pipeline
from langchain_dbx_eval.evaluation.run.progress import Progress, showing_progress
from langchain_dbx_eval.evaluation.run.scheduler import RowScheduler
from langchain_dbx_eval.evaluation.run.targets import as_runnable, input_for, resolve_model
from langchain_dbx_eval.evaluation.tracking.destination import Destination
from langchain_dbx_eval.evaluation.tracking.writer import MlflowWriter
from langchain_dbx_eval.scoring import DEFAULT_SCORERS, select_scorers

__all__ = ["evaluate"]

_logger = logging.getLogger(__name__)
_MODEL_TYPE = "databricks-agent"


def evaluate(
    model: Any = None,
    data: Any = None,
    *,
    model_type: str = _MODEL_TYPE,
    evaluator_config: Mapping[str, Any] | None = None,
    judge: Any = None,
    judge_cache: str | Path | None = None,
    scorers: Iterable[Any] = DEFAULT_SCORERS,
    input_fn: Callable[[Any], Any] | None = None,
    max_concurrency: int = 32,
    timeout: float | None = None,
    repeat: int = 1,
    resume: str | Path | None = None,
    allow_changes: bool = False,
    run_name: str | None = None,
    experiment_name: str | None = None,
) -> EvaluationResult:
    """Evaluate a chain on a dataset, and log it to MLflow as one run.

    Everything that is answered or judged is kept in a journal on this machine at once. Ctrl-C
    finishes what is in flight and says how to go on; after a crash, `resume` does what is missing.

    Args:
        model: A Runnable, a function, a loaded pyfunc model, or a URI: ``"models:/…"``,
            ``"runs:/…"``, ``"endpoints:/…"``; None scores the responses (or traces) that the data
            carries.
        data: Whatever `EvalDataset.load` takes: a three-level name, a list of dicts, a DataFrame.
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
        max_concurrency: How many rows are in flight at once, and how many questions with the judge.
            When an endpoint answers 429 it is fewer for a while, and what it refused is asked
            again.
        timeout: Seconds for one row, after which it has failed; None for as long as it takes.
        repeat: How often each record is asked, for chains that do not always say the same.
        resume: An earlier evaluation that did not come to its end: the id of its MLflow run, or
            its journal's file. What it has done is not done again.
        allow_changes: Let `resume` go on although dataset, chain or scorers have changed: answers
            to what is still asked are kept, and scorers that have changed score all rows again.
        run_name: The name of the MLflow run, where none is active.
        experiment_name: The MLflow experiment; default: MLflow's current one. With `resume`, an
            evaluation that has a run already goes on in that one.

    Returns:
        The result: as many rows as the data has, those that failed included. Where MLflow could
        not be reached, the result says what is not written yet, and how to write it.

    Raises:
        ConfigurationError: The data, the model or an option cannot be used.
        NotFoundError: There is no such dataset, or no such evaluation to resume.
        SchemaError: No row of the data is a record.
        JournalError: The journal cannot be kept, or belongs to something else.
        KeyboardInterrupt: Ctrl-C was pressed; its message says how to go on.
    """
    _check_arguments(model, data)
    if model_type != _MODEL_TYPE:
        msg = f"model_type={model_type!r} is not known. The one that is: {_MODEL_TYPE!r}."
        raise ConfigurationError(msg)
    for name, number in (("max_concurrency", max_concurrency), ("repeat", repeat)):
        if number < 1:
            msg = f"{name}={number} would run nothing. Give 1 or more."
            raise ConfigurationError(msg)
    dataset = _loaded(data)
    chosen = select_scorers(
        scorers,
        judge=judge,
        evaluator_config=evaluator_config,
        judge_cache=judge_cache,
        max_concurrency=max_concurrency,
    )
    asked = None if model is None else _as_model(resolve_model(model), input_fn, timeout)
    identity = None if model is None else (model, input_fn)
    subject = EvaluationManifest(dataset, chosen, identity, repeat)
    journal = Journal.create(subject.facts()) if resume is None else Journal.find(resume)
    destination = Destination.current(run_name=run_name, experiment_name=experiment_name)
    evaluation = _Evaluation(dataset, asked, repeat, journal, Pipeline(journal, chosen))
    with journal.claimed():
        # Nothing is changed before it is claimed: another process may be at work on it.
        if resume is not None:
            subject.check_resumable(journal, allow_changes=allow_changes)
            destination = Destination.of_journal(journal.facts) or destination
        return evaluation.run(destination, max_concurrency)


def _check_arguments(model: Any, data: Any) -> None:
    """Refuse a missing dataset, and one that was passed in the place of the model."""
    is_frame = hasattr(model, "columns") or hasattr(model, "schema")
    is_callable = callable(model) or hasattr(model, "invoke") or hasattr(model, "predict")
    if isinstance(model, EvalDataset | list | tuple) or (is_frame and not is_callable):
        msg = (
            f"The first argument of evaluate() is the model, and this is a {type(model).__name__}. "
            "Call evaluate(model, data), or evaluate(data=…) to score recorded responses."
        )
        raise ConfigurationError(msg)
    if data is None:
        hint = (
            f" To score the responses in {model!r}, pass it as data=."
            if isinstance(model, str)
            else ""
        )
        msg = f"evaluate() needs a dataset: evaluate(model, data) or evaluate(data=…).{hint}"
        raise ConfigurationError(msg)


def _loaded(data: Any) -> EvalDataset:
    dataset = EvalDataset.load(data)
    if not len(dataset) and dataset.errors:
        raise dataset.errors[0]
    for error in dataset.errors:
        _logger.warning("Left out of the evaluation: %s", error)
    return dataset


def _as_model(model: Any, input_fn: Callable[[Any], Any] | None, timeout: float | None) -> Model:
    to_input = input_fn or (lambda request: input_for(model, request))
    return Model(as_runnable(model), to_input, timeout)


@dataclass(frozen=True)
class _Evaluation:
    """One run of `evaluate`, ready to begin or to go on."""

    dataset: EvalDataset
    model: Model | None
    repeat: int
    journal: Journal
    pipeline: Pipeline

    def run(self, destination: Destination, max_concurrency: int) -> EvaluationResult:
        rows = len(self.dataset) * self.repeat
        writer = MlflowWriter(self.journal, destination, self.dataset)
        limiter = AdaptiveLimiter(max_concurrency)
        loop = RowScheduler(self.journal, self.pipeline, limiter, most_scoring=max_concurrency)
        # Its own id, which it has from the beginning: MLflow's may come late, or never.
        advice = f"Go on with resume={self.journal.evaluation_id!r}."
        interruption = Interruption(loop.stop, advice)
        with (
            writer.in_background(),
            listening(interruption),
            showing_progress(rows, self.journal.count(SCORED)) as tell,
        ):
            event_loop.run(self._take_all(loop, limiter, tell))
        done = self.journal.count(SCORED)
        if done < rows and interruption.signal is not None:
            try:
                writer.finish(complete=False)
            finally:
                # Told also where a server is slow, and Ctrl-C is pressed again meanwhile.
                interruption.end(f"{done} of {rows} rows are done.")
        if done != rows:
            msg = f"{rows} rows were to be asked, and {done} are done: {self.journal.path}."
            raise JournalError(msg)
        self.journal.note(complete=True)
        return writer.finish()

    async def _take_all(self, loop: RowScheduler, limiter: AdaptiveLimiter, tell: Progress) -> None:
        answer = recorded_answer if self.model is None else ModelInvoker(self.model, limiter)
        await loop.run(self.dataset, self.repeat, answer, tell)
