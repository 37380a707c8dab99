"""An OpenAI-compatible server as an engine: vLLM, SGLang, llama.cpp, Ollama.

The model server runs on the same node. The driver server in front of it adds the documented
protocol, the API key, the limits, and exact stop strings, which some of those servers include in
the completion and others ignore.
"""

from __future__ import annotations

import itertools
import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, suppress
from typing import Any, get_args
from urllib.parse import urlsplit

import requests

from langchain_dbx_eval._internal.sse import EventDecoder
from langchain_dbx_eval._redaction import remember, shorten
from langchain_dbx_eval.driver.engines.base import (
    Delta,
    EmbeddingResult,
    FinishReason,
    Generation,
    GenerationRequest,
    collect,
)
from langchain_dbx_eval.driver.engines.parameters import LENGTH_NAMES, PARAMETERS
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.runtime.request_context import RequestContext, interruptible
from langchain_dbx_eval.driver.runtime.stop_strings import StopStringFilter
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["UpstreamEngine"]

_CONNECT_TIMEOUT_S = 5.0
_HEALTH_TIMEOUT_S = 2.0
_HEALTH_CACHE_S = 1.0
_MAX_ERROR_BYTES = 10_000
_MAX_EVENT_BYTES = 1 << 20
_MAX_ANSWER_BYTES = 64 << 20
"""Bytes of one response that is not streamed to the client: 60,000 tokens at 1 KiB per event."""
_MAX_VECTOR_BYTES = 256 << 10
"""Bytes of the JSON of one embedding: 8,000 dimensions at 25 characters, with a margin."""
_BUSY = {429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE"}
"""Statuses after which the same request may succeed later: llama.cpp returns 503 while it loads a
model."""
_FINISH_REASONS: Mapping[str, FinishReason] = {reason: reason for reason in get_args(FinishReason)}


class UpstreamEngine:
    """Serve the model of another server on this node.

    Every generation request to it is a stream, even if this server returns the completion as a
    whole: a stop string then ends the generation at once, and closing the connection after a
    client disconnected cancels it.

    Args:
        base_url: The base address of its API, such as ``"http://127.0.0.1:8000/v1"``.
        model: The model name to send.
        api_key: Sent as ``Authorization: Bearer``; default: no such header.

    Raises:
        ConfigurationError: The address is invalid.
    """

    takes_messages = True
    takes_dimensions = True
    parameters = frozenset(
        [
            *PARAMETERS,
            *("tools", "tool_choice", "parallel_tool_calls", "response_format"),
            *("logprobs", "top_logprobs"),
        ]
    )
    """The standard parameters, and those for tools, response formats and log probabilities."""

    def __init__(self, base_url: str, model: str, *, api_key: str | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.username or parts.password:
            # Without the URL, which contains the password.
            msg = "The URL of an upstream server must not contain credentials. Pass api_key=."
            raise ConfigurationError(msg)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            msg = (
                f"{base_url!r} is not the URL of an upstream server, such as "
                "'http://127.0.0.1:8000/v1'."
            )
            raise ConfigurationError(msg)
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        remember(api_key or "")  # the server may repeat it in an error, which the client receives
        self.name = model
        self._health_lock = threading.Lock()
        self._health_expires = 0.0
        self._health: str | None = None

    def generate(self, request: GenerationRequest) -> Generation:
        """Send the request, and collect the stream.

        Raises:
            RequestError: The upstream server rejected the request (its own 4xx status), is
                temporarily unavailable (429 or 503), or failed (502).
            RequestEndedError: The deadline passed, or the client disconnected.
        """
        return collect(self._stream(request, _MAX_ANSWER_BYTES))

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """Send the request, and yield the stream as it arrives; see `generate`."""
        return self._stream(request, None)

    def _stream(self, request: GenerationRequest, max_bytes: int | None) -> Iterator[Delta]:
        decoder = _DeltaDecoder(request.stop)
        path, body = self._body(request)
        # The connection is closed while another thread reads it: that thread then ends, and the
        # upstream server cancels the generation.
        with closing(_Connection(self._base_url, self._headers, max_bytes)) as connection:
            events = interruptible(lambda: connection.events(path, body), request.context)
            with closing(events):
                for event in events:
                    yield Delta() if event is None else decoder.feed(event)
                    if decoder.stops.stopped:
                        break
            yield decoder.finish()

    def embed(
        self, texts: Sequence[str], context: RequestContext, dimensions: int | None = None
    ) -> EmbeddingResult:
        """Request the embeddings of the texts.

        Raises:
            RequestError: The upstream server rejected the request (with the server's 4xx status) or
                failed (502).
            RequestEndedError: The deadline passed, or the client disconnected.
        """
        body: dict[str, Any] = {
            "model": self.name,
            "input": list(texts),
            "encoding_format": "float",
        }
        if dimensions is not None:
            body["dimensions"] = dimensions
        max_bytes = _MAX_EVENT_BYTES + _MAX_VECTOR_BYTES * len(texts)
        with closing(_Connection(self._base_url, self._headers, max_bytes)) as connection:
            results = interruptible(lambda: [connection.fetch("/embeddings", body)], context)
            result = next(item for item in results if item is not None)
        try:
            rows = sorted(result["data"], key=lambda row: row["index"])
            values = [[float(number) for number in row["embedding"]] for row in rows]
            tokens = (result.get("usage") or {}).get("prompt_tokens")
        except (AttributeError, KeyError, TypeError, ValueError):
            raise _failure("returned a body without embeddings") from None
        if len(values) != len(texts):
            raise _failure(f"returned {len(values)} vectors for {len(texts)} texts")
        return EmbeddingResult(values, tokens)

    def start(self) -> None:
        """Do nothing: the upstream server is started separately."""

    def close(self) -> None:
        """Do nothing: the upstream server is stopped separately."""

    def health(self) -> str | None:
        """Return an error if the upstream server does not list its models; cached for a second.

        ``GET /health`` needs no key: the cache protects the upstream server from a flood of such
        requests, and these do not wait for each other.
        """
        if self._health_lock.acquire(blocking=False):
            try:
                if time.monotonic() >= self._health_expires:
                    self._health = self._current_health()
                    self._health_expires = time.monotonic() + _HEALTH_CACHE_S
            finally:
                self._health_lock.release()
        return self._health

    def __repr__(self) -> str:
        return f"UpstreamEngine({self._base_url!r}, {self.name!r})"

    def _current_health(self) -> str | None:
        try:
            with (
                _direct_session() as session,
                session.get(
                    f"{self._base_url}/models",
                    headers=self._headers,
                    timeout=_HEALTH_TIMEOUT_S,
                    allow_redirects=False,
                    stream=True,  # the body is not read
                ) as response,
            ):
                status = response.status_code
        except requests.RequestException:
            return "The upstream server cannot be reached."
        return None if 200 <= status < 300 else f"The upstream server answers {status}."

    def _body(self, request: GenerationRequest) -> tuple[str, dict[str, Any]]:
        length = next((request.params[n] for n in LENGTH_NAMES if n in request.params), None)
        body: dict[str, Any] = {
            **{name: value for name, value in request.params.items() if name not in LENGTH_NAMES},
            "model": self.name,
            "stream": True,
            "stream_options": {"include_usage": True},
        }
        if length is not None:
            body["max_tokens"] = length
        if request.stop:
            body["stop"] = list(request.stop)
        if request.messages:
            return "/chat/completions", {**body, "messages": list(request.messages)}
        return "/completions", {**body, "prompt": request.prompt}


class _Connection:
    """One request to the upstream server, of whose response at most `max_bytes` are read."""

    def __init__(self, base_url: str, headers: Mapping[str, str], max_bytes: int | None) -> None:
        self._base_url = base_url
        self._headers = headers
        self._max_bytes = max_bytes
        self._session = _direct_session()
        self._response: requests.Response | None = None
        self._closed = False

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request, and yield the JSON of each event until ``[DONE]``."""
        decoder = EventDecoder()
        unfinished = 0
        try:
            # Small chunks: a body that is not chunked is read in parts of exactly this size.
            chunks = self._chunks(self._post(path, body), 512)
            for chunk in itertools.chain(chunks, [None]):
                events = decoder.finish() if chunk is None else decoder.feed(chunk)
                unfinished = 0 if events else unfinished + len(chunk or b"")
                if unfinished > _MAX_EVENT_BYTES:
                    raise _failure("sent an event that is too long")
                for data in events:
                    if data.strip() == "[DONE]":
                        return
                    yield _json_object(data)
        except (requests.RequestException, OSError, AttributeError):
            # AttributeError: urllib3 (2.x) continues to read after close() removed its file.
            if not self._closed:
                raise _failure("closed the connection") from None

    def fetch(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, and return the JSON of the whole response."""
        try:
            return _json_object(b"".join(self._chunks(self._post(path, body), 1 << 16)))
        except requests.RequestException:
            raise _failure("closed the connection") from None

    def close(self) -> None:
        """Close the connection, even while another thread reads the response."""
        self._closed = True
        if self._response is not None:
            _shut_down(self._response)
            self._response.close()
        self._session.close()

    def _chunks(self, response: requests.Response, size: int) -> Iterator[bytes]:
        received = 0
        for chunk in response.iter_content(size):
            received += len(chunk)
            if self._max_bytes is not None and received > self._max_bytes:
                raise _failure(f"sent more than {self._max_bytes >> 20} MiB")
            yield chunk

    def _post(self, path: str, body: Mapping[str, Any]) -> requests.Response:
        try:
            response = self._session.post(
                self._base_url + path,
                json=body,
                headers=dict(self._headers),
                stream=True,
                timeout=(_CONNECT_TIMEOUT_S, None),
                allow_redirects=False,
            )
        except requests.RequestException:
            raise _failure("cannot be reached") from None
        self._response = response
        if self._closed:
            response.close()
        if response.status_code in _BUSY:
            raise _busy(response)
        if 400 <= response.status_code < 500 and response.status_code not in (401, 403, 404):
            raise RequestError(response.status_code, "UPSTREAM_REFUSED", _rejection(response))
        if not response.ok or response.is_redirect:
            raise _failure(f"answers {response.status_code}")
        return response


class _DeltaDecoder:
    """Decode the events of one stream, and truncate the text at stop strings."""

    def __init__(self, stops: Sequence[str]) -> None:
        self.stops = StopStringFilter(stops)
        self._finish_reason: FinishReason | None = None
        self._usage: Mapping[str, Any] = {}

    def feed(self, event: Mapping[str, Any]) -> Delta:
        """Decode an event; its delta is empty if the event has no content, only reasoning."""
        if event.get("error"):
            raise _failure("returned an error in the stream")
        self._usage = event.get("usage") or self._usage
        try:
            choices = event.get("choices") or []
            if not choices:
                return Delta()
            content = choices[0].get("delta") or choices[0]
            text = self.stops.feed(content.get("content") or content.get("text") or "")
            tool_calls = tuple(content.get("tool_calls") or ())
            logprobs = choices[0].get("logprobs") or None
            finish_reason = choices[0].get("finish_reason")
        except (AttributeError, KeyError, TypeError):
            raise _failure("sent an invalid event") from None
        if finish_reason:
            self._finish_reason = _FINISH_REASONS.get(finish_reason, "stop")
        return Delta(text, tool_calls=tool_calls, logprobs=logprobs)

    def finish(self) -> Delta:
        """Return the last delta.

        Raises:
            RequestError: 502; the stream ended without a finish reason.
        """
        finish_reason = "stop" if self.stops.stopped else self._finish_reason
        if finish_reason is None:
            raise _failure("ended the stream without a finish reason")
        # What a driver server estimated is no count: this server estimates it too, and says so.
        counts = {} if self._usage.get("estimated") else self._usage
        return Delta(
            self.stops.finish(),
            finish_reason,
            counts.get("prompt_tokens"),
            counts.get("completion_tokens"),
        )


def _direct_session() -> requests.Session:
    session = requests.Session()
    # Ignore ~/.netrc, which would replace the key, and proxies: the server is on this node.
    session.trust_env = False
    # The limits count what was sent, not what it expands to.
    session.headers["Accept-Encoding"] = "identity"
    return session


def _shut_down(response: requests.Response) -> None:
    """Wake the thread that reads a response; close() alone does not."""
    with suppress(AttributeError, OSError, RuntimeError, ValueError):
        # Since urllib3 2.3; with an older one the thread reads until the next event.
        response.raw.shutdown()


def _json_object(data: str | bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except (RecursionError, ValueError):
        raise _failure("returned invalid JSON") from None
    if not isinstance(value, dict):
        raise _failure("returned JSON that is not an object")
    return value


def _rejection(response: requests.Response) -> str:
    """Return the upstream server's message about a rejected request: it is for the client."""
    try:
        start = b""
        for chunk in response.iter_content(_MAX_ERROR_BYTES):
            start += chunk
            if len(start) > _MAX_ERROR_BYTES:
                break
        payload = json.loads(start)
        error = payload.get("error", payload)
        text = error.get("message") if isinstance(error, dict) else error
    except (AttributeError, RecursionError, ValueError, requests.RequestException):
        text = None
    reason = f": {shorten(text, 500)}" if isinstance(text, str) else ", without a reason"
    return f"The upstream server rejected the request ({response.status_code}){reason}."


def _busy(response: requests.Response) -> RequestError:
    status, retry_after = response.status_code, response.headers.get("Retry-After", "")
    message = f"The upstream server is busy or not ready ({status}): retry the request."
    seconds = int(retry_after) if re.fullmatch("[0-9]{1,4}", retry_after) else 1
    return RequestError(status, _BUSY[status], message, retry_after=seconds)


def _failure(what: str) -> RequestError:
    return RequestError(502, "UPSTREAM_FAILED", f"The upstream server {what}.")
