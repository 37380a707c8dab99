"""The calls that the Databricks documentation of LangChain shows run unchanged."""

from __future__ import annotations

import pytest
from langchain_core.messages import HumanMessage

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings
from langchain_dbx_eval.driver import DriverServer
from langchain_dbx_eval.testing import LocalWorkspace

# The documentation uses this port: the tests run in one worker, one after the other.
pytestmark = [pytest.mark.xdist_group("port 7777"), pytest.mark.usefixtures("documented_port")]


def answer(prompt: str, stop: list[str] | None = None, temperature: float = 1.0) -> str:
    return f"Good. And you? {temperature}"


@pytest.fixture
def dolly(workspace: LocalWorkspace) -> LocalWorkspace:
    workspace.add_endpoint("dolly", answer, kind="custom")
    return workspace


def test_a_serving_endpoint_is_called_like_a_function(dolly: LocalWorkspace) -> None:
    llm = Databricks(endpoint_name="dolly")
    assert llm("How are you?") == "Good. And you? 1.0"
    assert "stop" not in dolly.requests[-1].body["dataframe_records"][0]


def test_stop_reaches_the_endpoint(dolly: LocalWorkspace) -> None:
    llm = Databricks(endpoint_name="dolly")
    assert llm("How are you?", stop=["."])
    assert dolly.requests[-1].body["dataframe_records"][0]["stop"] == ["."]


def test_model_kwargs_reach_the_endpoint(dolly: LocalWorkspace) -> None:
    llm = Databricks(endpoint_name="dolly", model_kwargs={"temperature": 0.1})
    assert llm("How are you?") == "Good. And you? 0.1"


def test_an_input_hook_changes_the_prompt(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("dolly", lambda prompt: prompt, kind="custom")

    def transform_input(**request):
        request["prompt"] += " Be Concise."
        return request

    llm = Databricks(endpoint_name="dolly", transform_input_fn=transform_input)
    assert llm("How are you?") == "How are you? Be Concise."


def test_a_driver_proxy_app_is_called_through_a_cluster(
    workspace: LocalWorkspace, recwarn: pytest.WarningsRecorder
) -> None:
    with DriverServer(answer, host="127.0.0.1", port=7777, api_key="app-key"):
        llm = Databricks(
            cluster_id="0000-000000-xxxxxxxx", cluster_driver_port="7777", driver_api_key="app-key"
        )
        assert llm("How are you?") == "Good. And you? 1.0"
    sent = workspace.requests[-1]
    assert sent.path == "/driver-proxy-api/o/0/0000-000000-xxxxxxxx/7777/"
    assert not recwarn.list


def test_the_port_is_sufficient_on_the_cluster_itself(workspace: LocalWorkspace) -> None:
    # In one notebook, the server creates a key and the client reads it from the environment.
    with DriverServer(answer, host="127.0.0.1", port=7777):
        assert Databricks(cluster_id="0000-000000-xxxxxxxx", cluster_driver_port="7777")(
            "How are you?"
        )
        llm = Databricks(
            cluster_driver_port="7777", transform_output_fn=lambda response: response.upper()
        )
        assert llm("How are you?") == "GOOD. AND YOU? 1.0"
    assert f"/{workspace.cluster_id}/" in workspace.requests[-1].path


def test_a_chat_model_is_called_like_a_function(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("my-chat", lambda messages, **params: "Hello!", kind="chat")
    chat = ChatDatabricks(target_uri="databricks", endpoint="my-chat", temperature=0.1)
    assert chat([HumanMessage(content="hello")]).content == "Hello!"
    assert workspace.requests[-1].body["temperature"] == 0.1


def test_embeddings_embed_a_query(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint(
        "databricks-bge-large-en",
        lambda texts: [[0.25, 0.5, 0.75, 1.0] for _ in texts],
        kind="embeddings",
    )
    embeddings = DatabricksEmbeddings(endpoint="databricks-bge-large-en")
    assert embeddings.embed_query("hello")[:3] == [0.25, 0.5, 0.75]
