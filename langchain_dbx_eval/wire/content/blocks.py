"""Content blocks: LangChain's blocks to OpenAI's Chat Completions parts and back.

Protocols: LangChain's standard content blocks (`langchain_core.messages.content`, and their
predecessors); OpenAI's content parts; and Databricks' "ReasoningContent" part, ``{"type":
"reasoning", "summary": [{"type": "summary_text", "text", "signature"}]}`` ("Foundation model REST
API reference").
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from typing import Any

from langchain_dbx_eval.errors import InvalidRequestError
from langchain_dbx_eval.wire.content.media import Media, decode_media
from langchain_dbx_eval.wire.validate import expect_dict, wrong_shape

__all__ = [
    "BlockStream",
    "blocks_of",
    "cache_control_of",
    "copy_of",
    "extras_of",
    "from_openai_parts",
    "is_not_content",
    "plain_text",
    "text_or_parts",
    "to_openai_parts",
    "with_extras",
]

# Blocks that a message has in fields of its own (tool calls), or that only their provider can read.
_NOT_CONTENT = frozenset(
    {
        "tool_use",
        "tool_call",
        "tool_call_chunk",
        "invalid_tool_call",
        "input_json_delta",
        "function_call",
        "server_tool_call",
        "server_tool_call_chunk",
        "server_tool_use",
        "server_tool_result",
        "redacted_thinking",
    }
)


def to_openai_parts(content: str | Sequence[str | Mapping[str, Any]]) -> str | list[dict[str, Any]]:
    """Return the ``content`` of a Chat Completions message.

    Tool calls are omitted, because a message has them in ``tool_calls``. So is reasoning without a
    signature: no model needs it, and Claude rejects it. Marks for prompt caching
    (``cache_control``) are kept. A part of an unknown type is sent unchanged, because the endpoint
    may support it.

    Args:
        content: A message's content; not changed.

    Returns:
        A string if there is only text; else a list of new parts.

    Raises:
        InvalidRequestError: A block cannot be sent to a chat endpoint.
    """
    if isinstance(content, str):
        return content
    return text_or_parts([part for block in blocks_of(content) if (part := _to_part(block))])


def text_or_parts(parts: list[dict[str, Any]]) -> str | list[dict[str, Any]]:
    """Return parts, or their text if there is only one text, or nothing."""
    if len(parts) <= 1 and all(_is_only_text(part) for part in parts):
        # Some endpoints accept only a string, and no endpoint accepts an empty list.
        return "".join(part["text"] for part in parts)
    return parts


def _is_only_text(part: dict[str, Any]) -> bool:
    # A part of an unknown type may have a 'text' too, which is not the same without its type.
    return part["type"] in ("text", "input_text") and part.keys() == {"type", "text"}


def from_openai_parts(content: Any) -> str | list[str | dict[str, Any]]:
    """Decode the ``content`` of a Chat Completions message.

    Args:
        content: Text, a list of parts, or None.

    Returns:
        A string if there is only text; else LangChain's standard blocks: ``text``, ``reasoning``
        (one per summary, its signature in ``extras``), ``image``, ``audio``, ``file``, and
        ``non_standard`` for everything else.

    Raises:
        InvalidResponseError: The content is none of these.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise wrong_shape("a string or a list of parts under 'content'", content)
    blocks: list[str | dict[str, Any]] = [block for part in content for block in _from_part(part)]
    if all(isinstance(block, dict) and block.keys() == {"type", "text"} for block in blocks):
        return "".join(block["text"] for block in blocks if isinstance(block, dict))
    return blocks


class BlockStream:
    """Decoder of the ``content`` of a stream's deltas, so that LangChain can add the chunks.

    LangChain merges two blocks of a stream only if both have the same ``index``, and adds a text
    to a list as a new element. So after the first delta that is a list, all contents are lists, and
    the pieces of one block share an index.

    If `feed` returns an empty string, make no chunk of it: langchain-core 1.7 puts the empty text
    before a list that follows, and loses a text that follows ``[]``.
    """

    def __init__(self) -> None:
        self._open: str | None = None  # the type of the block that the next delta may continue
        self._index = -1

    def feed(self, content: Any) -> str | list[str | dict[str, Any]]:
        """Decode the content of one delta.

        Args:
            content: Text, a list of parts, or None.

        Returns:
            The content of an `AIMessageChunk`; an empty string if the delta adds none.

        Raises:
            InvalidResponseError: The content is none of these.
        """
        if not isinstance(content, list):
            text = from_openai_parts(content)
            if self._index < 0 or not text:
                return text
            content = [text]
        blocks = [block for part in content for block in _from_part(part)]
        numbered: list[str | dict[str, Any]] = [
            {**block, "index": self._next_index(block, is_first=position == 0)}
            for position, block in enumerate(blocks)
        ]
        return numbered or ""

    def _next_index(self, block: dict[str, Any], *, is_first: bool) -> int:
        kind = block["type"]
        # Two blocks in one delta are separate. Only texts grow from delta to delta: an image or an
        # unknown part is complete, and a signature ends the reasoning that it signs.
        if kind != self._open or not is_first:
            self._index += 1
        grows = kind in ("text", "reasoning") and "signature" not in block.get("extras", {})
        self._open = kind if grows else None
        return self._index


def blocks_of(content: str | Sequence[Any]) -> Iterator[Mapping[str, Any]]:
    """Yield content as objects: strings as text blocks, `non_standard` blocks unwrapped.

    Raises:
        InvalidRequestError: A block is neither text nor an object with a ``type``.
    """
    for block in [content] if isinstance(content, str) else content:
        yield _unwrap(block)


def _unwrap(block: Any) -> Mapping[str, Any]:
    if isinstance(block, str):
        return {"type": "text", "text": block}
    if isinstance(block, Mapping):
        if block.get("type") == "non_standard" and isinstance(block.get("value"), Mapping):
            return _unwrap(block["value"])
        if isinstance(block.get("type"), str):
            return block
    msg = (
        "A message's content contains something that is neither text nor a block with a 'type': "
        f"{str(block)[:200]}"
    )
    raise InvalidRequestError(msg)


def is_not_content(block: Mapping[str, Any]) -> bool:
    """Whether a block is omitted from content: a tool call, or data that only its provider reads.

    Raises:
        InvalidRequestError: The block is a tool's result, which needs a message of its own.
    """
    if block["type"] == "tool_result":
        msg = (
            "A content block of type 'tool_result' cannot be sent inside another message. Give the "
            "result as ToolMessage(content, tool_call_id=…)."
        )
        raise InvalidRequestError(msg)
    return block["type"] in _NOT_CONTENT


def plain_text(block: Mapping[str, Any]) -> str | None:
    """Return the text of a text block or a plain-text document; None for other blocks.

    Raises:
        InvalidRequestError: The block's text is missing or not a string.
    """
    kind, source = block["type"], block.get("source")
    if kind in ("text", "input_text", "output_text") or (kind == "text-plain" and "text" in block):
        text = block.get("text")
    elif kind == "file" and block.get("source_type") == "text":  # LangChain v0: text under 'url'
        text = block.get("url")
    elif kind == "document" and isinstance(source, Mapping) and source.get("type") == "text":
        text = source.get("data")
    else:
        return None
    if not isinstance(text, str):
        msg = f"A content block of type {kind!r} has no text: {str(dict(block))[:200]}"
        raise InvalidRequestError(msg)
    is_document = kind in ("text-plain", "document")
    headings = (block.get("title"), block.get("context")) if is_document else ()
    return "\n\n".join([*(str(heading) for heading in headings if heading), text])


def extras_of(block: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the ``extras`` of a standard block; empty if there are none."""
    extras = block.get("extras")
    return extras if isinstance(extras, Mapping) else {}


def copy_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return a deep copy of a block, without the ``index`` that it had in a stream."""
    return {key: deepcopy(value) for key, value in block.items() if key != "index"}


def with_extras(block: dict[str, Any], extras: Mapping[str, Any]) -> dict[str, Any]:
    """Return a block with ``extras``, unless they are empty."""
    return {**block, "extras": extras} if extras else block


def cache_control_of(block: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``{"cache_control": …}`` if a block has a mark for prompt caching, else ``{}``."""
    mark = block.get("cache_control") or extras_of(block).get("cache_control")
    return {"cache_control": deepcopy(mark)} if mark else {}


def _to_part(block: Mapping[str, Any]) -> dict[str, Any] | None:
    if is_not_content(block):
        return None
    if block["type"] in ("reasoning", "thinking") and "summary" not in block:
        text = str(block.get("reasoning") or block.get("thinking") or "")
        signature = extras_of(block).get("signature") or block.get("signature")
        if not signature:
            return None
        summary = {"type": "summary_text", "text": text, "signature": signature}
        part: dict[str, Any] = {"type": "reasoning", "summary": [summary]}
    elif (plain := plain_text(block)) is not None:
        if not plain:  # Claude rejects an empty text part
            return None
        part = {"type": "text", "text": plain}
    elif (media := decode_media(block)) is not None:
        part = _media_part(media)
    else:
        return copy_of(block)
    return {**part, **cache_control_of(block)}


_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-flac": "flac"}


def _media_part(media: Media) -> dict[str, Any]:
    if media.kind == "image" and (media.url or media.base64):
        detail = {"detail": media.detail} if media.detail else {}
        return {"type": "image_url", "image_url": {"url": media.url or media.data_url, **detail}}
    if media.kind == "audio" and media.base64:
        subtype = media.data_url.partition(";")[0].rpartition("/")[2]
        audio = {"data": media.base64, "format": _AUDIO_FORMATS.get(subtype, subtype)}
        return {"type": "input_audio", "input_audio": audio}
    if media.kind == "file" and media.file_id:
        return {"type": "file", "file": {"file_id": media.file_id}}
    if media.kind == "file" and media.base64:
        return {"type": "file", "file": {"filename": media.name, "file_data": media.data_url}}
    source = "an uploaded file's id" if media.file_id else "a URL" if media.url else "inline bytes"
    instead = {
        "image": "as a URL or as 'base64' with 'mime_type'",
        "audio": "as 'base64' with 'mime_type'",
        "file": "as 'base64' with 'mime_type'",
    }.get(media.kind, "as a part in the endpoint's own format, which is sent unchanged")
    msg = f"A chat endpoint does not accept {media.kind} by {source}. Give it {instead}."
    raise InvalidRequestError(msg)


def _from_part(raw: Any) -> list[dict[str, Any]]:
    if isinstance(raw, str):
        raw = {"type": "text", "text": raw}
    part = expect_dict(raw, "texts or objects in its list of parts")
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return [_with_fields_of(part, {"type": "text", "text": part["text"]})]
    if kind == "reasoning" and isinstance(part.get("summary"), list):
        return [block for summary in part["summary"] for block in _from_summary(summary)]
    try:
        media = decode_media(part) if kind in ("image_url", "input_audio", "file") else None
    except InvalidRequestError:  # a media part without data is kept unchanged
        media = None
    if media is None:
        return [{"type": "non_standard", "value": part}]
    block = {key: value for key, value in vars(media).items() if value}
    extras: dict[str, Any] = {k: block.pop(k) for k in ("filename", "detail") if k in block}
    return [with_extras({"type": block.pop("kind"), **block}, extras)]


def _from_summary(raw: Any) -> list[dict[str, Any]]:
    if isinstance(raw, dict) and isinstance(raw.get("text"), str):
        return [_with_fields_of(raw, {"type": "reasoning", "reasoning": raw["text"]})]
    # Not text, such as encrypted reasoning: kept, and sent back unchanged.
    return [{"type": "non_standard", "value": {"type": "reasoning", "summary": [raw]}}]


def _with_fields_of(part: Mapping[str, Any], block: dict[str, Any]) -> dict[str, Any]:
    fields = {key: value for key, value in part.items() if key not in ("type", "text") and value}
    return with_extras(block, fields)
