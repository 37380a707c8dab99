"""The faults, and what a call must do about each."""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval.errors import (
    AuthenticationError,
    ConnectionFailedError,
    DatabricksError,
    InvalidRequestError,
    InvalidResponseError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitError,
    RequestTimeoutError,
    ServerError,
    StreamInterruptedError,
)
from tests.faults.responses import (
    CHUNKED,
    EVENT_HEAD,
    EVENTS,
    GZIP,
    answer,
    bomb,
    chunk,
    event,
    good,
    good_body,
    head,
    nested,
    whole,
)
from tests.faults.server import Exchange, Serve

Expected = tuple[type[DatabricksError], ...]
"""The errors of which one must be raised; empty: the call must succeed."""

SUCCEEDS: Expected = ()
TIMES_OUT: Expected = (RequestTimeoutError,)
IS_CUT: Expected = (ConnectionFailedError, StreamInterruptedError)
IS_INVALID: Expected = (InvalidResponseError, StreamInterruptedError)
IS_SLOW: Expected = (RequestTimeoutError, StreamInterruptedError)
IS_BROKEN: Expected = (*IS_CUT, InvalidResponseError)
_REQUIRED: Expected = (DatabricksError,)


@dataclass(frozen=True)
class Fault:
    """A fault of a server.

    Attributes:
        kind: The group that it belongs to.
        name: Its name.
        serve: Writes the response.
        expected: What a call that is not streamed must do.
        streamed: What a stream must do; default: the same.
        at_accept: Whether the response begins before the request was read.
        floods: Whether the server sends as much as it can: few such cells run at the same time.
        text: The answer of a call that succeeds.
    """

    kind: str
    name: str
    serve: Serve
    expected: Expected
    streamed: Expected | None = None
    at_accept: bool = False
    floods: bool = False
    text: str = "ok"

    def expectation(self, *, streams: bool) -> Expected:
        return self.streamed if streams and self.streamed is not None else self.expected


FAULTS: list[Fault] = []


def fault(kind: str, name: str, expected: Expected, **more: Any) -> Callable[[Serve], Serve]:
    """Add a fault to the table."""

    def add(serve: Serve) -> Serve:
        FAULTS.append(Fault(kind, name, serve, expected, **more))
        return serve

    return add


def sends(kind: str, name: str, expected: Expected, response: bytes, **more: Any) -> None:
    """Add a fault that is a fixed response."""
    fault(kind, name, expected, **more)(lambda exchange: exchange.send(response))


def once(kind: str, name: str, first: Serve) -> None:
    """Add a fault of the first response only: the retry succeeds."""

    def serve(exchange: Exchange) -> None:
        if exchange.number == 0:
            first(exchange)
        else:
            exchange.send(good(exchange))

    fault(kind, name, SUCCEEDS)(serve)


def _cut(exchange: Exchange, length: int) -> bytes:
    return good(exchange)[:length]


def _split(exchange: Exchange) -> tuple[bytes, bytes]:
    """Return the head and the body of a good response."""
    front, _, body = good(exchange).partition(b"\r\n\r\n")
    return front + b"\r\n\r\n", body


def _chunked(exchange: Exchange, **headers: Any) -> tuple[bytes, bytes]:
    """Return the head of a good chunked response, and its body."""
    body, kind = good_body(exchange)
    return head(Content_Type=kind, **CHUNKED, **headers), body


# The connection ---------------------------------------------------------------------------------


@fault("connection", "refused", (ConnectionFailedError,))
def _refused(exchange: Exchange) -> None:
    """Not called: the matrix closes the server before the call."""


fault("connection", "closed at accept", IS_CUT, at_accept=True)(lambda e: None)
fault("connection", "reset at accept", IS_CUT, at_accept=True)(lambda e: e.reset())
fault("connection", "closed after the request", IS_CUT)(lambda e: None)
fault("connection", "reset after the request", IS_CUT)(lambda e: e.reset())
for _name, _part in {
    "status line": lambda e: b"HTTP/1.1 20",
    "headers": lambda e: _cut(e, 30),
    "body": lambda e: _cut(e, -10),
}.items():
    fault("connection", f"closed in the {_name}", IS_BROKEN)(
        lambda e, part=_part: e.send(part(e))  # type: ignore[misc]
    )
    fault("connection", f"reset in the {_name}", IS_BROKEN)(
        lambda e, part=_part: (e.send(part(e)), e.reset())  # type: ignore[misc, func-returns-value]
    )
fault("connection", "closed in a chunk size", IS_BROKEN)(
    lambda e: e.send(_chunked(e)[0], chunk(_chunked(e)[1][:9]), b"1")
)
fault("connection", "closed in a chunk", IS_BROKEN)(
    lambda e: e.send(_chunked(e)[0], b"ffff\r\n", _chunked(e)[1][:9])
)
fault("connection", "closed before the last chunk", IS_BROKEN, streamed=None)(
    lambda e: e.send(_chunked(e)[0], chunk(_chunked(e)[1][:-16]))
)
once("connection", "closed once", lambda e: None)
once("connection", "reset once", lambda e: e.reset())
once("connection", "closed in the headers once", lambda e: e.send(_cut(e, 30)))

# Stall ------------------------------------------------------------------------------------------

fault("stall", "before the request is read", TIMES_OUT, at_accept=True)(lambda e: e.wait())
fault("stall", "after the request", TIMES_OUT)(lambda e: e.wait())
fault("stall", "in the status line", TIMES_OUT)(lambda e: (e.send(b"HTTP/1."), e.wait())[1])
fault("stall", "in the headers", TIMES_OUT)(lambda e: (e.send(_cut(e, 30)), e.wait())[1])
fault("stall", "before the body", IS_SLOW)(lambda e: (e.send(_split(e)[0]), e.wait())[1])
fault("stall", "in the body", IS_SLOW)(lambda e: (e.send(_cut(e, -10)), e.wait())[1])
fault("stall", "in a chunk size", IS_SLOW)(
    lambda e: (e.send(_chunked(e)[0], chunk(_chunked(e)[1][:9]), b"1"), e.wait())[1]
)
fault("stall", "in a chunk", IS_SLOW)(
    lambda e: (e.send(_chunked(e)[0], b"ffff\r\n", _chunked(e)[1][:9]), e.wait())[1]
)
fault("stall", "before the last chunk", IS_SLOW)(
    lambda e: (e.send(_chunked(e)[0], chunk(_chunked(e)[1][:-16])), e.wait())[1]
)

# Drip: a byte every 50 ms -----------------------------------------------------------------------

fault("drip", "status line", TIMES_OUT)(lambda e: e.drip(b"HTTP/1.1 200 " + b"O" * 9999))
fault("drip", "name of a header", TIMES_OUT)(
    lambda e: (e.send(b"HTTP/1.1 200 OK\r\n"), e.drip(b"X" * 9999))[1]
)
fault("drip", "value of a header", TIMES_OUT)(
    lambda e: (e.send(b"HTTP/1.1 200 OK\r\nX-A: "), e.drip(b"x" * 9999))[1]
)
fault("drip", "headers", TIMES_OUT)(
    lambda e: e.send(b"HTTP/1.1 200 OK\r\n", *[b"X-A: x\r\n"] * 9999, pause=0.05)
)
fault("drip", "100 Continue", TIMES_OUT)(
    lambda e: e.send(*[b"HTTP/1.1 100 Continue\r\n\r\n"] * 9999, pause=0.05)
)
fault("drip", "103 Early Hints", (*TIMES_OUT, *IS_BROKEN))(
    lambda e: e.send(*[b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"] * 9999, pause=0.05)
)
fault("drip", "headers of 100 Continue", TIMES_OUT)(
    lambda e: (e.send(b"HTTP/1.1 100 Continue\r\nX-A: "), e.drip(b"x" * 9999))[1]
)
fault("drip", "chunk size", IS_SLOW)(
    lambda e: (e.send(_chunked(e)[0], b"5;"), e.drip(b"x" * 9999))[1]
)
fault("drip", "chunks of one byte", IS_SLOW)(
    lambda e: e.send(_chunked(e)[0], *[chunk(b" ")] * 9999, pause=0.05)
)
fault("drip", "trailers", (*IS_SLOW, *IS_BROKEN))(
    lambda e: (
        e.send(_chunked(e)[0], chunk(_chunked(e)[1]), b"0\r\n"),
        e.send(*[b"X-A: x\r\n"] * 9999, pause=0.05),
    )[1]
)
fault("drip", "body", IS_SLOW)(
    lambda e: (e.send(head(Content_Length=9999)), e.drip(b" " * 9999))[1]
)
fault("drip", "body without a length", IS_SLOW)(lambda e: (e.send(head()), e.drip(b" " * 9999))[1])
fault("drip", "gzip header", IS_SLOW)(
    # The name of the compressed file: it has no length, and decodes to nothing.
    lambda e: (
        e.send(head(**GZIP, Content_Length=99999), b"\x1f\x8b\x08\x08\0\0\0\0\0\0"),
        e.drip(b"x" * 9999),
    )[1]
)
fault("drip", "gzip body", IS_SLOW)(
    lambda e: (e.send(head(**GZIP, Content_Length=99999)), e.drip(gzip.compress(b" " * 10**6)))[1]
)
fault("drip", "body of an error", (RequestTimeoutError, ServerError))(
    lambda e: (e.send(head("500 Error", Content_Length=9999)), e.drip(b"x" * 9999))[1]
)
fault("drip", "a whole response in 0.3 s", SUCCEEDS)(
    lambda e: e.send(*(good(e)[i : i + 40] for i in range(0, len(good(e)), 40)), pause=0.02)
)

# Statuses ---------------------------------------------------------------------------------------

_STATUSES: dict[int, type[DatabricksError]] = {
    400: InvalidRequestError,
    401: AuthenticationError,
    402: InvalidRequestError,
    403: PermissionDeniedError,
    404: NotFoundError,
    405: InvalidRequestError,
    408: RequestTimeoutError,
    409: InvalidRequestError,
    413: InvalidRequestError,
    422: InvalidRequestError,
    429: RateLimitError,
    451: InvalidRequestError,
    500: ServerError,
    501: ServerError,
    502: ServerError,
    503: ServerError,
    504: ServerError,
    599: ServerError,
}
for _status, _class in _STATUSES.items():
    sends("status", f"{_status}", (_class,), whole({"message": "why"}, f"{_status} Reason"))
for _status in (408, 429, 502, 503, 504):
    once("status", f"{_status} once", lambda e, s=_status: e.send(whole("", f"{s} X")))  # type: ignore[misc]
for _status in (300, 301, 302, 303, 304, 307, 308):
    sends(
        "status",
        f"{_status} with a location",
        _REQUIRED,
        head(f"{_status} Moved", Location="http://127.0.0.1:1/", Content_Length=0),
    )
sends("status", "204 without a body", IS_INVALID, head("204 No Content"))
sends("status", "206 with a part", IS_INVALID, whole('{"choices": [', "206 Partial Content"))
sends("status", "101 Switching Protocols", _REQUIRED, head("101 Switching Protocols"))
sends("status", "999", _REQUIRED, whole("", "999 What"))
sends("status", "letters", _REQUIRED, whole("", "abc What"))
sends("status", "of four digits", _REQUIRED, whole("", "2000 OK"))
sends("status", "no reason phrase", IS_INVALID, whole("{}", "200"))

# Retry-After ------------------------------------------------------------------------------------

for _value in ("0", "0.1", "-5", "Wed, 21 Oct 2015 07:28:00 GMT"):
    once(
        "Retry-After",
        _value,
        lambda e, v=_value: e.send(whole("", "429 X", Retry_After=v)),  # type: ignore[misc]
    )
for _value in (
    "inf",
    "nan",
    "1e400",
    "soon",
    "",
    "9" * 5000,
    "Mon, 99 Foo 99999999999 99:99:99",
    "Sun, 01 Jan 0001 00:00:00 +2359",
):
    once(
        "Retry-After",
        _value[:20] or "(empty)",
        lambda e, v=_value: e.send(whole("", "429 X", Retry_After=v)),  # type: ignore[misc]
    )
for _value in ("86400", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT"):
    sends("Retry-After", _value, (RateLimitError,), whole("", "429 X", Retry_After=_value))
sends("Retry-After", "86400 of a 503", (ServerError,), whole("", "503 X", Retry_After="86400"))

# Bodies -----------------------------------------------------------------------------------------

for _name, _body in {
    "nothing": b"",
    "blanks": b" " * 1000,
    "HTML": b"<html><body>Please log in</body></html>",
    "text": b"upstream connect error",
    "an object without fields": b"{}",
    "a list": b"[]",
    "null": b"null",
    "a number": b"1",
    "half of JSON": b'{"choices": [{"text": "o',
    "two JSON values": b"{}{}",
    "nested 200,000 times": nested(200_000),
    "a list nested 900 times": b"[" * 900 + b"]" * 900,
    "choices that are null": b'{"choices": null, "data": null}',
    "no choices": b'{"choices": [], "data": []}',
    "choices of numbers": b'{"choices": [1], "data": [1]}',
    "an error": b'{"error": {"message": "no", "code": "x"}}',
    "an error of Databricks": b'{"error_code": "X", "message": "no"}',
    "bytes that are not UTF-8": b'{"choices": [{"text": "\xff\xfe"}]}',
    "UTF-32": '{"choices": []}'.encode("utf-32"),
    "a lone surrogate as a key": b'{"\\ud83d": 1}',
    "zero bytes": b"\0" * 1000,
    "braces": b"{" * 100_000,
    "an integer of 5,000 digits": b"9" * 5000,
}.items():
    sends("body", _name, IS_INVALID, whole(_body))
for _name, _body in {
    "text": b"no healthy upstream",
    "HTML": b"<html><title>Bad Gateway</title></html>",
    "tags": b"<" * 300_000,
    "unclosed tags": b"<pre " * 100_000,
    "closing tags": b"<pre></" * 50_000,
    "nested 200,000 times": nested(200_000),
    "nested 900 times": nested(900),
    "a list": b"[1]",
    "a code that is an object": b'{"error_code": {"a": [1]}, "message": [2]}',
    "bytes that are not UTF-8": b"\xff\xfe\x00",
}.items():
    sends("body of a 500", _name, (ServerError,), whole(_body, "500 Error"))


def _content(kind: str, name: str, expected: Expected, **values: Any) -> None:
    def serve(exchange: Exchange) -> None:
        exchange.send(whole(answer(exchange, **values)))

    fault(kind, name, expected)(serve)


_content("body", "a content that is an object", _REQUIRED, content={"a": 1}, vector={"a": 1})
_content("body", "a content of NaN", _REQUIRED, content=[1.0], vector=[float("nan"), 1.0])
_content("body", "a content of Infinity", _REQUIRED, content=[1.0], vector=[float("inf")])
_content("body", "a content of booleans", _REQUIRED, content=[True], vector=[True])

# Compression ------------------------------------------------------------------------------------


def _packed(exchange: Exchange, pack: Callable[[bytes], bytes], encoding: str) -> None:
    body, kind = good_body(exchange)
    exchange.send(whole(pack(body), Content_Type=kind, Content_Encoding=encoding))


_BOMB, _BOMB_IN_A_BOMB = bomb(), bomb(2)
fault("compression", "gzip", SUCCEEDS)(lambda e: _packed(e, gzip.compress, "gzip"))
fault("compression", "deflate", SUCCEEDS)(lambda e: _packed(e, zlib.compress, "deflate"))
fault("compression", "an encoding that does not exist", SUCCEEDS)(
    lambda e: _packed(e, bytes, "rot13")
)
fault("compression", "truncated gzip", IS_BROKEN)(
    lambda e: _packed(e, lambda b: gzip.compress(b)[:-20], "gzip")
)
fault("compression", "gzip that is not gzip", IS_BROKEN)(lambda e: _packed(e, bytes, "gzip"))
fault("compression", "gzip with a wrong checksum", _REQUIRED, streamed=None)(
    lambda e: _packed(e, lambda b: gzip.compress(b)[:-8] + b"\0" * 8, "gzip")
)
fault("compression", "a bomb", IS_INVALID, floods=True)(lambda e: e.send(whole(_BOMB, **GZIP)))
fault("compression", "a bomb in a bomb", IS_BROKEN, floods=True)(
    lambda e: e.send(whole(_BOMB_IN_A_BOMB, Content_Encoding="gzip, gzip"))
)
fault("compression", "a bomb in an error", (ServerError,), floods=True)(
    lambda e: e.send(whole(_BOMB, "500 Error", **GZIP))
)

# Size and framing -------------------------------------------------------------------------------

_BLANKS = b" " * 65536


@fault("size", "a body of 1 GB", IS_INVALID, floods=True)
def _huge(exchange: Exchange) -> None:
    exchange.send(head(Content_Length=10**9))
    exchange.flood(_BLANKS)


@fault("size", "endless chunks", IS_INVALID, floods=True)
def _endless(exchange: Exchange) -> None:
    exchange.send(head(**CHUNKED))
    exchange.flood(chunk(_BLANKS))


@fault("size", "an endless body of an error", (ServerError,), floods=True)
def _endless_error(exchange: Exchange) -> None:
    exchange.send(head("500 Error", **CHUNKED))
    exchange.flood(chunk(_BLANKS))


@fault("size", "an endless chunk size", (*IS_BROKEN, *TIMES_OUT), floods=True)
def _endless_size(exchange: Exchange) -> None:
    exchange.send(head(**CHUNKED))
    exchange.flood(b"0" * 65536)


@fault("size", "endless headers", (*IS_BROKEN, *TIMES_OUT), floods=True)
def _endless_headers(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\n")
    exchange.flood(b"X-A: x\r\n" * 8192)


@fault("size", "an endless header", (*IS_BROKEN, *TIMES_OUT), floods=True)
def _endless_header(exchange: Exchange) -> None:
    exchange.send(b"HTTP/1.1 200 OK\r\nX-A: ")
    exchange.flood(b"x" * 65536)


@fault("size", "endless 100 Continue", (*IS_BROKEN, *TIMES_OUT), floods=True)
def _endless_continue(exchange: Exchange) -> None:
    # The pause keeps the server, which shares the interpreter with the clients, from taking it all.
    exchange.send(*[b"HTTP/1.1 100 Continue\r\n\r\n" * 100] * 99999, pause=0.001)


for _name, _response in {
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a preface of HTTP/2": b"\0\0\x12\4\0\0\0\0\0",
    "random bytes": bytes(range(256)) * 10,
    "HTTP/0.9": b"<html>ok</html>",
    "a negative length": head(Content_Length=-1) + b"{}",
    "a length of letters": head(Content_Length="many") + b"{}",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 5\r\n\r\n{}   ",
    "a length that is too large": head(Content_Length=99999) + b"{}",
    "a chunk size of letters": head(**CHUNKED) + b"xyz\r\n{}\r\n0\r\n\r\n",
    "a negative chunk size": head(**CHUNKED) + b"-2\r\n{}\r\n0\r\n\r\n",
    "a zero byte in a header": b"HTTP/1.1 200 OK\r\nX-A: \0\r\nContent-Length: 2\r\n\r\n{}",
    "a header without a colon": b"HTTP/1.1 200 OK\r\nnonsense\r\nContent-Length: 2\r\n\r\n{}",
    "line feeds only": b"HTTP/1.1 200 OK\nContent-Length: 2\n\n{}",
}.items():
    sends("framing", _name, _REQUIRED, _response)

# Echo of the request's headers --------------------------------------------------------------------


def _echo(name: str, expected: Expected, respond: Callable[[Exchange, str], bytes]) -> None:
    def serve(exchange: Exchange) -> None:
        sent = " ".join([*exchange.headers.values()])
        exchange.send(respond(exchange, sent))

    fault("echo", name, expected)(serve)


_echo(
    "in the message of a 400", (InvalidRequestError,), lambda e, h: whole({"message": h}, "400 X")
)
_echo(
    "in the code of a 400", (InvalidRequestError,), lambda e, h: whole({"error_code": h}, "400 X")
)
_echo("in the text of a 401", (AuthenticationError,), lambda e, h: whole(h, "401 X"))
_echo("in the HTML of a 502", (ServerError,), lambda e, h: whole(f"<pre>{h}</pre>", "502 X"))
_echo("in JSON of a wrong shape", IS_INVALID, lambda e, h: whole({"headers": h, "n": 1}))
_echo("in text instead of JSON", IS_INVALID, lambda e, h: whole(h))
_echo("in the reason phrase", (ServerError,), lambda e, h: whole("", f"500 {h}"))
_echo("in the request id", (ServerError,), lambda e, h: whole("", "500 X", x_request_id=h))
_echo("in the location", _REQUIRED, lambda e, h: head("302 X", Location=f"http://{h}/"))
_echo("in the status line", _REQUIRED, lambda e, h: f"{h}\r\n\r\n".encode())
_echo("in an encoding", IS_INVALID, lambda e, h: whole(h, Content_Encoding="rot13"))
_echo(
    "in an event",
    IS_BROKEN,
    lambda e, h: EVENT_HEAD + chunk(b'data: {"error": ' + json.dumps(h).encode() + b"}\n\n"),
)
_echo(
    "in an event of a wrong shape",
    IS_BROKEN,
    lambda e, h: EVENT_HEAD + chunk(b'data: {"oh": ' + json.dumps(h).encode() + b"}\n\n"),
)

# Server-sent events -----------------------------------------------------------------------------

_END = b"0\r\n\r\n"
_ANY_INVALID: Expected = (*IS_INVALID, ConnectionFailedError)


def _events(
    name: str,
    streamed: Expected,
    *pieces: bytes,
    end: bytes = _END,
    wait: bool = False,
    text: str = "ok",
) -> None:
    def serve(exchange: Exchange) -> None:
        exchange.send(EVENT_HEAD, *map(chunk, pieces), end)
        if wait:
            exchange.wait()

    expected = (*_ANY_INVALID, RequestTimeoutError) if wait else _ANY_INVALID
    fault("events", name, expected, streamed=streamed, text=text)(serve)


_events("good", SUCCEEDS, *EVENTS)
_events("with CRLF", SUCCEEDS, *(e.replace(b"\n", b"\r\n") for e in EVENTS))
_events("with comments and other fields", SUCCEEDS, b": hi\n\nid: 1\nretry: 5\n\n", *EVENTS)
_events("cut at each byte", SUCCEEDS, *(bytes([b]) for b in b"".join(EVENTS)))
_events("without [DONE]", SUCCEEDS, *EVENTS[:-1])
_events("nothing", IS_INVALID)
_events("[DONE] only", SUCCEEDS, b"data: [DONE]\n\n", text="")
_events("no finish reason", IS_INVALID, *EVENTS[:2])
_events("cut connection", IS_BROKEN, *EVENTS[:2], end=b"")
_events("stall after the first", IS_SLOW, EVENTS[0], end=b"", wait=True)
_events("stall in an event", IS_SLOW, EVENTS[0], EVENTS[1][:9], end=b"", wait=True)
_events("an error at the start", IS_BROKEN, b'data: {"error": "overloaded"}\n\n')
_events("an error after the first", IS_BROKEN, EVENTS[0], b'data: {"error": {"message": "x"}}\n\n')
_events("garbage", IS_BROKEN, EVENTS[0], b"data: {{{{\n\n")
_events("an event that is a list", IS_BROKEN, b"data: [1]\n\n")
_events("choices that are numbers", IS_BROKEN, b'data: {"choices": [1]}\n\n')
_events(
    "a delta that is a list", IS_BROKEN, b'data: {"choices": [{"delta": [1], "text": [1]}]}\n\n'
)
_events("nested 200,000 times", IS_BROKEN, b"data: " + nested(200_000) + b"\n\n")
_events("invalid UTF-8 in an event", IS_BROKEN, b'data: {"choices": \xff\xfe}\n\n')
_events("zero bytes", IS_BROKEN, b"data: \0\0\n\n")
_events("JSON instead", IS_BROKEN, b'{"oh": 1}')


@fault("events", "endless comments", (*IS_SLOW, *IS_INVALID))
def _comments(exchange: Exchange) -> None:
    exchange.send(EVENT_HEAD, *[chunk(b": keep-alive\n\n")] * 9999, pause=0.05)


@fault("events", "a drip of one event", (*IS_SLOW, *IS_INVALID), streamed=IS_SLOW)
def _drip_event(exchange: Exchange) -> None:
    exchange.send(EVENT_HEAD, chunk(b"data: "), *[chunk(b"x")] * 9999, pause=0.05)


@fault("events", "a flood of comments", IS_INVALID, floods=True)
def _flood_comments(exchange: Exchange) -> None:
    exchange.send(EVENT_HEAD)
    exchange.flood(chunk(b": keep-alive\n\n" * 1000))


@fault("events", "a flood of events", IS_INVALID, floods=True)
def _flood_events(exchange: Exchange) -> None:
    exchange.send(EVENT_HEAD)
    exchange.flood(chunk(event("x" * 1000) * 10))


@fault("events", "one endless event", IS_INVALID, floods=True)
def _endless_event(exchange: Exchange) -> None:
    exchange.send(EVENT_HEAD, chunk(b"data: "))
    exchange.flood(chunk(b"x" * 65536))
