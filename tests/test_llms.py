"""`Databricks` over each kind of target, and its errors."""

from __future__ import annotations

import pytest

from langchain_dbx_eval import Databricks, errors
from langchain_dbx_eval.driver import DriverServer
from langchain_dbx_eval.testing import LocalWorkspace


def upper_case(prompt: str, stop: list[str] | None = None) -> str:
    return prompt.upper()


def double_prompt(**request):
    return {**request, "prompt": request["prompt"] * 2}


@pytest.mark.parametrize("kind", ["custom", "completions"])
def test_the_request_has_the_format_of_the_endpoint(workspace: LocalWorkspace, kind: str) -> None:
    workspace.add_endpoint("model", upper_case, kind=kind)
    assert Databricks(endpoint_name="model").invoke("hi") == "HI"


def test_a_chat_endpoint_is_supported(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", lambda messages: messages[-1]["content"] + "!", kind="chat")
    assert Databricks(endpoint_name="model").invoke("hi") == "hi!"


def test_the_task_is_read_from_the_endpoint_once(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", upper_case, kind="completions")
    llm = Databricks(endpoint_name="model")
    llm.invoke("a")
    llm.invoke("b")
    assert [r.method for r in workspace.requests] == ["GET", "POST", "POST"]


def test_a_given_task_is_not_read_from_the_endpoint(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", upper_case, kind="completions")
    Databricks(endpoint_name="model", task="llm/v1/completions").invoke("a")
    assert [r.method for r in workspace.requests] == ["POST"]


def test_many_prompts_to_a_custom_model_are_one_request(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", upper_case, kind="custom")
    assert Databricks(endpoint_name="model").batch(["a", "b", "c"]) == ["A", "B", "C"]
    posts = [r for r in workspace.requests if r.method == "POST"]
    assert len(posts) == 1
    assert len(posts[0].body["dataframe_records"]) == 3


def test_parameters_of_a_call_take_precedence_over_the_constructor(
    workspace: LocalWorkspace,
) -> None:
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
    with DriverServer(upper_case, host="127.0.0.1", port=0, api_key="k") as server:
        with pytest.warns(UserWarning, match="3000-8000"):
            llm = Databricks(host="local", cluster_driver_port=server.port, driver_api_key="k")
        assert llm.invoke("hi") == "HI"


def test_a_hook_may_be_an_import_string(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", upper_case, kind="custom")
    llm = Databricks(endpoint_name="model", transform_input_fn=f"{__name__}:double_prompt")
    assert llm.invoke("hi") == "HIHI"


def test_an_error_of_a_hook_names_the_hook(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("model", upper_case, kind="custom")

    def failing_hook(response):
        return response["text"]

    llm = Databricks(endpoint_name="model", transform_output_fn=failing_hook)
    with pytest.raises(errors.TransformError, match=r"failing_hook.* raised TypeError") as raised:
        llm.invoke("hi")
    assert isinstance(raised.value.__cause__, TypeError)


def test_a_hook_that_does_not_return_a_request_is_named(workspace: LocalWorkspace) -> None:
    llm = Databricks(endpoint_name="m", transform_input_fn=lambda **request: None)
    with pytest.raises(errors.TransformError, match="returned NoneType, not a dict"):
        llm.invoke("hi")
    assert not workspace.requests


def test_the_error_for_a_prediction_without_text_shows_the_prediction(
    workspace: LocalWorkspace,
) -> None:
    workspace.add_endpoint("model", lambda prompt: {"score": 0.5}, kind="custom")
    with pytest.raises(errors.InvalidResponseError, match=r"'model'.*transform_output_fn.*score"):
        Databricks(endpoint_name="model").invoke("hi")


@pytest.mark.parametrize(
    "prediction",
    [{"text": "ok"}, {"0": "ok"}, ["ok"], {"choices": [{"message": {"content": "ok"}}]}],
)
def test_predictions_of_the_usual_shapes_are_decoded(
    workspace: LocalWorkspace, prediction: object
) -> None:
    workspace.add_endpoint("model", lambda prompt: prediction, kind="custom")
    assert Databricks(endpoint_name="model").invoke("hi") == "ok"


@pytest.mark.parametrize(
    ("arguments", "message"),
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
def test_an_invalid_target_is_rejected_by_the_constructor(arguments: dict, message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=message):
        Databricks(**arguments)


def test_secrets_are_not_shown() -> None:
    llm = Databricks(
        endpoint_name="m", api_token="dapi-secret", driver_api_key="key-secret", host="a.example"
    )
    for shown in (repr(llm), str(llm), str(llm.model_dump()), str(llm._identifying_params)):
        assert "secret" not in shown
