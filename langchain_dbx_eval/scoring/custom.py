"""A user's own judges and scorers: functions with a decorator, and judges written as a prompt."""

from __future__ import annotations

import asyncio
import hashlib
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, overload

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.assessments import Assessment, Skip
from langchain_dbx_eval.scoring.context import ScoringContext
from langchain_dbx_eval.scoring.contract import CUSTOM_JUDGE_FAMILY, METRIC_FAMILY
from langchain_dbx_eval.scoring.judges.backend import JudgeBackend
from langchain_dbx_eval.scoring.judges.backend_resolver import judge_backend
from langchain_dbx_eval.scoring.judges.builtin import assessment_of
from langchain_dbx_eval.scoring.judges.inputs import MATERIAL, gather
from langchain_dbx_eval.scoring.judges.prompt import JudgePrompt, Question
from langchain_dbx_eval.scoring.judges.scales import Scale, YesNo

__all__ = ["FunctionScorer", "PromptJudge", "judge", "scorer"]

_Function = Callable[..., Any]

# What a function may ask for, by the name of its parameter.
_ARGUMENTS: dict[str, Callable[[ScoringContext], Any]] = {
    "request": lambda context: context.request_text,
    "response": lambda context: context.response_text,
    "retrieved_context": lambda context: context.outcome.retrieved_context,
    "expected_response": lambda context: context.record.expected_response,
    "expected_facts": lambda context: context.record.expected_facts,
    "expected_retrieved_context": lambda context: context.record.expected_retrieved_context,
    "guidelines": lambda context: context.record.guidelines,
    "metadata": lambda context: context.record.metadata,
    "inputs": lambda context: context.record.inputs,
    "outputs": lambda context: context.outcome.response,
    "expectations": lambda context: context.record.expectations,
    "record": lambda context: context.record,
    "outcome": lambda context: context.outcome,
}
# `{request}` in a prompt, and `{{ request }}` as MLflow writes it.
_PLACEHOLDER = re.compile(r"\{\{?\s*(\w+)\s*\}?\}")


@dataclass(frozen=True)
class FunctionScorer:
    """A function as a scorer; made by `judge` and `scorer`, and still callable as the function.

    Attributes:
        function: The function, asynchronous or not.
        name: The scorer's name.
        source: ``LLM_JUDGE`` for a judge, ``CODE`` for a scorer.
    """

    function: _Function
    name: str
    source: Literal["CODE", "LLM_JUDGE"]

    def __post_init__(self) -> None:
        unknown = [p for p in self._parameters if p.name not in _ARGUMENTS and _is_required(p)]
        if unknown:
            msg = (
                f"The function of {self.name!r} asks for {unknown[0].name!r}, which no row has. "
                f"It may ask for: {', '.join(_ARGUMENTS)}."
            )
            raise ConfigurationError(msg)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function itself."""
        return self.function(*args, **kwargs)

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        family = CUSTOM_JUDGE_FAMILY if self.source == "LLM_JUDGE" else METRIC_FAMILY
        return f"{family}/{self.name}"

    @property
    def leaf(self) -> str:
        """See `Assessment.leaf`."""
        return "rating" if self.source == "LLM_JUDGE" else ""

    async def ascore(self, context: ScoringContext) -> Sequence[Assessment | Skip]:
        """Call the function with what it asks for; a row that lacks some of it is skipped."""
        named = [p for p in self._parameters if p.name in _ARGUMENTS]
        given = {p.name: _ARGUMENTS[p.name](context) for p in named}
        required = {p.name for p in named if _is_required(p)}
        if lacking := [name for name, value in given.items() if value is None and name in required]:
            end = f"/{self.leaf}" if self.leaf else ""
            return [Skip(self.name, " and ".join(lacking), self.column + end)]
        given = {name: value for name, value in given.items() if value is not None}
        if inspect.iscoroutinefunction(self.function):
            said = await self.function(**given)
        else:
            said = await asyncio.to_thread(self.function, **given)
        if inspect.isawaitable(said):  # of a lambda, or of an object that is called
            said = await said
        return [] if said is None else [self._assessment(said)]

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(self.function).parameters.values()
        return [parameter for parameter in parameters if parameter.kind in kinds]

    def _assessment(self, said: Any) -> Assessment:
        if isinstance(said, Assessment):
            return said
        value, rationale = _value_and_rationale(said)
        if isinstance(value, bool):
            value = ("yes" if value else "no") if self.source == "LLM_JUDGE" else float(value)
        if not isinstance(value, str | int | float):
            msg = (
                f"{self.name!r} returned {said!r:.80}. Return True or False, a number, a text, "
                "(value, rationale), {'value': …, 'rationale': …}, or None to say nothing."
            )
            raise TypeError(msg)
        return Assessment(
            name=self.name,
            column=self.column,
            leaf=self.leaf,
            value=value,
            rationale=rationale,
            source=self.source,
        )


@dataclass(frozen=True)
class PromptJudge:
    """A judge written as a prompt.

    Example:
        ```python
        tone = PromptJudge("tone", "Is {response}, an answer to {request}, polite?")
        ```

    Attributes:
        name: Its name; its columns are ``response/llm_judged/<name>/rating|rationale|…``.
        instructions: What is asked. ``{request}``, ``{response}``, ``{retrieved_context}``,
            ``{expected_response}`` and ``{expected_facts}`` stand for what the judge is shown; a
            row that lacks one of those that are used is skipped.
        scale: What it may answer: `YesNo`, `Numeric`, `Categorical`.
        model: Who judges; default: the judge of the run.

    Raises:
        ConfigurationError: The instructions show the judge nothing, or something that no row has.
    """

    name: str
    instructions: str
    scale: Scale = field(default_factory=YesNo)
    model: Any = None
    backend: JudgeBackend | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        unknown = [name for name in self._needs if name not in MATERIAL]
        if unknown or not self._needs:
            told = f"show {{{unknown[0]}}}" if unknown else "show the judge nothing"
            known = ", ".join(f"{{{name}}}" for name in MATERIAL)
            msg = f"The instructions of judge {self.name!r} {told}. Known are: {known}."
            raise ConfigurationError(msg)
        if self.model is not None and self.backend is None:
            object.__setattr__(self, "backend", judge_backend(self.model))

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return f"{CUSTOM_JUDGE_FAMILY}/{self.name}"

    def asked_of(self, backend: JudgeBackend) -> PromptJudge:
        """The same judge, asked of the run's model unless it has one of its own."""
        return self if self.backend is not None else replace(self, backend=backend)

    async def ascore(self, context: ScoringContext) -> Sequence[Assessment | Skip]:
        """Assess one row."""
        if self.backend is None:
            msg = (
                f"The judge {self.name!r} has no model: give it model=…, or evaluate with judge=…."
            )
            raise ConfigurationError(msg)
        found = gather(context, self._needs)
        if found.lacking:
            return [Skip(self.name, found.lacking, f"{self.column}/rating")]
        verdict = await self.backend.ask(Question(self._prompt(), found.inputs))
        return [assessment_of(verdict, name=self.name, column=self.column)]

    @property
    def _needs(self) -> list[str]:
        return list(dict.fromkeys(_PLACEHOLDER.findall(self.instructions)))

    def _prompt(self) -> JudgePrompt:
        task = _PLACEHOLDER.sub(r"<\1>", self.instructions)
        digest = hashlib.sha256(f"{task}\n{self.scale.words}".encode()).hexdigest()[:8]
        return JudgePrompt(self.name, f"{self.name}-{digest}", task, self.scale)


@overload
def judge(function: _Function, /) -> FunctionScorer: ...
@overload
def judge(*, name: str | None = None) -> Callable[[_Function], FunctionScorer]: ...
def judge(function: _Function | None = None, /, *, name: str | None = None) -> Any:
    """Make a judge of a function: what it says counts in the overall assessment.

    Example:
        ```python
        @judge(name="short")
        def is_short(response: str) -> bool:
            return len(response) < 200
        ```

    The function asks for what it needs by the names of its parameters: ``request``, ``response``,
    ``retrieved_context``, ``expected_response``, ``expected_facts``, ``guidelines``, ``metadata``,
    ``inputs``, ``outputs``, ``expectations``, ``record``, ``outcome``. It returns True or False (a
    "yes" or "no"), a number, a text, ``(value, rationale)``, or None to say nothing. It may be
    asynchronous; otherwise it runs in a thread.

    Args:
        function: The function.
        name: The judge's name; default: the function's.

    Raises:
        ConfigurationError: The function asks for something that no row has.
    """
    return _decorated(function, name, "LLM_JUDGE")


@overload
def scorer(function: _Function, /) -> FunctionScorer: ...
@overload
def scorer(*, name: str | None = None) -> Callable[[_Function], FunctionScorer]: ...
def scorer(function: _Function | None = None, /, *, name: str | None = None) -> Any:
    """Make a scorer of a function: a metric of its own, that leaves the overall assessment alone.

    It is written as a `judge` is; its value is in the column ``metric/<name>``, and True counts as
    1.

    Args:
        function: The function.
        name: The scorer's name; default: the function's.

    Raises:
        ConfigurationError: The function asks for something that no row has.
    """
    return _decorated(function, name, "CODE")


def _decorated(
    function: _Function | None, name: str | None, source: Literal["CODE", "LLM_JUDGE"]
) -> Any:
    def decorate(function: _Function) -> FunctionScorer:
        return FunctionScorer(function, name or str(getattr(function, "__name__", source)), source)

    return decorate if function is None else decorate(function)


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty


def _value_and_rationale(said: Any) -> tuple[Any, str | None]:
    if isinstance(said, tuple) and len(said) == 2:
        return said[0], None if said[1] is None else str(said[1])
    if isinstance(said, Mapping) and "value" in said:
        return said["value"], said.get("rationale")
    return said, None
