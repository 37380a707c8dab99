"""Chat endpoints, in OpenAI's format, and MLflow's ChatModel, which has the same one."""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import invalid_parameter, unknown_field
from langchain_dbx_eval.testing.serving.endpoints import Endpoint, EventStream
from langchain_dbx_eval.testing.serving.openai import (
    ChoiceDelta,
    CompletionRequest,
    answer_header,
    stream_completion,
    truncate_at_stop,
    validate_messages,
)
from langchain_dbx_eval.testing.serving.text import count_tokens, message_text, split_words, usage

__all__ = ["answer", "answer_chat_model"]

# Fields of agents, which a ChatModel may leave unread.
_AGENT_FIELDS = frozenset({"custom_inputs", "databricks_options"})

# `ChatMessage` in Databricks' "Foundation model REST API reference". It has no `name`, which
# databricks-langchain 0.22 therefore never sends; OpenAI's and MLflow's messages have one.
_MESSAGE_FIELDS = frozenset({"role", "content", "tool_calls", "tool_call_id"})
_OPENAI_MESSAGE_FIELDS = _MESSAGE_FIELDS | {"name", "refusal", "audio"}


def answer_chat_model(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any] | EventStream:
    """Return the answer of an MLflow ChatModel; see `answer`."""
    return answer(endpoint, body, _AGENT_FIELDS)


def answer(
    endpoint: Endpoint, body: dict[str, Any], ignorable: frozenset[str] = frozenset()
) -> dict[str, Any] | EventStream:
    """Return a chat completion with `n` choices.

    Raises:
        ApiError: The request is invalid.
        TypeError: The backend returned neither a string nor a dictionary.
    """
    request = CompletionRequest.parse(endpoint, body, "messages", ignorable)
    validate_messages(request.inputs)
    _validate_content(request.inputs)
    _validate_fields(request.inputs, endpoint)
    completion = _complete(endpoint, request)
    if request.stream:
        chunk = {**completion, "object": "chat.completion.chunk"}
        return stream_completion(endpoint, request, chunk, map(_deltas, completion["choices"]))
    return completion


def _validate_content(messages: list[dict[str, Any]]) -> None:
    for message in messages:
        content = message.get("content") or ""
        blocks = content if isinstance(content, list) else []
        if not isinstance(content, str | list) or not all(isinstance(b, dict) for b in blocks):
            raise invalid_parameter("A message's 'content' must be a string or a list of objects.")


def _validate_fields(messages: list[dict[str, Any]], endpoint: Endpoint) -> None:
    is_foundation_model = not endpoint.external and not endpoint.spec.is_custom_model
    known = _MESSAGE_FIELDS if is_foundation_model else _OPENAI_MESSAGE_FIELDS
    for message in messages:
        for name in message.keys() - known:
            raise unknown_field(name)


def _complete(endpoint: Endpoint, request: CompletionRequest) -> dict[str, Any]:
    prompt_tokens = sum(count_tokens(message_text(message)) for message in request.inputs)
    completion_tokens = 0
    choices = []
    for index in range(request.n):
        reply = request.invoke(endpoint, request.inputs)
        if isinstance(reply, dict) and "choices" in reply:
            return reply
        message, generation = _to_message(reply, request.stop)
        reason = "tool_calls" if message.get("tool_calls") else generation.finish_reason
        choices.append({"index": index, "message": message, "finish_reason": reason})
        prompt_tokens = generation.prompt_tokens or prompt_tokens
        completion_tokens += generation.completion_tokens or 0
    return {
        **answer_header(endpoint, "chat.completion"),
        "choices": choices,
        "usage": usage(prompt_tokens, completion_tokens),
    }


def _to_message(reply: Any, stop: tuple[str, ...]) -> tuple[dict[str, Any], Generation]:
    """Return the assistant's message, and its text as a generation."""
    if isinstance(reply, str | Generation):
        generation = truncate_at_stop(reply, stop)
        return {"role": "assistant", "content": generation.text}, generation
    if not isinstance(reply, dict):
        msg = f"A chat endpoint requires a string or a dictionary, but got {type(reply)}."
        raise TypeError(msg)
    message = {"role": "assistant", "content": None, **reply}
    if isinstance(message["content"], str):
        generation = truncate_at_stop(message["content"], stop)
        return {**message, "content": generation.text}, generation
    return message, truncate_at_stop(message_text(message), ())


def _deltas(choice: dict[str, Any]) -> list[ChoiceDelta]:
    """Return the events of one choice: content by words, tool calls in fragments, the end."""
    message = dict(choice["message"])
    role = message.pop("role", "assistant")
    content = message.pop("content", None)
    calls = message.pop("tool_calls", None) or []
    deltas: list[tuple[dict[str, Any], str]] = []
    if isinstance(content, str):
        deltas += [({"content": word}, word) for word in split_words(content)]
    elif content:
        deltas.append(({"content": content}, ""))
    for index, call in enumerate(calls):
        deltas += [({"tool_calls": [part]}, "") for part in _call_fragments(index, call)]
    first, text = deltas[0] if deltas else ({"content": ""}, "")
    deltas[:1] = [({"role": role, **message, **first}, text)]
    events = [
        ChoiceDelta({"index": choice["index"], "delta": delta, "finish_reason": None}, text)
        for delta, text in deltas
    ]
    end = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
    return [*events, ChoiceDelta(end)]


def _call_fragments(index: int, call: dict[str, Any]) -> list[dict[str, Any]]:
    function = call["function"]
    first = {"index": index, **call, "function": {**function, "arguments": ""}}
    return [
        first,
        *(
            {"index": index, "function": {"arguments": word}}
            for word in split_words(function["arguments"])
        ),
    ]
