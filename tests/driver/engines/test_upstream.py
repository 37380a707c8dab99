"""A correct or faulty OpenAI-compatible server behind ours."""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import requests
from openai import OpenAI

from langchain_dbx_eval.driver import (
    DriverServer,
    EngineOptions,
    GenerationRequest,
    RequestContext,
    RequestError,
    UpstreamEngine,
    load_engine,
)
from langchain_dbx_eval.driver.runtime.request_context import (
    ClientDisconnectedError,
    DeadlineExceededError,
)
from langchain_dbx_eval.driver.runtime.stop_strings import truncate_at_stop
from langchain_dbx_eval.errors import ConfigurationError

StartServer = Callable[..., DriverServer]


class Upstream(BaseHTTPRequestHandler):
    """The prompt selects the behavior; stop strings are ignored, as by some servers."""

    server: Any

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.received.append((self.path, body, dict(self.headers)))
        if body.get("input") == ["not finite"]:
            return self.respond(200, {"data": [{"index": 0, "embedding": [1.0, float("nan")]}]})
        if body.get("input") == ["deep"]:
            return self.respond(200, b'{"data":' * 200_000)
        if self.path == "/v1/embeddings":
            return self.respond(
                200,
                {
                    "data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}],
                    "usage": {"prompt_tokens": 5},
                },
            )
        text = body.get("prompt") or body["messages"][-1]["content"]
        if text == "refuse":
            return self.respond(422, {"error": {"message": "top_k is unknown"}})
        if text == "repeat":
            return self.respond(422, {"detail": 1, "error": str(self.headers)})
        if text == "deep":
            return self.respond(422, b'{"error":' * 200_000)
        if text == "redirect":
            self.send_response(307)
            self.send_header("Location", "http://127.0.0.1:1/")
            return self.end_headers()
        if text in ("busy", "loading"):
            status, wait = (429, {"Retry-After": "7"}) if text == "busy" else (503, {})
            return self.respond(status, {"error": {"message": "later"}}, wait)
        if text == "fail":
            return self.respond(500, {"error": "a secret path"})
        self.send_response(200)
        self.end_headers()
        chat = "messages" in body
        try:
            for event in self.events(text, chat):
                self.wfile.write(f"data: {json.dumps(event)}\n\n".encode())
                self.wfile.flush()
            if text != "cut":
                self.wfile.write(b"data: [DONE]\n\n")
        except OSError:
            self.server.disconnected.set()
        return None

    def do_GET(self) -> None:
        self.server.received.append((self.path, {}, dict(self.headers)))
        if self.path.startswith("/moved"):
            return self.respond(302, {}, {"Location": "/v1/models"})
        return self.respond(200, {"data": []})

    def events(self, text: str, chat: bool) -> Iterator[Any]:
        def event(content: Any, reason: str | None = None) -> Any:
            choice = {"delta": {"content": content}} if chat else {"text": content}
            return {"choices": [{**choice, "index": 0, "finish_reason": reason}]}

        if text == "logprobs":
            for letter in "hi":
                chat_part = {"content": [{"token": letter, "logprob": -0.5, "top_logprobs": []}]}
                part = {"tokens": [letter], "token_logprobs": [-0.5], "top_logprobs": None}
                choice = event(letter)["choices"][0]
                yield {"choices": [{**choice, "logprobs": chat_part if chat else part}]}
            yield event("", "stop")
        elif text == "broken":
            yield {"error": {"message": "out of memory at 0x7f"}}
        elif text == "endless":
            while True:
                yield event("x")
                time.sleep(0.01)
        elif text == "silent":
            self.server.waiting.set()
            self.connection.recv(1)  # returns when the client disconnects
            self.server.disconnected.set()
        elif text == "tool":
            call = {
                "index": 0,
                "id": "1",
                "type": "function",
                "function": {"name": "f", "arguments": '{"a"'},
            }
            yield {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": None}]}
            call = {"index": 0, "function": {"arguments": ": 1}"}}
            yield {"choices": [{"delta": {"tool_calls": [call]}, "finish_reason": "tool_calls"}]}
        else:
            for letter in text:
                yield event(letter)
            if text != "cut":
                yield event("", "length")
                yield {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": len(text)}}

    def respond(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        data = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, field in (headers or {}).items():
            self.send_header(name, field)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    server.received, server.disconnected, server.waiting = [], threading.Event(), threading.Event()
    server.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def engine(upstream: Any) -> UpstreamEngine:
    return UpstreamEngine(upstream.url, "a-model", api_key="upstream key")


def test_many_health_checks_send_one_request_per_second(upstream: Any) -> None:
    engine = UpstreamEngine(upstream.url, "m")
    started = time.monotonic()
    assert [engine.health() for _ in range(200)] == [None] * 200
    assert len(upstream.received) <= 2 + time.monotonic() - started


def test_a_prompt_is_forwarded_with_its_parameters(engine: UpstreamEngine, upstream: Any) -> None:
    request = GenerationRequest("hello", ("!",), {"max_new_tokens": 5, "top_k": 3})
    answer = engine.generate(request)
    assert (answer.text, answer.finish_reason) == ("hello", "length")
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 5)
    ((path, body, headers),) = upstream.received
    assert path == "/v1/completions"
    assert body["model"] == "a-model"
    assert (body["max_tokens"], body["top_k"], body["stop"]) == (5, 3, ["!"])
    assert headers["Authorization"] == "Bearer upstream key"


def test_messages_are_forwarded_unchanged(engine: UpstreamEngine, upstream: Any) -> None:
    messages = ({"role": "user", "content": "hi"},)
    assert engine.generate(GenerationRequest(messages=messages)).text == "hi"
    assert upstream.received[0][0] == "/v1/chat/completions"
    assert upstream.received[0][1]["messages"] == list(messages)


@pytest.mark.parametrize("stop", [("na",), ("x", "nan"), ("an",), ("anana", "ban")])
def test_a_stop_string_that_the_upstream_ignores_truncates_the_completion(
    engine: UpstreamEngine, stop: tuple[str, ...]
) -> None:
    answer = engine.generate(GenerationRequest("banana", stop))
    assert (answer.text, answer.finish_reason) == (truncate_at_stop("banana", stop), "stop")


def test_a_stop_string_closes_the_connection_to_the_upstream(
    engine: UpstreamEngine, upstream: Any
) -> None:
    assert engine.generate(GenerationRequest("endless", ("xxxx",))).text == ""
    assert upstream.disconnected.wait(30)


def test_closing_a_stream_cancels_it_upstream(engine: UpstreamEngine, upstream: Any) -> None:
    stream = engine.stream(GenerationRequest("endless"))
    assert next(stream).text == "x"
    stream.close()
    assert upstream.disconnected.wait(30)


def test_a_disconnected_client_cancels_an_upstream_without_output(
    engine: UpstreamEngine, upstream: Any
) -> None:
    call = RequestContext(client_disconnected=upstream.waiting.is_set)
    with pytest.raises(ClientDisconnectedError):
        engine.generate(GenerationRequest("silent", context=call))
    assert upstream.disconnected.wait(30)


def test_a_request_ends_at_its_deadline(engine: UpstreamEngine, upstream: Any) -> None:
    with pytest.raises(DeadlineExceededError):
        engine.generate(GenerationRequest("silent", context=RequestContext(0.2)))


def test_fragments_of_tool_calls_are_merged(engine: UpstreamEngine) -> None:
    messages = ({"role": "user", "content": "tool"},)
    answer = engine.generate(GenerationRequest(messages=messages))
    assert answer.finish_reason == "tool_calls"
    assert answer.tool_calls == (
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
    )


@pytest.mark.parametrize("stream", [False, True])
def test_log_probabilities_are_returned(
    engine: UpstreamEngine, upstream: Any, start_server: StartServer, stream: bool
) -> None:
    url = f"{start_server(engine).url}/v1"
    with OpenAI(base_url=url, api_key="unused", max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "logprobs"}]
        options: Any = {"model": "m", "stream": stream, "stop": ["hx"]}
        chat: Any = client.chat.completions.create(
            messages=messages, logprobs=True, top_logprobs=2, **options
        )
        text: Any = client.completions.create(prompt="logprobs", logprobs=1, **options)
        choices = [c.choices[0] for c in chat] if stream else [chat.choices[0]]
        tokens = [item.token for c in choices if c.logprobs for item in c.logprobs.content]
        assert tokens == ["h", "i"]
        choices = [c.choices[0] for c in text] if stream else [text.choices[0]]
        assert [t for c in choices if c.logprobs for t in c.logprobs.tokens] == ["h", "i"]
    assert [body["logprobs"] for _, body, _ in upstream.received] == [True, 1]
    assert upstream.received[0][1]["top_logprobs"] == 2


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/", {"prompt": "a", "logprobs": 1}),
        ("/invocations", {"inputs": ["a"], "params": {"logprobs": 1}}),
        ("/v1/responses", {"input": "a", "logprobs": 1}),
    ],
)
def test_log_probabilities_are_refused_where_the_response_has_none(
    engine: UpstreamEngine, start_server: StartServer, path: str, body: Any
) -> None:
    response = requests.post(start_server(engine).url + path, json=body)
    assert response.status_code == 400
    assert "Unknown" in response.json()["message"]
    assert "'logprobs'" in response.json()["message"]


def test_a_rejection_by_the_upstream_keeps_its_status_and_message(engine: UpstreamEngine) -> None:
    with pytest.raises(RequestError, match="top_k is unknown") as caught:
        engine.generate(GenerationRequest("refuse"))
    assert caught.value.status == 422


def test_an_endless_stream_that_is_collected_has_a_maximum_size(
    engine: UpstreamEngine, upstream: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "langchain_dbx_eval.driver.engines.upstream.engine._MAX_ANSWER_BYTES", 1 << 11
    )
    with pytest.raises(RequestError, match="sent more than") as caught:
        engine.generate(GenerationRequest("endless", context=RequestContext(60)))
    assert caught.value.status == 502
    assert upstream.disconnected.wait(30)


def test_a_rejection_that_repeats_the_key_is_passed_on_without_it(
    engine: UpstreamEngine, start_server: StartServer
) -> None:
    answer = requests.post(start_server(engine).url, json={"prompt": "repeat"})
    assert answer.status_code == 422
    assert "Authorization: Bearer [redacted]" in answer.json()["message"]
    assert "upstream key" not in answer.text


def test_json_that_is_nested_too_deeply_is_no_message_and_no_embedding(
    engine: UpstreamEngine, start_server: StartServer
) -> None:
    url = start_server(engine).url
    rejected = requests.post(url, json={"prompt": "deep"})
    assert (rejected.status_code, "without a reason" in rejected.text) == (422, True)
    failed = requests.post(f"{url}/v1/embeddings", json={"input": "deep"})
    assert (failed.status_code, failed.json()["error_code"]) == (502, "UPSTREAM_FAILED")


@pytest.mark.parametrize("encoding", ["float", "base64"])
def test_an_embedding_that_is_not_finite_is_an_error(
    engine: UpstreamEngine, start_server: StartServer, encoding: str
) -> None:
    body = {"input": ["not finite"], "encoding_format": encoding}
    answer = requests.post(f"{start_server(engine).url}/v1/embeddings", json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (500, "INVALID_MODEL_OUTPUT")
    assert "for text 0" in answer.json()["message"]


@pytest.mark.parametrize(("prompt", "status", "wait"), [("busy", 429, "7"), ("loading", 503, "1")])
def test_a_busy_upstream_is_a_429_or_503_with_retry_after(
    engine: UpstreamEngine, start_server: StartServer, prompt: str, status: int, wait: str
) -> None:
    answer = requests.post(start_server(engine).url, json={"prompt": prompt})
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, wait)
    assert answer.json()["error_code"] in ("REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE")


@pytest.mark.parametrize(
    ("prompt", "reason"),
    [
        ("fail", "answers 500"),
        ("cut", "without a finish reason"),
        ("broken", "error in the stream"),
        ("redirect", "307"),
    ],
)
def test_a_failing_upstream_is_a_502_without_its_text(
    engine: UpstreamEngine, prompt: str, reason: str
) -> None:
    with pytest.raises(RequestError, match=reason) as caught:
        engine.generate(GenerationRequest(prompt))
    assert caught.value.status == 502
    assert "secret" not in caught.value.message
    assert "0x7f" not in caught.value.message


def test_an_unreachable_upstream_is_a_502_and_unhealthy(start_server: StartServer) -> None:
    url = start_server(UpstreamEngine("http://127.0.0.1:1/v1", "m")).url
    assert requests.post(url, json={"prompt": "hi"}).status_code == 502
    assert requests.get(f"{url}/health").status_code == 503


def test_a_reachable_upstream_is_healthy(engine: UpstreamEngine) -> None:
    assert engine.health() is None


def test_an_upstream_that_redirects_is_not_healthy(upstream: Any) -> None:
    engine = UpstreamEngine(upstream.url.replace("/v1", "/moved"), "m")
    assert engine.health() == "The upstream server answers 302."
    assert [path for path, _, _ in upstream.received] == ["/moved/models"]


def test_the_health_check_uses_neither_proxy_nor_netrc(
    engine: UpstreamEngine, upstream: Any, tmp_path: Path
) -> None:
    os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = "http://127.0.0.1:1"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password stolen\n")
    os.environ["NETRC"] = str(tmp_path / ".netrc")
    assert engine.health() is None
    assert upstream.received[0][2]["Authorization"] == "Bearer upstream key"


def test_embeddings_have_the_order_of_the_texts(engine: UpstreamEngine) -> None:
    vectors = engine.embed(["a", "b"], RequestContext())
    assert vectors.values == [[1.0], [2.0]]
    assert vectors.prompt_tokens == 5
    with pytest.raises(RequestError, match="2 vectors for 1 texts"):
        engine.embed(["a"], RequestContext())


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://x/v1", ""])
def test_an_invalid_url_is_rejected(address: str) -> None:
    with pytest.raises(ConfigurationError, match=r"'http://127\.0\.0\.1:8000/v1'"):
        UpstreamEngine(address, "m")


def test_a_url_with_credentials_is_rejected_without_showing_them() -> None:
    with pytest.raises(ConfigurationError, match="api_key=") as caught:
        UpstreamEngine("http://user:secret@x/v1", "m")
    assert "secret" not in str(caught.value)


def test_the_key_of_the_upstream_is_read_from_the_environment(upstream: Any) -> None:
    os.environ["DBX_EVAL_UPSTREAM_API_KEY"] = "from the environment"
    engine = load_engine(upstream.url, EngineOptions(model="m"))
    assert isinstance(engine, UpstreamEngine)
    engine.generate(GenerationRequest("hi"))
    assert upstream.received[0][2]["Authorization"] == "Bearer from the environment"


def test_an_invalid_key_of_the_upstream_is_rejected_and_not_shown(upstream: Any) -> None:
    os.environ["DBX_EVAL_UPSTREAM_API_KEY"] = "secret\n"
    with pytest.raises(ConfigurationError, match="DBX_EVAL_UPSTREAM_API_KEY") as caught:
        load_engine(upstream.url, EngineOptions(model="m"))
    assert "secret\n" not in str(caught.value)


def test_our_server_can_be_the_upstream_of_another(start_server: StartServer) -> None:
    upstream = start_server(lambda prompt: f"{prompt} banana", api_key=False)
    front = start_server(UpstreamEngine(f"{upstream.url}/v1", "m"))
    assert requests.post(front.url, json={"prompt": "a", "stop": ["na"]}).json() == "a ba"
