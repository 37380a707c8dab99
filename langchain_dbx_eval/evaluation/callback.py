"""`EvaluationCallbackHandler`: listens to any chain, and scores what it does."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.outputs import ChatGeneration, LLMResult
from typing_extensions import override

from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.evaluation.capture import CapturedRun, RunCapture, Span, SpanKind
from langchain_dbx_eval.evaluation.results import EvaluationResult
from langchain_dbx_eval.evaluation.session import EvaluationSession
from langchain_dbx_eval.scoring import DEFAULT_SCORERS, select_scorers

__all__ = ["CaptureHandler", "EvaluationCallbackHandler"]

_logger = logging.getLogger(__name__)


class CaptureHandler(BaseCallbackHandler):
    """Turns LangChain's events into captured runs.

    Each event is told to `capture` and nothing more is done in the chain's own thread.
    """

    # In a chain's event loop, handlers are otherwise sent through a thread pool: slower than what
    # is done here, and out of order.
    run_inline = True

    def __init__(self, capture: RunCapture) -> None:
        self.capture = capture

    def _start(self, kind: SpanKind, inputs: Any, run_id: UUID, event: dict[str, Any]) -> None:
        serialized = event.get("serialized") or {}
        name = event.get("name") or serialized.get("name") or kind.lower()
        span = Span(
            run_id=run_id,
            parent_id=event.get("parent_run_id"),
            kind=kind,
            name=str(name),
            inputs=inputs,
            start_ns=time.time_ns(),
        )
        self.capture.start(span, event.get("metadata"))

    @override
    def on_chain_start(self, serialized: Any, inputs: Any, *, run_id: UUID, **event: Any) -> None:
        self._start("CHAIN", inputs, run_id, {"serialized": serialized, **event})

    @override
    def on_chain_end(self, outputs: Any, *, run_id: UUID, **event: Any) -> None:
        # A streamed chain tells its input at its end: at its start it has not read it yet.
        inputs = {"inputs": event["inputs"]} if "inputs" in event else {}
        self.capture.end(run_id, outputs=outputs, **inputs)

    @override
    def on_llm_start(
        self, serialized: Any, prompts: list[str], *, run_id: UUID, **event: Any
    ) -> None:
        inputs = prompts[0] if len(prompts) == 1 else prompts
        self._start("LLM", inputs, run_id, {"serialized": serialized, **event})

    @override
    def on_chat_model_start(
        self, serialized: Any, messages: list[list[BaseMessage]], *, run_id: UUID, **event: Any
    ) -> None:
        self._start(
            "CHAT_MODEL", {"messages": messages[0]}, run_id, {"serialized": serialized, **event}
        )

    @override
    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **event: Any) -> None:
        generation = response.generations[0][0]
        answer = generation.message if isinstance(generation, ChatGeneration) else generation.text
        self.capture.end(run_id, outputs=answer, tokens=_tokens(response))

    @override
    def on_retriever_start(
        self, serialized: Any, query: str, *, run_id: UUID, **event: Any
    ) -> None:
        self._start("RETRIEVER", query, run_id, {"serialized": serialized, **event})

    @override
    def on_retriever_end(
        self, documents: Sequence[Document], *, run_id: UUID, **event: Any
    ) -> None:
        self.capture.end(run_id, outputs=list(documents))

    @override
    def on_tool_start(self, serialized: Any, input_str: str, *, run_id: UUID, **event: Any) -> None:
        inputs = event.get("inputs") or input_str
        self._start("TOOL", inputs, run_id, {"serialized": serialized, **event})

    @override
    def on_tool_end(self, output: Any, *, run_id: UUID, **event: Any) -> None:
        self.capture.end(run_id, outputs=output)

    def _fail(self, error: BaseException, *, run_id: UUID, **event: Any) -> None:  # noqa: ARG002
        self.capture.end(run_id, error=f"{type(error).__name__}: {error}")

    on_chain_error = on_llm_error = on_retriever_error = on_tool_error = _fail


class EvaluationCallbackHandler(CaptureHandler):
    """Attaches to any chain, and scores each of its calls against an evaluation dataset.

    Each call finds its record by ``metadata["request_id"]`` of its config, else by its input. It is
    scored in the background: the chain is neither slowed nor broken by it.

    Latency is that of the call as LangChain tells it. In `batch`, LangChain takes a chain's steps
    for all inputs together, so each call lasts as long as the batch; `invoke` and `evaluate` tell
    each row's own.

    Example:
        ```python
        handler = EvaluationCallbackHandler("main.default.questions")
        chain.batch(questions, config={"callbacks": [handler]})
        result = handler.result()
        ```

    Args:
        dataset: Whatever `EvalDataset.load` takes; None scores without ground truth.
        evaluator_config: Which judges run, as for `evaluate`.
        judge: Who judges, as for `evaluate`; None runs no built-in judge.
        judge_cache: A file that keeps verdicts.
        scorers: What to score with; default: `DEFAULT_SCORERS`.
        run_name: The name of the MLflow run.
        experiment: The MLflow experiment; default: MLflow's current one.

    Raises:
        NotFoundError: There is no such dataset.
        ConfigurationError: The judge or its configuration cannot be used.
    """

    def __init__(
        self,
        dataset: Any = None,
        *,
        evaluator_config: Mapping[str, Any] | None = None,
        judge: Any = None,
        judge_cache: str | Path | None = None,
        scorers: Iterable[Any] = DEFAULT_SCORERS,
        run_name: str | None = None,
        experiment: str | None = None,
    ) -> None:
        super().__init__(RunCapture(self._take))
        self._dataset = None if dataset is None else EvalDataset.load(dataset)
        self._scorers = select_scorers(
            scorers, judge=judge, evaluator_config=evaluator_config, judge_cache=judge_cache
        )
        self._run_name = run_name
        self._experiment = experiment
        self._session = self._new_session()
        # Held while a call is handed over, so that none goes to a session that has just ended.
        self._switching = threading.Lock()
        self._result: EvaluationResult | None = None
        self.failures_of_its_own = 0
        """How often this handler itself failed; each is logged, none reaches the chain."""

    def result(self) -> EvaluationResult:
        """Wait until every call so far is scored, and write them to MLflow as one run.

        Returns:
            The result. Calls that end later belong to the next one; as long as there are none,
            the same result is returned again.

        Raises:
            TrackingError: MLflow cannot be written to; the error carries the result.
        """
        with self._switching:
            if self._result is not None and not len(self._session):
                return self._result
            session, self._session = self._session, self._new_session()
        self._result = session.finish()
        return self._result

    def _new_session(self) -> EvaluationSession:
        return EvaluationSession(
            self._dataset, self._scorers, run_name=self._run_name, experiment=self._experiment
        )

    def _take(self, run: CapturedRun) -> None:
        try:
            with self._switching:
                self._session.add(run)
        except Exception:
            self.failures_of_its_own += 1
            _logger.exception("A call could not be taken for evaluation; the chain goes on.")


def _tokens(response: LLMResult) -> tuple[int | None, int | None]:
    """Tokens read and written: a chat message tells them itself, a text model by its output."""
    generations = [generation for prompt in response.generations for generation in prompt]
    messages = [g.message for g in generations if isinstance(g, ChatGeneration)]
    for message in messages:
        if isinstance(message, AIMessage) and message.usage_metadata:
            usage = message.usage_metadata
            return usage["input_tokens"], usage["output_tokens"]
    told = (response.llm_output or {}).get("token_usage") or {}
    return told.get("prompt_tokens"), told.get("completion_tokens")
