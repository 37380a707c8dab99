"""A server that speaks OpenAI's API as an engine: vLLM, SGLang, llama.cpp, Ollama.

It is what a user grows into: the model server runs on the same node, and this one in front of it
gives the documented contract, the key, the limits, and exact stop strings, which some of those
servers leak and others ignore.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any
from urllib.parse import urlsplit

import requests

from langchain_dbx_eval.driver.engines.base import (
    Delta,
    EmbeddingResult,
    FinishReason,
    Generation,
    GenerationRequest,
)
from langchain_dbx_eval.driver.engines.parameters import LENGTH_NAMES, PARAMETERS
from langchain_dbx_eval.driver.engines.tool_calls import ToolCalls
from langchain_dbx_eval.driver.errors import RequestError
from langchain_dbx_eval.driver.runtime.cancellation import watch
from langchain_dbx_eval.driver.runtime.request_context import RequestContext
from langchain_dbx_eval.driver.runtime.stop_strings import StopCutter
from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["UpstreamEngine"]

_CONNECT_S = 5.0
_HEALTH_S = 2.0
_HEALTH_AGAIN_S = 1.0
_BAD_GATEWAY = 502
_BUSY = {429: "REQUEST_LIMIT_EXCEEDED", 503: "TEMPORARILY_UNAVAILABLE"}
"""What it answers when the same request may succeed later: llama.cpp's while it loads a model."""
_RETRY_AFTER_S = 1
_CHAT_ONLY = frozenset({"tools", "tool_choice", "parallel_tool_calls", "response_format"})
_FINISH_REASONS: Mapping[str, FinishReason] = {
    "stop": "stop",
    "length": "length",
    "tool_calls": "tool_calls",
}


class UpstreamEngine:
    """Serves what another server on this node serves.

    Every request to it is a stream, even one that is answered whole here: so a stop string ends it
    at once, and closing the connection when a client leaves cancels it there.

    Args:
        base_url: Where its API begins, such as ``"http://127.0.0.1:8000/v1"``.
        model: The model to ask it for.
        api_key: Sent as ``Authorization: Bearer``, where that server wants one.

    Raises:
        ConfigurationError: The address is none.
    """

    takes_messages = True

    def __init__(self, base_url: str, model: str, *, api_key: str | None = None) -> None:
        parts = urlsplit(base_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username:
            msg = f"{base_url!r} is no address: write it like 'http://127.0.0.1:8000/v1'."
            raise ConfigurationError(msg)
        self._base_url = base_url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {api_key}"} if api_key else {}
        self.name = model
        self._asking = threading.Lock()
        self._ask_again = 0.0
        self._trouble: str | None = None

    @property
    def parameters(self) -> frozenset[str]:
        """The standard ones, and what a chat model takes for tools and formats."""
        return frozenset(PARAMETERS) | _CHAT_ONLY

    def generate(self, request: GenerationRequest) -> Generation:
        """Ask the upstream server, and collect its stream.

        Raises:
            RequestError: It refused the request (its own 4xx status), asks to come back later (429
                or 503), or failed (502).
        """
        text, calls, last = [], ToolCalls(), Delta()
        for piece in self.stream(request):
            text.append(piece.text)
            calls.add(piece.tool_calls)
            last = piece
        reason = last.finish_reason or "stop"
        counts = (last.prompt_tokens, last.completion_tokens)
        return Generation("".join(text), reason, *counts, calls.whole())

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        """Ask the upstream server, and hand on what it streams; see `generate`."""
        reading = _Reading(request.stop)
        connection = _Connection(self._base_url, self._headers)
        path, body = self._body(request)
        try:
            with closing(watch(lambda: connection.events(path, body), request.call)) as events:
                for event in events:
                    yield Delta() if event is None else reading.feed(event)
                    if reading.stopped:
                        break
            yield reading.finish()
        finally:
            # From this thread, under the one that reads: so that it stops to wait, and the
            # upstream server sees that nobody listens.
            connection.close()

    def embed(self, texts: Sequence[str], call: RequestContext) -> EmbeddingResult:
        """Have texts embedded by the upstream server.

        Raises:
            RequestError: It refused the request (its own 4xx status), or failed (502).
        """
        connection = _Connection(self._base_url, self._headers)
        body = {"model": self.name, "input": list(texts), "encoding_format": "float"}
        try:
            waiting = watch(lambda: [connection.answer("/embeddings", body)], call)
            answer = next(item for item in waiting if item is not None)
        finally:
            connection.close()
        try:
            rows = sorted(answer["data"], key=lambda row: row["index"])
            values = [[float(number) for number in row["embedding"]] for row in rows]
            tokens = (answer.get("usage") or {}).get("prompt_tokens")
        except (AttributeError, KeyError, TypeError, ValueError):
            raise _failed("answered with something else than embeddings") from None
        if len(values) != len(texts):
            raise _failed(f"answered with {len(values)} vectors for {len(texts)} texts")
        return EmbeddingResult(values, tokens)

    def start(self) -> None:
        """Nothing runs here: the upstream server is somebody else's."""

    def close(self) -> None:
        """Nothing runs here."""

    def health(self) -> str | None:
        """Whether the upstream server lists its models; asked at most once a second.

        ``GET /health`` needs no key: no flood of it reaches the upstream server, or waits there.
        """
        if self._asking.acquire(blocking=False):
            try:
                if time.monotonic() >= self._ask_again:
                    self._trouble = self._trouble_now()
                    self._ask_again = time.monotonic() + _HEALTH_AGAIN_S
            finally:
                self._asking.release()
        return self._trouble

    def _trouble_now(self) -> str | None:
        try:
            with _direct_session() as session:
                status = session.get(
                    f"{self._base_url}/models",
                    headers=self._headers,
                    timeout=_HEALTH_S,
                    allow_redirects=False,
                ).status_code
        except requests.RequestException:
            return "The upstream server cannot be reached."
        return None if 200 <= status < 300 else f"The upstream server answers {status}."

    def __repr__(self) -> str:
        return f"UpstreamEngine({self._base_url!r}, {self.name!r})"

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
    """One request to the upstream server."""

    def __init__(self, base_url: str, headers: Mapping[str, str]) -> None:
        self._base_url = base_url
        self._headers = headers
        self._session = _direct_session()
        self._response: requests.Response | None = None
        self._closed = False

    def events(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Send a request, and read the JSON of each event until the mark of the end."""
        try:
            for line in self._opened(path, body).iter_lines():
                if not line.startswith(b"data:"):
                    continue
                data = line[5:].strip()
                if data == b"[DONE]":
                    return
                yield _object(data)
        except (requests.RequestException, OSError, AttributeError):
            # AttributeError: urllib3 (2.x) reads on where close() took its file away.
            if not self._closed:
                raise _failed("broke the connection") from None

    def answer(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request, and read the whole answer."""
        try:
            return _object(self._opened(path, body).content)
        except requests.RequestException:
            raise _failed("broke the connection") from None

    def close(self) -> None:
        """Hang up, also on a request that another thread reads."""
        self._closed = True
        if self._response is not None:
            _shut_down(self._response)
            self._response.close()
        self._session.close()

    def _opened(self, path: str, body: Mapping[str, Any]) -> requests.Response:
        try:
            response = self._session.post(
                self._base_url + path,
                json=body,
                headers=dict(self._headers),
                stream=True,
                timeout=(_CONNECT_S, None),
                allow_redirects=False,
            )
        except requests.RequestException:
            raise _failed("cannot be reached") from None
        self._response = response
        if self._closed:
            response.close()
        if response.status_code in _BUSY:
            raise _busy(response)
        if 400 <= response.status_code < 500 and response.status_code not in (401, 403, 404):
            raise RequestError(response.status_code, "UPSTREAM_REFUSED", _reason(response))
        if not response.ok or response.is_redirect:
            raise _failed(f"answers {response.status_code}")
        return response


class _Reading:
    """Makes pieces of the events of one stream, and cuts at stop strings."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._cutter = StopCutter(stops)
        self._reason: FinishReason | None = None
        self._usage: Mapping[str, Any] = {}

    @property
    def stopped(self) -> bool:
        """Whether a stop string ended the answer, whatever the upstream server sends after it."""
        return self._cutter.stopped

    def feed(self, event: Mapping[str, Any]) -> Delta:
        """The piece in an event; an empty one for what is not handed on, such as reasoning."""
        if event.get("error"):
            raise _failed("broke its answer off")
        self._usage = event.get("usage") or self._usage
        try:
            choices = event.get("choices") or []
            if not choices:
                return Delta()
            delta = choices[0].get("delta") or choices[0]
            text = delta.get("content") or delta.get("text") or ""
            calls = tuple(delta.get("tool_calls") or ())
            reason = choices[0].get("finish_reason")
            released = self._cutter.feed(text)
        except (AttributeError, KeyError, TypeError):
            raise _failed("sent an event that is none") from None
        if reason:
            self._reason = _FINISH_REASONS.get(reason, "stop")
        return Delta(released, tool_calls=calls)

    def finish(self) -> Delta:
        """The last piece.

        Raises:
            RequestError: 502, where the stream ended before its end.
        """
        if self.stopped:
            self._reason = "stop"
        if self._reason is None:
            raise _failed("ended its answer before its end")
        prompt, completion = (
            self._usage.get(name) for name in ("prompt_tokens", "completion_tokens")
        )
        return Delta(self._cutter.finish(), self._reason, prompt, completion)


def _direct_session() -> requests.Session:
    session = requests.Session()
    # ~/.netrc would replace the key, and a proxy has no business on a node's own port.
    session.trust_env = False
    return session


def _shut_down(response: requests.Response) -> None:
    """Wake the thread that reads a response: close() alone leaves it waiting."""
    try:
        # urllib3 2.3 has it; an older one reads on until the next event.
        response.raw.shutdown()
    except (AttributeError, OSError, RuntimeError, ValueError):
        return


def _object(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        raise _failed("sent something else than JSON") from None
    if not isinstance(value, dict):
        raise _failed("sent something else than a JSON object")
    return value


def _reason(response: requests.Response) -> str:
    """What the upstream server says about a request that it refuses: the client's own mistake."""
    try:
        answer = json.loads(response.content[:10_000])
        error = answer.get("error", answer)
        text = error.get("message") if isinstance(error, dict) else error
    except (AttributeError, ValueError, requests.RequestException):
        text = None
    said = f": {text[:500]}" if isinstance(text, str) else ", and does not say why"
    return f"The upstream server refused the request ({response.status_code}){said}."


def _busy(response: requests.Response) -> RequestError:
    status, said = response.status_code, response.headers.get("Retry-After", "")
    message = f"The upstream server is busy or not ready ({status}): send the request again."
    seconds = int(said) if re.fullmatch("[0-9]{1,4}", said) else _RETRY_AFTER_S
    return RequestError(status, _BUSY[status], message, retry_after=seconds)


def _failed(what: str) -> RequestError:
    return RequestError(_BAD_GATEWAY, "UPSTREAM_FAILED", f"The upstream server {what}.")
