"""All request and response formats of one engine, over a real socket."""

from __future__ import annotations

import base64
import json
import os
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
import requests
from openai import BadRequestError, NotFoundError, OpenAI

from langchain_dbx_eval.driver import (
    CallableEngine,
    DriverServer,
    EmbeddingResult,
    Generation,
    RequestContext,
    RequestError,
    UpstreamEngine,
)

StartServer = Callable[..., DriverServer]
HI = [{"role": "user", "content": "hi"}]


def echo(prompt: str, temperature: float = 0.0, max_tokens: int = 9, seed: int = 0) -> str:
    return f"{prompt}!" if not seed else f"{prompt}{seed}"


def letters(prompt: str) -> Iterator[str]:
    yield from prompt


class Lengths:
    """An embedder whose vectors are the lengths of the texts."""

    def embed(self, texts: Sequence[str], context: RequestContext) -> EmbeddingResult:
        values = [[float(len(text)), 0.5] for text in texts]
        return EmbeddingResult(
            values, sum(map(len, texts)), tuple(n for n, t in enumerate(texts) if t > "z")
        )


@pytest.fixture
def url(start_server: StartServer) -> str:
    return start_server(echo).url


def post(url: str, body: Any) -> Any:
    response = requests.post(url, json=body)
    assert response.status_code == 200, response.text
    return response.json()


def events(url: str, body: Any) -> list[Any]:
    response = requests.post(url, json={**body, "stream": True}, stream=True)
    assert response.headers["Content-Type"] == "text/event-stream"
    lines = [line for line in response.iter_lines() if line.startswith(b"data: ")]
    assert lines[-1] == b"data: [DONE]"
    return [json.loads(line[6:]) for line in lines[:-1]]


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/", "/invocations"])
def test_the_response_to_messages_is_a_chat_completion(url: str, path: str) -> None:
    body = post(url + path, {"messages": HI, "model": "any", "temperature": 0.5})
    assert body["object"] == "chat.completion"
    assert body["model"] == "any"
    assert body["choices"] == [
        {
            "index": 0,
            "message": {"role": "assistant", "content": "hi!"},
            "finish_reason": "stop",
        }
    ]


def test_a_text_model_receives_several_messages_as_a_transcript(url: str) -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [{"type": "text", "text": "A"}, {"type": "text", "text": "B"}]},
    ]
    (choice,) = post(f"{url}/v1/chat/completions", {"messages": messages})["choices"]
    assert choice["message"]["content"] == "System: Be brief.\nUser: AB\nAssistant:!"


def test_a_function_of_messages_receives_them_unchanged(start_server: StartServer) -> None:
    server = start_server(lambda messages: json.dumps(messages))
    (choice,) = post(f"{server.url}/v1/chat/completions", {"messages": HI})["choices"]
    assert json.loads(choice["message"]["content"]) == HI
    assert json.loads(post(server.url, {"prompt": "hi"})) == HI


@pytest.mark.parametrize("path", ["/v1/completions", "/invocations"])
def test_choices_have_the_order_of_the_prompts(url: str, path: str) -> None:
    result = post(url + path, {"prompt": ["a", "b"], "n": 2})
    assert result["object"] == "text_completion"
    assert [choice["text"] for choice in result["choices"]] == ["a!", "a!", "b!", "b!"]
    assert [choice["index"] for choice in result["choices"]] == [0, 1, 2, 3]


def test_several_choices_with_a_seed_differ(url: str) -> None:
    result = post(f"{url}/v1/completions", {"prompt": "a", "n": 3, "seed": 7})
    assert [choice["text"] for choice in result["choices"]] == ["a7", "a8", "a9"]


@pytest.mark.parametrize("name", ["max_tokens", "max_completion_tokens", "max_new_tokens"])
def test_the_maximum_length_has_three_names(start_server: StartServer, name: str) -> None:
    server = start_server(lambda prompt, max_tokens=0: str(max_tokens))
    assert post(server.url, {"prompt": "a", name: 5}) == "5"


@pytest.mark.parametrize("stop", ["an", ["an", "x"]])
def test_stop_may_be_a_string_in_openais_apis(url: str, stop: object) -> None:
    (choice,) = post(f"{url}/v1/completions", {"prompt": "banana", "stop": stop})["choices"]
    assert choice["text"] == "b"


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"prompt": "a"}, {"prompt": "b", "stop": ["!"]}]},
        {"dataframe_split": {"columns": ["prompt", "stop"], "data": [["a", None], ["b", ["!"]]]}},
        {
            "dataframe_split": {
                "index": [0, 1],
                "columns": ["prompt", "stop"],
                "data": [["a", None], ["b", ["!"]]],
            }
        },
        {"instances": [{"prompt": "a"}, {"prompt": "b", "stop": ["!"]}]},
        {"inputs": [{"prompt": "a"}, {"prompt": "b", "stop": ["!"]}]},
        {"inputs": {"prompt": ["a", "b"], "stop": [None, ["!"]]}},
    ],
)
def test_each_row_of_mlflows_formats_has_a_prediction(url: str, body: Any) -> None:
    assert post(f"{url}/invocations", {**body, "params": {"temperature": 0.5}}) == {
        "predictions": ["a!", "b"]
    }


@pytest.mark.parametrize("body", [{"inputs": "a"}, {"inputs": ["a"]}, {"inputs": {"prompt": "a"}}])
def test_a_string_is_a_row(url: str, body: Any) -> None:
    assert post(f"{url}/invocations", body) == {"predictions": ["a!"]}


def test_params_apply_to_rows_that_do_not_set_them(start_server: StartServer) -> None:
    server = start_server(lambda prompt, temperature=0.0: str(temperature))
    body = {"inputs": ["a", {"prompt": "b", "temperature": 1}], "params": {"temperature": 0.5}}
    assert post(f"{server.url}/invocations", body) == {"predictions": ["0.5", "1"]}


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/v1/completions"])
def test_the_tokens_of_a_function_are_estimated_from_its_text(url: str, path: str) -> None:
    question = {"messages": [{"role": "user", "content": "x" * 8}], "prompt": "x" * 8}
    name = "messages" if path.endswith("chat/completions") else "prompt"
    usage = {"prompt_tokens": 2, "completion_tokens": 3, "total_tokens": 5, "estimated": True}
    body = {name: question[name]}
    assert post(url + path, body)["usage"] == usage
    chunks = events(url + path, {**body, "stream_options": {"include_usage": True}})
    assert chunks[-1]["usage"] == usage
    assert "usage" not in events(url + path, body)[-1]


def test_a_function_may_count_its_tokens(start_server: StartServer) -> None:
    def counting(prompt: str) -> Generation:
        return Generation(prompt, "length", prompt_tokens=7, completion_tokens=9)

    url = f"{start_server(counting).url}/v1/completions"
    result = post(url, {"prompt": ["a", "b"], "n": 2})
    assert result["usage"] == {"prompt_tokens": 14, "completion_tokens": 36, "total_tokens": 50}
    assert result["choices"][0]["finish_reason"] == "length"


DEFAULTS = {
    "frequency_penalty": 0, "presence_penalty": 0.0, "top_p": 1, "temperature": 0.0, "n": 1,
    "seed": None, "min_p": 0, "top_k": -1, "repetition_penalty": 1.0, "max_tokens": 256,
}  # fmt: skip
BODIES = [
    ("", {"prompt": "hi"}), ("/v1/completions", {"prompt": "hi"}),
    ("/v1/chat/completions", {"messages": HI}), ("/invocations", {"inputs": [{"prompt": "hi"}]}),
]  # fmt: skip


@pytest.mark.parametrize(("path", "body"), BODIES)
def test_parameters_without_effect_are_accepted_by_a_function_without_them(
    start_server: StartServer, path: str, body: Any
) -> None:
    url = start_server(lambda prompt: prompt).url + path
    if "inputs" in body:
        post(url, {**body, "params": DEFAULTS})
        body = {"inputs": [{"prompt": "hi", **DEFAULTS}]}
    else:
        body = {**body, **DEFAULTS}
    assert "hi" in json.dumps(post(url, body))


@pytest.mark.parametrize(
    ("name", "value"),
    [("top_p", 0.9), ("temperature", 0.7), ("frequency_penalty", 1), ("seed", 5), ("top_k", 1),
     ("temperature", True), ("top_p", "1")],
)  # fmt: skip
@pytest.mark.parametrize(("path", "body"), BODIES[:3])
def test_a_parameter_with_an_effect_is_refused_by_name(
    start_server: StartServer, path: str, body: Any, name: str, value: object
) -> None:
    server = start_server(lambda prompt: prompt)
    response = requests.post(server.url + path, json={**body, name: value})
    assert response.status_code == 400
    assert f"'{name}'" in response.json()["message"]


@pytest.mark.parametrize("name", ["max_tokens", "top_p", "response_format"])
def test_a_strict_server_refuses_each_parameter_that_the_function_does_not_take(name: str) -> None:
    value = {"max_tokens": 256, "top_p": 1, "response_format": {"type": "json_object"}}[name]
    with DriverServer(letters, "127.0.0.1", 0, False, strict=True) as server:
        url = f"{server.url}/v1/chat/completions"
        response = requests.post(url, json={"messages": HI, name: value})
        assert response.status_code == 400
        assert f"'{name}'" in response.json()["message"]
        assert requests.post(url, json={"messages": HI}).status_code == 200


@pytest.mark.parametrize("answer", ["abcdefghijk", "안녕하세요세계", "a\ud800bcdefgh"])
@pytest.mark.parametrize("stream", [False, True])
def test_max_tokens_truncates_the_text_of_a_function_without_it(
    start_server: StartServer, answer: str, stream: bool
) -> None:
    def streamed(prompt: str) -> Iterator[str]:
        yield from answer

    url = f"{start_server(streamed if stream else lambda prompt: answer).url}/v1/completions"
    short = post(url, {"prompt": "hi", "max_tokens": 2})
    (choice,) = short["choices"]
    assert answer.startswith(choice["text"])
    assert 2 <= len(choice["text"]) < len(answer)
    assert choice["finish_reason"] == "length"
    assert short["usage"]["completion_tokens"] <= 2
    (choice,) = post(url, {"prompt": "hi", "max_tokens": 20})["choices"]
    assert (choice["text"], choice["finish_reason"]) == (answer, "stop")


@pytest.mark.parametrize("path", ["/v1/chat/completions", "/"])
def test_a_chat_stream_contains_the_completion_in_chunks(
    start_server: StartServer, path: str
) -> None:
    chunks = events(start_server(letters).url + path, {"messages": HI})
    deltas = [chunk["choices"][0]["delta"] for chunk in chunks]
    assert deltas[0]["role"] == "assistant"
    assert [delta.get("content") for delta in deltas[:2]] == ["h", "i"]
    assert {chunk["object"] for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk["id"] for chunk in chunks}) == 1
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


def test_a_completion_stream_ends_before_its_stop_string(start_server: StartServer) -> None:
    body = {"prompt": "banana", "stop": "na"}
    chunks = events(f"{start_server(letters).url}/v1/completions", body)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "ba"


def test_the_stream_of_a_model_that_does_not_stream_has_one_chunk(url: str) -> None:
    chunks = events(f"{url}/v1/completions", {"prompt": "hi"})
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == "hi!"


def test_a_stream_that_fails_at_once_has_an_error_status(start_server: StartServer) -> None:
    def rejecting(prompt: str) -> str:
        raise RequestError(422, "UNPROCESSABLE", "Not this prompt.")

    response = requests.post(
        f"{start_server(rejecting).url}/v1/completions", json={"prompt": "a", "stream": True}
    )
    assert response.status_code == 422
    assert response.json() == {
        "error_code": "UNPROCESSABLE",
        "message": "Not this prompt.",
        "error": {
            "message": "Not this prompt.",
            "type": "invalid_request_error",
            "param": None,
            "code": "unprocessable",
        },
    }


def test_a_stream_that_fails_later_ends_with_an_error_and_without_done(
    start_server: StartServer,
) -> None:
    def failing(prompt: str) -> Iterator[str]:
        yield "so far"
        raise ValueError("secret")

    url = f"{start_server(failing).url}/v1/chat/completions"
    text = requests.post(url, json={"messages": HI, "stream": True}).text
    assert "so far" in text
    assert '"error_code":"INTERNAL_ERROR"' in text
    assert "secret" not in text
    assert "[DONE]" not in text


@pytest.mark.parametrize(
    "body",
    [
        {"inputs": ["a", "zzz"]},
        {"instances": [{"text": "a"}, {"text": "zzz"}]},
        {"dataframe_records": [{"text": "a"}, {"text": "zzz"}]},
        {"dataframe_split": {"columns": ["text"], "data": [["a"], ["zzz"]]}},
    ],
)
def test_texts_in_mlflows_formats_are_embedded(
    start_server: StartServer, body: dict[str, Any]
) -> None:
    result = post(f"{start_server(Lengths()).url}/invocations", body)
    assert result == {"predictions": [[1.0, 0.5], [3.0, 0.5]], "truncated": [1]}


@pytest.mark.parametrize("row", [5, None, {"text": 5}, {"a": "b", "c": "d"}, {}])
def test_a_row_that_is_not_a_text_is_named(start_server: StartServer, row: Any) -> None:
    url = f"{start_server(Lengths()).url}/invocations"
    result = requests.post(url, json={"inputs": ["a", row]})
    assert result.status_code == 400
    assert "inputs[1]" in result.json()["message"]


@pytest.mark.parametrize("path", ["/v1/embeddings", "/", "/invocations"])
def test_embeddings_have_the_order_of_the_texts(start_server: StartServer, path: str) -> None:
    result = post(start_server(Lengths()).url + path, {"input": ["a", "abc"], "model": "m"})
    assert [item["embedding"] for item in result["data"]] == [[1.0, 0.5], [3.0, 0.5]]
    assert result["usage"] == {"prompt_tokens": 4, "total_tokens": 4}


def test_vectors_can_be_encoded_in_base64(start_server: StartServer) -> None:
    body = {"input": "abc", "encoding_format": "base64"}
    (item,) = post(f"{start_server(Lengths()).url}/v1/embeddings", body)["data"]
    assert struct.unpack("<2f", base64.b64decode(item["embedding"])) == (3.0, 0.5)


def test_the_index_of_a_truncated_text_is_returned(start_server: StartServer) -> None:
    result = post(f"{start_server(Lengths()).url}/v1/embeddings", {"input": ["a", "zz"]})
    assert result["truncated"] == [1]


def test_a_format_that_the_engine_does_not_support_is_a_404(
    start_server: StartServer, url: str
) -> None:
    assert requests.post(f"{url}/v1/embeddings", json={"input": "a"}).status_code == 404
    embedder = start_server(Lengths()).url
    assert requests.post(embedder, json={"prompt": "a"}).status_code == 404
    assert requests.post(f"{embedder}/v1/completions", json={"prompt": "a"}).status_code == 404


@pytest.mark.parametrize(
    "extra",
    [{"user": "u"}, {"metadata": {"a": 1}}, {"logprobs": None}, {"tools": []}, {"logit_bias": {}}],
)
def test_openai_fields_without_an_effect_are_accepted(url: str, extra: Any) -> None:
    post(f"{url}/v1/chat/completions", {"messages": HI, **extra})


@pytest.mark.parametrize("extra", [{"logprobs": True}, {"tools": [{"type": "function"}]}, {"x": 1}])
def test_unsupported_openai_fields_are_rejected(url: str, extra: Any) -> None:
    response = requests.post(f"{url}/v1/chat/completions", json={"messages": HI, **extra})
    assert response.status_code == 400
    assert repr(next(iter(extra))) in response.json()["message"]


def test_the_model_is_listed(url: str) -> None:
    assert requests.get(f"{url}/v1/models").json()["data"][0]["id"] == "echo"


@pytest.mark.parametrize("name", ["echo", "/Volumes/main/models/a model", "org/model"])
def test_a_model_is_found_by_its_name(start_server: StartServer, name: str) -> None:
    engine = CallableEngine(echo)
    engine.name = name
    with OpenAI(base_url=f"{start_server(engine).url}/v1", api_key="unused") as client:
        assert client.models.retrieve(name).id == name
        with pytest.raises(NotFoundError, match="has the model"):
            client.models.retrieve("other")


@pytest.mark.parametrize("name", ["echo", "/Volumes/main/models/a model"])
def test_mlflows_deployment_client_predicts_and_lists(start_server: StartServer, name: str) -> None:
    deployments = pytest.importorskip("mlflow.deployments")
    engine = CallableEngine(echo)
    engine.name = name
    os.environ["MLFLOW_TRACKING_TOKEN"] = "key"
    client = deployments.get_deploy_client(start_server(engine, "key").url)
    answer = client.predict(endpoint="any", inputs={"messages": HI, "temperature": 0.5})
    assert answer["choices"][0]["message"]["content"] == "hi!"
    answer = client.predict(endpoint=name, inputs={"prompt": "hi"})
    assert answer["choices"][0]["text"] == "hi!"
    (endpoint,) = client.list_endpoints()
    assert (endpoint.name, endpoint.endpoint_type) == (name, "llm/v1/chat")
    assert requests.post(
        endpoint.endpoint_url, json={"prompt": "hi"}, headers={"X-Api-Key": "key"}
    ).ok
    assert client.get_endpoint(name) == endpoint
    with pytest.raises(requests.HTTPError, match="has the model"):
        client.get_endpoint("other")


def test_mlflows_deployment_client_embeds(start_server: StartServer) -> None:
    deployments = pytest.importorskip("mlflow.deployments")
    client = deployments.get_deploy_client(start_server(Lengths()).url)
    answer = client.predict(endpoint="embeddings", inputs={"input": ["a", "abc"]})
    assert [item["embedding"] for item in answer["data"]] == [[1.0, 0.5], [3.0, 0.5]]
    assert client.list_endpoints()[0].endpoint_type == "llm/v1/embeddings"


class Resizable:
    """An embedder of vectors with any number of dimensions."""

    takes_dimensions = True

    def embed(
        self, texts: Sequence[str], context: RequestContext, dimensions: int = 4
    ) -> EmbeddingResult:
        return EmbeddingResult([[0.5] * dimensions for _ in texts], 1)


def test_dimensions_are_passed_to_an_engine_that_takes_them(start_server: StartServer) -> None:
    upstream = start_server(Resizable())
    for engine in (Resizable(), UpstreamEngine(f"{upstream.url}/v1", "m")):
        with OpenAI(base_url=f"{start_server(engine).url}/v1", api_key="unused") as client:
            whole = client.embeddings.create(model="m", input="a")
            short = client.embeddings.create(model="m", input="a", dimensions=2)
            assert [len(whole.data[0].embedding), len(short.data[0].embedding)] == [4, 2]
            with pytest.raises(BadRequestError, match="'dimensions' must be a whole number from 1"):
                client.embeddings.create(model="m", input="a", dimensions=0)


def test_dimensions_are_refused_by_name_otherwise(start_server: StartServer) -> None:
    url = f"{start_server(Lengths()).url}/v1/embeddings"
    assert requests.post(url, json={"input": "a", "dimensions": None}).ok
    response = requests.post(url, json={"input": "a", "dimensions": 1})
    assert response.status_code == 400
    assert "Unsupported value of 'dimensions'" in response.json()["message"]


@pytest.mark.parametrize("tokens", [[15339], [[15339, 1917]]])
def test_token_ids_are_refused_with_the_option_that_avoids_them(
    start_server: StartServer, tokens: Any
) -> None:
    response = requests.post(f"{start_server(Lengths()).url}/v1/embeddings", json={"input": tokens})
    assert response.status_code == 400
    assert "check_embedding_ctx_length=False" in response.json()["message"]


def test_metrics_count_requests_by_route_and_status(url: str) -> None:
    requests.post(url, json={"prompt": "a"})
    requests.post(url, json={})
    requests.get(f"{url}/no/such/path")
    text = requests.get(f"{url}/metrics").text
    assert 'dbx_driver_requests_total{route="/",status="200"} 1.0' in text
    assert 'dbx_driver_requests_total{route="/",status="400"} 1.0' in text
    assert 'dbx_driver_requests_total{route="other",status="404"} 1.0' in text
    assert "dbx_driver_requests_in_flight 0.0" in text


def test_only_health_needs_no_key(start_server: StartServer) -> None:
    url = start_server(echo, api_key="key").url
    assert requests.get(f"{url}/health").status_code == 200
    for path in ("/metrics", "/v1/models", "/openapi.json"):
        assert requests.get(url + path).status_code == 401
    assert requests.post(f"{url}/v1/embeddings", json={}).status_code == 401
