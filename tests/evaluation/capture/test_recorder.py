"""What a captured call tells, and that no call stays behind."""

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

from langchain_dbx_eval.evaluation.capture.handler import CaptureHandler
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun, RunCapture, doc_uri
from langchain_dbx_eval.evaluation.capture.token_usage import tokens_of
from langchain_dbx_eval.evaluation.online.sampling import Sampler
from tests.evaluation.conftest import Finder


class Listener(CaptureHandler):
    """Keeps the calls that have ended."""

    def __init__(self, **options: Any) -> None:
        self.calls: list[CapturedRun] = []
        super().__init__(RunCapture(lambda call: self.calls.append(call.captured()), **options))

    @property
    def open_calls(self) -> int:
        return len(self.capture._open)


def config(handler: Listener) -> dict[str, Any]:
    return {"callbacks": [handler]}


def fails_on_odd(question: str) -> str:
    number = int(question.split()[-1])
    if number % 2:
        raise ValueError(f"no {number}")
    return f"answer {number}"


QUESTIONS = [f"question {n}" for n in range(6)]


@pytest.mark.parametrize("way", ["batch", "abatch", "threads"])
def test_a_chain_that_fails_in_some_rows_has_the_error_of_each(way: str) -> None:
    chain: Runnable[str, str] = RunnableLambda(str.strip) | RunnableLambda(fails_on_odd)
    handler = Listener()
    if way == "abatch":
        asyncio.run(chain.abatch(QUESTIONS, config(handler), return_exceptions=True))
    elif way == "batch":
        chain.batch(QUESTIONS, config(handler), return_exceptions=True)
    else:
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(chain.invoke, question, config(handler)) for question in QUESTIONS]
        assert sum(call.exception() is not None for call in calls) == 3
    told = {call.request: call.outcome().error for call in handler.calls}
    odd = {q: f"ValueError: no {q.split()[-1]}" for q in QUESTIONS[1::2]}
    assert told == {**odd, **dict.fromkeys(QUESTIONS[::2])}
    assert handler.open_calls == 0


def test_a_stream_that_fails_tells_its_input_and_its_error() -> None:
    def fail(chunks: Iterator[str]) -> Iterator[str]:
        yield from chunks
        raise ValueError("halfway")

    handler = Listener()
    chain = RunnableLambda(str.upper) | RunnableGenerator(fail)
    with pytest.raises(ValueError, match="halfway"):
        list(chain.stream("question", config(handler)))
    [call] = handler.calls
    assert (call.request, call.outcome().error) == ("question", "ValueError: halfway")


def test_a_handler_of_an_inner_chain_sees_that_chain_as_the_call() -> None:
    handler = Listener()
    inner = (RunnableLambda(str.upper) | RunnableLambda(str.strip)).with_config(callbacks=[handler])
    chain = RunnableLambda(str.lower) | inner | RunnableLambda(len)
    assert chain.batch(["Ab ", "Cde "]) == [2, 3]
    assert [(call.request, call.outcome().response) for call in handler.calls] == [
        ("ab ", "AB"),
        ("cde ", "CDE"),
    ]


def test_a_handler_given_twice_sees_each_call_once() -> None:
    handler = Listener()
    chain = (RunnableLambda(str.upper) | RunnableLambda(str.strip)).with_config(callbacks=[handler])
    chain.invoke("a", config(handler))
    [call] = handler.calls
    assert len(call.spans) == 3


def test_the_tags_and_metadata_of_the_call_are_kept() -> None:
    handler = Listener()
    given = {**config(handler), "tags": ["canary"], "metadata": {"request_id": "r1"}}
    (RunnableLambda(str.upper) | RunnableLambda(str.strip)).invoke("a", given)
    [call] = handler.calls
    assert (call.tags, call.metadata) == (("canary",), {"request_id": "r1"})


def test_what_is_done_later_to_an_input_or_output_is_not_seen() -> None:
    handler = Listener()

    def add(state: dict[str, Any]) -> dict[str, Any]:
        state["messages"].append("seen by the chain")
        return {"messages": state["messages"]}

    result = RunnableLambda(add).invoke({"messages": ["asked"]}, config(handler))
    result["messages"].append("added by the caller")
    [call] = handler.calls
    assert call.request == {"messages": ["asked"]}
    assert call.outcome().response == {"messages": ["asked", "seen by the chain"]}


# --- tokens


@pytest.mark.parametrize(
    ("generation", "llm_output", "expected"),
    [
        pytest.param({"usage": (3, 4)}, {"token_usage": {"prompt_tokens": 3}}, (3, 4), id="both"),
        pytest.param({}, {"token_usage": {"prompt_tokens": 3, "completion_tokens": 4}}, (3, 4)),
        pytest.param({}, {"usage": {"input_tokens": 3, "output_tokens": 4}}, (3, 4)),
        pytest.param({"metadata": {"token_usage": {"prompt_tokens": 3}}}, None, (3, None)),
        pytest.param({}, {"token_usage": {}}, (None, None), id="nothing told"),
        pytest.param({}, None, (None, None)),
    ],
)
def test_usage_is_read_where_a_provider_tells_it(
    generation: dict[str, Any], llm_output: Any, expected: Any
) -> None:
    message = AIMessage("x", response_metadata=generation.get("metadata", {}))
    if usage := generation.get("usage"):
        read, written = usage
        message.usage_metadata = {
            "input_tokens": read,
            "output_tokens": written,
            "total_tokens": read + written,
        }
    choices = [ChatGeneration(message=message), ChatGeneration(message=message)]
    assert tokens_of(LLMResult(generations=[choices], llm_output=llm_output)) == expected


def test_usage_of_a_text_model_that_streams_is_in_its_generation() -> None:
    told = {"token_usage": {"prompt_tokens": 1, "completion_tokens": 2}}
    result = LLMResult(generations=[[Generation(text="x", generation_info=told)]])
    assert tokens_of(result) == (1, 2)


class Wrapping(BaseChatModel):
    """Asks another model, and tells that one's usage as its own."""

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


def test_tokens_of_a_wrapped_model_are_counted_once_and_of_two_calls_twice() -> None:
    handler = Listener()
    model = Wrapping(inner=GenericFakeChatModel(messages=iter([message(), message()])))
    chain = RunnableLambda(lambda q: [model.invoke(q), model.invoke(q)][0])
    chain.invoke("q", config(handler))
    [call] = handler.calls
    models = [span for span in call.spans if span.kind == "CHAT_MODEL"]
    assert [span.input_tokens for span in models] == [5, 5, 5, 5]
    assert (call.outcome().input_tokens, call.outcome().output_tokens) == (10, 14)


def test_the_first_token_is_told_of_streams_alone() -> None:
    handler = Listener()
    chain = RunnableLambda(str.strip) | GenericFakeChatModel(messages=iter([message(), message()]))
    list(chain.stream("q", config(handler)))
    chain.invoke("q", config(handler))
    streamed, invoked = (call.outcome() for call in handler.calls)
    assert 0 < streamed.time_to_first_token_seconds <= streamed.latency_seconds
    assert invoked.time_to_first_token_seconds is None


# --- documents


class Both(BaseRetriever):
    """Asks another retriever twice, and returns what it finds once."""

    inner: Any

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun
    ) -> list[Document]:
        given = {"callbacks": run_manager.get_child()}
        return [self.inner.invoke(query, given), self.inner.invoke(query, given)][0]


def test_documents_of_a_retriever_that_asks_others_are_its_own_alone() -> None:
    handler = Listener()
    chain = RunnableLambda(lambda q: Both(inner=Finder()).invoke(q))
    chain.invoke("question 3", config(handler))
    [call] = handler.calls
    assert [span.kind for span in call.spans].count("RETRIEVER") == 3
    assert call.outcome().retrieved_context == [{"doc_uri": "3.md", "content": "answer 3"}]


@pytest.mark.parametrize(
    ("metadata", "expected"),
    [
        ({"doc_uri": "a", "uri": "b", "source": "c", "url": "d"}, "a"),
        ({"uri": "b", "source": "c", "url": "d"}, "b"),
        ({"source": "c", "url": "d"}, "c"),
        ({"source": None, "url": "d"}, "d"),
        ({"title": "e"}, None),
    ],
)
def test_a_document_comes_from_where_its_metadata_says(metadata: Any, expected: Any) -> None:
    assert doc_uri(Document("x", metadata=metadata)) == expected


# --- calls that never end as they should


def endless(chunks: Iterator[str]) -> Iterator[str]:
    for _ in chunks:
        while True:
            yield "x"


async def aendless(chunks: AsyncIterator[str]) -> AsyncIterator[str]:
    async for _ in chunks:
        while True:
            yield "x"
            await asyncio.sleep(0)


ENDLESS = RunnableLambda(str.strip) | RunnableGenerator(endless, aendless)


def graph() -> Runnable[Any, Any]:
    state = StateGraph(MessagesState)
    state.add_node("say", lambda state: {"messages": [AIMessage("x")]})
    state.add_edge(START, "say")
    state.add_edge("say", END)
    return state.compile()


def test_a_stream_whose_reader_stops_leaves_nothing_behind() -> None:
    handler = Listener()
    for _ in range(20):
        for _chunk in ENDLESS.stream("q", config(handler)):
            break
        for _chunk in graph().stream({"messages": [HumanMessage("q")]}, config(handler)):
            break
    assert handler.open_calls == 0
    assert len(handler.calls) == 40


def test_an_async_stream_whose_reader_stops_leaves_nothing_behind() -> None:
    handler = Listener()

    async def stop_early(chain: Runnable[Any, Any], given: Any) -> None:
        async for _chunk in chain.astream(given, config(handler)):
            break

    async def stop_all() -> None:
        await asyncio.gather(*(stop_early(ENDLESS, "q") for _ in range(10)))
        state = {"messages": [HumanMessage("q")]}
        await asyncio.gather(*(stop_early(graph(), state) for _ in range(10)))
        # LangGraph tells the end in a task of its own, which a loop that closes would cancel.
        await asyncio.sleep(0.1)

    asyncio.run(stop_all())
    assert handler.open_calls == 0
    assert len(handler.calls) == 20


def test_a_task_that_is_cancelled_is_a_call_with_its_error() -> None:
    handler = Listener()

    async def wait(_: str) -> str:
        await asyncio.sleep(60)
        return "never"

    async def cancel() -> None:
        task = asyncio.create_task(RunnableLambda(wait).ainvoke("q", config(handler)))
        await asyncio.sleep(0.05)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(cancel())
    [call] = handler.calls
    assert call.outcome().error == "CancelledError"


def begin(handler: Listener, parent: Any = None) -> Any:
    run_id = uuid4()
    handler.on_chain_start(None, "in", run_id=run_id, parent_run_id=parent, name="step")
    return run_id


def test_calls_that_never_end_are_bounded_and_counted() -> None:
    handler = Listener(max_open=10)
    for _ in range(2000):
        root = begin(handler)
        begin(handler, root)
    last = begin(handler)
    handler.on_chain_end("out", run_id=last)
    assert handler.capture.abandoned == 1991
    assert handler.open_calls == 9
    assert [call.outcome().response for call in handler.calls] == ["out"]
    assert len(handler.capture._call_of) < 2 * (10 + 512) + 2


def test_calls_that_end_are_forgotten() -> None:
    handler = Listener()
    for _ in range(2000):
        RunnableLambda(str.upper).invoke("q", config(handler))
    assert len(handler.calls) == 2000
    assert len(handler.capture._call_of) == 512


def test_a_step_that_begins_after_its_call_has_ended_is_no_call_of_its_own() -> None:
    handler = Listener()
    root = begin(handler)
    left_behind = begin(handler, root)
    handler.on_chain_end("out", run_id=root)
    late = begin(handler, left_behind)
    later = begin(handler, late)
    for run_id in (later, late, left_behind):
        handler.on_chain_end("late", run_id=run_id)
    [call] = handler.calls
    assert [span.outputs for span in call.spans] == ["out", None]
    assert call.spans[1].end_ns == call.root.end_ns
    assert handler.open_calls == 0


def test_an_end_without_a_start_is_passed_over() -> None:
    handler = Listener()
    handler.on_chain_end("out", run_id=uuid4())
    handler.on_llm_new_token("x", run_id=uuid4())
    assert handler.calls == []


# --- sampling


def test_a_call_that_is_left_out_is_left_out_with_all_its_steps() -> None:
    sampler = Sampler(0.0)
    handler = Listener(keep=sampler)
    chain = RunnableLambda(str.upper) | RunnableLambda(lambda q: Finder().invoke(q))
    chain.batch(QUESTIONS, config(handler))
    assert handler.calls == []
    assert sampler.left_out == len(QUESTIONS)


def test_a_share_of_calls_is_kept_and_always_the_same() -> None:
    ids = [uuid4() for _ in range(2000)]
    half, again, less = Sampler(0.5), Sampler(0.5), Sampler(0.1)
    kept = [run_id for run_id in ids if half(run_id)]
    assert 850 < len(kept) < 1150
    assert kept == [run_id for run_id in ids if again(run_id)]
    assert half.left_out == len(ids) - len(kept)
    assert {run_id for run_id in ids if less(run_id)} < set(kept)
