"""Who scores a run: the judges that the data and ``evaluator_config`` ask for, and the scorers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.context import AnyScorer, ScoringContext
from langchain_dbx_eval.scoring.contract import BUILT_IN_JUDGES, DOCUMENTED_ORDER
from langchain_dbx_eval.scoring.custom import PromptJudge
from langchain_dbx_eval.scoring.judges.backend import JudgeBackend
from langchain_dbx_eval.scoring.judges.backend_resolver import judge_backend
from langchain_dbx_eval.scoring.judges.builtin import (
    BuiltInJudge,
    ChunkRelevance,
    GuidelineJudge,
    Guidelines,
)
from langchain_dbx_eval.scoring.metrics.retrieval import DocumentRecall
from langchain_dbx_eval.scoring.mlflow.scorers import as_scorer

__all__ = ["EvaluatorConfig", "built_in_judges", "select_scorers"]

_MODEL_TYPE = "databricks-agent"


@dataclass(frozen=True)
class EvaluatorConfig:
    """What ``evaluator_config["databricks-agent"]`` says.

    Attributes:
        metrics: The judges to run, whatever a row has; None for the documented rule.
        global_guidelines: Rules for every answer, by group.
    """

    metrics: tuple[str, ...] | None = None
    global_guidelines: Guidelines | None = None

    @classmethod
    def parse(cls, config: Mapping[str, Any] | None) -> EvaluatorConfig:
        """Read the documented dict.

        Raises:
            ConfigurationError: A key or a judge's name is not known, or a value is of another kind.
        """
        given = dict(config or {})
        _only_known(given, (_MODEL_TYPE,), "evaluator_config")
        inner = given.get(_MODEL_TYPE) or {}
        if not isinstance(inner, Mapping):
            raise _wrong(f"[{_MODEL_TYPE!r}]", "a dict", inner)
        _only_known(inner, ("metrics", "global_guidelines"), f"evaluator_config[{_MODEL_TYPE!r}]")
        guidelines = _guidelines(inner.get("global_guidelines"))
        metrics = inner.get("metrics")
        if metrics is None:
            return cls(None, guidelines)
        if isinstance(metrics, str) or not isinstance(metrics, Iterable):
            raise _wrong("'metrics'", "a list of judges' names", metrics)
        metrics = tuple(metrics)
        _only_known(metrics, BUILT_IN_JUDGES, "evaluator_config's 'metrics'")
        if "global_guideline_adherence" in metrics and not guidelines:
            msg = "'global_guideline_adherence' needs 'global_guidelines' beside 'metrics'."
            raise ConfigurationError(msg)
        return cls(metrics, guidelines)


def select_scorers(
    scorers: Iterable[Any],
    *,
    judge: Any = None,
    evaluator_config: Mapping[str, Any] | None = None,
    judge_cache: str | Path | None = None,
    max_concurrency: int = 32,
) -> tuple[AnyScorer, ...]:
    """Put together who scores a run.

    Args:
        scorers: Our scorers and judges, and those of ``mlflow.genai``. Document recall is always
            among them, as the documentation says: it cannot be switched off.
        judge: What `judge_backend` takes; None runs no built-in judge.
        evaluator_config: The documented dict.
        judge_cache: A file to keep verdicts in.
        max_concurrency: How many questions are with the judge at once.

    Raises:
        ConfigurationError: Something of this is not known, or does not go together.
    """
    config = EvaluatorConfig.parse(evaluator_config)
    own = [as_scorer(scorer) for scorer in scorers]
    if not any(scorer.name == DocumentRecall.name for scorer in own):
        own.insert(0, DocumentRecall())
    if judge is None:
        _refuse_judges_without_a_model(config, own, judge_cache)
    else:
        backend = judge_backend(judge, judge_cache, max_concurrency=max_concurrency)
        own = [s.asked_of(backend) if isinstance(s, PromptJudge) else s for s in own]
        own += _built_in(config, backend)
    _refuse_two_of_a_column(own)
    return tuple(own)


def built_in_judges(judge: Any, names: Iterable[str], **config: Any) -> tuple[AnyScorer, ...]:
    """Some built-in judges by name, such as for `as_mlflow_scorer`.

    Args:
        judge: What `judge_backend` takes.
        names: The judges' documented names.
        config: ``global_guidelines``, for the judge of that name.

    Raises:
        ConfigurationError: A name is not known, or the judge cannot be used.
    """
    parsed = EvaluatorConfig.parse({_MODEL_TYPE: {"metrics": list(names), **config}})
    return tuple(_built_in(parsed, judge_backend(judge)))


def _built_in(config: EvaluatorConfig, backend: JudgeBackend) -> list[AnyScorer]:
    by_default = config.metrics is None
    names = set(BUILT_IN_JUDGES if config.metrics is None else config.metrics)
    # Rules for all answers are a request of their own, whatever else is chosen.
    names -= {"global_guideline_adherence"}
    if config.global_guidelines:
        names |= {"global_guideline_adherence"}
    return [
        _judge(name, backend, by_default=by_default, rules=config.global_guidelines or {})
        for name in DOCUMENTED_ORDER
        if name in names
    ]


def _judge(name: str, backend: JudgeBackend, *, by_default: bool, rules: Guidelines) -> AnyScorer:
    if name == "chunk_relevance":
        return ChunkRelevance(backend, by_default)
    if name == "guideline_adherence":
        return GuidelineJudge(name, backend, _guidelines_of_row, by_default)
    if name == "global_guideline_adherence":
        return GuidelineJudge(name, backend, lambda _: rules)
    return BuiltInJudge(name, backend, by_default)


def _guidelines_of_row(context: ScoringContext) -> Guidelines:
    return _guidelines(context.record.guidelines) or {}


def _guidelines(given: Any) -> Guidelines | None:
    """Rules by group: a list is the group without a name."""
    if given is None:
        return None
    groups = given if isinstance(given, Mapping) else {"": given}
    for rules in groups.values():
        if not isinstance(rules, list | tuple) or not all(isinstance(r, str) for r in rules):
            raise _wrong("'global_guidelines'", "a list of texts, or lists of texts by name", given)
    return {str(name): list(rules) for name, rules in groups.items()}


def _refuse_judges_without_a_model(
    config: EvaluatorConfig, scorers: list[AnyScorer], cache: str | Path | None
) -> None:
    asked = [*(config.metrics or ()), *(["global_guidelines"] if config.global_guidelines else [])]
    asked += [s.name for s in scorers if isinstance(s, PromptJudge) and s.backend is None]
    asked += ["judge_cache"] if cache is not None else []
    if asked:
        msg = (
            f"{', '.join(asked)} needs somebody who judges: give judge=, such as "
            "judge=ChatDatabricks(model='my-chat') or judge='endpoints:/my-chat'."
        )
        raise ConfigurationError(msg)


def _refuse_two_of_a_column(scorers: list[AnyScorer]) -> None:
    seen: set[str] = set()
    for scorer in scorers:
        if scorer.column in seen:
            msg = (
                f"Two scorers write to {scorer.column!r}, so one would be lost. Give one of them "
                "another name."
            )
            raise ConfigurationError(msg)
        seen.add(scorer.column)


def _only_known(given: Iterable[Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    if unknown := [name for name in given if name not in known]:
        msg = (
            f"{where} does not know {', '.join(map(repr, unknown))}. It knows: "
            f"{', '.join(map(repr, known))}."
        )
        raise ConfigurationError(msg)


def _wrong(where: str, expected: str, value: Any) -> ConfigurationError:
    return ConfigurationError(
        f"evaluator_config, {where}: expected {expected}, not {type(value).__name__} {value!r:.60}."
    )
