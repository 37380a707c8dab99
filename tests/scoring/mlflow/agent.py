"""An agent whose answers and tool calls are known, its rows, and a judge that reads them."""

from __future__ import annotations

import json
import re
from typing import Any

from langchain.agents import create_agent
from langchain_core.callbacks import CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.language_models.chat_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableConfig
from langchain_core.tools import tool
from langchain_core.utils.function_calling import convert_to_openai_tool

ROWS = [
    {
        "inputs": {"question": f"How many people live in city-{n}?"},
        "expectations": {
            "expected_response": f"{n}000 people live in city-{n}.",
            "expected_tool_calls": [{"name": "population", "arguments": {"city": f"city-{n}"}}],
        },
    }
    for n in range(20)
]


def session_of(question: str) -> str:
    """Four questions are one session."""
    return f"session-{_number(question) // 4}"


class Registry(BaseRetriever):
    """Retrieves the document of a city."""

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        text = f"{query} has {_number(query)}000 inhabitants"
        return [Document(text, metadata={"doc_uri": f"{query}.md"})]


@tool
def population(city: str, config: RunnableConfig) -> str:
    """Return the number of inhabitants of a city."""
    return Registry().invoke(city, config)[0].page_content


class CityModel(BaseChatModel):
    """Calls the tool once, or, by the number of the city: twice, not at all, for another city."""

    @property
    def _llm_type(self) -> str:
        return "city"

    def bind_tools(self, tools: Any, **kwargs: Any) -> Runnable[Any, AIMessage]:
        return self.bind(tools=[convert_to_openai_tool(one) for one in tools], **kwargs)

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        n = _number(messages[0].text)
        cities = {1: [n, n], 2: [], 3: [n + 1]}.get(n % 5, [n])
        results = [message for message in messages if isinstance(message, ToolMessage)]
        if len(results) < len(cities):
            city = f"city-{cities[len(results)]}"
            call = {"name": "population", "args": {"city": city}, "id": f"call-{len(results)}"}
            answer = AIMessage("", tool_calls=[call])
        elif results:
            answer = AIMessage(f"The registry says: {results[-1].text}.")
        else:
            answer = AIMessage("I do not know.")
        return ChatResult(generations=[ChatGeneration(message=answer)])


AGENT = create_agent(CityModel(), [population])


def answer(question: str) -> dict[str, Any]:
    """The application: its output is a dict."""
    state = AGENT.invoke({"messages": [{"role": "user", "content": question}]})
    calls = [message for message in state["messages"] if isinstance(message, ToolMessage)]
    return {"answer": state["messages"][-1].text, "calls": len(calls)}


def judge(body: dict[str, Any]) -> dict[str, Any]:
    """A judge whose verdict depends on the facts that it is shown, and on nothing else.

    With a trace, it lists the spans with its tools first.
    """
    messages = body["messages"]
    if body.get("tools") and messages[-1]["role"] != "tool":
        function = {"name": "list_spans", "arguments": "{}"}
        return {"tool_calls": [{"id": "1", "type": "function", "function": function}]}
    shown = json.dumps(messages)
    facts = (
        len(re.findall(r"has \d+ inhabitants", shown)),
        len(re.findall(r"\bpopulation\b", shown)),
        len(re.findall(r"I do not know", shown)),
        sorted(set(re.findall(r"city-\d+", shown))),
    )
    verdict = "yes" if sum(map(ord, repr(facts))) % 2 else "no"
    return {"result": verdict, "rationale": repr(facts)}


def _number(text: str) -> int:
    return int(re.findall(r"city-(\d+)", text)[0])
