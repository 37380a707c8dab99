"""One client in its own environment and process, which performs and measures tasks.

``python -m benchmarks.clients.worker CLIENT HOST`` reads one JSON object per line from stdin,
``{"task": "invoke", "model": "chat-0", "count": 200}``, performs the task, and writes one JSON
object to stdout: ``{"wall": seconds, "cpu": seconds}`` or ``{"error": "…"}``. It requires only the
packages of the client.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

TOKEN = "dapi-bench"
PROMPT = "What is the capital of France?"
MAX_CONCURRENCY = 64
"""Concurrent calls in `ainvoke`."""


class Raw:
    """Plain HTTP calls with requests and aiohttp: the lower bound."""

    def __init__(self, host: str) -> None:
        import requests
        from requests.adapters import HTTPAdapter

        self._host = host
        self._session = requests.Session()
        self._session.headers["Authorization"] = f"Bearer {TOKEN}"
        self._session.mount(host, HTTPAdapter(pool_maxsize=MAX_CONCURRENCY))
        self._async_session: Any = None

    def invoke(self, model: str) -> Callable[[], str]:
        body = _chat_body()
        return lambda: self._post(model, body)["choices"][0]["message"]["content"]

    def invoke_text(self, model: str) -> Callable[[], str]:
        body = {"prompt": PROMPT}
        return lambda: self._post(model, body)["choices"][0]["text"]

    def ainvoke(self, model: str) -> Callable[[], Awaitable[str]]:
        import aiohttp

        url, body = self._url(model), _chat_body()

        async def call() -> str:
            if self._async_session is None:
                headers = {"Authorization": f"Bearer {TOKEN}"}
                self._async_session = aiohttp.ClientSession(headers=headers)
            async with self._async_session.post(url, json=body) as answer:
                content: str = (await answer.json())["choices"][0]["message"]["content"]
                return content

        return call

    def stream(self, model: str) -> int:
        body = {**_chat_body(), "stream": True, "stream_options": {"include_usage": True}}
        events = 0
        with self._session.post(self._url(model), json=body, stream=True) as answer:
            for line in answer.iter_lines():
                if line.startswith(b"data: {"):
                    json.loads(line[6:])
                    events += 1
        return events

    def batch(self, model: str, count: int) -> list[str]:
        call = self.invoke(model)
        with ThreadPoolExecutor(MAX_CONCURRENCY) as pool:
            return [answer.result() for answer in [pool.submit(call) for _ in range(count)]]

    def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        parts = [texts[i : i + 100] for i in range(0, len(texts), 100)]
        with ThreadPoolExecutor(16) as pool:
            answers = pool.map(lambda part: self._post(model, {"input": part}), parts)
            return [item["embedding"] for answer in answers for item in answer["data"]]

    def _url(self, model: str) -> str:
        return f"{self._host}/serving-endpoints/{model}/invocations"

    def _post(self, model: str, body: dict[str, Any]) -> Any:
        answer = self._session.post(self._url(model), json=body)
        answer.raise_for_status()
        return answer.json()


class LangChain:
    """A LangChain client; subclasses create it."""

    def __init__(self, host: str) -> None:
        self._host = host
        self._clients: dict[tuple[str, str], Any] = {}

    def create(self, kind: str, model: str) -> Any:
        raise NotImplementedError

    def _client(self, kind: str, model: str) -> Any:
        if (kind, model) not in self._clients:
            self._clients[kind, model] = self.create(kind, model)
        return self._clients[kind, model]

    def invoke(self, model: str) -> Callable[[], str]:
        chat = self._client("chat", model)
        return lambda: chat.invoke(PROMPT).content

    def invoke_text(self, model: str) -> Callable[[], str]:
        llm = self._client("text", model)
        return lambda: llm.invoke(PROMPT)

    def ainvoke(self, model: str) -> Callable[[], Awaitable[str]]:
        chat = self._client("chat", model)

        async def call() -> str:
            content: str = (await chat.ainvoke(PROMPT)).content
            return content

        return call

    def stream(self, model: str) -> int:
        return sum(bool(chunk.content) for chunk in self._client("chat", model).stream(PROMPT))

    def batch(self, model: str, count: int) -> list[str]:
        return [answer.content for answer in self._client("chat", model).batch([PROMPT] * count)]

    def embed(self, model: str, texts: list[str]) -> list[list[float]]:
        vectors: list[list[float]] = self._client("embeddings", model).embed_documents(texts)
        return vectors


class Ours(LangChain):
    """langchain-dbx-eval."""

    def create(self, kind: str, model: str) -> Any:
        from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings

        login = {"host": self._host, "api_token": TOKEN}
        if kind == "chat":
            return ChatDatabricks(model=model, **login)
        if kind == "text":
            return Databricks(endpoint_name=model, task="llm/v1/completions", **login)
        return DatabricksEmbeddings(endpoint=model, **login)


class DatabricksLangChain(LangChain):
    """databricks-langchain, which has no text model."""

    def create(self, kind: str, model: str) -> Any:
        os.environ.update(DATABRICKS_HOST=self._host, DATABRICKS_TOKEN=TOKEN)
        from databricks_langchain import ChatDatabricks, DatabricksEmbeddings

        if kind == "chat":
            return ChatDatabricks(model=model)
        return DatabricksEmbeddings(endpoint=model)


class LangChainOpenAI(LangChain):
    """langchain-openai."""

    def create(self, kind: str, model: str) -> Any:
        from langchain_openai import ChatOpenAI, OpenAI, OpenAIEmbeddings

        login = {"base_url": f"{self._host}/v1", "api_key": TOKEN}
        if kind == "chat":
            return ChatOpenAI(model=model, stream_usage=True, **login)
        if kind == "text":
            return OpenAI(model=model, **login)
        # Counting tokens would download a vocabulary.
        return OpenAIEmbeddings(model=model, check_embedding_ctx_length=False, **login)


CLIENTS: dict[str, type[Raw | LangChain]] = {
    "raw": Raw,
    "ours": Ours,
    "databricks-langchain": DatabricksLangChain,
    "langchain-openai": LangChainOpenAI,
}


class Worker:
    """Performs tasks with one client and measures them."""

    def __init__(self, client: Raw | LangChain) -> None:
        self._client = client
        # One event loop for all tasks: databricks-langchain fails with a second one.
        self._loop = asyncio.new_event_loop()

    def measure(self, task: str, model: str, count: int) -> dict[str, float]:
        """Return the wall time and the CPU time of this process, in seconds, of a task."""
        prepare: Callable[[str, int], Callable[[], None]] = getattr(self, f"_{task}")
        run = prepare(model, count)
        wall, cpu = time.perf_counter(), time.process_time()
        run()
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}

    def _invoke(self, model: str, count: int) -> Callable[[], None]:
        return _repeat(self._client.invoke(model), count)

    def _invoke_text(self, model: str, count: int) -> Callable[[], None]:
        return _repeat(self._client.invoke_text(model), count)

    def _ainvoke(self, model: str, count: int) -> Callable[[], None]:
        call = self._client.ainvoke(model)

        async def run_until_empty(remaining: list[None]) -> None:
            while remaining:
                remaining.pop()
                assert await call()

        async def run_all() -> None:
            remaining: list[None] = [None] * count
            await asyncio.gather(*(run_until_empty(remaining) for _ in range(MAX_CONCURRENCY)))

        return lambda: self._loop.run_until_complete(run_all())

    def _stream(self, model: str, count: int) -> Callable[[], None]:
        def run() -> None:
            chunks = self._client.stream(model)
            assert chunks >= count, f"got {chunks} of {count} chunks"

        return run

    def _batch(self, model: str, count: int) -> Callable[[], None]:
        def run() -> None:
            assert all(self._client.batch(model, count))

        return run

    def _embed(self, model: str, count: int) -> Callable[[], None]:
        sentence = "is a sentence of a corpus, about as long as sentences are."
        texts = [f"Number {number} {sentence}" for number in range(count)]

        def run() -> None:
            vectors = self._client.embed(model, texts)
            assert len(vectors) == count, f"got {len(vectors)} of {count} vectors"

        return run


def _chat_body() -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": PROMPT}]}


def _repeat(call: Callable[[], str], count: int) -> Callable[[], None]:
    def run() -> None:
        for _ in range(count):
            assert call()

    return run


def main() -> None:
    """Perform the tasks from stdin until it is closed."""
    name, host = sys.argv[1:]
    # Libraries may print: only answers are written to stdout.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    worker = Worker(CLIENTS[name](host))
    for line in sys.stdin:
        try:
            answer: dict[str, Any] = worker.measure(**json.loads(line))
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()
