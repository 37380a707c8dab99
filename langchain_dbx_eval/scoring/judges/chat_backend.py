"""A LangChain chat model as judge model."""

from __future__ import annotations

import asyncio
import json
import secrets
import time
from dataclasses import replace
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage
from langchain_core.runnables import Runnable

from langchain_dbx_eval._internal.deadline import DeadlineError, run_task
from langchain_dbx_eval._internal.limiter import MAX_WAIT_S, AdaptiveLimiter, refused_wait
from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval._internal.retry import (
    RetryPolicy,
    is_transient,
    rate_limit_error,
    retry_listener,
    status_of,
)
from langchain_dbx_eval.errors import DatabricksError
from langchain_dbx_eval.scoring.assessments import JudgeUsage
from langchain_dbx_eval.scoring.judges.parsing import ParsedVerdict, parse_object, parse_text
from langchain_dbx_eval.scoring.judges.prompt import answer_schema, repair_messages
from langchain_dbx_eval.scoring.judges.protocol import (
    JudgeRequest,
    Verdict,
    judge_timeout,
    late_verdict,
)
from langchain_dbx_eval.scoring.judges.scales import Scale

__all__ = ["ChatBackend"]

_logger = get_logger(__name__)
_TRANSIENT_STATUS = {408, 409, 500, 502, 503, 504}
# Errors that a call without a schema would meet again.
_NOT_ABOUT_SCHEMAS = {401, 403, 404, 429, *_TRANSIENT_STATUS}
_MAX_QUOTED = 200
# Short enough for small models to repeat.
_NONCE_BYTES = 6


class _Answer(NamedTuple):
    text: str
    parsed: ParsedVerdict | None
    usage: JudgeUsage


class ChatBackend:
    """Judge backend that calls a chat model and parses its answer.

    It requests structured output if the model and its endpoint support it, and parses the text
    otherwise, which must state the verdict where no quotation can stand (`parse_text`). An answer
    that cannot be parsed is requested once more, and is then an error.

    A request takes at most `judge_timeout`, its retries and waits after 429 included.

    Args:
        model: Any LangChain chat model.
        max_concurrency: Maximum number of concurrent requests. It is lowered while the endpoint
            answers 429, and the rejected requests are repeated.
        max_retries: Retries of a call that failed with a transient error, for models whose client
            does not retry itself.
    """

    def __init__(
        self, model: BaseChatModel, *, max_concurrency: int = 32, max_retries: int = 3
    ) -> None:
        self._model = model
        self._limiter = AdaptiveLimiter(max_concurrency)
        self._policy = RetryPolicy(max_retries, is_retryable=_is_transient)
        self._supports_schema = True
        self._structured_models: dict[Scale, Runnable[Any, Any]] = {}
        self._name = str(model._get_ls_params().get("ls_model_name") or model.get_name())
        self.identity = json.dumps(
            [type(model).__qualname__, self._name, model._identifying_params],
            sort_keys=True,
            default=str,
        )
        """The model's class, name and parameters."""

    async def judge(self, request: JudgeRequest) -> Verdict:
        """See `JudgeBackend.judge`."""
        loop, timeout = asyncio.get_running_loop(), judge_timeout.get()
        max_wait = _max_wait()
        on_error = self._limiter.on_error
        # Clients that retry 429 themselves report it here. The variable is set for this request
        # only: each one has its own task.
        retry_listener.set(lambda error: loop.call_soon_threadsafe(on_error, error, max_wait))
        await self._limiter.acquire()
        started = time.perf_counter()
        try:
            verdict = await run_task(self._verdict(request), timeout)
        except DeadlineError:
            verdict = late_verdict(request, timeout)
        except Exception as failure:
            # The error of one row, not of the run.
            refused = refused_wait(failure, max_wait, "scorer_timeout=")
            verdict = Verdict(error=f"{type(failure).__name__}: {failure}{refused}")
        finally:
            self._limiter.release()
        return replace(
            verdict,
            usage=verdict.usage + JudgeUsage(seconds=time.perf_counter() - started),
            judge_model=self._name,
            prompt_version=request.spec.version,
        )

    async def _verdict(self, request: JudgeRequest) -> Verdict:
        scale = request.spec.scale
        # New for each call: an answer that is judged cannot contain it.
        nonce = secrets.token_hex(_NONCE_BYTES)
        messages = request.messages(nonce)
        answer = await self._answer(messages, scale, nonce)
        usage = answer.usage
        if answer.parsed is None:
            repair = repair_messages(messages, answer.text, scale, nonce)
            answer = await self._answer(repair, scale, nonce)
            usage += answer.usage
        if answer.parsed is None:
            error = (
                "No verdict could be parsed from the judge's answer after 2 attempts: "
                f"{self._name} answered {answer.text[:_MAX_QUOTED]!r}"
            )
            return Verdict(error=error, usage=usage)
        return Verdict(value=answer.parsed.value, rationale=answer.parsed.rationale, usage=usage)

    async def _answer(self, messages: list[BaseMessage], scale: Scale, nonce: str) -> _Answer:
        structured = self._structured_model(scale)
        if structured is None:
            return await self._text_answer(messages, scale, nonce)
        try:
            answer = await self._call(structured, messages)
        except Exception as error:
            if getattr(error, "status_code", None) in _NOT_ABOUT_SCHEMAS:
                raise
            text_answer = await self._text_answer(messages, scale, nonce)
            # The same request succeeds without a schema, so the schema was the cause.
            self._supports_schema = False
            _logger.info("%s rejects schemas (%s): parsing its text instead.", self._name, error)
            return text_answer
        message = answer["raw"]
        parsed = _structured_verdict(message, answer["parsed"], scale, nonce)
        # A tool call has no text: quote its arguments if they cannot be parsed.
        text = message.text or json.dumps(answer["parsed"], default=str)
        return _Answer(text, parsed, _usage(message))

    async def _text_answer(self, messages: list[BaseMessage], scale: Scale, nonce: str) -> _Answer:
        message = await self._call(self._model, messages)
        return _Answer(message.text, parse_text(message.text, scale, nonce), _usage(message))

    def _structured_model(self, scale: Scale) -> Runnable[Any, Any] | None:
        if not self._supports_schema:
            return None
        if scale not in self._structured_models:
            try:
                self._structured_models[scale] = self._model.with_structured_output(
                    answer_schema(scale), include_raw=True
                )
            except Exception:  # NotImplementedError in langchain-core; other classes raise others
                self._supports_schema = False
                return None
        return self._structured_models[scale]

    async def _call(self, model: Runnable[Any, Any], messages: list[BaseMessage]) -> Any:
        while True:
            try:
                answer: Any = await self._policy.run_async(lambda: model.ainvoke(messages))
            except Exception as error:
                if not self._limiter.on_error(error, _max_wait()):
                    raise
            else:
                self._limiter.on_success()
                return answer
            await self._limiter.reacquire()


def _max_wait() -> float:
    timeout = judge_timeout.get()
    return MAX_WAIT_S if timeout is None else timeout


def _structured_verdict(
    message: AIMessage, parsed: Any, scale: Scale, nonce: str
) -> ParsedVerdict | None:
    """Parse an answer to a request with a schema: its tool call, or else its text."""
    if not message.tool_calls and message.text.strip():
        # LangChain's parsers find JSON within prose, where it may be a quotation.
        return parse_text(message.text, scale, nonce)
    objects = [call["args"] for call in message.tool_calls] or [parsed]
    verdicts = [parse_object(found, scale) for found in objects]
    ratings = {verdict and verdict.value for verdict in verdicts}
    return verdicts[0] if len(ratings) == 1 else None


def _is_transient(error: BaseException) -> bool:
    """Whether to retry an error that neither this package's clients nor the limiter retry."""
    if isinstance(error, DatabricksError) or rate_limit_error(error) is not None:
        return False
    return is_transient(error) or status_of(error) in _TRANSIENT_STATUS


def _usage(message: AIMessage) -> JudgeUsage:
    tokens = message.usage_metadata
    # OpenRouter and LiteLLM report the price of a call here, in US dollars.
    price = (message.response_metadata.get("token_usage") or {}).get("cost")
    return JudgeUsage(
        calls=1,
        input_tokens=tokens["input_tokens"] if tokens else 0,
        output_tokens=tokens["output_tokens"] if tokens else 0,
        cost_usd=float(price) if isinstance(price, int | float) else None,
        cached_input_tokens=tokens.get("input_token_details", {}).get("cache_read", 0)
        if tokens
        else 0,
    )
