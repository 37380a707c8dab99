"""The input of scorers, and the protocol that they implement."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from textwrap import shorten
from typing import Any, Protocol

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.scoring.answer_text import answer_text, is_empty_answer, request_text
from langchain_dbx_eval.scoring.assessments import ScorerOutput

__all__ = ["Outcome", "Scorer", "ScoringContext"]

# The form of `model_error_message`: "TimeoutError: no answer within 5 s", or without a message.
_ERROR_CLASS = re.compile(r"([A-Za-z_][\w.]*)(?::|\(|$)")
# Columns of the input schema that are expectations.
_EXPECTATION_COLUMNS = ("expected_tool_calls", "grading_notes")


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Result of one invocation of a chain.

    Attributes:
        response: The response, unconverted.
        retrieved_context: Documents that the retrievers returned, ``{"doc_uri"?, "content"?}``;
            None if no retriever ran.
        latency_seconds: Duration of the invocation; None for a recorded response.
        time_to_first_token_seconds: From the start to the first token that a model streamed; None
            if no model streamed.
        input_tokens: Prompt tokens of all models; None if not reported.
        output_tokens: Completion tokens of all models; None if not reported.
        error: Why there is no response.
        cached_input_tokens: Those of `input_tokens` that providers read from a prompt cache; None
            if not reported.
        cost_usd: Cost of all models in US dollars, by the prices that the user gave; None without
            prices, or if a model has none.
    """

    response: Any = None
    retrieved_context: Sequence[dict[str, Any]] | None = None
    latency_seconds: float | None = None
    time_to_first_token_seconds: float | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    error: str | None = None
    cached_input_tokens: int | None = None
    cost_usd: float | None = None

    @property
    def total_tokens(self) -> int | None:
        """Sum of the prompt and completion tokens; None if neither is reported."""
        if self.input_tokens is None and self.output_tokens is None:
            return None
        return (self.input_tokens or 0) + (self.output_tokens or 0)

    @property
    def is_empty(self) -> bool:
        """Whether the invocation succeeded, and its response is None or contains nothing."""
        return self.error is None and is_empty_answer(self.response)

    @property
    def error_class(self) -> str | None:
        """Class of the error, such as ``TimeoutError``; its first words if it names none."""
        if self.error is None:
            return None
        named = _ERROR_CLASS.match(self.error)
        return named[1] if named else shorten(self.error, 60, placeholder=" …") or "unknown"


@dataclass(frozen=True)
class ScoringContext:
    """The only input of a scorer: one row.

    Attributes:
        record: The request and its ground truth.
        outcome: Result of the chain for this request.
        make_trace: Returns the MLflow trace of the captured call; None if no call was captured. See
            `mlflow.traces.trace_of`.
    """

    record: EvalRecord
    outcome: Outcome
    make_trace: Callable[[], Any] | None = field(default=None, compare=False, repr=False)

    @property
    def request_text(self) -> str:
        """Text of the request; of a conversation, its last turn."""
        return request_text(self.record.request)

    @property
    def expectations(self) -> dict[str, Any]:
        """All expected values, those without a field of `EvalRecord` included."""
        columns = {name: self.record.metadata.get(name) for name in _EXPECTATION_COLUMNS}
        present = {name: value for name, value in columns.items() if value is not None}
        return {**present, **self.record.expectations}

    @property
    def response_text(self) -> str | None:
        """Text of the response, empty if the response is None; None if the invocation failed."""
        return None if self.outcome.error is not None else answer_text(self.outcome.response) or ""

    @property
    def retrieved_texts(self) -> list[str]:
        """Contents of the retrieved chunks, without those that have none."""
        chunks = self.outcome.retrieved_context or ()
        return [chunk["content"] for chunk in chunks if chunk.get("content")]


class Scorer(Protocol):
    """An object that scores rows, usually a dataclass whose fields are its configuration.

    It may have an attribute ``leaf`` (see `Assessment.leaf`), which places the error of a `score`
    that raises, and an attribute ``limits_time``: whether it limits its own time, so that the time
    limit of scorers does not apply to it.
    """

    @property
    def name(self) -> str:
        """Short name."""
        ...

    @property
    def column(self) -> str:
        """Prefix of its columns (see `Assessment.column`), unique in a run."""
        ...

    def score(self, context: ScoringContext) -> ScorerOutput | Awaitable[ScorerOutput]:
        """Score one row.

        It may be a coroutine function: those of all scorers of a row run concurrently, and the
        others run in one thread.

        Args:
            context: The row.

        Returns:
            The assessments. For a row that lacks an input: nothing, or a `Skip`, which is counted.
        """
        ...
