"""The content of captured calls, and that no call is left open."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.callbacks import (
    CallbackManager,
    CallbackManagerForLLMRun,
    CallbackManagerForRetrieverRun,
)
from langchain_core.documents import Document
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.messages import AIMessage, HumanMessage
from langchain_core.outputs import ChatGeneration, ChatResult, Generation, LLMResult
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnableGenerator, RunnableLambda
from langgraph.graph import END, START, MessagesState, StateGraph

from langchain_dbx_eval.evaluation.capture.handler import CaptureHandler, token_usage
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun
from langchain_dbx_eval.evaluation.online.row_selection import RowSelector
from tests.evaluation.conftest import Finder
from tests.evaluation.waiting import wait_until_async


class CollectingHandler(CaptureHandler):
    """Keeps the calls that have ended."""

    def __init__(self, **options: Any) -> None:
        self.calls: list[CapturedRun] = []
        super().__init__(lambda recording: self.calls.append(recording.to_run()), **options)

    @property
    def open_calls(self) -> int:
        return len(self._open)


def config(handler: CollectingHandler) -> dict[str, Any]:
    return {"callbacks": [handler]}


def stripped(text: str) -> str:
    # In threads, LangChain cannot inspect `str.strip` on Python 3.11.7 (CPython's issue 106905).
    return text.strip()


def fails_on_odd(question: str) -> str:
    number = int(question.split()[-1])
    if number % 2:
        raise ValueError(f"no {number}")
    return f"answer {number}"


QUESTIONS = [f"question {n}" for n in range(6)]


@pytest.mark.parametrize("method", ["batch", "abatch", "threads"])
def test_each_failed_call_of_a_batch_has_its_own_error(method: str) -> None:
    chain: Runnable[str, str] = RunnableLambda(stripped) | RunnableLambda(fails_on_odd)
    handler = CollectingHandler()
    if method == "abatch":
        asyncio.run(chain.abatch(QUESTIONS, config(handler), return_exceptions=True))
    elif method == "batch":
        chain.batch(QUESTIONS, config(handler), return_exceptions=True)
    else:
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(chain.invoke, question, config(handler)) for question in QUESTIONS]
        assert sum(call.exception() is not None for call in calls) == 3
    errors = {call.request: call.outcome().error for call in handler.calls}
    odd = {q: f"ValueError: no {q.split()[-1]}" for q in QUESTIONS[1::2]}
    assert errors == {**odd, **dict.fromkeys(QUESTIONS[::2])}
    assert handler.open_calls == 0


def test_a_stream_that_fails_has_its_input_and_its_error() -> None:
    def fail(chunks: Iterator[str]) -> Iterator[str]:
        yield from chunks
        raise ValueError("halfway")

    handler = CollectingHandler()
    chain = RunnableLambda(str.upper) | RunnableGenerator(fail)
    with pytest.raises(ValueError, match="halfway"):
        list(chain.stream("question", config(handler)))
    [call] = handler.calls
    assert (call.request, call.outcome().error) == ("question", "ValueError: halfway")


def test_a_handler_on_an_inner_chain_captures_that_chain_as_the_call() -> None:
    handler = CollectingHandler()
    inner = (RunnableLambda(str.upper) | RunnableLambda(str.strip)).with_config(callbacks=[handler])
    chain = RunnableLambda(str.lower) | inner | RunnableLambda(len)
    assert chain.batch(["Ab ", "Cde "]) == [2, 3]
    assert [(call.request, call.outcome().response) for call in handler.calls] == [
        ("ab ", "AB"),
        ("cde ", "CDE"),
    ]


def test_a_handler_that_is_passed_twice_captures_each_call_once() -> None:
    handler = CollectingHandler()
    chain = (RunnableLambda(str.upper) | RunnableLambda(str.strip)).with_config(callbacks=[handler])
    chain.invoke("a", config(handler))
    [call] = handler.calls
    assert len(call.spans) == 3


def test_tags_and_metadata_of_the_call_are_captured() -> None:
    handler = CollectingHandler()
    call_config = {**config(handler), "tags": ["canary"], "metadata": {"request_id": "r1"}}
    (RunnableLambda(str.upper) | RunnableLambda(str.strip)).invoke("a", call_config)
    [call] = handler.calls
    assert (call.tags, call.metadata) == (("canary",), {"request_id": "r1"})


def test_later_changes_to_an_input_or_output_are_not_captured() -> None:
    handler = CollectingHandler()

    def add(state: dict[str, Any]) -> dict[str, Any]:
        state["messages"].append("added by the chain")
        return {"messages": state["messages"]}

    result = RunnableLambda(add).invoke({"messages": ["question"]}, config(handler))
    result["messages"].append("added by the caller")
    [call] = handler.calls
    assert call.request == {"messages": ["question"]}
    assert call.outcome().response == {"messages": ["question", "added by the chain"]}


# --- tokens


@pytest.mark.parametrize(
    ("generation", "llm_output", "expected"),
    [
        pytest.param(
            {"usage": (3, 4)}, {"token_usage": {"prompt_tokens": 3}}, (3, 4, None), id="both"
        ),
        pytest.param({"usage": (3, 4), "cached": 2}, None, (3, 4, 2)),
        pytest.param(
            {}, {"token_usage": {"prompt_tokens": 3, "completion_tokens": 4}}, (3, 4, None)
        ),
        pytest.param(
            {},
            {
                "token_usage": {
                    "prompt_tokens": 3,
                    "completion_tokens": 4,
                    "prompt_tokens_details": {"cached_tokens": 1},
                }
            },
            (3, 4, 1),
        ),
        pytest.param({}, {"usage": {"input_tokens": 3, "output_tokens": 4}}, (3, 4, None)),
        pytest.param({"metadata": {"token_usage": {"prompt_tokens": 3}}}, None, (3, None, None)),
        pytest.param({}, {"token_usage": {}}, (None, None, None), id="no usage"),
        pytest.param({}, None, (None, None, None)),
    ],
)
def test_usage_is_read_from_each_field_that_providers_use(
    generation: dict[str, Any], llm_output: Any, expected: Any
) -> None:
    message = AIMessage("x", response_metadata=generation.get("metadata", {}))
    if usage := generation.get("usage"):
        input_tokens, output_tokens = usage
        message.usage_metadata = {
            "input_tokens": input_tokens,
            "output_tokens": output_tokens,
            "total_tokens": input_tokens + output_tokens,
        }
        if "cached" in generation:
            message.usage_metadata["input_token_details"] = {"cache_read": generation["cached"]}
    choices = [ChatGeneration(message=message), ChatGeneration(message=message)]
    assert token_usage(LLMResult(generations=[choices], llm_output=llm_output)) == expected


def test_usage_of_a_streaming_text_model_is_read_from_its_generation() -> None:
    info = {"token_usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    result = LLMResult(generations=[[Generation(text="x", generation_info=info)]])
    assert token_usage(result) == (1, 2, None)


class Wrapping(BaseChatModel):
    """Calls another model, and reports its usage as its own."""

    inner: Any

    @property
    def _llm_type(self) -> str:
        return "wrapping"

    def _generate(
        self,
        messages: list[Any],
        stop: Any = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **kwargs: Any,
    ) -> ChatResult:
        handlers = list(run_manager.inheritable_handlers)
        child = CallbackManager(handlers, handlers, parent_run_id=run_manager.run_id)
        answer = self.inner.invoke(messages, {"callbacks": child})
        return ChatResult(generations=[ChatGeneration(message=answer)])


def message(text: str = "two words") -> AIMessage:
    usage = {"input_tokens": 5, "output_tokens": 7, "total_tokens": 12}
    return AIMessage(text, usage_metadata=usage)


def test_tokens_of_a_wrapped_model_are_counted_once_per_call() -> None:
    handler = CollectingHandler()
    model = Wrapping(inner=GenericFakeChatModel(messages=iter([message(), message()])))
    chain = RunnableLambda(lambda q: [model.invoke(q), model.invoke(q)][0])
    chain.invoke("q", config(handler))
    [call] = handler.calls
    models = [span for span in call.spans if span.kind == "CHAT_MODEL"]
    assert [span.input_tokens for span in models] == [5, 5, 5, 5]
    assert (call.outcome().input_tokens, call.outcome().output_tokens) == (10, 14)


def test_only_streams_have_a_time_to_first_token() -> None:
    handler = CollectingHandler()
    chain = RunnableLambda(str.strip) | GenericFakeChatModel(messages=iter([message(), message()]))
    list(chain.stream("q", config(handler)))
    chain.invoke("q", config(handler))
    streamed, invoked = (call.outcome() for call in handler.calls)
    assert 0 < streamed.time_to_first_token_seconds <= streamed.latency_seconds
    assert invoked.time_to_first_token_seconds is None


# --- documents


class Both(BaseRetriever):
    """Calls another retriever twice, and returns its documents once."""

    inner: Any

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        child = {"callbacks": run_manager.get_child()}
        return [self.inner.invoke(query, child), self.inner.invoke(query, child)][0]


def test_only_the_documents_of_the_outermost_retriever_count() -> None:
    handler = CollectingHandler()
    chain = RunnableLambda(lambda q: Both(inner=Finder()).invoke(q))
    chain.invoke("question 3", config(handler))
    [call] = handler.calls
    assert [span.kind for span in call.spans].count("RETRIEVER") == 3
    assert call.outcome().retrieved_context == [{"doc_uri": "3.md", "content": "answer 3"}]


@pytest.mark.parametrize(
    ("doc_uri", "expected"),
    [({}, "a.md"), ({"doc_uri": lambda document: document.id}, "7")],
    ids=["default", "function"],
)
def test_the_uri_of_a_document_is_read_from_its_metadata_or_by_a_function(
    doc_uri: dict[str, Any], expected: str
) -> None:
    handler = CollectingHandler()
    documents = [Document("x", metadata={"source": "a.md"}, id="7")]
    run_id = start_step(handler)
    retriever = {"run_id": uuid4(), "parent_run_id": run_id}
    handler.on_retriever_start(None, "q", **retriever)
    handler.on_retriever_end(documents, **retriever)
    handler.on_chain_end("out", run_id=run_id)
    [call] = handler.calls
    assert call.outcome(**doc_uri).retrieved_context == [{"doc_uri": expected, "content": "x"}]


# --- calls that do not end normally


def endless(chunks: Iterator[str]) -> Iterator[str]:
    for _ in chunks:
        while True:
            yield "x"


async def aendless(chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    async for _ in chunks:
        while True:
            yield "x"
            await asyncio.sleep(0)


ENDLESS = RunnableLambda(stripped) | RunnableGenerator(endless, aendless)


def graph() -> Runnable[Any, Any]:
    state = StateGraph(MessagesState)
    state.add_node("answer", lambda state: {"messages": [AIMessage("x")]})
    state.add_edge(START, "answer")
    state.add_edge("answer", END)
    return state.compile()


def test_a_stream_that_is_not_read_to_its_end_is_closed() -> None:
    handler = CollectingHandler()
    for _ in range(20):
        for _chunk in ENDLESS.stream("q", config(handler)):
            break
        for _chunk in graph().stream({"messages": [HumanMessage("q")]}, config(handler)):
            break
    assert handler.open_calls == 0
    assert len(handler.calls) == 40


def test_an_async_stream_that_is_not_read_to_its_end_is_closed() -> None:
    handler = CollectingHandler()

    async def stop_early(chain: Runnable[Any, Any], value: Any) -> None:
        async for _chunk in chain.astream(value, config(handler)):
            break

    async def stop_all() -> None:
        await asyncio.gather(*(stop_early(ENDLESS, "q") for _ in range(10)))
        state = {"messages": [HumanMessage("q")]}
        await asyncio.gather(*(stop_early(graph(), state) for _ in range(10)))
        # LangGraph reports the end in a task of its own, which closing the loop would cancel.
        await wait_until_async(lambda: len(handler.calls) == 20)

    asyncio.run(stop_all())
    assert handler.open_calls == 0
    assert len(handler.calls) == 20


def test_a_canceled_task_is_a_call_with_an_error() -> None:
    handler = CollectingHandler()

    async def wait(_: str) -> str:
        await asyncio.sleep(60)
        return "never"

    async def cancel() -> None:
        task = asyncio.create_task(RunnableLambda(wait).ainvoke("q", config(handler)))
        await wait_until_async(lambda: handler.open_calls)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    [call] = handler.calls
    assert call.outcome().error == "CancelledError"


def start_step(handler: CollectingHandler, parent: Any = None) -> Any:
    run_id = uuid4()
    handler.on_chain_start(None, "in", run_id=run_id, parent_run_id=parent, name="step")
    return run_id


def test_the_number_of_open_calls_is_bounded() -> None:
    handler = CollectingHandler(max_open=10)
    for _ in range(2000):
        root = start_step(handler)
        start_step(handler, root)
    last = start_step(handler)
    handler.on_chain_end("out", run_id=last)
    assert handler.abandoned == 1991
    assert handler.open_calls == 9
    assert [call.outcome().response for call in handler.calls] == ["out"]
    assert len(handler._call_of) < 2 * (10 + 512) + 2


def test_the_ids_of_ended_calls_are_removed() -> None:
    handler = CollectingHandler()
    for _ in range(2000):
        RunnableLambda(str.upper).invoke("q", config(handler))
    assert len(handler.calls) == 2000
    assert len(handler._call_of) == 512


def test_a_step_that_starts_after_its_call_has_ended_is_not_a_call() -> None:
    handler = CollectingHandler()
    root = start_step(handler)
    left_behind = start_step(handler, root)
    handler.on_chain_end("out", run_id=root)
    late = start_step(handler, left_behind)
    later = start_step(handler, late)
    for run_id in (later, late, left_behind):
        handler.on_chain_end("late", run_id=run_id)
    [call] = handler.calls
    assert [span.outputs for span in call.spans] == ["out", None]
    assert call.spans[1].end_ns == call.root.end_ns
    assert handler.open_calls == 0


def test_an_end_without_a_start_is_ignored() -> None:
    handler = CollectingHandler()
    handler.on_chain_end("out", run_id=uuid4())
    handler.on_llm_new_token("x", run_id=uuid4())
    assert handler.calls == []


# --- selection


def test_a_call_that_is_not_selected_is_not_recorded_with_any_step() -> None:
    selector = RowSelector(0.0)
    handler = CollectingHandler(is_selected=selector)
    chain = RunnableLambda(str.upper) | RunnableLambda(lambda q: Finder().invoke(q))
    chain.batch(QUESTIONS, config(handler))
    assert handler.calls == []
    assert selector.left_out == len(QUESTIONS)


def test_a_sample_is_always_the_same() -> None:
    ids = [uuid4() for _ in range(2000)]
    half, again, less = RowSelector(0.5), RowSelector(0.5), RowSelector(0.1)
    kept = [run_id for run_id in ids if half(run_id)]
    assert 850 < len(kept) < 1150
    assert kept == [run_id for run_id in ids if again(run_id)]
    assert half.left_out == len(ids) - len(kept)
    assert {run_id for run_id in ids if less(run_id)} < set(kept)
