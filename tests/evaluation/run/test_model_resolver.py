"""Models that are logged, registered, loaded as pyfunc, or behind an endpoint."""

from __future__ import annotations

from pathlib import Path

import mlflow
import pytest
from langchain_core.messages import AIMessage
from langgraph.graph import START, MessagesState, StateGraph

from langchain_dbx_eval import errors, evaluate
from langchain_dbx_eval.testing import LocalWorkspace
from tests.evaluation.questions import RECORDS

pytestmark = pytest.mark.usefixtures("mlflow_store")
MATCH = "response/ground_truth/exact_match/average"
CHAIN = """
import mlflow
from langchain_core.runnables import RunnableLambda

answer = RunnableLambda(lambda text: text.replace("question", "answer"))
mlflow.models.set_model(RunnableLambda(lambda text: text) | answer)
"""
MODEL = """
import mlflow


class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return [model_input["messages"][-1]["content"].replace("question", "answer")]


mlflow.models.set_model(Model())
"""


@pytest.fixture
def logged_chain(mlflow_store: str, tmp_path: Path) -> mlflow.models.model.ModelInfo:
    (tmp_path / "chain.py").write_text(CHAIN)
    with mlflow.start_run():
        return mlflow.langchain.log_model(
            str(tmp_path / "chain.py"), name="chain", pip_requirements=[]
        )


def test_a_logged_chain_is_evaluated_with_its_steps(logged_chain) -> None:
    result = evaluate(logged_chain.model_uri, RECORDS[:2])
    assert result.metrics[MATCH] == 1.0
    assert len(result.rows[0].run.spans) > 1


def test_a_registered_model_is_loaded_by_its_three_level_name(logged_chain) -> None:
    mlflow.register_model(logged_chain.model_uri, "main.default.chain")
    assert evaluate("models:/main.default.chain/1", RECORDS[:2]).metrics[MATCH] == 1.0


def test_a_pyfunc_model_gets_messages(mlflow_store: str, tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text(MODEL)
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            python_model=str(tmp_path / "model.py"), name="model", pip_requirements=[]
        )
    loaded = mlflow.pyfunc.load_model(info.model_uri)
    assert evaluate(loaded, RECORDS[:2]).metrics[MATCH] == 1.0


def test_an_endpoint_is_invoked(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("agent", lambda messages: "answer 0", kind="chat_agent")
    result = evaluate("endpoints:/agent", RECORDS[:2])
    assert result.metrics[MATCH] == 0.5


@pytest.mark.parametrize("uri", ["models:/main.default.nothing/1", "runs:/0123456789abcdef/chain"])
def test_the_error_names_a_model_that_does_not_exist(uri: str) -> None:
    with pytest.raises(errors.NotFoundError, match=uri):
        evaluate(uri, RECORDS[:1])


@pytest.mark.parametrize("uri", ["endpoints:/", "my-chain", "file:///tmp/x"])
def test_a_string_that_is_not_a_model_uri_is_rejected(uri: str) -> None:
    with pytest.raises(errors.ConfigurationError, match="models:/name/version"):
        evaluate(uri, RECORDS[:1])


def test_a_langgraph_graph_receives_messages_and_its_last_one_is_the_response() -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("first", lambda state: {"messages": [AIMessage("let me see")]})
    builder.add_node(
        "second", lambda state: {"messages": [AIMessage(state["messages"][0].text.upper())]}
    )
    builder.add_edge(START, "first")
    builder.add_edge("first", "second")
    data = [{"request": f"question {n}", "expected_response": f"QUESTION {n}"} for n in range(6)]
    result = evaluate(builder.compile(), data)
    table = result.tables["eval_results"]
    assert list(table["response"]) == [f"QUESTION {n}" for n in range(6)]
    assert result.metrics["response/ground_truth/exact_match/average"] == 1.0
    assert {span.name for span in result.rows[0].run.spans} >= {"first", "second"}


def test_the_error_for_an_endpoint_of_a_text_model_shows_the_class(
    workspace: LocalWorkspace,
) -> None:
    workspace.add_endpoint("text", lambda prompt, **params: prompt, kind="completions")
    with pytest.raises(errors.ConfigurationError, match=r"'text' .*Databricks\(endpoint_name="):
        evaluate("endpoints:/text", RECORDS)
