"""A loopback server for chat, completions and embeddings that is faster than all clients.

It parses only the HTTP that these clients send, and its bodies are encoded once. The name of the
model determines the answer: ``chat-100`` waits for 100 ms, ``stream-2000`` streams 2000 events,
``embed-50`` waits for 50 ms. With OpenAI's paths the name is in the body, with Databricks' in the
path.
"""

from __future__ import annotations

import asyncio
import base64
import json
import re
import struct
import sys

DIMENSION = 1024
"""The dimension of databricks-bge-large-en and databricks-gte-large-en."""

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
    return _http_chunk(b"data: %b\n\n" % json.dumps(payload).encode())


def _http_chunk(body: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(body), body)


_STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_TOKEN = _event([{"index": 0, "delta": {"content": " token"}, "finish_reason": None}])
_STREAM_TAIL = (
    _event([{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    _event([], usage=_USAGE),
    _http_chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n",
)


def _embeddings(body: bytes) -> bytes:
    request = json.loads(body)
    texts = request["input"]
    vector = _VECTOR_FORMS[request.get("encoding_format") == "base64"]
    item = b'{"object": "embedding", "index": %d, "embedding": %b}'
    count = len(texts) if isinstance(texts, list) else 1
    data = b", ".join(item % (number, vector) for number in range(count))
    usage = b'{"prompt_tokens": %d, "total_tokens": %d}' % (count, count)
    answer = b'{"object": "list", "model": "bench", "data": [%b], "usage": %b}' % (data, usage)
    return _json(b"200 OK", answer)


class _Connection(asyncio.Protocol):
    """A connection with sequential requests."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._received = b""

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end)
        total = end + 4 + (int(length[1]) if length else 0)
        if len(self._received) < total:
            return
        path, body = self._received.split(b" ", 2)[1], self._received[end + 4 : total]
        self._received = self._received[total:]
        self._answer(path, body)

    def _answer(self, path: bytes, body: bytes) -> None:
        model = _IN_PATH.search(path) or _IN_BODY.search(body)
        if model is None or not body:
            self._transport.write(_MISSING)
            return
        kind, number = model[1], int(model[2])
        if kind == b"stream":
            self._streaming = asyncio.ensure_future(self._stream(number))
            return
        answer = {b"chat": _CHAT, b"text": _COMPLETION}.get(kind) or _embeddings(body)
        if number:
            asyncio.get_running_loop().call_later(number / 1000, self._write, answer)
        else:
            self._transport.write(answer)

    def _write(self, answer: bytes) -> None:
        if not self._transport.is_closing():
            self._transport.write(answer)

    async def _stream(self, events: int) -> None:
        # One write per event, as with a model that generates token by token.
        self._transport.write(_STREAM_HEAD)
        for event in (*(_TOKEN for _ in range(events)), *_STREAM_TAIL):
            if self._transport.is_closing():
                return
            self._transport.write(event)
            await asyncio.sleep(0)


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    server = await loop.create_server(_Connection, "127.0.0.1", 0, backlog=512)
    print(server.sockets[0].getsockname()[1], flush=True)
    # The benchmark holds the other end of stdin, so this server ends with it.
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(_serve())
