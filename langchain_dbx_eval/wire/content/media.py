"""Images, audio, video and files in messages.

Supported are LangChain's standard blocks (v1), their predecessors with a ``source_type`` (v0),
OpenAI's parts (Chat Completions and Responses) and Anthropic's blocks with a ``source``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval.errors import InvalidRequestError

__all__ = ["Media", "decode_media"]

_STANDARD = {"image", "audio", "video", "file", "text-plain"}


@dataclass(frozen=True)
class Media:
    """An image, audio, video or file in a message.

    Attributes:
        kind: ``image``, ``audio``, ``video`` or ``file``.
        url: The URL, unless it is inline; never a ``data:`` URL.
        base64: The bytes, if it is inline.
        mime_type: The MIME type, if given.
        file_id: The id of an uploaded file at the provider.
        filename: The file name, if given.
        detail: OpenAI's ``detail`` of an image (``low``, ``high``, ``auto``).
    """

    kind: str
    url: str | None = None
    base64: str | None = None
    mime_type: str | None = None
    file_id: str | None = None
    filename: str | None = None
    detail: str | None = None

    @property
    def data_url(self) -> str:
        """The inline bytes as a ``data:`` URL.

        Raises:
            InvalidRequestError: The MIME type is missing.
        """
        if not self.mime_type:
            msg = (
                f"A content block with an inline {self.kind} has no 'mime_type'. Add it, such as "
                f"{'image/png' if self.kind == 'image' else 'application/pdf'!r}."
            )
            raise InvalidRequestError(msg)
        return f"data:{self.mime_type};base64,{self.base64}"


def decode_media(block: Mapping[str, Any]) -> Media | None:
    """Decode a content block that contains media.

    Args:
        block: The block, in any of the formats that this module supports.

    Returns:
        The media; None for other blocks.

    Raises:
        InvalidRequestError: The block has neither bytes, nor a URL, nor a file id.
    """
    kind = block.get("type")
    if kind in _STANDARD and "source_type" in block:
        media = _from_v0(block)
    elif kind in ("image", "document") and isinstance(block.get("source"), Mapping):
        media = _from_anthropic(block)
    elif kind in _STANDARD and not isinstance(block.get("file"), Mapping):
        media = _from_v1(block)
    elif kind in _OPENAI:
        media = _OPENAI[kind](block)
    else:
        return None
    if media.url or media.base64 or media.file_id:
        return media
    msg = (
        f"A content block of type {kind!r} has no {media.kind}: it needs one of 'url', 'base64' "
        f"(with 'mime_type') or 'file_id'. It has: {', '.join(sorted(map(repr, block)))}."
    )
    raise InvalidRequestError(msg)


def _from_v1(block: Mapping[str, Any]) -> Media:
    kind = "file" if block["type"] == "text-plain" else block["type"]
    return _media(
        kind,
        block.get("url"),
        base64=block.get("base64"),
        mime_type=block.get("mime_type"),
        file_id=block.get("file_id"),
        filename=_extra(block, "filename") or _extra(block, "title"),
        detail=_extra(block, "detail"),
    )


def _from_v0(block: Mapping[str, Any]) -> Media:
    source = block["source_type"]
    return _media(
        block["type"],
        block.get("url") if source == "url" else None,
        base64=block.get("data") if source == "base64" else None,
        file_id=block.get("id") if source == "id" else None,
        mime_type=block.get("mime_type"),
        filename=_extra(block, "filename"),
        detail=_extra(block, "detail"),
    )


def _from_anthropic(block: Mapping[str, Any]) -> Media:
    source = block["source"]
    return _media(
        "image" if block["type"] == "image" else "file",
        source.get("url"),
        base64=source.get("data"),
        mime_type=source.get("media_type"),
        file_id=source.get("file_id"),
        filename=_extra(block, "title"),
    )


def _from_image_url(block: Mapping[str, Any]) -> Media:
    image = block.get("image_url")
    image = image if isinstance(image, Mapping) else {"url": image}
    return _media("image", image.get("url"), detail=image.get("detail"))


def _from_input_image(block: Mapping[str, Any]) -> Media:
    detail, file_id = block.get("detail"), block.get("file_id")
    return _media("image", block.get("image_url"), file_id=file_id, detail=detail)


def _from_input_audio(block: Mapping[str, Any]) -> Media:
    audio = block.get("input_audio")
    audio = audio if isinstance(audio, Mapping) else {}
    mime_type = f"audio/{audio['format']}" if audio.get("format") else None
    return _media("audio", None, base64=audio.get("data"), mime_type=mime_type)


def _from_file(block: Mapping[str, Any]) -> Media:
    # Chat Completions nests the fields under 'file'; Responses' 'input_file' has them flat.
    file = block["file"] if isinstance(block.get("file"), Mapping) else block
    url = file.get("file_data") or file.get("file_url")
    return _media("file", url, file_id=file.get("file_id"), filename=file.get("filename"))


_OPENAI = {
    "image_url": _from_image_url,
    "input_image": _from_input_image,
    "input_audio": _from_input_audio,
    "file": _from_file,
    "input_file": _from_file,
}


def _extra(block: Mapping[str, Any], key: str) -> Any:
    """Return a field of the block, of its ``extras`` (v1) or of its ``metadata`` (v0)."""
    for fields in (block, block.get("extras"), block.get("metadata")):
        if isinstance(fields, Mapping) and fields.get(key):
            return fields[key]
    return None


def _media(kind: str, url: Any, **fields: Any) -> Media:
    """Return the media with the fields of a block; values that are not strings are dropped."""
    given = {name: value for name, value in fields.items() if isinstance(value, str) and value}
    if isinstance(url, str):
        head, inline, base64 = url.partition(";base64,")
        if inline and head.startswith("data:"):
            given |= {"base64": base64, "mime_type": head.removeprefix("data:")}
        else:
            given["url"] = url
    return Media(kind, **given)
