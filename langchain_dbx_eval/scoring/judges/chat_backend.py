"""A LangChain chat model as the judge."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable

from langchain_dbx_eval._internal.limiter import AdaptiveLimiter
from langchain_dbx_eval._internal.retry import (
    RetryPolicy,
    is_transient,
    rate_limit_error,
    retry_listener,
    status_of,
)
from langchain_dbx_eval.errors import DatabricksError
from langchain_dbx_eval.scoring.assessments import JudgeUsage
from langchain_dbx_eval.scoring.judges.backend import Verdict
from langchain_dbx_eval.scoring.judges.parsing import Reading, read_object, read_text
from langchain_dbx_eval.scoring.judges.prompt import Question, answer_schema, repair_messages
from langchain_dbx_eval.scoring.judges.scales import Scale

__all__ = ["ChatJudge"]

_logger = logging.getLogger(__name__)
_TRANSIENT_STATUS = {408, 409, 500, 502, 503, 504}
# Where these come back, asking without a schema would only be refused again.
_NOT_ABOUT_SCHEMAS = {401, 403, 404, 429, *_TRANSIENT_STATUS}
_SHOWN = 200


class _Answer(NamedTuple):
    text: str
    reading: Reading | None
    usage: JudgeUsage


class ChatJudge:
    """Asks a chat model, and reads its answer.

    A model that can be held to a schema is; where it cannot, or the endpoint refuses, its text is
    read. An answer that cannot be read is asked for once more, and is then an error.

    Args:
        model: Any LangChain chat model.
        max_concurrency: How many questions are with the model at once; fewer while it answers 429,
            and what it refused is asked again.
        max_retries: How often a call that failed for the moment is made again, where the model's
            own client does not do so.
    """

    def __init__(
        self, model: BaseChatModel, *, max_concurrency: int = 32, max_retries: int = 3
    ) -> None:
        self._model = model
        self._limiter = AdaptiveLimiter(max_concurrency)
        self._policy = RetryPolicy(max_retries, is_retryable=_is_transient)
        self._takes_schema = True
        self._held: dict[Scale, Runnable[Any, Any]] = {}
        self._name = _name(model)
        self.identity = json.dumps(
            [type(model).__qualname__, self._name, model._identifying_params],
            sort_keys=True,
            default=str,
        )
        """The model's class, name and parameters."""

    async def ask(self, question: Question) -> Verdict:
        """See `JudgeBackend.ask`."""
        who: dict[str, Any] = {
            "judged_by": self._name,
            "prompt_version": question.prompt.version,
        }
        loop = asyncio.get_running_loop()
        # A client that is refused, and patient, tells it here; each question has its own task.
        retry_listener.set(lambda error: loop.call_soon_threadsafe(self._limiter.on_error, error))
        await self._limiter.acquire()
        started = time.perf_counter()
        try:
            reading, usage, error = await self._judge(question)
        except Exception as failure:
            # The verdict of one row fails, not the run; its text is in the error's column.
            reading, usage, error = None, JudgeUsage(), f"{type(failure).__name__}: {failure}"
        finally:
            self._limiter.release()
        usage += JudgeUsage(seconds=time.perf_counter() - started)
        if reading is None:
            return Verdict(error=error, usage=usage, **who)
        return Verdict(value=reading.value, rationale=reading.rationale, usage=usage, **who)

    async def _judge(self, question: Question) -> tuple[Reading | None, JudgeUsage, str | None]:
        scale = question.prompt.scale
        asked = question.prompt.messages(question.inputs)
        first = await self._answer(asked, scale)
        if first.reading is not None:
            return first.reading, first.usage, None
        second = await self._answer(repair_messages(asked, first.text, scale), scale)
        error = (
            f"No verdict can be read from the judge's answer, asked twice: {self._name} wrote "
            f"{second.text[:_SHOWN]!r}"
        )
        return second.reading, first.usage + second.usage, error

    async def _answer(self, messages: list[BaseMessage], scale: Scale) -> _Answer:
        structured = self._structured(scale)
        if structured is None:
            return await self._text_answer(messages, scale)
        try:
            answer = await self._call(structured, messages)
        except Exception as error:
            if getattr(error, "status_code", None) in _NOT_ABOUT_SCHEMAS:
                raise
            plain = await self._text_answer(messages, scale)
            # It answers without a schema what it refused with one: a schema is what it cannot take.
            self._takes_schema = False
            _logger.info("%s takes no schema (%s); its text is read.", self._name, error)
            return plain
        message = answer["raw"]
        reading = read_object(answer["parsed"], scale) or read_text(message.text, scale)
        # A model that calls a tool writes no text; what it wrote instead is to be told.
        text = message.text or json.dumps(answer["parsed"], default=str)
        return _Answer(text, reading, _usage(message))

    async def _text_answer(self, messages: list[BaseMessage], scale: Scale) -> _Answer:
        message = await self._call(self._model, messages)
        return _Answer(message.text, read_text(message.text, scale), _usage(message))

    def _structured(self, scale: Scale) -> Runnable[Any, Any] | None:
        if not self._takes_schema:
            return None
        if scale not in self._held:
            schema = answer_schema(scale)
            try:
                self._held[scale] = self._model.with_structured_output(schema, include_raw=True)
            except Exception:  # NotImplementedError in langchain-core; others raise as they like
                self._takes_schema = False
                return None
        return self._held[scale]

    async def _call(self, model: Runnable[Any, Any], messages: list[BaseMessage]) -> Any:
        while True:
            try:
                answer: Any = await self._policy.run_async(lambda: model.ainvoke(messages))
            except Exception as error:
                if not self._limiter.on_error(error) or self._limiter.exhausted:
                    raise
            else:
                self._limiter.on_success()
                return answer
            self._limiter.release()
            await self._limiter.acquire()


def _is_transient(error: BaseException) -> bool:
    """Whether a call may succeed when it is made again, and nobody has done so yet."""
    if isinstance(error, DatabricksError) or rate_limit_error(error) is not None:
        return False  # our own clients have retried already; the limiter handles 429
    return is_transient(error) or status_of(error) in _TRANSIENT_STATUS


def _name(model: BaseChatModel) -> str:
    told = model._get_ls_params()
    return str(told.get("ls_model_name") or model.get_name())


def _usage(message: AIMessage) -> JudgeUsage:
    tokens = message.usage_metadata
    # OpenRouter and LiteLLM tell the price of a call here, in US dollars.
    price = (message.response_metadata.get("token_usage") or {}).get("cost")
    return JudgeUsage(
        calls=1,
        input_tokens=tokens["input_tokens"] if tokens else 0,
        output_tokens=tokens["output_tokens"] if tokens else 0,
        cost_usd=float(price) if isinstance(price, int | float) else None,
    )
