"""What a chat endpoint answers, in OpenAI's shape."""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import invalid_parameter
from langchain_dbx_eval.testing.serving.endpoints import Endpoint
from langchain_dbx_eval.testing.serving.llm import (
    Delta,
    EventStream,
    LlmCall,
    count_tokens,
    head,
    pieces,
    stream,
    usage,
    write,
)
from langchain_dbx_eval.testing.serving.models import message_text

__all__ = ["answer"]


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any] | EventStream:
    """`n` messages of the assistant.

    Raises:
        Refusal: `messages` is missing or is no conversation.
        TypeError: The function returned neither a text nor a dictionary.
    """
    call = LlmCall.parse(endpoint, body, "messages")
    _check(call.subject)
    completion = _complete(endpoint, call)
    if call.stream:
        chunk = {**completion, "object": "chat.completion.chunk"}
        return stream(endpoint, call, chunk, map(_deltas, completion["choices"]))
    return completion


def _check(messages: Any) -> None:
    if not isinstance(messages, list) or not messages:
        raise invalid_parameter("'messages' must be a list of at least one message.")
    for message in messages:
        if not isinstance(message, dict) or not isinstance(message.get("role"), str):
            raise invalid_parameter("Each of the 'messages' must be an object with a role.")
        content = message.get("content") or ""
        blocks = content if isinstance(content, list) else []
        if not isinstance(content, str | list) or not all(isinstance(b, dict) for b in blocks):
            raise invalid_parameter("A message's 'content' must be a string or a list of objects.")


def _complete(endpoint: Endpoint, call: LlmCall) -> dict[str, Any]:
    prompt_tokens = sum(count_tokens(message_text(message)) for message in call.subject)
    completion_tokens = 0
    choices = []
    for index in range(call.n):
        reply = call.run(endpoint, call.subject)
        if isinstance(reply, dict) and "choices" in reply:
            return reply
        message, written = _message(reply, call.stop)
        reason = "tool_calls" if message.get("tool_calls") else written.finish_reason
        choices.append({"index": index, "message": message, "finish_reason": reason})
        prompt_tokens = written.prompt_tokens or prompt_tokens
        completion_tokens += written.completion_tokens or 0
    return {
        **head(endpoint, "chat.completion"),
        "choices": choices,
        "usage": usage(prompt_tokens, completion_tokens),
    }


def _message(reply: Any, stop: tuple[str, ...]) -> tuple[dict[str, Any], Generation]:
    """The assistant's message, and what was generated for it."""
    if isinstance(reply, str | Generation):
        written = write(reply, stop)
        return {"role": "assistant", "content": written.text}, written
    if not isinstance(reply, dict):
        msg = f"A chat endpoint needs a text or a dictionary, but got {type(reply)}."
        raise TypeError(msg)
    message = {"role": "assistant", "content": None, **reply}
    if isinstance(message["content"], str):
        written = write(message["content"], stop)
        return {**message, "content": written.text}, written
    return message, write(message_text(message), ())


def _deltas(choice: dict[str, Any]) -> list[Delta]:
    """The steps of one choice: its content by words, its tool calls in fragments, its end."""
    message = dict(choice["message"])
    role = message.pop("role", "assistant")
    content = message.pop("content", None)
    calls = message.pop("tool_calls", None) or []
    deltas: list[tuple[dict[str, Any], str]] = []
    if isinstance(content, str):
        deltas += [({"content": piece}, piece) for piece in pieces(content)]
    elif content:
        deltas.append(({"content": content}, ""))
    for index, call in enumerate(calls):
        deltas += [({"tool_calls": [part]}, "") for part in _call_fragments(index, call)]
    first, text = deltas[0] if deltas else ({"content": ""}, "")
    deltas[:1] = [({"role": role, **message, **first}, text)]
    steps = [
        Delta({"index": choice["index"], "delta": delta, "finish_reason": None}, text)
        for delta, text in deltas
    ]
    end = {"index": choice["index"], "delta": {}, "finish_reason": choice["finish_reason"]}
    return [*steps, Delta(end)]


def _call_fragments(index: int, call: dict[str, Any]) -> list[dict[str, Any]]:
    function = call["function"]
    opening = {"index": index, **call, "function": {**function, "arguments": ""}}
    return [
        opening,
        *(
            {"index": index, "function": {"arguments": piece}}
            for piece in pieces(function["arguments"])
        ),
    ]
