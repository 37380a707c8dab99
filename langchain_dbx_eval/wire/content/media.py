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

_MIME_TYPES = {"image": "image/png", "audio": "audio/wav", "video": "video/mp4"}
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
    def name(self) -> str:
        """The file name, which OpenAI requires; default: ``file`` with an extension."""
        return self.filename or f"file.{(self.mime_type or '').rpartition('/')[2]}"

    @property
    def data_url(self) -> str:
        """The inline bytes as a ``data:`` URL.

        Raises:
            InvalidRequestError: The MIME type is missing.
        """
        if not self.mime_type:
            msg = (
                f"A content block with an inline {self.kind} requires a 'mime_type', such as "
                f"{_MIME_TYPES.get(self.kind, 'application/pdf')!r}."
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
    kind, file, source = block.get("type"), block.get("file"), block.get("source")
    if kind in ("image", "document") and isinstance(source, Mapping):  # Anthropic's
        media = _media("image" if kind == "image" else "file", {**block, **source})
    elif kind in _STANDARD and not isinstance(file, Mapping):  # LangChain's
        v0_id = {"file_id": block.get("id")} if block.get("source_type") == "id" else {}
        media = _media("file" if kind == "text-plain" else kind, {**block, **v0_id})
    elif kind == "image_url":
        image = block.get("image_url")
        media = _media("image", image if isinstance(image, Mapping) else {"url": image})
    elif kind == "input_image":
        media = _media("image", {**block, "url": block.get("image_url")})
    elif kind == "input_audio":
        audio = block.get("input_audio")
        audio = audio if isinstance(audio, Mapping) else {}
        mime_type = f"audio/{audio['format']}" if audio.get("format") else None
        media = _media("audio", {**audio, "mime_type": mime_type})
    elif kind in ("file", "input_file"):
        # Chat Completions nests the fields under 'file'; Responses' 'input_file' has them flat.
        fields = file if isinstance(file, Mapping) else block
        media = _media("file", {**fields, "url": fields.get("file_data") or fields.get("file_url")})
    else:
        return None
    if media.url or media.base64 or media.file_id:
        return media
    msg = (
        f"A content block of type {kind!r} has no {media.kind}: it needs one of 'url', 'base64' "
        f"(with 'mime_type') or 'file_id'. It has: {', '.join(sorted(map(repr, block)))}."
    )
    raise InvalidRequestError(msg)


def _extra(block: Mapping[str, Any], key: str) -> Any:
    """Return a field of the block, of its ``extras`` (v1) or of its ``metadata`` (v0)."""
    for fields in (block, block.get("extras"), block.get("metadata")):
        if isinstance(fields, Mapping) and fields.get(key):
            return fields[key]
    return None


def _media(kind: str, fields: Mapping[str, Any]) -> Media:
    """Return the media with these fields; values that are not strings are dropped."""
    url = fields.get("url")
    given = {
        "base64": fields.get("base64") or fields.get("data"),
        "mime_type": fields.get("mime_type") or fields.get("media_type"),
        "file_id": fields.get("file_id"),
        "filename": _extra(fields, "filename") or _extra(fields, "title"),
        "detail": _extra(fields, "detail"),
    }
    if isinstance(url, str):
        head, inline, base64 = url.partition(";base64,")
        if inline and head.startswith("data:"):
            given |= {"base64": base64, "mime_type": head.removeprefix("data:")}
        else:
            given["url"] = url
    return Media(kind, **{k: v for k, v in given.items() if isinstance(v, str) and v})
