"""`Stream`: the reader of a streamed Responses answer.

Protocols: OpenAI's streaming events, and those of MLflow 3.17's ResponsesAgent: deltas of text and
finished items. Three traps, found in the sources of MLflow and in Databricks' templates:

- An agent's finished item repeats the text of its deltas, sometimes under another id.
- An agent that forwards the events of its model sends ``response.completed`` for each of the
  model's answers and continues with the results of its tools, so this event alone is no end. Its
  items have other ids there than in their own events (Databricks' templates for the OpenAI Agents
  SDK, ``process_agent_stream_events``), and all answers may have the same id.
- Only at the end is it certain that the caller must run a call: the agent may run it itself. So
  calls are returned at the end, complete.
"""

from __future__ import annotations

import json
from collections import Counter
from functools import reduce
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.messages.tool import tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk
from typing_extensions import override

from langchain_dbx_eval.errors import StreamInterruptedError
from langchain_dbx_eval.wire.metadata import PROVIDER, response_metadata
from langchain_dbx_eval.wire.responses.items import Item, call_id_of, decode_item, refusal_in
from langchain_dbx_eval.wire.responses.response import (
    METADATA,
    decode_responses_usage,
    finish_reason,
)
from langchain_dbx_eval.wire.responses.stream_blocks import Block, StreamedBlocks, text_of_block
from langchain_dbx_eval.wire.stream_reader import EventReader
from langchain_dbx_eval.wire.tool_calls import arguments_text
from langchain_dbx_eval.wire.validate import (
    error_text,
    expect_dict,
    expect_list,
    expect_text,
    parse_event,
    wrong_shape,
)

__all__ = ["Stream"]

_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "summary",
    "response.reasoning_text.delta": "reasoning_text",
}
_STARTS = ("response.created", "response.queued", "response.in_progress")
_ERRORS = ("error", "response.error", "response.failed", "response.cancelled")
_ENDS = ("response.completed", "response.incomplete")


class Stream(EventReader[ChatGenerationChunk]):
    """Reader of the events of one streamed answer."""

    def __init__(self) -> None:
        super().__init__()
        self._blocks = StreamedBlocks(self._texts)
        self._pending_calls: dict[str, Item] = {}  # calls without a result so far, by call id
        self._seen_calls: set[str] = set()  # calls and results: their ids are unique
        self._metadata: dict[str, Any] = {}
        self._final_response: dict[str, Any] = {}
        self._usage: dict[tuple[int, str], UsageMetadata] = {}
        self._responses = 0  # of the model, in an agent that forwards them
        self._seen_items: Counter[str] = Counter()  # of the current response

    @override
    def _decode(self, data: str) -> ChatGenerationChunk | None:
        event = parse_event(data)
        kind = event.get("type")
        if not isinstance(kind, str | None):
            raise wrong_shape("a text under 'type' in its events", event)
        if kind in _ERRORS or (kind is None and ("error" in event or "error_code" in event)):
            raise self._event_error(event)
        if kind == "response.created":
            self._responses += 1
            self._seen_items.clear()
        self._add_metadata(event)
        if kind is None:
            if not event.keys() & set(METADATA):
                raise wrong_shape("a 'type' in its events", event)
            return None
        if kind in _STARTS:
            self.finished = False
            return None
        self.started = True
        return self._decode_event(event, kind)

    @override
    def _last_chunk(self) -> ChatGenerationChunk:
        calls = [call for item in self._pending_calls.values() for call in decode_item(item)]
        blocks = [self._blocks.add_whole(call) for call in calls]
        reason = finish_reason(self._final_response, has_calls=bool(blocks))
        message = AIMessageChunk(
            content=list(blocks),
            tool_call_chunks=[
                tool_call_chunk(
                    name=block["name"],
                    args=arguments_text(block["args"]),
                    id=block["id"],
                    index=block["index"],
                )
                for block in blocks
            ],
            usage_metadata=reduce(add_usage, self._usage.values(), None),
            response_metadata={
                **response_metadata(self._metadata, METADATA),
                "finish_reason": reason,
            },
            id=self._id,
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": reason})

    @property
    def _id(self) -> str | None:
        response_id = self._metadata.get("id")
        return response_id if isinstance(response_id, str) else None

    def _event_error(self, event: dict[str, Any]) -> StreamInterruptedError:
        if event.get("type") == "response.cancelled":
            return self.interrupted("the answer was canceled")
        response = event.get("response")
        error = response.get("error") if isinstance(response, dict) else event
        return self.failed(error_text(error))

    def _decode_event(self, event: dict[str, Any], kind: str) -> ChatGenerationChunk | None:
        if kind in _DELTAS:
            return self._chunk(self._blocks.add_delta(event, _DELTAS[kind]), event)
        if kind == "response.output_text.annotation.added":
            return self._chunk(self._blocks.add_annotation(event))
        if kind == "response.output_item.done":
            item = expect_dict(event.get("item"), "an object under 'item'")
            return self._chunk(self._add_item(item))
        if kind in _ENDS:
            response = expect_dict(event.get("response"), "an object under 'response'")
            incomplete = {"status": "incomplete"} if kind == "response.incomplete" else {}
            return self._end({**response, **incomplete})
        return None

    def _add_metadata(self, event: dict[str, Any]) -> None:
        response = event.get("response")
        for payload in (response if isinstance(response, dict) else {}, event):
            # The id of an event is not the response's; of several responses, the first id is kept.
            is_response = payload is response or "type" not in event
            for key in METADATA if is_response else ("custom_outputs",):
                if payload.get(key) is not None and not (key == "id" and "id" in self._metadata):
                    self._metadata[key] = payload[key]
            if usage := decode_responses_usage(payload.get("usage")):
                self._usage[self._responses, str(payload.get("id"))] = usage

    def _chunk(
        self, blocks: list[Block], event: dict[str, Any] | None = None
    ) -> ChatGenerationChunk | None:
        refusal = "".join(block["refusal"] for block in blocks if block["type"] == "refusal")
        content = [block for block in blocks if block["type"] != "refusal"]
        if not content and not refusal:
            return None
        metadata: dict[str, Any] = {"model_provider": PROVIDER}
        logprobs = event.get("logprobs") if event else None
        if isinstance(logprobs, list) and logprobs:
            metadata["logprobs"] = {"content": logprobs}
        message = AIMessageChunk(
            content=list(content),
            additional_kwargs={"refusal": refusal} if refusal else {},
            response_metadata=metadata,
            id=self._id,
        )
        return ChatGenerationChunk(message=message)

    def _add_item(self, item: Item) -> list[Block]:
        kind = expect_text(item, "type")
        fingerprint = _fingerprint(item)
        self._seen_items[fingerprint] += 1
        if fingerprint in self._seen_calls:
            return []
        if kind in ("function_call", "function_call_output"):
            self._seen_calls.add(fingerprint)
        if kind == "function_call":
            self._pending_calls[call_id_of(item)] = item
            decode_item(item)  # a malformed call raises now, not at the end
            return []
        if kind == "function_call_output":
            call = self._pending_calls.pop(call_id_of(item), None)
            blocks = decode_item(call, has_result=True) if call else []
            return [self._blocks.add_whole(block) for block in [*blocks, *decode_item(item)]]
        return self._blocks.add_item(item)

    def _end(self, response: dict[str, Any]) -> ChatGenerationChunk | None:
        self.finished = True
        self._final_response = response
        if response.get("error") or response.get("status") in ("failed", "cancelled"):
            raise self._event_error({"response": response})
        items = expect_list(response, "output") if response.get("output") is not None else []
        # Some agents send only this event; of the others, all items were received before.
        seen, blocks = self._seen_items.copy(), []
        for raw in items:
            item = expect_dict(raw, "objects in 'output'")
            expect_text(item, "type")
            fingerprint = _fingerprint(item)
            if seen[fingerprint]:
                seen[fingerprint] -= 1
            else:
                blocks += self._add_item(item)
        return self._chunk(blocks)


def _fingerprint(item: Item) -> str:
    """Return the content of an item, by which it is recognized under another id."""
    if item["type"] in ("function_call", "function_call_output"):
        return f"{item['type']} {call_id_of(item)}"
    if item["type"] in ("message", "reasoning"):
        text = "".join(map(text_of_block, decode_item(item)))
        return f"{item['type']} {text}{refusal_in(item)}"
    return json.dumps({k: v for k, v in item.items() if k not in ("id", "status")}, sort_keys=True)
