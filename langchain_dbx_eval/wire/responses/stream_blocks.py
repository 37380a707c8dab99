"""The content blocks of a streamed Responses answer: numbered, and each part returned once."""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.wire.responses.items import (
    Item,
    decode_annotation,
    decode_item,
    refusal_in,
)
from langchain_dbx_eval.wire.validate import expect_text

__all__ = ["Block", "StreamedBlocks", "text_of_block"]

Block = dict[str, Any]


class StreamedBlocks:
    """The blocks of a stream so far.

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
        blocks = decode_item(item)
        if refusal := refusal_in(item):
            blocks.append({"type": "refusal", "refusal": refusal})
        groups: dict[str, list[Block]] = {}
        for block in blocks:
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
        text = "".join(map(text_of_block, group))
        same = (
            other
            for (other, other_kind), streamed in self._streamed.items()
            if (other_kind, streamed) == (kind, text)
        )
        return next(same, item)

    def _add_rest(self, item: str, kind: str, group: list[Block]) -> list[Block]:
        text, streamed = "".join(map(text_of_block, group)), self._streamed.get((item, kind), "")
        # If the two differ, the chunks that were returned already cannot be corrected.
        missing = text.removeprefix(streamed) if text.startswith(streamed) else ""
        added: list[Block] = []
        for position, block in enumerate(group):
            is_last = position == len(group) - 1
            piece = (missing if is_last else "") if streamed else text_of_block(block)
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


def text_of_block(block: Block) -> str:
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
