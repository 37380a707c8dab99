"""Selection of the judges and scorers of a run, by ``evaluator_config`` and the user's list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.context import Scorer
from langchain_dbx_eval.scoring.custom import PromptJudge
from langchain_dbx_eval.scoring.judges.backend import default_judge, resolve_backend
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.judges.inputs import Guidelines, guideline_groups
from langchain_dbx_eval.scoring.judges.protocol import JudgeBackend
from langchain_dbx_eval.scoring.judges.scorer import JUDGE_SCORERS, GuidelineJudge, SkippedJudges
from langchain_dbx_eval.scoring.metrics.retrieval import DocumentRecall
from langchain_dbx_eval.scoring.mlflow.scorers import as_scorer

__all__ = ["EvaluatorConfig", "built_in_judges", "select_scorers"]

_logger = get_logger(__name__)
_MODEL_TYPE = "databricks-agent"
_AGENT_KEYS = ("metrics", "global_guidelines")


@dataclass(frozen=True)
class EvaluatorConfig:
    """The content of ``evaluator_config["databricks-agent"]``.

    Attributes:
        metrics: Names of the judges to run on all rows; None: those that apply by default.
        global_guidelines: Guidelines for all rows, by group.
    """

    metrics: tuple[str, ...] | None = None
    global_guidelines: Guidelines | None = None

    @classmethod
    def parse(cls, config: Mapping[str, Any] | None) -> EvaluatorConfig:
        """Parse ``evaluator_config``.

        Raises:
            ConfigurationError: A key or a judge is unknown, or a value has the wrong type.
        """
        outer = dict(config or {})
        if outer and outer.keys() <= set(_AGENT_KEYS):
            msg = (
                f"evaluator_config={config!r:.200} lacks its outer key. Pass "
                f"evaluator_config={{{_MODEL_TYPE!r}: {config!r:.200}}}."
            )
            raise ConfigurationError(msg)
        _check_known(outer, (_MODEL_TYPE,), "evaluator_config")
        inner = outer.get(_MODEL_TYPE) or {}
        if not isinstance(inner, Mapping):
            raise _wrong_type(f"[{_MODEL_TYPE!r}]", "a dict", inner)
        _check_known(inner, _AGENT_KEYS, f"evaluator_config[{_MODEL_TYPE!r}]")
        guidelines = _parse_guidelines(inner.get("global_guidelines"))
        metrics = inner.get("metrics")
        if metrics is None:
            return cls(None, guidelines)
        if isinstance(metrics, str) or not isinstance(metrics, Iterable):
            raise _wrong_type("'metrics'", "a list of judge names", metrics)
        metrics = tuple(metrics)
        _check_known(metrics, sorted(BUILT_IN_JUDGES), "evaluator_config's 'metrics'")
        for name in metrics:
            if BUILT_IN_JUDGES[name].unit == "global_guidelines" and not guidelines:
                msg = f"evaluator_config's 'metrics': {name!r} requires 'global_guidelines'."
                raise ConfigurationError(msg)
        return cls(metrics, guidelines)


def select_scorers(
    scorers: Iterable[Any],
    *,
    extra_metrics: Iterable[Any] | None = None,
    judge: Any = None,
    evaluator_config: Mapping[str, Any] | None = None,
    judge_cache: str | Path | None = None,
    judge_repeats: int = 1,
    max_concurrency: int = 32,
) -> tuple[Scorer, ...]:
    """Return the scorers of a run.

    Args:
        scorers: Scorers and judges of this package, and scorers of ``mlflow.genai``.
            `DocumentRecall` is always added: according to the documentation it cannot be disabled.
        extra_metrics: Further ones, and the ``extra_metrics`` of Agent Evaluation (see
            `mlflow.metrics`).
        judge: The judge model, as for `resolve_backend`; None: that of DBX_EVAL_JUDGE. Without
            either, no built-in judge runs; a warning and the summary name those that would.
        evaluator_config: The documented dict.
        judge_cache: Path of the file that stores verdicts.
        judge_repeats: Number of times that each built-in judge and `PromptJudge` rates a row; see
            `RepeatingBackend`.
        max_concurrency: Maximum number of concurrent requests to the judge model.

    Raises:
        ConfigurationError: An argument is invalid, or two arguments contradict each other.
    """
    config = EvaluatorConfig.parse(evaluator_config)
    judge = default_judge(judge)
    given = {"scorers": scorers, "extra_metrics": () if extra_metrics is None else extra_metrics}
    selected = [as_scorer(scorer) for name in given for scorer in _listed(name, given[name])]
    if not any(scorer.name == DocumentRecall.name for scorer in selected):
        selected.insert(0, DocumentRecall())
    # First those with a model of their own: the backend of the run repeats by itself.
    selected = [s.repeated(judge_repeats) if isinstance(s, PromptJudge) else s for s in selected]
    if judge is None:
        _check_no_judge_needed(config, selected, judge_cache, judge_repeats)
        selected += _skipped(config)
    else:
        backend = resolve_backend(
            judge, judge_cache, max_concurrency=max_concurrency, repeats=judge_repeats
        )
        selected = [s.with_backend(backend) if isinstance(s, PromptJudge) else s for s in selected]
        selected += _built_in(config, backend)
    _check_unique_columns(selected)
    return tuple(selected)


def _listed(name: str, scorers: Iterable[Any]) -> Iterable[Any]:
    if isinstance(scorers, str) or not isinstance(scorers, Iterable):
        msg = f"{name}={scorers!r:.100} is not a list of scorers. Pass {name}=[…]."
        raise ConfigurationError(msg)
    return scorers


def built_in_judges(
    judge: Any,
    names: Iterable[str],
    *,
    global_guidelines: Guidelines | list[str] | None = None,
) -> tuple[Scorer, ...]:
    """Return built-in judges by name, for example for `as_mlflow_scorer`.

    Args:
        judge: The judge model, as for `resolve_backend`.
        names: Documented names of the judges.
        global_guidelines: Guidelines for all rows, for ``global_guideline_adherence``: a list, or
            lists by group.

    Raises:
        ConfigurationError: A name is unknown, or the judge model is not supported.
    """
    config = {"metrics": list(names), "global_guidelines": global_guidelines}
    return tuple(_built_in(EvaluatorConfig.parse({_MODEL_TYPE: config}), resolve_backend(judge)))


def _built_in(config: EvaluatorConfig, backend: JudgeBackend) -> list[Scorer]:
    by_default = config.metrics is None
    judges: list[Scorer] = []
    for name, spec in BUILT_IN_JUDGES.items():
        if spec.unit == "global_guidelines":
            # Runs whenever there are such guidelines, whatever `metrics` lists.
            if config.global_guidelines:
                judges.append(GuidelineJudge(spec, backend, by_default, config.global_guidelines))
        elif by_default or name in (config.metrics or ()):
            judges.append(JUDGE_SCORERS[spec.unit](spec, backend, by_default))
    return judges


def _parse_guidelines(value: Any) -> Guidelines | None:
    if value is None:
        return None
    groups = value if isinstance(value, Mapping) else {"": value}
    for group, rules in groups.items():
        _check_characters("group of guidelines", str(group), group)
        if not isinstance(rules, list | tuple) or not all(isinstance(r, str) for r in rules):
            expected = "a list of strings, or lists of strings by name"
            raise _wrong_type("'global_guidelines'", expected, value)
    return guideline_groups(groups)


def _check_no_judge_needed(
    config: EvaluatorConfig, scorers: list[Scorer], cache: str | Path | None, repeats: int
) -> None:
    needing = [*(config.metrics or ())]
    needing += ["global_guidelines"] if config.global_guidelines else []
    needing += [s.name for s in scorers if isinstance(s, PromptJudge) and s.backend is None]
    needing += ["judge_cache"] if cache is not None else []
    has_judge = any(isinstance(s, PromptJudge) for s in scorers)
    needing += ["judge_repeats"] if repeats != 1 and not has_judge else []
    if needing:
        msg = (
            f"No judge model for {', '.join(needing)}: pass judge=, such as "
            "judge=ChatDatabricks(model='my-chat') or judge='endpoints:/my-chat', or set the "
            "environment variable DBX_EVAL_JUDGE, such as 'endpoints:/my-chat'."
        )
        raise ConfigurationError(msg)


def _skipped(config: EvaluatorConfig) -> list[Scorer]:
    """Warn of the judges that do not run, and return the scorer that counts them."""
    if config.metrics is not None:
        return []
    specs = tuple(s for s in BUILT_IN_JUDGES.values() if s.unit != "global_guidelines")
    _logger.warning(
        "No judge model: the judges %s do not run. Pass judge=, or set the environment variable "
        "DBX_EVAL_JUDGE, such as 'endpoints:/my-chat'. To evaluate without judges, pass "
        "evaluator_config={'databricks-agent': {'metrics': []}}.",
        ", ".join(spec.name for spec in specs),
    )
    return [SkippedJudges(specs)]


def _check_unique_columns(scorers: list[Scorer]) -> None:
    seen: set[str] = set()
    for scorer in scorers:
        _check_characters("scorer", scorer.column, scorer.name)
        if scorer.column in seen:
            msg = f"Two scorers write to the column {scorer.column!r}. Rename one of them."
            raise ConfigurationError(msg)
        seen.add(scorer.column)


def _check_characters(kind: str, column: str, name: Any) -> None:
    """Reject a name that no store can contain; others are mapped (`legal_metric_names`)."""
    if "\0" in column or any("\ud800" <= character <= "\udfff" for character in column):
        msg = (
            f"The name of the {kind} {name!r} contains NUL or half of a surrogate pair, which "
            "cannot be stored. Rename it."
        )
        raise ConfigurationError(msg)


def _check_known(names: Iterable[Any], known: Iterable[str], where: str) -> None:
    known = list(known)
    if unknown := [name for name in names if name not in known]:
        msg = (
            f"{where}: unknown {', '.join(map(repr, unknown))}. Supported: "
            f"{', '.join(map(repr, known))}."
        )
        raise ConfigurationError(msg)


def _wrong_type(where: str, expected: str, value: Any) -> ConfigurationError:
    return ConfigurationError(
        f"evaluator_config, {where}: expected {expected}, not {type(value).__name__} {value!r:.60}."
    )
