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
from langchain_core.outputs import ChatGenerationChunk
from typing_extensions import override

from langchain_dbx_eval.errors import StreamInterruptedError
from langchain_dbx_eval.wire.metadata import PROVIDER, decode_usage, response_metadata
from langchain_dbx_eval.wire.responses.response import (
    METADATA,
    Item,
    call_id_of,
    decode_annotation,
    decode_item,
    finish_reason,
    split_refusal,
)
from langchain_dbx_eval.wire.stream_reader import EventReader
from langchain_dbx_eval.wire.tool_calls import call_chunk
from langchain_dbx_eval.wire.validate import (
    error_text,
    expect_dict,
    expect_list,
    expect_text,
    parse_event,
    wrong_shape,
)

__all__ = ["Stream"]

Block = dict[str, Any]

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
        self._blocks = _StreamedBlocks(self._texts)
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
            raise wrong_shape("a string under 'type' in its events", event)
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
            tool_call_chunks=[call_chunk(block, block["index"]) for block in blocks],
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
            if usage := decode_usage(payload.get("usage")):
                self._usage[self._responses, str(payload.get("id"))] = usage

    def _chunk(
        self, blocks: list[Block], event: dict[str, Any] | None = None
    ) -> ChatGenerationChunk | None:
        content, refusal = split_refusal(blocks)
        if not content and not refusal:
            return None
        metadata: dict[str, Any] = {"model_provider": PROVIDER}
        logprobs = event.get("logprobs") if event else None
        if isinstance(logprobs, list) and logprobs:
            metadata["logprobs"] = {"content": logprobs}
        message = AIMessageChunk(
            content=content,
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
            blocks = decode_item(call, {call_id_of(item)}) if call else []
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
        return f"{item['type']} {''.join(map(_text_of, decode_item(item)))}"
    return json.dumps({k: v for k, v in item.items() if k not in ("id", "status")}, sort_keys=True)


class _StreamedBlocks:
    """The content blocks of a stream so far: numbered, and each part returned once.

    A finished item repeats the text of its deltas, possibly under another id; `add_item` returns
    only what is new.

    Args:
        texts: Receives each piece of the answer's text.
    """

    def __init__(self, texts: list[str]) -> None:
        self._texts = texts
        self._count = 0
        self._indexes: dict[tuple[str, str, int], int] = {}  # of blocks that may still grow
        self._streamed: dict[tuple[str, str], str] = {}  # text of unfinished items
        self._annotated: set[str] = set()

    def add_whole(self, block: Block) -> Block:
        """Return a complete block with an index of its own."""
        self._count += 1
        return {**block, "index": self._count - 1}

    def add_delta(self, event: dict[str, Any], kind: str) -> list[Block]:
        """Return the block of a delta of text, reasoning or refusal."""
        position = event.get("summary_index" if kind == "summary" else "content_index")
        return [self._add(_item_id(event), kind, _int(position), expect_text(event, "delta"))]

    def add_annotation(self, event: dict[str, Any]) -> list[Block]:
        """Return the block of a citation in a text that was streamed before."""
        item = _item_id(event)
        self._annotated.add(item)
        block = self._add(item, "text", _int(event.get("content_index")), "")
        return [{**block, "annotations": [decode_annotation(event.get("annotation"))]}]

    def add_item(self, item: Item) -> list[Block]:
        """Return the blocks of a finished item, without what its deltas contained."""
        groups: dict[str, list[Block]] = {}
        for block in decode_item(item):
            groups.setdefault(_kind(block), []).append(block)
        added: list[Block] = []
        for kind, group in groups.items():
            if kind == "whole":
                added += [self.add_whole(block) for block in group]
            else:
                added += self._add_rest(self._streamed_id(_item_id(item), kind, group), kind, group)
        return added

    def _streamed_id(self, item: str, kind: str, group: list[Block]) -> str:
        """Return the id under which an item's text was streamed, which may be another one."""
        if (item, kind) in self._streamed:
            return item
        text = "".join(map(_text_of, group))
        for (other, other_kind), streamed in self._streamed.items():
            if (other_kind, streamed) == (kind, text):
                return other
        return item

    def _add_rest(self, item: str, kind: str, group: list[Block]) -> list[Block]:
        text, streamed = "".join(map(_text_of, group)), self._streamed.get((item, kind), "")
        # If the two differ, the chunks that were returned already cannot be corrected.
        missing = text.removeprefix(streamed) if text.startswith(streamed) else ""
        added: list[Block] = []
        for position, block in enumerate(group):
            is_last = position == len(group) - 1
            piece = (missing if is_last else "") if streamed else _text_of(block)
            fields: Block = {key: block[key] for key in ("annotations", "extras") if key in block}
            if item in self._annotated:
                fields.pop("annotations", None)
            if piece or fields or not streamed:
                added.append({**self._add(item, kind, position, piece), **fields})
        self._close(item, kind)
        return added

    def _add(self, item: str, kind: str, position: int, piece: str) -> Block:
        self._streamed[item, kind] = self._streamed.get((item, kind), "") + piece
        if kind == "refusal":
            return {"type": "refusal", "refusal": piece}
        if (item, kind, position) not in self._indexes:
            self._indexes[item, kind, position] = self._count
            self._count += 1
        fields: Block = {"index": self._indexes[item, kind, position]}
        fields |= {} if item.startswith("#") else {"id": item}
        if kind == "text":
            self._texts.append(piece)
            return {"type": "text", "text": piece, **fields}
        return {"type": "reasoning", "reasoning": piece, **fields}

    def _close(self, item: str, kind: str) -> None:
        """Make later deltas with the same item id a new block."""
        self._streamed.pop((item, kind), None)
        self._annotated.discard(item)
        for key in [key for key in self._indexes if key[:2] == (item, kind)]:
            del self._indexes[key]


def _text_of(block: Block) -> str:
    """Return the text of a text, reasoning or refusal block; an empty string for others."""
    text: str = block.get(block["type"], "")
    return text


def _item_id(payload: dict[str, Any]) -> str:
    """Return the item id of an event or item; ``#`` and its position if it has none."""
    item_id = payload.get("item_id") or payload.get("id")
    return item_id if isinstance(item_id, str) else f"#{payload.get('output_index')}"


def _int(position: Any) -> int:
    return position if isinstance(position, int) else 0


def _kind(block: Block) -> str:
    if block["type"] == "reasoning":
        is_content = block.get("extras", {}).get("part")
        return "reasoning_text" if is_content else "summary"
    return block["type"] if block["type"] in ("text", "refusal") else "whole"
