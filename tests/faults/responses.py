"""The parts of HTTP responses."""

from __future__ import annotations

import gzip
import json
import zlib
from typing import Any

from tests.faults.server import Exchange

VECTOR = [0.25, 0.5]


def answer(exchange: Exchange, content: Any = "ok", vector: Any = VECTOR) -> dict[str, Any]:
    """Return JSON that each of the three components can decode."""
    body = exchange.body or {}
    prompts = body.get("prompt")
    choice = {"text": content, "message": {"role": "assistant", "content": content}}
    count = len(prompts) if isinstance(prompts, list) else 1
    texts = body.get("input") or [""]
    return {
        "choices": [{**choice, "index": i, "finish_reason": "stop"} for i in range(count)],
        "data": [{"index": i, "embedding": vector} for i in range(len(texts))],
    }


def event(content: str | None = None, **more: Any) -> bytes:
    """Return a server-sent event of a chat or text completion; without content, the last one."""
    choice = {"index": 0, "text": content or "", "delta": {"content": content} if content else {}}
    choice["finish_reason"] = None if content else "stop"
    return b"data: " + json.dumps({"choices": [choice], **more}).encode() + b"\n\n"


EVENTS = [event("o"), event("k"), event(), b"data: [DONE]\n\n"]


def good_body(exchange: Exchange) -> tuple[bytes, str]:
    """Return the body of a good response, and its type."""
    if exchange.streams:
        return b"".join(EVENTS), "text/event-stream"
    return json.dumps(answer(exchange)).encode(), "application/json"


def head(status: str = "200 OK", **headers: Any) -> bytes:
    """Return a status line and headers; an underscore in a name is a hyphen."""
    # The server closes each connection: this keeps clients from using it once more.
    headers = {"Connection": "close", **headers}
    lines = [f"HTTP/1.1 {status}", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def whole(body: bytes | str | Any, status: str = "200 OK", **headers: Any) -> bytes:
    """Return a whole response: of bytes, text or JSON."""
    raw = body.encode() if isinstance(body, str) else body
    raw = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    return head(status, **{"Content_Length": len(raw), **headers}) + raw


def good(exchange: Exchange, **headers: Any) -> bytes:
    """Return a good response."""
    body, kind = good_body(exchange)
    return whole(body, Content_Type=kind, **headers)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = {"Transfer_Encoding": "chunked"}
EVENT_HEAD = head(Content_Type="text/event-stream", **CHUNKED)
GZIP = {"Content_Encoding": "gzip"}


def nested(depth: int) -> bytes:
    return b'{"error":' * depth + b"1" + b"}" * depth


def bomb(layers: int = 1) -> bytes:
    """Return 100 MB of blanks, compressed."""
    compressor = zlib.compressobj(9, zlib.DEFLATED, 31)
    packed = b"".join(compressor.compress(b" " * 1_000_000) for _ in range(100))
    packed += compressor.flush()
    for _ in range(layers - 1):
        packed = gzip.compress(packed)
    return packed
