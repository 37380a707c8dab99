"""The content of a message: LangChain's blocks to OpenAI's Chat Completions parts and back.

Protocols: LangChain's standard content blocks (`langchain_core.messages.content`, and their
predecessors); OpenAI's content parts; and Databricks' "ReasoningContent" part, ``{"type":
"reasoning", "summary": [{"type": "summary_text", "text", "signature"}]}`` ("Foundation model REST
API reference").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from typing import Any

from langchain_dbx_eval.errors import InvalidRequestError
from langchain_dbx_eval.wire.content.media import Media, read_media
from langchain_dbx_eval.wire.validate import expect_dict, wrong_shape

__all__ = [
    "BlockStream",
    "elsewhere",
    "from_openai_parts",
    "plain_text",
    "reasoning_text",
    "to_openai_parts",
    "unwrapped",
]

# What a message carries in fields of its own (tool calls), or what only its own provider can read.
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
    """Make the ``content`` of a Chat Completions message.

    Tool calls are left out, because a message has them in its ``tool_calls``. So is reasoning
    without a signature: no model needs it back, and Claude refuses it. Marks for prompt caching
    (``cache_control``) stay where they are. A part of a type that is not known here goes as it
    is: the endpoint may know it.

    Args:
        content: A message's content; it is not changed.

    Returns:
        The text, where it is nothing else; or a list of new parts.

    Raises:
        InvalidRequestError: A block cannot be sent to a chat endpoint; the message says why.
    """
    if isinstance(content, str):
        return content
    parts = [part for block in content if (part := _to_part(block)) is not None]
    if len(parts) <= 1 and all(part.keys() == {"type", "text"} for part in parts):
        # Some endpoints take nothing but a string, and no endpoint takes an empty list.
        return "".join(part["text"] for part in parts)
    return parts


def from_openai_parts(content: Any) -> str | list[str | dict[str, Any]]:
    """Read the ``content`` of a Chat Completions message.

    Args:
        content: Text, a list of parts, or None.

    Returns:
        The text, where it is nothing else; or LangChain's standard blocks: ``text``,
        ``reasoning`` (a block for each summary, its signature in ``extras``), ``image``,
        ``audio``, ``file``, and ``non_standard`` for whatever has no block of its own.

    Raises:
        InvalidResponseError: It is none of these.
    """
    if content is None or isinstance(content, str):
        return content or ""
    if not isinstance(content, list):
        raise wrong_shape("a text or a list of parts under 'content'", content)
    blocks: list[str | dict[str, Any]] = [block for part in content for block in _from_part(part)]
    if all(isinstance(block, dict) and block.keys() == {"type", "text"} for block in blocks):
        return "".join(block["text"] for block in blocks if isinstance(block, dict))
    return blocks


class BlockStream:
    """Reads the ``content`` of each delta of a stream, so that LangChain can add them up.

    LangChain joins two blocks of a stream only where both have the same ``index``, and joins a
    text to a list as an element of its own. So from the first delta that is a list on, all are
    lists, and the pieces of one block share its number.

    Where `feed` gives an empty text, better make no chunk of it than one without content: core
    1.7 puts the empty text before a list that follows, and loses a text that follows ``[]``.
    """

    def __init__(self) -> None:
        self._open: str | None = None  # the type of the block that the next delta may go on with
        self._index = -1

    def feed(self, content: Any) -> str | list[str | dict[str, Any]]:
        """Take one delta's content.

        Args:
            content: Text, a list of parts, or None.

        Returns:
            The content of an `AIMessageChunk`; an empty text where the delta adds none.

        Raises:
            InvalidResponseError: It is none of these.
        """
        blocks: list[Any] = []
        if isinstance(content, list):
            blocks = [block for part in content for block in _from_part(part)]
        else:
            text = from_openai_parts(content)
            if self._index < 0 or not text:
                return text
            blocks = [{"type": "text", "text": text}]
        numbered: list[str | dict[str, Any]] = [
            {**block, "index": self._number(block, first=position == 0)}
            for position, block in enumerate(blocks)
        ]
        return numbered or ""

    def _number(self, block: dict[str, Any], *, first: bool) -> int:
        kind = block["type"]
        # Two blocks in one delta are two. Only texts grow from delta to delta: an image or an
        # unknown part comes as a whole, and a signature closes the reasoning that it signs.
        if kind != self._open or not first:
            self._index += 1
        grows = kind in ("text", "reasoning") and "signature" not in block.get("extras", {})
        self._open = kind if grows else None
        return self._index


def unwrapped(block: Any) -> Mapping[str, Any]:
    """A block of content as an object: text gets its block, `non_standard` gives what it holds.

    Raises:
        InvalidRequestError: It is neither text nor an object with a ``type``.
    """
    if isinstance(block, str):
        return {"type": "text", "text": block}
    if isinstance(block, Mapping):
        if block.get("type") == "non_standard" and isinstance(block.get("value"), Mapping):
            return unwrapped(block["value"])
        if isinstance(block.get("type"), str):
            return block
    msg = (
        "A message's content holds something that is neither text nor a block with a 'type': "
        f"{str(block)[:200]}"
    )
    raise InvalidRequestError(msg)


def elsewhere(block: Mapping[str, Any]) -> bool:
    """Whether a block is no content: a tool call, or what only its own provider can read.

    Raises:
        InvalidRequestError: It is a tool's result, which needs a message of its own.
    """
    if block["type"] == "tool_result":
        msg = (
            "A content block of type 'tool_result' cannot be sent inside another message. Give the "
            "result as ToolMessage(content, tool_call_id=…)."
        )
        raise InvalidRequestError(msg)
    return block["type"] in _NOT_CONTENT


def plain_text(block: Mapping[str, Any]) -> str | None:
    """The text of a block of text or of a plain-text document, or None where it is neither.

    Raises:
        InvalidRequestError: It is one, but its text is missing or not a string.
    """
    kind, source = block["type"], block.get("source")
    if kind in ("text", "input_text", "output_text"):
        text = block.get("text")
    elif kind == "text-plain" and "text" in block:
        text = block["text"]
    elif kind == "file" and block.get("source_type") == "text":  # LangChain v0: it lies in 'url'
        text = block.get("url")
    elif kind == "document" and isinstance(source, Mapping) and source.get("type") == "text":
        text = source.get("data")
    else:
        return None
    if not isinstance(text, str):
        msg = f"A content block of type {kind!r} has no text in it: {str(dict(block))[:200]}"
        raise InvalidRequestError(msg)
    about = (block.get("title"), block.get("context")) if kind in ("text-plain", "document") else ()
    return "\n\n".join([*(str(told) for told in about if told), text])


def reasoning_text(block: Mapping[str, Any]) -> tuple[str, str | None] | None:
    """The text and signature of a standard or Anthropic block of reasoning, else None."""
    if block["type"] not in ("reasoning", "thinking") or "summary" in block:
        return None
    extras = block.get("extras")
    signature = extras.get("signature") if isinstance(extras, Mapping) else None
    text = block.get("reasoning") or block.get("thinking") or ""
    return str(text), signature or block.get("signature")


def _to_part(raw: Any) -> dict[str, Any] | None:
    block = unwrapped(raw)
    if elsewhere(block):
        return None
    if (reasoning := reasoning_text(block)) is not None:
        text, signature = reasoning
        if not signature:
            return None
        summary = {"type": "summary_text", "text": text, "signature": signature}
        part: dict[str, Any] = {"type": "reasoning", "summary": [summary]}
    elif (plain := plain_text(block)) is not None:
        if not plain:  # Claude refuses an empty text part
            return None
        part = {"type": "text", "text": plain}
    elif (media := read_media(block)) is not None:
        part = _MEDIA_PARTS.get(media.kind, _no_part)(media)
    else:
        return {key: deepcopy(value) for key, value in block.items() if key != "index"}
    extras = block.get("extras")
    mark = block.get("cache_control") or (
        extras.get("cache_control") if isinstance(extras, Mapping) else None
    )
    return {**part, "cache_control": deepcopy(mark)} if mark else part


def _image_part(image: Media) -> dict[str, Any]:
    url = image.url or (image.data_url if image.base64 else None)
    if url is None:
        return _no_part(image)
    detail = {"detail": image.detail} if image.detail else {}
    return {"type": "image_url", "image_url": {"url": url, **detail}}


_AUDIO_FORMATS = {"mpeg": "mp3", "x-wav": "wav", "wave": "wav", "vnd.wave": "wav", "x-flac": "flac"}


def _audio_part(audio: Media) -> dict[str, Any]:
    if not audio.base64:
        return _no_part(audio)
    subtype = audio.data_url.partition(";")[0].rpartition("/")[2]
    form = _AUDIO_FORMATS.get(subtype, subtype)
    return {"type": "input_audio", "input_audio": {"data": audio.base64, "format": form}}


def _file_part(file: Media) -> dict[str, Any]:
    if file.file_id:
        return {"type": "file", "file": {"file_id": file.file_id}}
    if not file.base64:
        return _no_part(file)
    subtype = (file.mime_type or "").rpartition("/")[2]
    # OpenAI wants a name with every file.
    name = file.filename or f"file.{subtype}"
    return {"type": "file", "file": {"filename": name, "file_data": file.data_url}}


def _no_part(media: Media) -> dict[str, Any]:
    how = "an uploaded file's id" if media.file_id else "a URL" if media.url else "inline bytes"
    instead = {
        "image": "as a URL or as 'base64' with 'mime_type'",
        "audio": "as 'base64' with 'mime_type'",
        "file": "as 'base64' with 'mime_type'",
    }.get(media.kind, "as a part in the endpoint's own form, which is sent as it is")
    msg = f"A chat endpoint cannot be given {media.kind} by {how}. Give it {instead}."
    raise InvalidRequestError(msg)


_MEDIA_PARTS = {"image": _image_part, "audio": _audio_part, "file": _file_part}


def _from_part(raw: Any) -> list[dict[str, Any]]:
    if isinstance(raw, str):
        raw = {"type": "text", "text": raw}
    part = expect_dict(raw, "texts or objects in its list of parts")
    kind = part.get("type")
    if kind == "text" and isinstance(part.get("text"), str):
        return [_standard({"type": "text", "text": part["text"]}, part)]
    if kind == "reasoning" and isinstance(part.get("summary"), list):
        return [block for summary in part["summary"] for block in _from_summary(summary)]
    try:
        media = read_media(part) if kind in ("image_url", "input_audio", "file") else None
    except InvalidRequestError:  # a part of media without the media: kept as it is
        media = None
    if media is None:
        return [{"type": "non_standard", "value": part}]
    block = {"type": media.kind, "url": media.url, "base64": media.base64}
    block |= {"mime_type": media.mime_type, "file_id": media.file_id}
    extras = {"filename": media.filename, "detail": media.detail}
    given = {key: value for key, value in extras.items() if value}
    return [
        {key: value for key, value in block.items() if value} | ({"extras": given} if given else {})
    ]


def _from_summary(raw: Any) -> list[dict[str, Any]]:
    if isinstance(raw, dict) and isinstance(raw.get("text"), str):
        return [_standard({"type": "reasoning", "reasoning": raw["text"]}, raw)]
    # Not a text, such as reasoning that the provider has encrypted: kept, and sent back as it is.
    return [{"type": "non_standard", "value": {"type": "reasoning", "summary": [raw]}}]


def _standard(block: dict[str, Any], wire: Mapping[str, Any]) -> dict[str, Any]:
    """Add to a block what else the wire says of it: nothing that came is lost."""
    extras = {key: value for key, value in wire.items() if key not in ("type", "text") and value}
    return {**block, "extras": extras} if extras else block
