"""An OpenAI-compatible server behind ours, well-behaved and not."""

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

from langchain_dbx_eval.driver import (
    DriverServer,
    EngineOptions,
    GenerationRequest,
    RequestContext,
    RequestError,
    UpstreamEngine,
    load_engine,
)
from langchain_dbx_eval.driver.runtime.request_context import ClientGoneError, DeadlinePassedError
from langchain_dbx_eval.errors import ConfigurationError

StartServer = Callable[..., DriverServer]


class Upstream(BaseHTTPRequestHandler):
    """What it does is told by the prompt; it ignores stop strings, as some servers do."""

    server: Any

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.seen.append((self.path, body, dict(self.headers)))
        if self.path == "/v1/embeddings":
            return self.whole(
                200,
                {
                    "data": [{"index": 1, "embedding": [2]}, {"index": 0, "embedding": [1]}],
                    "usage": {"prompt_tokens": 5},
                },
            )
        text = body.get("prompt") or body["messages"][-1]["content"]
        if text == "refuse":
            return self.whole(422, {"error": {"message": "top_k is unknown"}})
        if text == "redirect":
            self.send_response(307)
            self.send_header("Location", "http://127.0.0.1:1/")
            return self.end_headers()
        if text in ("busy", "loading"):
            status, wait = (429, {"Retry-After": "7"}) if text == "busy" else (503, {})
            return self.whole(status, {"error": {"message": "later"}}, wait)
        if text == "fail":
            return self.whole(500, {"error": "a secret path"})
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
            self.server.hung_up.set()
        return None

    def do_GET(self) -> None:
        self.server.seen.append((self.path, {}, dict(self.headers)))
        if self.path.startswith("/moved"):
            return self.whole(302, {}, {"Location": "/v1/models"})
        return self.whole(200, {"data": []})

    def events(self, text: str, chat: bool) -> Iterator[Any]:
        def event(content: Any, reason: str | None = None) -> Any:
            choice = {"delta": {"content": content}} if chat else {"text": content}
            return {"choices": [{**choice, "index": 0, "finish_reason": reason}]}

        if text == "broken":
            yield {"error": {"message": "out of memory at 0x7f"}}
        elif text == "endless":
            while True:
                yield event("x")
                time.sleep(0.01)
        elif text == "silent":
            self.server.asked.set()
            self.connection.recv(1)  # returns when the other side hangs up
            self.server.hung_up.set()
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

    def whole(self, status: int, value: Any, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(value).encode()
        self.send_response(status)
        for name, said in (headers or {}).items():
            self.send_header(name, said)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def upstream() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Upstream)
    server.daemon_threads = True
    server.seen, server.hung_up, server.asked = [], threading.Event(), threading.Event()
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


def test_a_flood_of_health_checks_asks_the_upstream_once_a_second(upstream: Any) -> None:
    engine = UpstreamEngine(upstream.url, "m")
    begun = time.monotonic()
    assert [engine.health() for _ in range(200)] == [None] * 200
    assert len(upstream.seen) <= 2 + time.monotonic() - begun


def test_a_prompt_is_forwarded_with_its_parameters(engine: UpstreamEngine, upstream: Any) -> None:
    request = GenerationRequest("hello", ("!",), {"max_new_tokens": 5, "top_k": 3})
    answer = engine.generate(request)
    assert (answer.text, answer.finish_reason) == ("hello", "length")
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 5)
    ((path, body, headers),) = upstream.seen
    assert path == "/v1/completions"
    assert body["model"] == "a-model"
    assert (body["max_tokens"], body["top_k"], body["stop"]) == (5, 3, ["!"])
    assert headers["Authorization"] == "Bearer upstream key"


def test_messages_are_forwarded_as_they_are(engine: UpstreamEngine, upstream: Any) -> None:
    messages = ({"role": "user", "content": "hi"},)
    assert engine.generate(GenerationRequest(messages=messages)).text == "hi"
    assert upstream.seen[0][0] == "/v1/chat/completions"
    assert upstream.seen[0][1]["messages"] == list(messages)


@pytest.mark.parametrize("stop", [("na",), ("x", "nan"), ("an",), ("anana", "ban")])
def test_a_stop_that_the_upstream_ignores_is_cut_all_the_same(
    engine: UpstreamEngine, stop: tuple[str, ...]
) -> None:
    from langchain_dbx_eval.driver.runtime.stop_strings import cut_at_stop

    answer = engine.generate(GenerationRequest("banana", stop))
    assert (answer.text, answer.finish_reason) == (cut_at_stop("banana", stop), "stop")


def test_a_stop_hangs_up_on_an_upstream_that_goes_on(engine: UpstreamEngine, upstream: Any) -> None:
    assert engine.generate(GenerationRequest("endless", ("xxxx",))).text == ""
    assert upstream.hung_up.wait(30)


def test_a_stream_that_is_closed_is_cancelled_upstream(
    engine: UpstreamEngine, upstream: Any
) -> None:
    stream = engine.stream(GenerationRequest("endless"))
    assert next(stream).text == "x"
    stream.close()
    assert upstream.hung_up.wait(30)


def test_a_client_that_leaves_cancels_an_upstream_that_says_nothing(
    engine: UpstreamEngine, upstream: Any
) -> None:
    call = RequestContext(client_gone=upstream.asked.is_set)
    with pytest.raises(ClientGoneError):
        engine.generate(GenerationRequest("silent", call=call))
    assert upstream.hung_up.wait(30)


def test_the_deadline_counts(engine: UpstreamEngine, upstream: Any) -> None:
    with pytest.raises(DeadlinePassedError):
        engine.generate(GenerationRequest("silent", call=RequestContext(0.2)))


def test_tool_calls_are_put_together(engine: UpstreamEngine) -> None:
    messages = ({"role": "user", "content": "tool"},)
    answer = engine.generate(GenerationRequest(messages=messages))
    assert answer.finish_reason == "tool_calls"
    assert answer.tool_calls == (
        {"id": "1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}},
    )


def test_what_the_upstream_refuses_is_told_with_its_status(engine: UpstreamEngine) -> None:
    with pytest.raises(RequestError, match="top_k is unknown") as caught:
        engine.generate(GenerationRequest("refuse"))
    assert caught.value.status == 422


@pytest.mark.parametrize(("prompt", "status", "wait"), [("busy", 429, "7"), ("loading", 503, "1")])
def test_an_upstream_that_is_busy_is_to_be_asked_again(
    engine: UpstreamEngine, start_server: StartServer, prompt: str, status: int, wait: str
) -> None:
    answer = requests.post(start_server(engine).url, json={"prompt": prompt})
    assert (answer.status_code, answer.headers["Retry-After"]) == (status, wait)
    assert answer.json()["error_code"] in ("REQUEST_LIMIT_EXCEEDED", "TEMPORARILY_UNAVAILABLE")


@pytest.mark.parametrize(
    ("prompt", "why"),
    [("fail", "answers 500"), ("cut", "before its end"), ("broken", "broke"), ("redirect", "307")],
)
def test_an_upstream_that_fails_is_a_502_without_its_text(
    engine: UpstreamEngine, prompt: str, why: str
) -> None:
    with pytest.raises(RequestError, match=why) as caught:
        engine.generate(GenerationRequest(prompt))
    assert caught.value.status == 502
    assert "secret" not in caught.value.message
    assert "0x7f" not in caught.value.message


def test_an_upstream_that_is_not_there_is_a_502_and_no_health(start_server: StartServer) -> None:
    url = start_server(UpstreamEngine("http://127.0.0.1:1/v1", "m")).url
    assert requests.post(url, json={"prompt": "hi"}).status_code == 502
    assert requests.get(f"{url}/health").status_code == 503


def test_an_upstream_that_is_there_is_healthy(engine: UpstreamEngine) -> None:
    assert engine.health() is None


def test_an_upstream_that_redirects_is_not_healthy(upstream: Any) -> None:
    engine = UpstreamEngine(upstream.url.replace("/v1", "/moved"), "m")
    assert engine.health() == "The upstream server answers 302."
    assert [path for path, _, _ in upstream.seen] == ["/moved/models"]


def test_the_health_check_uses_neither_proxy_nor_netrc(
    engine: UpstreamEngine, upstream: Any, tmp_path: Path
) -> None:
    os.environ["HTTP_PROXY"] = os.environ["http_proxy"] = "http://127.0.0.1:1"
    os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password stolen\n")
    os.environ["NETRC"] = str(tmp_path / ".netrc")
    assert engine.health() is None
    assert upstream.seen[0][2]["Authorization"] == "Bearer upstream key"


def test_embeddings_are_put_into_their_order(engine: UpstreamEngine) -> None:
    vectors = engine.embed(["a", "b"], RequestContext())
    assert vectors.values == [[1.0], [2.0]]
    assert vectors.prompt_tokens == 5
    with pytest.raises(RequestError, match="2 vectors for 1 texts"):
        engine.embed(["a"], RequestContext())


@pytest.mark.parametrize("address", ["127.0.0.1:8000", "ftp://x/v1", "http://user:pw@x/v1", ""])
def test_an_address_that_is_none_is_refused(address: str) -> None:
    with pytest.raises(ConfigurationError, match="address"):
        UpstreamEngine(address, "m")


def test_the_key_of_an_upstream_is_a_variable(upstream: Any) -> None:
    os.environ["DBX_EVAL_UPSTREAM_API_KEY"] = "from the environment"
    engine = load_engine(upstream.url, EngineOptions(model="m"))
    assert isinstance(engine, UpstreamEngine)
    engine.generate(GenerationRequest("hi"))
    assert upstream.seen[0][2]["Authorization"] == "Bearer from the environment"


def test_a_key_of_an_upstream_that_no_header_can_carry_is_refused_unshown(upstream: Any) -> None:
    os.environ["DBX_EVAL_UPSTREAM_API_KEY"] = "secret\n"
    with pytest.raises(ConfigurationError, match="DBX_EVAL_UPSTREAM_API_KEY") as caught:
        load_engine(upstream.url, EngineOptions(model="m"))
    assert "secret\n" not in str(caught.value)


def test_our_server_in_front_of_our_server(start_server: StartServer) -> None:
    behind = start_server(lambda prompt: f"{prompt} banana", api_key=False)
    front = start_server(UpstreamEngine(f"{behind.url}/v1", "m"))
    assert requests.post(front.url, json={"prompt": "a", "stop": ["na"]}).json() == "a ba"
