"""A streamed Responses answer.

Protocols: OpenAI's streaming events, and the ones that MLflow 3.17's ResponsesAgent sends: deltas
of text and finished items. Three traps were found in MLflow's sources and Databricks' templates:

- An agent's finished item repeats the text of its deltas, sometimes under another id.
- An agent that forwards the events of its model sends ``response.completed`` for each of the
  model's answers and then goes on with the results of its tools, so it is no end by itself. Its
  items have other ids there than in their own events (Databricks' templates for the OpenAI Agents
  SDK, ``process_agent_stream_events``), and all answers may have the same id.
- Whether the caller is to carry out a call is known at the end only: the agent may do so itself.
  So calls are handed on at the end, whole.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

from langchain_core.messages import AIMessageChunk
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.messages.tool import ToolCallChunk, tool_call_chunk
from langchain_core.outputs import ChatGenerationChunk

from langchain_dbx_eval.errors import StreamInterruptedError
from langchain_dbx_eval.wire.openai.chat import PROVIDER
from langchain_dbx_eval.wire.responses.items import (
    Item,
    annotation,
    call_id_of,
    read_item,
    refusal_in,
)
from langchain_dbx_eval.wire.responses.metadata import (
    METADATA,
    failure_text,
    finish_reason,
    metadata_of,
    read_event,
    read_usage,
)
from langchain_dbx_eval.wire.validate import expect_dict, expect_list, expect_text, wrong_shape

__all__ = ["ResponsesStream"]

_DONE = "[DONE]"
_DELTAS = {
    "response.output_text.delta": "text",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "summary",
    "response.reasoning_text.delta": "reasoning_text",
}
_FAILED = ("error", "response.error", "response.failed", "response.cancelled")
_ENDED = ("response.completed", "response.incomplete")
_Block = dict[str, Any]


class ResponsesStream:
    """Reads the events of one streamed answer."""

    def __init__(self) -> None:
        self._written = _Written()
        self._held: dict[str, Item] = {}  # calls whose results may still come, by call id
        self._calls: set[str] = set()  # calls and results seen, whose ids never mean two
        self._metadata: dict[str, Any] = {}
        self._ending: dict[str, Any] = {}
        self._usage: dict[tuple[int, str], UsageMetadata] = {}
        self._answers = 0  # of the model, in an agent that forwards them
        self._taken: Counter[str] = Counter()  # items of the answer at hand, by what they say
        self._started = False
        self._finished = False

    def feed(self, data: str) -> ChatGenerationChunk | None:
        """Take one event.

        Args:
            data: The event's payload: JSON, or ``[DONE]``.

        Returns:
            What it adds to the message, or None where it adds nothing.

        Raises:
            StreamInterruptedError: The event says that the model failed; the text so far is in
                it.
            InvalidResponseError: The event is not one of a Responses stream.
        """
        if data == _DONE:
            self._finished = True
            return None
        event = read_event(data)
        kind = event.get("type")
        if not isinstance(kind, str | None):
            raise wrong_shape("a text under 'type' in its events", event)
        if kind in _FAILED or (kind is None and ("error" in event or "error_code" in event)):
            raise self._failure(event)
        if kind == "response.created":
            self._answers += 1
            self._taken.clear()
        self._note_metadata(event)
        if kind is None:
            if not METADATA.keys() & event.keys():
                raise wrong_shape("a 'type' in its events", event)
            return None
        if kind in ("response.created", "response.queued", "response.in_progress"):
            self._finished = False
            return None
        self._started = True
        return self._read(event, kind)

    @property
    def started(self) -> bool:
        """Whether anything of the answer has been read, so that the call cannot begin anew."""
        return self._started

    def finish(self) -> ChatGenerationChunk:
        """Close the stream.

        Returns:
            The last chunk: the calls that the caller is to carry out, usage and metadata. Where
            the answer is incomplete its `finish_reason` says why (see `responses.decode`).

        Raises:
            StreamInterruptedError: The stream ended without the model having said so.
        """
        if not self._finished:
            raise self.cut("it ended before the model had finished")
        blocks = [block for item in self._held.values() for block in read_item(item)]
        blocks = [self._written.numbered(block) for block in blocks]
        reason = finish_reason(self._ending, called=bool(blocks))
        usage: UsageMetadata | None = None
        for counted in self._usage.values():
            usage = add_usage(usage, counted)
        message = AIMessageChunk(
            content=list(blocks),
            tool_call_chunks=[_call_chunk(block, self._held[block["id"]]) for block in blocks],
            usage_metadata=usage,
            response_metadata={**metadata_of(self._metadata), "finish_reason": reason},
            id=self._id,
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": reason})

    def cut(self, reason: str) -> StreamInterruptedError:
        """The error for a stream that was lost here, with the text so far."""
        return self._interrupted(f"The stream was cut: {reason}.")

    def _interrupted(self, message: str) -> StreamInterruptedError:
        return StreamInterruptedError(message, partial_text=self._written.text)

    def _failure(self, event: dict[str, Any]) -> StreamInterruptedError:
        if event.get("type") == "response.cancelled":
            return self._interrupted("The answer was cancelled before it was complete.")
        response = event.get("response")
        error = response.get("error") if isinstance(response, dict) else event
        return self._interrupted(
            f"The model failed in the middle of its answer: {failure_text(error)}"
        )

    def _read(self, event: dict[str, Any], kind: str) -> ChatGenerationChunk | None:
        if kind in _DELTAS:
            return self._chunk(self._written.add_delta(event, _DELTAS[kind]), event)
        if kind == "response.output_text.annotation.added":
            return self._chunk(self._written.add_annotation(event))
        if kind == "response.output_item.done":
            item = expect_dict(event.get("item"), "an object under 'item'")
            return self._chunk(self._take(item))
        if kind in _ENDED:
            response = expect_dict(event.get("response"), "an object under 'response'")
            incomplete = {"status": "incomplete"} if kind == "response.incomplete" else {}
            return self._end({**response, **incomplete})
        return None

    @property
    def _id(self) -> str | None:
        answer_id = self._metadata.get("id")
        return answer_id if isinstance(answer_id, str) else None

    def _note_metadata(self, event: dict[str, Any]) -> None:
        response = event.get("response")
        for told in (response if isinstance(response, dict) else {}, event):
            # An event's own id is not the answer's; of several answers the first one's counts.
            is_answer = told is response or "type" not in event
            for key in METADATA if is_answer else ("custom_outputs",):
                if told.get(key) is not None and not (key == "id" and "id" in self._metadata):
                    self._metadata[key] = told[key]
            if usage := read_usage(told.get("usage")):
                self._usage[self._answers, str(told.get("id"))] = usage

    def _chunk(
        self, blocks: list[_Block], event: dict[str, Any] | None = None
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

    def _take(self, item: Item) -> list[_Block]:
        kind = expect_text(item, "type")
        self._taken[_said(item)] += 1
        if _said(item) in self._calls:
            return []
        if kind in ("function_call", "function_call_output"):
            self._calls.add(_said(item))
        if kind == "function_call":
            self._held[call_id_of(item)] = item
            read_item(item)  # what is wrong with it is told now, not at the end
            return []
        if kind == "function_call_output":
            call = self._held.pop(call_id_of(item), None)
            blocks = read_item(call, answered=True) if call else []
            return [self._written.numbered(block) for block in [*blocks, *read_item(item)]]
        return self._written.add_item(item)

    def _end(self, response: dict[str, Any]) -> ChatGenerationChunk | None:
        self._finished = True
        self._ending = response
        if response.get("error") or response.get("status") in ("failed", "cancelled"):
            raise self._failure({"response": response})
        items = expect_list(response, "output") if response.get("output") is not None else []
        # Some agents send nothing but this event; for the others all of it is known already.
        known, blocks = self._taken.copy(), []
        for raw in items:
            item = expect_dict(raw, "objects in 'output'")
            expect_text(item, "type")
            if known[_said(item)]:
                known[_said(item)] -= 1
            else:
                blocks += self._take(item)
        return self._chunk(blocks)


class _Written:
    """What of the answer has been handed on, so that each piece is handed on once."""

    def __init__(self) -> None:
        self._pieces: list[str] = []
        self._blocks = 0
        self._numbers: dict[tuple[str, str, int], int] = {}  # of blocks that may still grow
        self._streamed: dict[tuple[str, str], str] = {}  # text of items that are not finished
        self._annotated: set[str] = set()

    @property
    def text(self) -> str:
        """The text of the answer so far."""
        return "".join(self._pieces)

    def numbered(self, block: _Block) -> _Block:
        """A block that comes as a whole, with a number of its own."""
        self._blocks += 1
        return {**block, "index": self._blocks - 1}

    def add_delta(self, event: dict[str, Any], sort: str) -> list[_Block]:
        """The block of a piece of text, reasoning or refusal."""
        position = event.get("summary_index" if sort == "summary" else "content_index")
        return [self._add(_item_of(event), sort, _int(position), expect_text(event, "delta"))]

    def add_annotation(self, event: dict[str, Any]) -> list[_Block]:
        """The block of a citation of text that is already there."""
        item = _item_of(event)
        self._annotated.add(item)
        block = self._add(item, "text", _int(event.get("content_index")), "")
        return [{**block, "annotations": [annotation(event.get("annotation"))]}]

    def add_item(self, item: Item) -> list[_Block]:
        """What of a finished item has not come in pieces before."""
        blocks = read_item(item)
        if refusal := refusal_in(item):
            blocks.append({"type": "refusal", "refusal": refusal})
        by_sort: dict[str, list[_Block]] = {}
        for block in blocks:
            by_sort.setdefault(_sort(block), []).append(block)
        found: list[_Block] = []
        for sort, group in by_sort.items():
            if sort == "whole":
                found += [self.numbered(block) for block in group]
            else:
                found += self._rest(self._streamed_as(_item_of(item), sort, group), sort, group)
        return found

    def _streamed_as(self, item: str, sort: str, group: list[_Block]) -> str:
        """The id under which an item's text was streamed, which may be another one."""
        if (item, sort) in self._streamed:
            return item
        whole = "".join(map(_text_of, group))
        same = (
            other for (other, of), text in self._streamed.items() if (of, text) == (sort, whole)
        )
        return next(same, item)

    def _rest(self, item: str, sort: str, group: list[_Block]) -> list[_Block]:
        whole, streamed = "".join(map(_text_of, group)), self._streamed.get((item, sort), "")
        # Where the two differ, what was handed on can't be taken back, so it stands.
        missing = whole.removeprefix(streamed) if whole.startswith(streamed) else ""
        found: list[_Block] = []
        for position, block in enumerate(group):
            last = position == len(group) - 1
            text = (missing if last else "") if streamed else _text_of(block)
            more = {key: value for key, value in block.items() if key in ("annotations", "extras")}
            if item in self._annotated:
                more.pop("annotations", None)
            if text or more or not streamed:
                found.append({**self._add(item, sort, position, text), **more})
        self._close(item, sort)
        return found

    def _add(self, item: str, sort: str, position: int, piece: str) -> _Block:
        self._streamed[item, sort] = self._streamed.get((item, sort), "") + piece
        if sort == "refusal":
            return {"type": "refusal", "refusal": piece}
        if (item, sort, position) not in self._numbers:
            self._numbers[item, sort, position] = self._blocks
            self._blocks += 1
        numbered: _Block = {"index": self._numbers[item, sort, position]}
        numbered |= {} if item.startswith("#") else {"id": item}
        if sort == "text":
            self._pieces.append(piece)
            return {"type": "text", "text": piece, **numbered}
        return {"type": "reasoning", "reasoning": piece, **numbered}

    def _close(self, item: str, sort: str) -> None:
        """Let whatever comes under the same id later be another block."""
        self._streamed.pop((item, sort), None)
        self._annotated.discard(item)
        for key in [key for key in self._numbers if key[:2] == (item, sort)]:
            del self._numbers[key]


def _said(item: Item) -> str:
    """What an item says, by which it is known again under another id."""
    if item["type"] in ("function_call", "function_call_output"):
        return f"{item['type']} {call_id_of(item)}"
    if item["type"] in ("message", "reasoning"):
        return f"{item['type']} {''.join(map(_text_of, read_item(item)))}{refusal_in(item)}"
    return json.dumps({k: v for k, v in item.items() if k not in ("id", "status")}, sort_keys=True)


def _item_of(told: dict[str, Any]) -> str:
    """The id of the item that an event or an item tells of; a stand-in, where it has none."""
    item_id = told.get("item_id") or told.get("id")
    return item_id if isinstance(item_id, str) else f"#{told.get('output_index')}"


def _int(position: Any) -> int:
    return position if isinstance(position, int) else 0


def _sort(block: _Block) -> str:
    if block["type"] == "reasoning":
        reasoned = block.get("extras", {}).get("part")
        return "reasoning_text" if reasoned else "summary"
    return block["type"] if block["type"] in ("text", "refusal") else "whole"


def _text_of(block: _Block) -> str:
    text: str = block.get(block["type"], "")
    return text


def _call_chunk(block: _Block, item: Item) -> ToolCallChunk:
    arguments = item.get("arguments") or "{}"
    text = arguments if isinstance(arguments, str) else json.dumps(arguments)
    index = block["index"]
    return tool_call_chunk(name=block["name"], args=text, id=block["id"], index=index)
