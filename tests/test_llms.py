"""`Databricks` over each kind of target, and each way in which it can fail."""

from __future__ import annotations

import pytest

from langchain_dbx_eval import Databricks, errors
from langchain_dbx_eval.driver import DriverServer
from langchain_dbx_eval.testing import LocalWorkspace


def shout(prompt: str, stop: list[str] | None = None) -> str:
    return prompt.upper()


def double_prompt(**request):
    return {**request, "prompt": request["prompt"] * 2}


@pytest.mark.parametrize("kind", ["custom", "completions"])
def test_it_speaks_the_wire_format_of_the_endpoint(workspace: LocalWorkspace, kind: str) -> None:
    workspace.add_endpoint("model", shout, kind=kind)
    assert Databricks(endpoint_name="model").invoke("hi") == "HI"


def test_it_speaks_to_a_chat_endpoint(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", lambda messages: messages[-1]["content"] + "!", kind="chat")
    assert Databricks(endpoint_name="model").invoke("hi") == "hi!"


def test_the_endpoint_is_asked_for_its_task_once(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", shout, kind="completions")
    llm = Databricks(endpoint_name="model")
    llm.invoke("a")
    llm.invoke("b")
    assert [r.method for r in workspace.requests] == ["GET", "POST", "POST"]


def test_an_endpoint_whose_task_is_given_is_not_asked(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", shout, kind="completions")
    Databricks(endpoint_name="model", task="llm/v1/completions").invoke("a")
    assert [r.method for r in workspace.requests] == ["POST"]


def test_many_prompts_to_a_custom_model_are_one_request(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", shout, kind="custom")
    assert Databricks(endpoint_name="model").batch(["a", "b", "c"]) == ["A", "B", "C"]
    posts = [r for r in workspace.requests if r.method == "POST"]
    assert len(posts) == 1
    assert len(posts[0].body["dataframe_records"]) == 3


def test_a_call_wins_over_the_constructor(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", lambda prompt, **params: "ok", kind="completions")
    llm = Databricks(endpoint_name="model", temperature=0.5, stop=["A"], max_tokens=5)
    llm.invoke("hi", temperature=0.0, stop=["B"])
    body = workspace.requests[-1].body
    assert (body["temperature"], body["stop"], body["max_tokens"]) == (0.0, ["B"], 5)


def test_all_generations_of_a_prompt_are_returned(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", lambda prompt, **params: "ok", kind="completions")
    result = Databricks(endpoint_name="model", n=3).generate(["hi"])
    assert len(result.generations[0]) == 3


def test_the_driver_node_itself_is_called_without_a_workspace() -> None:
    with DriverServer(shout, host="127.0.0.1", port=0, api_key="k") as server:
        with pytest.warns(UserWarning, match="3000-8000"):
            llm = Databricks(host="local", cluster_driver_port=server.port, driver_api_key="k")
        assert llm.invoke("hi") == "HI"


def test_a_hook_may_be_named_by_an_import_string(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", shout, kind="custom")
    llm = Databricks(endpoint_name="model", transform_input_fn=f"{__name__}:double_prompt")
    assert llm.invoke("hi") == "HIHI"


def test_a_hook_that_raises_is_named(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", shout, kind="custom")

    def careless(response):
        return response["text"]

    llm = Databricks(endpoint_name="model", transform_output_fn=careless)
    with pytest.raises(errors.TransformError, match=r"careless.* raised TypeError") as raised:
        llm.invoke("hi")
    assert isinstance(raised.value.__cause__, TypeError)


def test_a_hook_that_returns_no_request_is_named(workspace: LocalWorkspace) -> None:
    llm = Databricks(endpoint_name="m", transform_input_fn=lambda **request: None)
    with pytest.raises(errors.TransformError, match="returned NoneType, not a dict"):
        llm.invoke("hi")
    assert not workspace.requests


def test_a_prediction_without_a_text_says_what_it_is(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", lambda prompt: {"score": 0.5}, kind="custom")
    with pytest.raises(errors.InvalidResponseError, match=r"'model'.*transform_output_fn.*score"):
        Databricks(endpoint_name="model").invoke("hi")


@pytest.mark.parametrize(
    "prediction",
    [{"text": "ok"}, {"0": "ok"}, ["ok"], {"choices": [{"message": {"content": "ok"}}]}],
)
def test_the_usual_predictions_are_read(workspace: LocalWorkspace, prediction: object) -> None:
    workspace.add_endpoint("model", lambda prompt: prediction, kind="custom")
    assert Databricks(endpoint_name="model").invoke("hi") == "ok"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ({}, "No target is given"),
        ({"endpoint_name": "a", "cluster_driver_port": 7777}, "Both"),
        ({"endpoint_name": "a", "cluster_id": "c"}, "which is missing"),
        ({"cluster_driver_port": 7777}, "cluster_id= is missing"),
        ({"cluster_driver_port": "http", "cluster_id": "c"}, "not a port number"),
        ({"cluster_driver_port": 7777, "cluster_id": "../../api/2.0/token"}, "not a cluster id"),
        ({"cluster_driver_port": 7777, "cluster_id": "c", "org_id": "../1"}, "not a workspace id"),
        ({"cluster_driver_port": 7777, "cluster_id": "c", "path": "a/../../b"}, "leave the app"),
        ({"endpoint_name": ".."}, "not the name"),
        ({"endpoint_name": "a", "host": "good.com@evil.example"}, "user name"),
        ({"endpoint_name": "a", "databricks_uri": "http://x"}, "is invalid"),
    ],
)
def test_what_cannot_be_called_is_refused_at_once(arguments: dict, told: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=told):
        Databricks(**arguments)


def test_no_secret_shows() -> None:
    llm = Databricks(
        endpoint_name="m", api_token="dapi-secret", driver_api_key="key-secret", host="a.example"
    )
    for shown in (repr(llm), str(llm), str(llm.model_dump()), str(llm._identifying_params)):
        assert "secret" not in shown
