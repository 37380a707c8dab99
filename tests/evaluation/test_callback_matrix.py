"""Each call is captured separately, for several kinds of chains and all methods of calling."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterator
from typing import Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, AIMessageChunk, BaseMessage, ToolMessage
from langchain_core.output_parsers import StrOutputParser
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.runnables import Runnable, RunnableConfig, RunnableLambda, RunnablePassthrough
from langchain_core.tools import tool
from langgraph.graph import END, START, StateGraph

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.handler import CaptureHandler
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun
from langchain_dbx_eval.evaluation.online.matching import RecordIndex
from langchain_dbx_eval.scoring.answer_text import answer_text
from tests.evaluation.calling import METHODS
from tests.evaluation.conftest import Finder

ROWS = 50
RECORDS = [EvalRecord(request=f"question {n}", request_id=f"r{n}") for n in range(ROWS)]


class Model(BaseChatModel):
    """Calls its tool, then answers with a number; the token counts depend on the number."""

    has_tool: bool = False

    @property
    def _llm_type(self) -> str:
        return "numbered"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, Any]:
        return self.model_copy(update={"has_tool": True})

    def _message(self, messages: list[BaseMessage]) -> AIMessage:
        number = number_of(messages[0].text)
        usage = {
            "input_tokens": number,
            "output_tokens": 2 * number,
            "total_tokens": 3 * number,
        }
        if self.has_tool and not isinstance(messages[-1], ToolMessage):
            call = {"name": "find", "args": {"number": number}, "id": f"call-{number}"}
            return AIMessage("", tool_calls=[call], usage_metadata=usage)
        return AIMessage(f"answer {number}", usage_metadata=usage)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        message = self._message(messages)
        usage = {"token_usage": {"prompt_tokens": 1000, "completion_tokens": 1000}}
        return ChatResult(generations=[ChatGeneration(message=message)], llm_output=usage)

    def _stream(
        self, messages: list[BaseMessage], *args: Any, **kwargs: Any
    ) -> Iterator[ChatGenerationChunk]:
        message = self._message(messages)
        words = re.findall(r"\S+\s*", message.text) or [""]
        for index, word in enumerate(words):
            last = index == len(words) - 1
            chunk = AIMessageChunk(
                word,
                tool_calls=message.tool_calls if last else [],
                usage_metadata=message.usage_metadata if last else None,
            )
            yield ChatGenerationChunk(message=chunk)


def number_of(text: str) -> int:
    return int(text.split()[-1])


def lcel() -> Runnable[Any, Any]:
    return ChatPromptTemplate.from_template("{question}") | Model() | StrOutputParser()


def retrieval() -> Runnable[Any, Any]:
    gathered = {"docs": Finder(), "question": RunnablePassthrough()}
    prompt = ChatPromptTemplate.from_template("{question}")
    return RunnableLambda(lambda inputs: inputs["question"]) | gathered | prompt | Model()


class State(TypedDict, total=False):
    question: str
    docs: list[Any]
    answer: str


def langgraph() -> Runnable[Any, Any]:
    graph = StateGraph(State)
    graph.add_node("find", lambda state: {"docs": Finder().invoke(state["question"])})
    graph.add_node("answer", lambda state: {"answer": Model().invoke(state["question"]).text})
    graph.add_edge(START, "find")
    graph.add_edge("find", "answer")
    graph.add_edge("answer", END)
    return graph.compile()


@tool
def find(number: int) -> str:
    """Find the document of a number."""
    return Finder().invoke(f"question {number}")[0].page_content


def agent() -> Runnable[Any, Any]:
    return create_agent(Model(), [find])


def in_dict(question: str) -> dict[str, Any]:
    return {"question": question}


def in_messages(question: str) -> dict[str, Any]:
    return {"messages": [("user", question)]}


# A chain, its input, the number of its documents and of its model calls.
CHAINS: dict[str, tuple[Callable[[], Runnable[Any, Any]], Callable[[str], Any], int, int]] = {
    "lcel": (lcel, in_dict, 0, 1),
    "langgraph": (langgraph, in_dict, 1, 1),
    "agent": (agent, in_messages, 1, 2),
    "retrieval": (retrieval, in_dict, 1, 1),
}


def check(run: CapturedRun, documents: int, model_calls: int) -> int:
    """Check that all content of a call belongs to its question; return the question's number."""
    number = RecordIndex(RECORDS).find(run)
    assert number is not None, run.request
    outcome = run.outcome()
    answer = outcome.response
    text = answer["answer"] if isinstance(answer, dict) and "answer" in answer else answer
    assert answer_text(text) == f"answer {number}"
    expected = [{"doc_uri": f"{number}.md", "content": f"answer {number}"}] * documents
    assert list(outcome.retrieved_context or []) == expected
    assert (outcome.input_tokens, outcome.output_tokens) == (
        model_calls * number,
        model_calls * 2 * number,
    )
    assert outcome.error is None
    ids = {span.run_id for span in run.spans}
    assert {span.parent_id for span in run.spans[1:]} <= ids
    for span in run.spans:
        assert set(re.findall(r"(?:question|answer) (\d+)", repr((span.inputs, span.outputs)))) <= {
            str(number)
        }
    return number


@pytest.mark.parametrize("call", METHODS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("kind", CHAINS)
def test_every_call_has_its_own_input_output_documents_and_tokens(kind: str, call: Any) -> None:
    make, to_input, documents, model_calls = CHAINS[kind]
    runs: list[CapturedRun] = []
    handler = CaptureHandler(lambda recording: runs.append(recording.to_run()))
    inputs = [to_input(record.request) for record in RECORDS]
    config: RunnableConfig = {"callbacks": [handler]}
    call(make(), inputs, config)
    assert sorted(check(run, documents, model_calls) for run in runs) == list(range(ROWS))


def test_two_concurrent_chains_share_a_handler() -> None:
    runs: list[CapturedRun] = []
    handler = CaptureHandler(lambda recording: runs.append(recording.to_run()))

    async def both() -> None:
        await asyncio.gather(
            *(lcel().ainvoke(in_dict(r.request), {"callbacks": [handler]}) for r in RECORDS),
            *(agent().ainvoke(in_messages(r.request), {"callbacks": [handler]}) for r in RECORDS),
        )

    asyncio.run(both())
    numbers = [check(run, *((1, 2) if "messages" in run.request else (0, 1))) for run in runs]
    assert sorted(numbers) == sorted([*range(ROWS), *range(ROWS)])
