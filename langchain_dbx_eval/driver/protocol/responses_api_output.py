"""OpenAI's Responses API: results as JSON and as server-sent events. Pure functions.

Source: OpenAI's API reference for responses and their streaming events.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from typing import Any

from langchain_dbx_eval.driver.engines.base import Delta, Generation
from langchain_dbx_eval.driver.errors import RequestError, error_body
from langchain_dbx_eval.driver.protocol.requests import ParsedGeneration
from langchain_dbx_eval.driver.protocol.responses import KEEP_ALIVE, encode_event, usage

__all__ = ["ResponseStreamEncoder", "encode_response"]


def encode_response(request: ParsedGeneration, generation: Generation, model: str) -> Any:
    """Encode a completion as a response.

    Args:
        request: The parsed request.
        generation: The completion.
        model: The model name to return if the request has none.

    Returns:
        The JSON value.
    """
    encoder = ResponseStreamEncoder(request, model)
    encoder.encode(Delta(generation.text, tool_calls=_indexed(generation)))
    encoder.finish(
        Delta("", generation.finish_reason, generation.prompt_tokens, generation.completion_tokens)
    )
    return encoder.response


def _indexed(generation: Generation) -> tuple[Mapping[str, Any], ...]:
    return tuple({"index": n, **call} for n, call in enumerate(generation.tool_calls))


class ResponseStreamEncoder:
    """Encode one completion as the events of the Responses API.

    Args:
        request: The parsed request.
        model: The model name to return if the request has none.
    """

    def __init__(self, request: ParsedGeneration, model: str) -> None:
        self._request = request.requests[0]
        self._sequence_number = 0
        self._message: dict[str, Any] | None = None
        self._calls: dict[int, dict[str, Any]] = {}
        self._done: set[str] = set()
        self._finish_reason: str | None = None
        self.response: dict[str, Any] = {
            "id": _new_id("resp"),
            "object": "response",
            "created_at": int(time.time()),
            "status": "in_progress",
            "model": request.model or model,
            "output": [],
            "error": None,
            "incomplete_details": None,
            "instructions": None,
            "metadata": {},
            "parallel_tool_calls": True,
            "temperature": None,
            "tool_choice": "auto",
            "tools": [],
            "top_p": None,
            **request.echo,
        }
        """The response so far."""

    def encode(self, delta: Delta) -> bytes:
        """Return the events of a delta; an empty delta becomes a keep-alive comment."""
        if not (delta.text or delta.tool_calls or delta.finish_reason):
            return KEEP_ALIVE
        self._finish_reason = delta.finish_reason or self._finish_reason
        events = self._start() + (self._text(delta.text) if delta.text else b"")
        for position, part in enumerate(delta.tool_calls):
            events += self._call(part.get("index", position), part)
        return events

    def finish(self, last: Delta) -> bytes:
        """Return the events after the last delta."""
        events = self._start()
        if not self.response["output"]:
            events += self._open_message()
        for item in self.response["output"]:
            events += self._close(item)
        cut = (last.finish_reason or self._finish_reason) == "length"
        self.response["status"] = "incomplete" if cut else "completed"
        if cut:
            self.response["incomplete_details"] = {"reason": "max_output_tokens"}
        self.response["usage"] = self._usage(last)
        return events + self._event(f"response.{self.response['status']}", response=self.response)

    def error(self, error: RequestError) -> bytes:
        """Return the event that ends a failed stream."""
        body = error_body(error)
        return self._event("error", **body, code=body["error"]["code"], param=None)

    def _start(self) -> bytes:
        if self._sequence_number:
            return b""
        return self._event("response.created", response=self.response)

    def _text(self, text: str) -> bytes:
        events = b"" if self._message else self._open_message()
        message = self._message
        assert message is not None  # noqa: S101 - for mypy
        message["content"][0]["text"] += text
        return events + self._item_event(
            "response.output_text.delta", message, content_index=0, delta=text, logprobs=[]
        )

    def _open_message(self) -> bytes:
        part: dict[str, Any] = {"type": "output_text", "text": "", "annotations": []}
        message: dict[str, Any] = {
            "type": "message",
            "id": _new_id("msg"),
            "status": "in_progress",
            "role": "assistant",
            "content": [],
        }
        events = self._open(message)
        message["content"].append(part)
        self._message = message
        return events + self._item_event(
            "response.content_part.added", message, content_index=0, part=part
        )

    def _call(self, index: int, part: Mapping[str, Any]) -> bytes:
        function, events = part.get("function") or {}, b""
        if index not in self._calls:
            if self._message:
                events += self._close(self._message)
                self._message = None
            self._calls[index] = {
                "type": "function_call",
                "id": _new_id("fc"),
                "call_id": part.get("id") or _new_id("call"),
                "name": function.get("name") or "",
                "arguments": "",
                "status": "in_progress",
            }
            events += self._open(self._calls[index])
        call, arguments = self._calls[index], function.get("arguments") or ""
        if not arguments:
            return events
        call["arguments"] += arguments
        return events + self._item_event(
            "response.function_call_arguments.delta", call, delta=arguments
        )

    def _open(self, item: dict[str, Any]) -> bytes:
        self.response["output"].append(item)
        index = len(self.response["output"]) - 1
        return self._event("response.output_item.added", output_index=index, item=item)

    def _close(self, item: dict[str, Any]) -> bytes:
        if item["status"] == "completed":
            return b""
        item["status"] = "completed"
        if item["type"] == "message":
            (part,) = item["content"]
            events = self._item_event(
                "response.output_text.done",
                item,
                content_index=0,
                text=part["text"],
                logprobs=[],
            ) + self._item_event("response.content_part.done", item, content_index=0, part=part)
        else:
            events = self._item_event(
                "response.function_call_arguments.done",
                item,
                name=item["name"],
                arguments=item["arguments"],
            )
        index = self.response["output"].index(item)
        return events + self._event("response.output_item.done", output_index=index, item=item)

    def _item_event(self, kind: str, item: dict[str, Any], **fields: Any) -> bytes:
        index = self.response["output"].index(item)
        return self._event(kind, item_id=item["id"], output_index=index, **fields)

    def _event(self, kind: str, **fields: Any) -> bytes:
        number = self._sequence_number
        self._sequence_number += 1
        event = {"type": kind, "sequence_number": number, **fields}
        return f"event: {kind}\n".encode() + encode_event(event)

    def _usage(self, last: Delta) -> dict[str, Any]:
        output = self.response["output"]
        texts = [part["text"] for item in output for part in item.get("content", ())]
        calls = [{"function": {"arguments": i["arguments"]}} for i in output if "arguments" in i]
        counts = last.prompt_tokens, last.completion_tokens
        counted = usage(
            [self._request], [Generation("".join(texts), "stop", *counts, tuple(calls))]
        )
        counted["input_tokens"] = counted.pop("prompt_tokens")
        counted["output_tokens"] = counted.pop("completion_tokens")
        return {
            **counted,
            "input_tokens_details": {"cached_tokens": 0},
            "output_tokens_details": {"reasoning_tokens": 0},
        }


def _new_id(prefix: str) -> str:
    return f"{prefix}_{uuid.uuid4().hex}"
