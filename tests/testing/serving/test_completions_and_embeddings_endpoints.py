import json

import openai
import pytest

from langchain_dbx_eval.driver.engines.base import Generation, GenerationRequest


@pytest.fixture(autouse=True)
def endpoints(workspace):
    workspace.add_endpoint("text", lambda prompt, **params: f"{prompt} is fine", kind="completions")
    workspace.add_endpoint(
        "vectors", lambda texts: [[len(text), 0.5] for text in texts], kind="embeddings"
    )


@pytest.fixture
def client(workspace):
    url = f"{workspace.url}/serving-endpoints"
    return openai.OpenAI(base_url=url, api_key=workspace.token, max_retries=0)


def test_a_completion_has_openais_shape(session):
    completion = session.query("text", {"prompt": "all"}).json()

    assert completion["object"] == "text_completion"
    assert completion["choices"] == [{"index": 0, "text": "all is fine", "finish_reason": "stop"}]
    assert completion["usage"] == {"prompt_tokens": 1, "completion_tokens": 3, "total_tokens": 4}


def test_each_prompt_of_a_list_gets_n_choices_in_order(session):
    completion = session.query("text", {"prompt": ["a", "b c"], "n": 2}).json()

    assert [(choice["index"], choice["text"]) for choice in completion["choices"]] == [
        (0, "a is fine"), (1, "a is fine"), (2, "b c is fine"), (3, "b c is fine"),
    ]  # fmt: skip
    assert completion["usage"]["prompt_tokens"] == 3


def test_a_completion_ends_before_the_stop_string(session):
    [choice] = session.query("text", {"prompt": "all", "stop": [" fine"]}).json()["choices"]

    assert choice["text"] == "all is"


def test_an_engines_finish_reason_and_token_counts_are_used(workspace, session):
    class Counting:
        parameters = frozenset({"max_tokens"})

        def generate(self, request: GenerationRequest) -> Generation:
            return Generation("cut", "length", prompt_tokens=10, completion_tokens=20)

    workspace.add_endpoint("engine", Counting(), kind="completions")

    completion = session.query("engine", {"prompt": ["a", "b"], "max_tokens": 1}).json()

    assert completion["choices"][0]["finish_reason"] == "length"
    assert completion["usage"] == {
        "prompt_tokens": 20, "completion_tokens": 40, "total_tokens": 60,
    }  # fmt: skip


@pytest.mark.parametrize("prompt", [5, None, [5], {"a": 1}])
def test_a_prompt_that_is_not_a_text_is_400(session, prompt):
    assert session.query("text", {"prompt": prompt}).status_code == 400


def test_a_function_that_returns_another_type_is_500(workspace, session):
    workspace.add_endpoint("number", lambda prompt: 5, kind="completions")

    assert session.query("number", {"prompt": "a"}).status_code == 500


def test_a_completion_streams_word_by_word(session):
    answer = session.query("text", {"prompt": "all", "stream": True}, stream=True)

    *lines, done = [line.removeprefix(b"data: ") for line in answer.iter_lines() if line]
    choices = [json.loads(line)["choices"][0] for line in lines]
    assert done == b"[DONE]"
    assert [choice["text"] for choice in choices] == ["all ", "is ", "fine", ""]
    assert [choice["finish_reason"] for choice in choices] == [None, None, None, "stop"]


def test_the_openai_client_completes(client):
    assert client.completions.create(model="text", prompt="all").choices[0].text == "all is fine"


def test_embeddings_have_openais_shape(session):
    answer = session.query("vectors", {"input": ["a b", "abcd"]}).json()

    assert answer["data"] == [
        {"index": 0, "object": "embedding", "embedding": [3.0, 0.5]},
        {"index": 1, "object": "embedding", "embedding": [4.0, 0.5]},
    ]
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}


def test_a_single_text_is_embedded_as_a_list_of_one(session):
    assert len(session.query("vectors", {"input": "one text"}).json()["data"]) == 1


def test_the_error_for_a_missing_input_is_that_of_databricks(session):
    answer = session.query("vectors", {"inputs": ["a"]})

    assert answer.status_code == 400
    assert answer.json()["message"] == "Missing required embeddings parameter: 'input'"


@pytest.mark.parametrize("texts", [5, None, [5]])
def test_an_input_that_is_not_a_text_is_400(session, texts):
    assert session.query("vectors", {"input": texts}).status_code == 400


def test_an_embeddings_parameter_that_the_function_does_not_accept_is_400(session):
    answer = session.query("vectors", {"input": "a", "dimensions": 3})

    assert 'unknown field "dimensions"' in answer.json()["message"]


def test_too_few_vectors_are_500(workspace, session):
    workspace.add_endpoint("short", lambda texts: [[1.0]], kind="embeddings")

    assert session.query("short", {"input": ["a", "b"]}).status_code == 500


def test_the_openai_client_embeds(client):
    assert client.embeddings.create(model="vectors", input="abc").data[0].embedding == [3.0, 0.5]
