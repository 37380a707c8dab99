"""The user's own scorers: functions with the decorator `scorer`, and `PromptJudge`."""

from __future__ import annotations

import hashlib
import inspect
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, ClassVar, overload

from langchain_dbx_eval._internal.event_loop import call_in_thread
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.assessments import EMPTY_RESPONSE, ScorerOutput, Skip
from langchain_dbx_eval.scoring.context import ScoringContext
from langchain_dbx_eval.scoring.contract import METRIC_FAMILY, RESPONSE_JUDGE_FAMILY
from langchain_dbx_eval.scoring.conversation import conversation_messages
from langchain_dbx_eval.scoring.judges.backend import repeat_backend, resolve_backend
from langchain_dbx_eval.scoring.judges.inputs import PROMPT_VARIABLES
from langchain_dbx_eval.scoring.judges.protocol import JudgeBackend
from langchain_dbx_eval.scoring.judges.scales import Scale, YesNo
from langchain_dbx_eval.scoring.judges.scorer import JudgeScorer
from langchain_dbx_eval.scoring.judges.spec import JudgeSpec
from langchain_dbx_eval.scoring.mlflow.traces import tool_calls_of, trace_of
from langchain_dbx_eval.scoring.results import ResultReader, aggregation_metadata

__all__ = ["FunctionScorer", "PromptJudge", "scorer"]

_Function = Callable[..., Any]

# The supported parameters of a function.
_PARAMETERS: dict[str, Callable[[ScoringContext], Any]] = {
    "request": lambda context: context.request_text,
    "response": lambda context: context.response_text,
    "retrieved_context": lambda context: context.outcome.retrieved_context,
    "expected_response": lambda context: context.record.expected_response,
    "expected_facts": lambda context: context.record.expected_facts,
    "expected_retrieved_context": lambda context: context.record.expected_retrieved_context,
    "guidelines": lambda context: context.record.guidelines,
    "metadata": lambda context: context.record.metadata,
    "tags": lambda context: context.record.metadata.get("tags") or {},
    "messages": lambda context: conversation_messages(
        context.record.request, context.outcome.response
    ),
    "trace": trace_of,
    "tool_calls": tool_calls_of,
    "inputs": lambda context: context.record.inputs,
    "outputs": lambda context: context.outcome.response,
    "expectations": lambda context: context.expectations,
    "record": lambda context: context.record,
    "outcome": lambda context: context.outcome,
}
# `{request}`, or `{{ request }}` as in MLflow's prompts.
_PLACEHOLDER = re.compile(r"\{\{?\s*(\w+)\s*\}?\}")


@overload
def scorer(function: _Function, /) -> FunctionScorer: ...
@overload
def scorer(
    *,
    name: str | None = None,
    affects_verdict: bool = False,
    aggregations: Iterable[str | Callable[[list[float]], float]] = (),
) -> Callable[[_Function], FunctionScorer]: ...
def scorer(
    function: _Function | None = None,
    /,
    *,
    name: str | None = None,
    affects_verdict: bool = False,
    aggregations: Iterable[str | Callable[[list[float]], float]] = (),
) -> Any:
    """Convert a function to a scorer.

    Example:
        ```python
        @scorer(affects_verdict=True)
        def is_short(response: str) -> bool:
            return len(response) < 200
        ```

    The parameters of the function name its inputs: ``request``, ``response``,
    ``retrieved_context``, ``expected_response``, ``expected_facts``,
    ``expected_retrieved_context``, ``guidelines``, ``metadata``, ``tags``, ``inputs``, ``outputs``,
    ``expectations``, ``messages`` (of request and response, in OpenAI's form), ``tool_calls``
    (``{"name", "arguments", "result"}`` each), ``trace`` (the MLflow trace), ``record``,
    ``outcome``. A row without a required one is skipped.

    The function returns True or False, a number, a string, ``(value, rationale)``,
    ``{"value": …, "rationale": …}``, an `Assessment`, MLflow's ``Feedback``, a list of these, a
    dict of these by name, or None for no score. NaN and infinite numbers are errors of the row. It
    may be asynchronous; otherwise it runs in a thread.

    Args:
        function: The function.
        name: Name of the scorer; default: the name of the function.
        affects_verdict: Whether a "no" (or False) fails the row in the overall assessment. The
            columns are then those of a judge, ``response/llm_judged/<name>/rating``, with True as
            "yes" and False as "no". Otherwise the column is ``metric/<name>``.
        aggregations: Further metrics of the run, ``<name>/<aggregation>``: ``min``, ``max``,
            ``mean``, ``median``, ``variance``, ``p90``, or functions of the list of values.

    Returns:
        The scorer; it can still be called as the function.

    Raises:
        ConfigurationError: The function has a required parameter that no row provides, or an
            aggregation is not supported.
    """

    def decorate(function: _Function) -> FunctionScorer:
        default = getattr(function, "__name__", type(function).__name__)
        return FunctionScorer(function, name or default, affects_verdict, tuple(aggregations))

    return decorate if function is None else decorate(function)


@dataclass(frozen=True)
class FunctionScorer:
    """A function as a scorer, created by `scorer`.

    Attributes:
        function: The function, asynchronous or not.
        name: Name of the scorer.
        affects_verdict: Whether it counts in the overall assessment.
        aggregations: Further metrics, see `scorer`.
    """

    function: _Function
    name: str
    affects_verdict: bool = False
    aggregations: tuple[str | Callable[[list[float]], float], ...] = ()

    def __post_init__(self) -> None:
        aggregation_metadata(self.name, self.aggregations)
        unknown = [p for p in self._parameters if p.name not in _PARAMETERS and _is_required(p)]
        if unknown:
            msg = (
                f"The function of the scorer {self.name!r} has a parameter {unknown[0].name!r}, "
                f"which no row provides. Supported parameters: {', '.join(_PARAMETERS)}."
            )
            raise ConfigurationError(msg)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return f"{RESPONSE_JUDGE_FAMILY if self.affects_verdict else METRIC_FAMILY}/{self.name}"

    @property
    def leaf(self) -> str:
        """See `Assessment.leaf`."""
        return "rating" if self.affects_verdict else ""

    async def score(self, context: ScoringContext) -> ScorerOutput:
        """See `Scorer.score`."""
        supported = [p for p in self._parameters if p.name in _PARAMETERS]
        values = {p.name: _PARAMETERS[p.name](context) for p in supported}
        missing = [p.name for p in supported if values[p.name] is None and _is_required(p)]
        if missing:
            value_column = f"{self.column}/{self.leaf}" if self.leaf else self.column
            reason = " and ".join(missing)
            if self.affects_verdict and context.outcome.is_empty and "outputs" in missing:
                reason = EMPTY_RESPONSE
            return [Skip(self.name, reason, value_column)]
        arguments = {name: value for name, value in values.items() if value is not None}
        if inspect.iscoroutinefunction(self.function):
            result = await self.function(**arguments)
        else:
            result = await call_in_thread(self.function, **arguments)
        if inspect.isawaitable(result):  # of a lambda, or of an object with __call__
            result = await result
        return self._reader.read(result)

    @cached_property
    def _reader(self) -> ResultReader:
        return ResultReader(
            name=self.name,
            family=RESPONSE_JUDGE_FAMILY if self.affects_verdict else METRIC_FAMILY,
            leaf=self.leaf,
            source="LLM_JUDGE" if self.affects_verdict else "CODE",
            as_rating=self.affects_verdict,
            metadata=aggregation_metadata(self.name, self.aggregations),
        )

    @cached_property
    def _parameters(self) -> list[inspect.Parameter]:
        kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        parameters = inspect.signature(self.function).parameters.values()
        return [parameter for parameter in parameters if parameter.kind in kinds]


@dataclass(frozen=True)
class PromptJudge:
    """A judge defined by a prompt. It affects the overall assessment.

    Example:
        ```python
        tone = PromptJudge("tone", "Is {response}, an answer to {request}, polite?")
        ```

    Attributes:
        name: Name of the judge; its columns are
            ``response/llm_judged/<name>/rating|rationale|error_message``.
        instructions: The task. ``{request}``, ``{response}``, ``{retrieved_context}``,
            ``{expected_response}`` and ``{expected_facts}`` are the inputs that the judge model is
            shown. A row that lacks one of those used is skipped.
        scale: The allowed ratings: `YesNo`, `Numeric` or `Categorical`.
        model: The judge model, as for ``evaluate(judge=…)``; default: that of the run.
        backend: The resolved judge model; set from `model`.
        limits_time: See `JudgeScorer`.

    Raises:
        ConfigurationError: The instructions contain no input, or an unknown one.
    """

    name: str
    instructions: str
    scale: Scale = field(default_factory=YesNo)
    model: Any = None
    backend: JudgeBackend | None = field(default=None, repr=False)
    limits_time: ClassVar[bool] = True

    def __post_init__(self) -> None:
        names = self._spec.inputs
        unknown = [name for name in names if name not in PROMPT_VARIABLES]
        if unknown or not names:
            found = f"the unknown input {{{unknown[0]}}}" if unknown else "no input"
            supported = ", ".join(f"{{{name}}}" for name in PROMPT_VARIABLES)
            msg = (
                f"The instructions of the judge {self.name!r} contain {found}. Supported inputs: "
                f"{supported}."
            )
            raise ConfigurationError(msg)
        if self.model is not None and self.backend is None:
            object.__setattr__(self, "backend", resolve_backend(self.model))

    @property
    def column(self) -> str:
        """See `Scorer.column`."""
        return self._spec.column

    @property
    def leaf(self) -> str:
        """See `Assessment.leaf`."""
        return self._spec.leaf

    def with_backend(self, backend: JudgeBackend) -> PromptJudge:
        """Return this judge with a judge model; itself if it has one."""
        return self if self.backend is not None else replace(self, backend=backend)

    def repeated(self, repeats: int) -> PromptJudge:
        """Return this judge with a model that repeats each request; itself if it has no model."""
        if self.backend is None:
            return self
        return replace(self, backend=repeat_backend(self.backend, repeats))

    async def score(self, context: ScoringContext) -> ScorerOutput:
        """See `Scorer.score`."""
        if self.backend is None:
            msg = f"The judge {self.name!r} has no model: pass model= to it, or judge= to evaluate."
            raise ConfigurationError(msg)
        return await JudgeScorer(self._spec, self.backend).score(context)

    @cached_property
    def _spec(self) -> JudgeSpec:
        task = _PLACEHOLDER.sub(r"<\1>", self.instructions)
        digest = hashlib.sha256(f"{task}\n{self.scale.description}".encode()).hexdigest()[:8]
        return JudgeSpec(
            name=self.name,
            prompt=task,
            version=f"{self.name}-{digest}",
            inputs=tuple(dict.fromkeys(_PLACEHOLDER.findall(self.instructions))),
            scale=self.scale,
        )


def _is_required(parameter: inspect.Parameter) -> bool:
    return parameter.default is inspect.Parameter.empty
