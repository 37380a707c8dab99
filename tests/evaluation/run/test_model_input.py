"""Every documented form of a request reaches every kind of model as what that model takes."""

from __future__ import annotations

import sys
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import mlflow
import pytest
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.runnables import RunnableLambda
from langgraph.graph import START, MessagesState, StateGraph

from langchain_dbx_eval import ChatDatabricks, errors, evaluate
from langchain_dbx_eval.testing import LocalWorkspace

pytestmark = pytest.mark.usefixtures("mlflow_store")


@pytest.fixture(autouse=True)
def _main_module_with_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """Prevent pyspark 4.2, which `infer_signature` imports, from ending a worker of pytest-xdist.

    It takes a main module without a file and a spec for a doctest of its own, and exits.
    """
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", ModuleSpec("__main__", None))


QUESTION = "What is MLflow?"
HISTORY = [
    {"role": "user", "content": "Hello"},
    {"role": "assistant", "content": "Hello! How can I help?"},
]
TURN = {"role": "user", "content": QUESTION}
# Each form, and the number of messages of its conversation.
FORMS: dict[str, tuple[dict[str, Any], int]] = {
    "string": ({"request": QUESTION}, 1),
    "messages": ({"request": {"messages": [*HISTORY, TURN]}}, 3),
    "list": ({"request": [*HISTORY, TURN]}, 3),
    "history": ({"request": {"query": QUESTION, "history": HISTORY}}, 3),
    "no_history": ({"request": {"query": QUESTION, "history": []}}, 1),
    "question": ({"inputs": {"question": QUESTION}}, 1),
    "responses": ({"inputs": {"input": [*HISTORY, TURN]}}, 3),
    "langchain": ({"request": {"messages": [AIMessage("Hi"), HumanMessage(QUESTION)]}}, 2),
}


def text_of(message: Any) -> str:
    content = message.content if isinstance(message, BaseMessage) else message["content"]
    if isinstance(content, list):
        return "".join(part["text"] for part in content)
    return content


def answer(messages: list[Any]) -> str:
    """The answer of all models here: how many messages there are, and the last one."""
    return f"{len(messages)}: {text_of(messages[-1])}"


def check(model: Any, *forms: str) -> None:
    """Evaluate a model on a row of each form; default: all forms."""
    data = [{**FORMS[form][0], "request_id": form} for form in forms or FORMS]
    table = evaluate(model, data, scorers=[]).tables["eval_results"].set_index("request_id")
    assert table["model_error_message"].dropna().empty
    assert table["response"].to_dict() == {
        form: f"{FORMS[form][1]}: {QUESTION}" for form in forms or FORMS
    }


class Echo(GenericFakeChatModel):
    """Answers with `answer`."""

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        return ChatResult(generations=[ChatGeneration(message=AIMessage(answer(messages)))])


@pytest.mark.parametrize("kind", ["chat", "chat_model", "chat_agent", "responses"])
def test_an_endpoint_receives_the_conversation(workspace: LocalWorkspace, kind: Any) -> None:
    workspace.add_endpoint("model", answer, kind=kind)
    check("endpoints:/model")


@pytest.mark.parametrize("wrap", ["plain", "chain", "retry", "bound", "fallbacks"])
def test_a_chat_model_receives_the_conversation(wrap: str) -> None:
    model = Echo(messages=iter([]))
    wrapped = {
        "plain": model,
        "chain": model | StrOutputParser(),
        "retry": model.with_retry(),
        "bound": model.bind(stop=["x"]),
        "fallbacks": model.with_fallbacks([model]),
    }
    check(wrapped[wrap])


def test_a_graph_receives_the_conversation() -> None:
    builder = StateGraph(MessagesState)
    builder.add_node("n", lambda state: {"messages": [AIMessage(answer(state["messages"]))]})
    builder.add_edge(START, "n")
    check(builder.compile())


def test_other_keys_of_a_request_are_fields_of_the_call(workspace: LocalWorkspace) -> None:
    received: list[Any] = []

    def agent(messages: list[Any], custom_inputs: Any = None, context: Any = None) -> str:
        received.append((custom_inputs, context))
        return answer(messages)

    workspace.add_endpoint("agent", agent, kind="chat_agent")
    others = {"custom_inputs": {"k": 3}, "context": {"user_id": "u"}}
    evaluate("endpoints:/agent", [{"request": {"messages": [TURN], **others}}], scorers=[])
    assert received == [({"k": 3}, {"user_id": "u"})]


def test_a_field_that_an_endpoint_does_not_have_is_an_error_of_the_row(
    workspace: LocalWorkspace,
) -> None:
    workspace.add_endpoint("chat", answer, kind="chat")
    data = [{"inputs": {"question": QUESTION, "top_documents": 3}}]
    [row] = evaluate("endpoints:/chat", data, scorers=[]).rows
    assert "top_documents" in row.outcome.error


def test_a_request_that_is_no_conversation_is_an_error_of_the_row() -> None:
    [row] = evaluate(Echo(messages=iter([])), [{"request": {"a": 1}}], scorers=[]).rows
    assert "{'a': 1}" in row.outcome.error
    assert "input_fn" in row.outcome.error


def test_an_endpoint_that_does_not_exist_is_an_error_at_once(workspace: LocalWorkspace) -> None:
    with pytest.raises(errors.NotFoundError, match="nowhere"):
        evaluate("endpoints:/nowhere", [{"request": QUESTION}])


def test_an_endpoint_without_a_chat_task_is_an_error_at_once(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("vectors", lambda texts: [[0.0] for _ in texts], kind="embeddings")
    with pytest.raises(errors.ConfigurationError, match=r"llm/v1/embeddings.*not a chat task"):
        evaluate("endpoints:/vectors", [{"request": QUESTION}])


def test_a_chat_databricks_of_an_agent_receives_the_conversation(
    workspace: LocalWorkspace,
) -> None:
    workspace.add_endpoint("agent", answer, kind="responses")
    check(ChatDatabricks(model="agent", use_responses_api=True), "messages")


# Functions


CONVERSATIONS = ("string", "messages", "list", "langchain")


def test_a_function_receives_messages() -> None:
    check(lambda model_input: answer(model_input["messages"]), *CONVERSATIONS)
    check(lambda messages: answer(messages), *CONVERSATIONS)


def with_default(question: str, k: int = 3) -> str:
    return f"{question} {k}"


def with_keywords(question: str, **kwargs: Any) -> str:
    return f"{question} {kwargs.get('k', 3)}"


async def with_await(question: str, k: int = 3) -> str:
    return f"{question} {k}"


class WithAwait:
    async def __call__(self, question: str, k: int = 3) -> str:
        return f"{question} {k}"


@pytest.mark.parametrize("inputs", [{"question": "q"}, {"question": "q", "k": 4}])
@pytest.mark.parametrize(
    "function", [with_default, with_keywords, with_await, WithAwait(), mlflow.trace(with_default)]
)
def test_keys_that_fit_the_signature_are_keyword_arguments(
    function: Any, inputs: dict[str, Any]
) -> None:
    [row] = evaluate(function, [{"inputs": inputs}], scorers=[]).rows
    assert row.outcome.response == f"q {inputs.get('k', 3)}"


@pytest.mark.parametrize("inputs", [{"other": "q"}, {"question": "q", "more": 1}])
def test_keys_that_do_not_fit_the_signature_are_one_argument(inputs: dict[str, Any]) -> None:
    result = evaluate(lambda question, k=3: question, [{"inputs": inputs}], scorers=[])
    assert result.rows[0].outcome.response == inputs


def test_predict_fn_is_the_model() -> None:
    data = [{"inputs": {"question": "q"}}]
    result = evaluate(data=data, predict_fn=with_default, scorers=[])
    assert result.rows[0].outcome.response == "q 3"
    with pytest.raises(errors.ConfigurationError, match="predict_fn="):
        evaluate(with_default, data, predict_fn=with_default)


# Logged and loaded models

MODELS = {
    "responses_agent": """
from mlflow.pyfunc import ResponsesAgent
from mlflow.types.responses import ResponsesAgentResponse

class Model(ResponsesAgent):
    def predict(self, request):
        text = f"{len(request.input)}: {text_of(request.input[-1].model_dump())}"
        items = [self.create_text_output_item("Let me see", "1")]
        items += [self.create_text_output_item(text, "2")]
        return ResponsesAgentResponse(output=items)
""",
    "chat_agent": """
from mlflow.pyfunc import ChatAgent
from mlflow.types.agent import ChatAgentMessage, ChatAgentResponse

class Model(ChatAgent):
    def predict(self, messages, context=None, custom_inputs=None):
        text = f"{len(messages)}: {messages[-1].content}"
        message = ChatAgentMessage(role="assistant", content=text, id="1")
        return ChatAgentResponse(messages=[message])
""",
    "chat_model": """
from mlflow.pyfunc import ChatModel
from mlflow.types.llm import ChatChoice, ChatCompletionResponse, ChatMessage

class Model(ChatModel):
    def predict(self, context, messages, params):
        text = f"{len(messages)}: {messages[-1].content}"
        message = ChatMessage(role="assistant", content=text)
        return ChatCompletionResponse(choices=[ChatChoice(message=message)])
""",
    "hints": """
import pydantic

class Message(pydantic.BaseModel):
    role: str
    content: str

class Question(pydantic.BaseModel):
    messages: list[Message]

class Model(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[Question]) -> list[str]:
        return [f"{len(q.messages)}: {q.messages[-1].content}" for q in model_input]
""",
}
TEXT_OF = """
import mlflow

def text_of(item):
    content = item["content"]
    return content if isinstance(content, str) else "".join(part["text"] for part in content)
"""


def log_model(folder: Path, code: str, **options: Any) -> str:
    path = folder / "model.py"
    path.write_text(f"{TEXT_OF}\n{code}\nmlflow.models.set_model(Model())\n")
    with mlflow.start_run():
        info = mlflow.pyfunc.log_model(
            python_model=str(path), name="model", pip_requirements=[], **options
        )
    return info.model_uri


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("loaded", [True, False])
def test_a_logged_model_receives_what_its_signature_declares(
    tmp_path: Path, model: str, loaded: bool
) -> None:
    uri = log_model(tmp_path, MODELS[model])
    check(mlflow.pyfunc.load_model(uri) if loaded else uri)


COLUMNS = """
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        return ["1: " + question for question in model_input["question"]]
"""
HISTORY_COLUMNS = """
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, context, model_input, params=None):
        [row] = model_input.to_dict("records")
        return [f"{1 + len(row['history'])}: {row['query']}"]
"""
TEXTS = """
class Model(mlflow.pyfunc.PythonModel):
    def predict(self, model_input: list[str]) -> list[str]:
        return ["1: " + text for text in model_input]
"""


@pytest.mark.parametrize("code", [COLUMNS, TEXTS])
def test_a_model_with_one_text_input_receives_the_question(tmp_path: Path, code: str) -> None:
    options = {}
    if code == COLUMNS:
        options["signature"] = mlflow.models.infer_signature({"question": QUESTION}, "text")
    check(log_model(tmp_path, code, **options), "string", "question", "no_history")


def test_a_model_with_query_and_history_receives_both(tmp_path: Path) -> None:
    example = {"query": QUESTION, "history": HISTORY}
    uri = log_model(
        tmp_path, HISTORY_COLUMNS, signature=mlflow.models.infer_signature(example, "text")
    )
    check(uri, "messages", "list", "history", "responses")


def test_a_logged_chain_receives_what_its_signature_declares(tmp_path: Path) -> None:
    code = """
import mlflow
from langchain_core.runnables import RunnableLambda

def answer(state):
    return f"{len(state['messages'])}: {state['messages'][-1]['content']}"

mlflow.models.set_model(RunnableLambda(answer))
"""
    (tmp_path / "chain.py").write_text(code)
    with mlflow.start_run():
        info = mlflow.langchain.log_model(
            str(tmp_path / "chain.py"),
            name="chain",
            pip_requirements=[],
            signature=mlflow.models.infer_signature({"messages": HISTORY}, "text"),
        )
    check(info.model_uri)


def test_a_plain_runnable_receives_the_request_unchanged() -> None:
    received: list[Any] = []
    chain = RunnableLambda(lambda request: received.append(request) or "ok")
    evaluate(chain, [{"request": QUESTION}, {"inputs": {"question": "q"}}], max_concurrency=1)
    assert received == [QUESTION, {"question": "q"}]
