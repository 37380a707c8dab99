"""Hundreds of malformed requests: each is a 4xx in the one form of error, and the server lives."""

from __future__ import annotations

import gzip
import http.client
import json
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    response_schema_conformance,
    status_code_conformance,
)

from langchain_dbx_eval.driver import (
    CallableEngine,
    DriverServer,
    EmbeddingResult,
    RequestContext,
    create_app,
)

StartServer = Callable[..., DriverServer]

WRONG_TEXTS = [None, 5, 1.5, True, {}, {"a": 1}, [1], [None], [["a"]], [[1, 2]], [], [True], [{}]]
WRONG_STOPS = [5, True, {}, [5], [None], [""], ["a", ""], [["a"]], ["x" * 1001], ["a"] * 17, ""]
WRONG_PARAMS: list[dict[str, Any]] = [
    *({"temperature": value} for value in (-0.1, 2.1, "hot", True, [], {}, 10**400, -(10**30))),
    *({"max_tokens": value} for value in (0, -5, 1.5, "9", True, [], 10**7, 2**70)),
    *({"top_p": value} for value in (-1, 1.01, "a", False, [0.5])),
    *({"top_k": value} for value in (-2, 0.5, "a", True, 2**40)),
    *({"seed": value} for value in (2**63, 2**70, -(2**70), 1.5, "a", False)),
    *({"min_p": value} for value in (-1, 2, "a")),
    *({"repetition_penalty": value} for value in (0, -1, 11, "a")),
    *({"frequency_penalty": value} for value in (-3, 3, "a")),
    *({"presence_penalty": value} for value in (-3, 3, "a")),
    {"max_tokens": 5, "max_new_tokens": 5},
    *(
        {name: True}
        for name in (
            "trust_remote_code",
            "custom_generate",
            "stopping_criteria",
            "num_beams",
            "num_return_sequences",
            "__class__",
            "self",
            "tokenizer",
            "streamer",
            "x" * 5000,
        )
    ),
]
WRONG_MESSAGES: list[Any] = [
    None, 5, "hi", {}, [], ["hi"], [5], [None], [[]], [{}], [{"role": "user"}],
    [{"content": "hi"}], [{"role": "king", "content": "hi"}], [{"role": 5, "content": "hi"}],
    [{"role": ["user"], "content": "hi"}], [{"role": "user", "content": 5}],
    [{"role": "user", "content": {}}], [{"role": "user", "content": ["hi"]}],
    [{"role": "user", "content": [{"type": "image_url"}]}],
    [{"role": "user", "content": [{"type": "text"}]}],
    [{"role": "user", "content": [{"type": "text", "text": 5}]}],
    [{"role": "user", "content": [{"type": 5}]}],
    [{"role": "assistant", "content": None}],
    [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
    [{"role": "assistant", "tool_calls": 5}],
    [{"role": "assistant", "content": "hi", "tool_calls": ["call"]}],
    [{"role": "user", "content": [{"type": "text", "text": 5}]}],
    [{"role": "user", "content": "hi"}] * 1001,
]  # fmt: skip
WRONG_OPENAI: list[dict[str, Any]] = [
    {"n": 0}, {"n": -1}, {"n": 65}, {"n": 1.5}, {"n": True}, {"n": "2"}, {"n": 2**70},
    {"n": 2, "stream": True}, {"stream": "yes"}, {"stream": 1}, {"stream_options": 5},
    {"stream_options": {"include_usage": "yes"}}, {"model": 5}, {"model": []}, {"logprobs": True},
    {"logprobs": 5}, {"echo": True}, {"best_of": 2}, {"suffix": "x"}, {"logit_bias": {"5": 1}},
    {"tools": [{}]}, {"response_format": {"type": "json_object"}}, {"tool_choice": "required"},
]  # fmt: skip
WRONG_INVOCATIONS: list[Any] = [
    {}, {"inputs": []}, {"inputs": {}}, {"inputs": 5}, {"inputs": [5]}, {"inputs": [{}]},
    {"inputs": [None]}, {"inputs": [{"prompt": 5}]}, {"inputs": {"prompt": []}},
    {"inputs": {"prompt": ["a"], "stop": []}}, {"inputs": ["a"], "instances": ["a"]},
    {"inputs": ["a"], "other": 1}, {"inputs": ["a"], "params": 5},
    {"inputs": ["a"], "params": {"num_beams": 4}}, {"inputs": ["a"] * 65}, {"instances": "a"},
    {"instances": {"prompt": "a"}}, {"dataframe_records": {"prompt": "a"}},
    {"dataframe_records": [["a"]]}, {"dataframe_split": []}, {"dataframe_split": {}},
    {"dataframe_split": {"columns": ["prompt"]}}, {"dataframe_split": {"data": [["a"]]}},
    {"dataframe_split": {"columns": "prompt", "data": [["a"]]}},
    {"dataframe_split": {"columns": [5], "data": [["a"]]}},
    {"dataframe_split": {"columns": ["prompt", "prompt"], "data": [["a", "b"]]}},
    {"dataframe_split": {"columns": ["prompt"], "data": [["a", "b"]]}},
    {"dataframe_split": {"columns": ["prompt"], "data": ["a"]}},
    {"dataframe_split": {"columns": ["prompt"], "data": [["a"]], "more": 1}},
    {"dataframe_split": {"columns": ["text"], "data": [["a"]]}},
]  # fmt: skip
WRONG_BYTES = [
    b"", b" ", b"null", b"5", b'"text"', b"[]", b"[1]", b"{", b'{"prompt": ', b"{'prompt': 'a'}",
    b"\xff\xfe", b'{"prompt": "\xff"}', b"\x00", b'{"prompt": "\\ud800"}', b'{"\\udfff": 1}',
    b'{"prompt": "a", "stop": ["\\ud800"]}', b'{"prompt": "a", "prompt": "b"}',
    b'{"prompt": "a", "temperature": NaN}', b'{"prompt": "a", "temperature": Infinity}',
    b'{"prompt": "a", "temperature": 1e999}', b'{"prompt": "a", "seed": ' + b"9" * 9999 + b"}",
    b"[" * 200_000, b"[" * 900 + b"]" * 900, b'{"a":' * 200_000,
    b'{"a":' * 100 + b"1" + b"}" * 100, '{"prompt": "a"}'.encode("utf-16"), b"prompt=a",
    b'{"prompt": "a"} {"prompt": "b"}', b'{"prompt": "a",}', b'{"prompt": "\n"}',
]  # fmt: skip
PATHS = ("/", "/invocations", "/v1/chat/completions", "/v1/completions", "/v1/embeddings")
HI = [{"role": "user", "content": "hi"}]


def corpus() -> Iterator[tuple[str, bytes]]:
    """Paths and bodies, each of which is wrong in one thing."""
    for path in PATHS:
        for body in WRONG_BYTES:
            yield path, body
    wrong: list[tuple[str, Any]] = [
        *(("/", {"prompt": text}) for text in WRONG_TEXTS),
        *(("/v1/completions", {"prompt": text}) for text in WRONG_TEXTS),
        *(("/v1/embeddings", {"input": text}) for text in WRONG_TEXTS),
        *(("/", {"prompt": "a", "stop": stop}) for stop in [*WRONG_STOPS, "ab"]),
        *(("/v1/completions", {"prompt": "a", "stop": stop}) for stop in WRONG_STOPS),
        *(("/", {"prompt": "a", **params}) for params in WRONG_PARAMS),
        *(("/v1/chat/completions", {"messages": HI, **params}) for params in WRONG_PARAMS),
        *(("/v1/chat/completions", {"messages": messages}) for messages in WRONG_MESSAGES),
        *(("/v1/chat/completions", {"messages": HI, **more}) for more in WRONG_OPENAI),
        *(("/v1/completions", {"prompt": "a", **more}) for more in WRONG_OPENAI),
        *(("/invocations", body) for body in WRONG_INVOCATIONS),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}),
        ("/v1/embeddings", {"input": "a", "dimensions": 5}),
        ("/v1/embeddings", {"input": ["a"] * 2049}),
    ]
    for path, body in wrong:
        yield path, json.dumps(body).encode()


class Everything:
    """An engine that takes every standard parameter, so that only the checks refuse."""

    def __init__(self) -> None:
        engine = CallableEngine(lambda prompt, **params: prompt)
        self.parameters, self.generate, self.stream = (
            engine.parameters,
            engine.generate,
            engine.stream,
        )

    def embed(self, texts: Sequence[str], call: RequestContext) -> EmbeddingResult:
        return EmbeddingResult([[1.0] for _ in texts])


def test_each_malformed_request_is_a_4xx_in_the_one_form(start_server: StartServer) -> None:
    url = start_server(Everything()).url
    cases = list(corpus())
    assert len(cases) >= 400
    with requests.Session() as session:
        for path, body in cases:
            response = session.post(url + path, body, headers={"Content-Type": "application/json"})
            place = f"{path} {body[:200]!r} -> {response.status_code} {response.text[:200]}"
            assert 400 <= response.status_code < 500, place
            assert response.json().keys() == {"error_code", "message"}, place
            assert len(response.text) < 2000, place
    assert requests.post(url, json={"prompt": "alive"}).json() == "alive"


schema = schemathesis.openapi.from_wsgi("/openapi.json", create_app(Everything(), api_key=False))


@schema.parametrize()
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
def test_what_schemathesis_makes_of_the_description_is_never_a_5xx(case: Any) -> None:
    case.call_and_validate(
        checks=[not_a_server_error, status_code_conformance, response_schema_conformance]
    )


def test_the_description_is_openapi_3_1() -> None:
    schema.validate()


@pytest.mark.parametrize("path", PATHS)
def test_a_get_where_a_post_is_served_is_a_405(start_server: StartServer, path: str) -> None:
    response = requests.get(start_server(Everything()).url + path)
    assert response.status_code == 405
    assert response.json()["error_code"] == "METHOD_NOT_ALLOWED"


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: five\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 300_000 + b"\r\n\r\n", 431),
    ],
)
def test_what_is_no_http_is_refused_in_the_one_form(
    start_server: StartServer, head: bytes, status: int
) -> None:
    server = start_server(lambda prompt: prompt)
    with socket.create_connection(("127.0.0.1", server.port), timeout=30) as client:
        client.sendall(head)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        said = json.loads(answer.read())
    assert answer.status == status
    assert said.keys() == {"error_code", "message"}
    assert requests.post(server.url, json={"prompt": "alive"}).json() == "alive"


def test_a_compressed_body_is_refused_as_such(start_server: StartServer) -> None:
    body = gzip.compress(b'{"prompt": "a"}')
    headers = {"Content-Type": "application/json", "Content-Encoding": "gzip"}
    url = start_server(lambda prompt: prompt).url
    assert requests.post(url, data=body, headers=headers).status_code == 415


def test_ranges_are_told_in_full(start_server: StartServer) -> None:
    url = start_server(Everything()).url
    answer = requests.post(url, json={"prompt": "a", "max_tokens": 0}).json()
    assert answer["message"] == "'max_tokens' must be from 1 to 1000000."
