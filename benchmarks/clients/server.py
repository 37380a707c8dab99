"""A loopback server that answers chat, completions and embeddings faster than any client asks.

It parses no more of HTTP than these clients send, and makes each body once. What it answers follows
the name of the model: ``chat-100`` waits for 100 ms, ``stream-2000`` streams 2000 events,
``embed-50`` waits for 50 ms. OpenAI's paths carry that name in the body, Databricks' in the path.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
import sys

DIMENSION = 1024
"""Floats in a vector: as many as databricks-bge-large-en and databricks-gte-large-en give."""

_LENGTH = re.compile(rb"content-length: *(\d+)", re.IGNORECASE)
_IN_BODY = re.compile(rb'"model": *"(\w+)-(\d+)"')
_IN_PATH = re.compile(rb"/(?:serving-endpoints/)(\w+)-(\d+)")

_MESSAGE = {"role": "assistant", "content": "The capital of France is Paris, on the Seine."}
_USAGE = {"prompt_tokens": 12, "completion_tokens": 10, "total_tokens": 22}
_VECTOR = [round((i % 97) / 97 - 0.5, 9) for i in range(DIMENSION)]
_VECTOR_FORMS = {
    False: json.dumps(_VECTOR).encode(),
    True: b'"%b"' % base64.b64encode(struct.pack(f"<{DIMENSION}f", *_VECTOR)),
}


def _json(status: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 %b\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
    return head % (status, len(body)) + body


def _ok(payload: object) -> bytes:
    return _json(b"200 OK", json.dumps(payload).encode())


_CHAT = _ok(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1,
        "model": "bench",
        "choices": [{"index": 0, "message": _MESSAGE, "finish_reason": "stop"}],
        "usage": _USAGE,
    }
)
_COMPLETION = _ok(
    {
        "id": "cmpl-1",
        "object": "text_completion",
        "created": 1,
        "model": "bench",
        "choices": [{"index": 0, "text": _MESSAGE["content"], "finish_reason": "stop"}],
        "usage": _USAGE,
    }
)
_MISSING = _json(b"404 Not Found", b'{"error_code": "NOT_FOUND", "message": "no such path"}')


def _event(choices: list[object], **more: object) -> bytes:
    payload = {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "bench",
        "choices": choices,
        **more,
    }
    return _piece(b"data: %b\n\n" % json.dumps(payload).encode())


def _piece(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_TOKEN = _event([{"index": 0, "delta": {"content": " token"}, "finish_reason": None}])
_STREAM_TAIL = (
    _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    _event([], usage=_USAGE),
    _piece(b"data: [DONE]\n\n") + b"0\r\n\r\n",
)


def _embeddings(body: bytes) -> bytes:
    request = json.loads(body)
    texts = request["input"]
    vector = _VECTOR_FORMS[request.get("encoding_format") == "base64"]
    one = b'{"object": "embedding", "index": %d, "embedding": %b}'
    count = len(texts) if isinstance(texts, list) else 1
    data = b", ".join(one % (number, vector) for number in range(count))
    usage = b'{"prompt_tokens": %d, "total_tokens": %d}' % (count, count)
    whole = b'{"object": "list", "model": "bench", "data": [%b], "usage": %b}' % (data, usage)
    return _json(b"200 OK", whole)


class _Connection(asyncio.Protocol):
    """One client's connection: a request is read, answered, and the next one waited for."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._out = transport
        self._in = b""

    def data_received(self, data: bytes) -> None:
        self._in += data
        end = self._in.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._in, 0, end)
        total = end + 4 + (int(length[1]) if length else 0)
        if len(self._in) < total:
            return
        path, body = self._in.split(b" ", 2)[1], self._in[end + 4 : total]
        self._in = self._in[total:]
        self._answer(path, body)

    def _answer(self, path: bytes, body: bytes) -> None:
        named = _IN_PATH.search(path) or _IN_BODY.search(body)
        if named is None or not body:
            self._out.write(_MISSING)
            return
        kind, number = named[1], int(named[2])
        if kind == b"stream":
            self._streaming = asyncio.ensure_future(self._stream(number))
            return
        answer = {b"chat": _CHAT, b"text": _COMPLETION}.get(kind) or _embeddings(body)
        if number:
            asyncio.get_running_loop().call_later(number / 1000, self._write, answer)
        else:
            self._out.write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._out.is_closing():
            self._out.write(answer)

    async def _stream(self, events: int) -> None:
        # One write an event, as a model that makes one token after the other does.
        self._out.write(_STREAM_HEAD)
        for event in (*(_TOKEN for _ in range(events)), *_STREAM_TAIL):
            if self._out.is_closing():
                return
            self._out.write(event)
            await asyncio.sleep(0)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The benchmark holds the other end of stdin: when it ends, however it ends, so does this.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
