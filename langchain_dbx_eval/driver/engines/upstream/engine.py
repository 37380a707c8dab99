"""`UpstreamEngine`: the model of one or several other servers.

A model server runs on the same node, or on another node of the cluster. The driver server in
front of it adds the documented protocol, the API key, the limits, and exact stop strings, which
some of those servers include in the completion and others ignore.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any

from langchain_dbx_eval._redaction import remember
from langchain_dbx_eval.driver.engines.base import (
    Delta,
    EmbeddingResult,
    Generation,
    GenerationRequest,
    collect,
)
from langchain_dbx_eval.driver.engines.parameters import LENGTH_NAMES, PARAMETERS
from langchain_dbx_eval.driver.engines.upstream.deltas import DeltaDecoder
from langchain_dbx_eval.driver.engines.upstream.errors import failed
from langchain_dbx_eval.driver.engines.upstream.exchange import MAX_EVENT_BYTES, Exchange
from langchain_dbx_eval.driver.engines.upstream.servers import ServerPool, UpstreamStatus
from langchain_dbx_eval.driver.runtime.request_context import RequestContext, interruptible

__all__ = ["UpstreamEngine"]

_HEALTH_TIMEOUT_S = 2.0
_HEALTH_CACHE_S = 1.0
_MAX_ANSWER_BYTES = 64 << 20
"""Bytes of one response that is not streamed to the client: 60,000 tokens at 1 KiB per event."""
_MAX_VECTOR_BYTES = 256 << 10
"""Bytes of the JSON of one embedding: 8,000 dimensions at 25 characters, with a margin."""


class UpstreamEngine:
    """Serve the model of another server, or of several servers with the same model.

    A request goes to the server with the fewest outstanding requests, over a connection that is
    kept open. If that server cannot be reached, is busy or not ready, or its gateway fails, another
    one receives the request, and that server is avoided for 1 second, then 2, up to 30.

    Every generation request to it is a stream, even if this server returns the completion as a
    whole: a stop string then ends the generation at once, and closing the connection after a
    client disconnected cancels it.

    Args:
        base_url: The base address of its API, such as ``"http://127.0.0.1:8000/v1"``; or a list of
            them, one for each server.
        model: The model name to send.
        api_key: Sent as ``Authorization: Bearer`` to each server; default: no such header.

    Raises:
        ConfigurationError: An address is invalid or repeated, or there is none.
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

    def __init__(
        self, base_url: str | Sequence[str], model: str, *, api_key: str | None = None
    ) -> None:
        self._servers = ServerPool([base_url] if isinstance(base_url, str) else base_url)
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        remember(api_key or "")  # a server may repeat it in an error, which the client receives
        self.name = model
        self._health_lock = threading.Lock()
        self._health_expires = 0.0
        self._health: str | None = None

    def generate(self, request: GenerationRequest) -> Generation:
        """Send the request, and collect the stream.

        Raises:
            RequestError: The server rejected the request (its own 4xx status), all servers are
                busy or not ready (429 or 503), or the last one that was tried failed (502).
            RequestEndedError: The deadline passed, or the client disconnected.
        """
        return collect(self._stream(request, _MAX_ANSWER_BYTES))

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """Send the request, and yield the stream as it arrives; see `generate`."""
        return self._stream(request, None)

    def _stream(self, request: GenerationRequest, max_bytes: int | None) -> Iterator[Delta]:
        decoder = DeltaDecoder(request.stop)
        path, body = self._body(request)
        # The connection is closed while another thread reads it: that thread then ends, and the
        # upstream server cancels the generation.
        with closing(Exchange(self._servers, self._headers, max_bytes)) as exchange:
            events = interruptible(lambda: exchange.events(path, body), request.context)
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
        max_bytes = MAX_EVENT_BYTES + _MAX_VECTOR_BYTES * len(texts)
        with closing(Exchange(self._servers, self._headers, max_bytes)) as exchange:
            results = interruptible(lambda: [exchange.fetch("/embeddings", body)], context)
            result = next(item for item in results if item is not None)
        try:
            rows = sorted(result["data"], key=lambda row: row["index"])
            values = [[float(number) for number in row["embedding"]] for row in rows]
            tokens = (result.get("usage") or {}).get("prompt_tokens")
        except (AttributeError, KeyError, TypeError, ValueError):
            raise failed("returned a body without embeddings") from None
        if len(values) != len(texts):
            raise failed(f"returned {len(values)} vectors for {len(texts)} texts")
        return EmbeddingResult(values, tokens)

    @property
    def servers(self) -> tuple[UpstreamStatus, ...]:
        """The state of each server, in the order of the addresses."""
        return tuple(server.status() for server in self._servers)

    def drain(self, base_url: str) -> None:
        """Send no more requests to a server, so that it can be stopped without losing any.

        It can be stopped when it has no outstanding requests (`servers`).

        Args:
            base_url: Its address, as passed to the constructor.

        Raises:
            ConfigurationError: There is no such server.
        """
        self._servers.find(base_url).is_draining = True

    def restore(self, base_url: str) -> None:
        """Send requests to a server again, after `drain`.

        Args:
            base_url: Its address.

        Raises:
            ConfigurationError: There is no such server.
        """
        self._servers.find(base_url).is_draining = False

    def start(self) -> None:
        """Do nothing: the upstream servers are started separately."""

    def close(self) -> None:
        """Close the idle connections. The upstream servers are stopped separately."""
        for server in self._servers:
            server.close_connections()

    def health(self) -> str | None:
        """Return an error if no server lists its models; None if one does. Cached for a second.

        ``GET /health`` needs no key: the cache protects the servers from a flood of such
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
        urls = [server.base_url for server in self._servers]
        return f"UpstreamEngine({urls[0] if len(urls) == 1 else urls!r}, {self.name!r})"

    def _current_health(self) -> str | None:
        found = None
        for server in self._servers:
            if server.is_draining:
                continue
            error = server.check(self._headers, _HEALTH_TIMEOUT_S)
            server.mark(works=error is None)
            if error is None:
                return None
            found = found or error
        return found or "All upstream servers are being replaced."

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
