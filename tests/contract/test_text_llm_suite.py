"""One suite for text models over every target, as langchain-tests has for chat models.

langchain-tests 1.1 has none for text models. Here each test runs against each of six targets.
"""

from __future__ import annotations

import asyncio
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.callbacks import AsyncCallbackHandler, BaseCallbackHandler
from langchain_core.exceptions import ModelAPIError, ModelAuthenticationError
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import PromptTemplate

from langchain_dbx_eval import Databricks
from langchain_dbx_eval.driver import DriverServer
from langchain_dbx_eval.testing import LocalWorkspace


class Model:
    """Answers a prompt with two sentences about it, and records its calls."""

    def __init__(self) -> None:
        self.calls: list[dict[str, Any]] = []
        self.failures = 0
        self.seconds = 0.0
        self.max_concurrent = self._concurrent = 0
        self._lock = threading.Lock()

    def __call__(
        self,
        prompt: str,
        stop: list[str] | None = None,
        temperature: float | None = None,
        max_tokens: int | None = None,
        top_k: int | None = None,
    ) -> str:
        given = {"stop": stop, "temperature": temperature, "max_tokens": max_tokens, "top_k": top_k}
        with self._lock:
            self.calls.append({"prompt": prompt, **{k: v for k, v in given.items() if v}})
            self._concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self._concurrent)
            self.failures -= 1
        time.sleep(self.seconds)
        with self._lock:
            self._concurrent -= 1
        if self.failures >= 0:
            msg = "no luck"
            raise RuntimeError(msg)
        return cut_at(stop, f"{prompt} is it. And more of it.")


def cut_at(stop: list[str] | None, text: str) -> str:
    ends = [text.index(word) for word in stop or [] if word in text]
    return text[: min(ends)] if ends else text


ANSWER = "hi is it. And more of it."


@dataclass(frozen=True)
class Target:
    """A model at one target.

    Attributes:
        make: Creates a component for it.
        model: The model behind it.
        wrong_login: Arguments that it rejects.
        streams: Whether it streams, reports usage and supports `n`, as OpenAI's API does.
    """

    make: Callable[..., Databricks]
    model: Model
    wrong_login: dict[str, Any]
    streams: bool = False


OpenTarget = Callable[[LocalWorkspace, Model], Any]


def endpoint(kind: Any, *, streams: bool, **arguments: Any) -> OpenTarget:
    @contextmanager
    def open_target(workspace: LocalWorkspace, model: Model) -> Iterator[Target]:
        def answer(subject: Any, **params: Any) -> str:
            return model(subject if isinstance(subject, str) else subject[-1]["content"], **params)

        workspace.add_endpoint("m", answer, kind=kind)
        login = {"endpoint_name": "m", "host": workspace.url, "api_token": workspace.token}
        yield Target(
            lambda **more: Databricks(**{**login, **arguments, **more}),
            model,
            {"api_token": "wrong"},
            streams,
        )

    return open_target


def app(**arguments: Any) -> OpenTarget:
    @contextmanager
    def open_target(workspace: LocalWorkspace, model: Model) -> Iterator[Target]:
        with DriverServer(model, host="127.0.0.1", port=0, api_key="key") as server:
            login = {"cluster_driver_port": server.port, "driver_api_key": "key"}

            def make(**more: Any) -> Databricks:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # a free port is outside the documented range
                    return Databricks(**{**login, **arguments, **more})

            yield Target(make, model, {"driver_api_key": "wrong"})

    return open_target


TARGETS = {
    "completions": endpoint("completions", streams=True),
    "chat": endpoint("chat", streams=True),
    "custom": endpoint("custom", streams=False),
    "gateway": endpoint(
        "completions", streams=True, base_url="/serving-endpoints", task="llm/v1/completions"
    ),
    "gateway-chat": endpoint(
        "chat", streams=True, base_url="/serving-endpoints", task="llm/v1/chat"
    ),
    "driver-proxy": app(),
    "driver-node": app(host="local"),
}


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, workspace: LocalWorkspace) -> Iterator[Target]:
    with TARGETS[request.param](workspace, Model()) as open_target:
        yield open_target


class Tokens(BaseCallbackHandler):
    """Records callback events."""

    def __init__(self) -> None:
        self.tokens: list[str] = []
        self.ended: list[Any] = []
        self.failed: list[BaseException] = []

    def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)

    def on_llm_end(self, response: Any, **_: Any) -> None:
        self.ended.append(response)

    def on_llm_error(self, error: BaseException, **_: Any) -> None:
        self.failed.append(error)


class AsyncTokens(AsyncCallbackHandler):
    """Records the tokens of asynchronous callbacks."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    async def on_llm_new_token(self, token: str, **_: Any) -> None:
        self.tokens.append(token)


def test_invoke(target: Target) -> None:
    assert target.make().invoke("hi") == ANSWER


async def test_ainvoke(target: Target) -> None:
    assert await target.make().ainvoke("hi") == ANSWER


def test_in_a_chain(target: Target) -> None:
    chain = PromptTemplate.from_template("{word}") | target.make() | StrOutputParser()
    assert chain.invoke({"word": "hi"}) == ANSWER


PROMPTS = [f"prompt {number}" for number in range(9)]
ANSWERS = [f"{prompt} is it. And more of it." for prompt in PROMPTS]


def test_batch(target: Target) -> None:
    assert target.make().batch(PROMPTS) == ANSWERS


async def test_abatch(target: Target) -> None:
    assert await target.make().abatch(PROMPTS) == ANSWERS


def test_an_empty_batch(target: Target) -> None:
    assert target.make().batch([]) == []


def test_max_concurrency(target: Target) -> None:
    target.model.seconds = 0.005
    assert target.make().batch(PROMPTS, {"max_concurrency": 2}) == ANSWERS
    assert target.model.max_concurrent <= 2


async def test_max_concurrency_on_an_event_loop(target: Target) -> None:
    target.model.seconds = 0.005
    assert await target.make().abatch(PROMPTS, {"max_concurrency": 2}) == ANSWERS
    assert target.model.max_concurrent <= 2


def test_stream(target: Target) -> None:
    chunks = list(target.make().stream("hi"))
    assert "".join(chunks) == ANSWER
    assert len(chunks) > 1 or not target.streams


async def test_astream(target: Target) -> None:
    chunks = [chunk async for chunk in target.make().astream("hi")]
    assert "".join(chunks) == ANSWER
    assert len(chunks) > 1 or not target.streams


def test_stop(target: Target) -> None:
    assert target.make().invoke("hi", stop=["."]) == "hi is it"
    assert target.make(stop=[" And"]).invoke("hi") == "hi is it."
    assert target.make(stop=[" And"]).invoke("hi", stop=["."]) == "hi is it"
    assert target.make().bind(stop=["."]).invoke("hi") == "hi is it"
    assert "".join(target.make().stream("hi", stop=["."])) == "hi is it"


def test_parameters(target: Target) -> None:
    llm = target.make(temperature=0.5, max_tokens=9, model_kwargs={"top_k": 3})
    llm.invoke("hi")
    llm.invoke("hi", temperature=0.7)
    first, second = target.model.calls
    assert first == {"prompt": "hi", "temperature": 0.5, "max_tokens": 9, "top_k": 3}
    assert second == {**first, "temperature": 0.7}


def test_usage(target: Target) -> None:
    output = target.make().generate(["hi", "hi"]).llm_output
    if not target.streams:
        assert output is None
        return
    assert output is not None
    assert output["token_usage"] == {
        "prompt_tokens": 2,
        "completion_tokens": 14,
        "total_tokens": 16,
    }
    assert output["model_name"] == "m"


def test_finish_reason(target: Target) -> None:
    [[generation]] = target.make().generate(["hi"]).generations
    reason = (generation.generation_info or {}).get("finish_reason")
    assert reason == ("stop" if target.streams else None)


def test_several_generations(target: Target) -> None:
    if not target.streams:
        pytest.skip("neither an MLflow model nor an app supports n")
    result = target.make(n=3).generate(["hi", "ho"])
    assert [len(generations) for generations in result.generations] == [3, 3]
    assert result.generations[0][2].text == ANSWER
    assert result.generations[1][2].text.startswith("ho")


def test_callbacks(target: Target) -> None:
    handler = Tokens()
    target.make().invoke("hi", {"callbacks": [handler]})
    assert handler.ended[0].generations[0][0].text == ANSWER


def test_callbacks_with_tokens(target: Target) -> None:
    handler = Tokens()
    chunks = list(target.make().stream("hi", {"callbacks": [handler]}))
    assert "".join(handler.tokens) == ANSWER
    assert len(handler.tokens) == len(chunks)
    assert handler.ended[0].generations[0][0].text == ANSWER


async def test_asynchronous_callbacks_with_tokens(target: Target) -> None:
    handler = AsyncTokens()
    async for _ in target.make().astream("hi", {"callbacks": [handler]}):
        pass
    assert "".join(handler.tokens) == ANSWER


def test_cache(target: Target) -> None:
    llm = target.make(cache=InMemoryCache())
    assert [llm.invoke("hi"), llm.invoke("hi"), llm.invoke("ho")][:2] == [ANSWER, ANSWER]
    assert [call["prompt"] for call in target.model.calls] == ["hi", "ho"]
    llm.invoke("hi", stop=["."])
    assert len(target.model.calls) == 3


def test_a_failure_is_classified_for_retries(target: Target) -> None:
    target.model.failures = 1
    llm = target.make().with_retry(
        retry_if_exception_type=(ModelAPIError,),
        wait_exponential_jitter=False,
        stop_after_attempt=2,
    )
    assert llm.invoke("hi") == ANSWER
    assert len(target.model.calls) == 2


def test_an_authentication_error_is_classified_for_fallbacks(target: Target) -> None:
    handler = Tokens()
    wrong = target.make(**target.wrong_login, task="llm/v1/completions")
    llm = wrong.with_fallbacks([target.make()], exceptions_to_handle=(ModelAuthenticationError,))
    assert llm.invoke("hi", {"callbacks": [handler]}) == ANSWER
    assert isinstance(handler.failed[0], ModelAuthenticationError)
    assert asyncio.run(llm.ainvoke("hi")) == ANSWER


def test_a_failure_can_be_returned_instead_of_raised(target: Target) -> None:
    target.model.failures = 1
    [error] = target.make().batch(["hi"], return_exceptions=True)
    assert isinstance(error, ModelAPIError)


def test_tracers_receive_provider_and_model(target: Target) -> None:
    params = target.make(temperature=0.5)._get_ls_params()
    assert params["ls_provider"] == "databricks"
    assert params["ls_model_name"]
    assert params["ls_temperature"] == 0.5
