"""Regression tests for defects measured in `databricks_langchain.DatabricksEmbeddings` 0.22."""

from __future__ import annotations

import asyncio
import base64
import struct
from typing import Any

import pytest

from langchain_dbx_eval import DatabricksEmbeddings, errors
from langchain_dbx_eval.testing import LocalWorkspace
from tests.loopback import LoopbackServer, Received, RequireConcurrency


def vectors(received: Received) -> dict[str, Any]:
    texts = received.body["input"]
    return {"data": [{"index": i, "embedding": [float(text)]} for i, text in enumerate(texts)]}


def embeddings_at(server: LoopbackServer, **arguments: Any) -> DatabricksEmbeddings:
    return DatabricksEmbeddings(**{"endpoint": "m", "max_retries": 0, **server.login, **arguments})


TEXTS = [str(number) for number in range(100)]
VECTORS = [[float(number)] for number in range(100)]


def test_e01_each_chunk_is_one_request_and_there_are_no_others(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda texts: [[float(t)] for t in texts], kind="embeddings")
    assert DatabricksEmbeddings(endpoint="m", chunk_size=20).embed_documents(TEXTS) == VECTORS
    assert [r.method for r in workspace.requests] == ["POST"] * 5
    for text in TEXTS[:10]:
        DatabricksEmbeddings(endpoint="m").embed_query(text)
    assert [r.method for r in workspace.requests] == ["POST"] * 15


def test_e01_queries_share_a_connection() -> None:
    with LoopbackServer(vectors) as server:
        embeddings = embeddings_at(server)
        assert [embeddings.embed_query(text) for text in TEXTS[:10]] == VECTORS[:10]
        assert len(set(server.connections)) == 1


def test_e02_chunks_are_embedded_concurrently() -> None:
    with LoopbackServer(RequireConcurrency(10, vectors)) as server:
        assert embeddings_at(server, chunk_size=10).embed_documents(TEXTS) == VECTORS


def test_e02_chunks_are_embedded_concurrently_on_an_event_loop() -> None:
    with LoopbackServer(RequireConcurrency(10, vectors)) as server:
        embedded = asyncio.run(embeddings_at(server, chunk_size=10).aembed_documents(TEXTS))
    assert embedded == VECTORS


def test_e02_gathered_queries_are_embedded_concurrently() -> None:
    async def gathered(embeddings: DatabricksEmbeddings) -> list[list[float]]:
        return await asyncio.gather(*map(embeddings.aembed_query, TEXTS[:64]))

    with LoopbackServer(RequireConcurrency(64, vectors)) as server:
        assert asyncio.run(gathered(embeddings_at(server))) == VECTORS[:64]


@pytest.mark.parametrize("use_async", [False, True], ids=["sync", "async"])
def test_e03_vectors_are_put_in_the_order_of_the_texts(use_async: bool) -> None:
    def shuffled(received: Received) -> dict[str, Any]:
        return {"data": vectors(received)["data"][::-1]}

    with LoopbackServer(shuffled) as server:
        embeddings = embeddings_at(server, chunk_size=7)
        embedded = (
            asyncio.run(embeddings.aembed_documents(TEXTS))
            if use_async
            else embeddings.embed_documents(TEXTS)
        )
    assert embedded == VECTORS


@pytest.mark.parametrize("by", [-1, 1], ids=["short", "long"])
def test_e04_another_number_of_vectors_is_an_error(by: int) -> None:
    def miscounted(received: Received) -> dict[str, Any]:
        count = len(received.body["input"]) + by
        return {"data": [{"index": i, "embedding": [1.0]} for i in range(count)]}

    with (
        LoopbackServer(miscounted) as server,
        pytest.raises(errors.InvalidResponseError, match=r"endpoint 'm'.*3 texts"),
    ):
        embeddings_at(server).embed_documents(["a", "b", "c"])


def test_e04_chunks_of_different_dimensions_are_an_error() -> None:
    def growing(received: Received) -> dict[str, Any]:
        return {"data": [{"index": 0, "embedding": [1.0] * (1 + int(received.body["input"][0]))}]}

    with (
        LoopbackServer(growing) as server,
        pytest.raises(errors.InvalidResponseError, match="one dimension"),
    ):
        embeddings_at(server, chunk_size=1).embed_documents(["0", "1"])


def test_e05_vectors_in_base64_are_decoded() -> None:
    numbers = [0.5, -1.25, 3.0]
    encoded = base64.b64encode(struct.pack("<3f", *numbers)).decode()
    with LoopbackServer(lambda _: {"data": [{"index": 0, "embedding": encoded}]}) as server:
        embeddings = embeddings_at(server, query_params={"encoding_format": "base64"})
        assert embeddings.embed_query("hi") == numbers
        assert server.bodies[0]["encoding_format"] == "base64"


@pytest.mark.parametrize("name", ["dimensions", "chunksize", "max_retrys", "workspaceclient"])
def test_e06_an_unknown_argument_is_rejected(name: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=f"no argument '{name}'"):
        DatabricksEmbeddings(endpoint="m", **{name: 1})


def test_e06_the_error_of_a_request_names_its_texts() -> None:
    def reject_one(received: Received) -> Any:
        return {"error": "too long"} if "25" in received.body["input"] else vectors(received)

    with (
        LoopbackServer(reject_one) as server,
        pytest.raises(errors.InvalidResponseError, match=r"too long.*texts 20 to 29"),
    ):
        embeddings_at(server, chunk_size=10).embed_documents(TEXTS)
