"""sentence-transformers with a tiny BERT of random weights."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("torch", reason="torch is not installed: see scripts/install")
pytest.importorskip("sentence_transformers", reason="sentence-transformers is not installed")

from langchain_dbx_eval.driver import DriverServer, EmbeddingEngine, RequestContext, RequestError
from langchain_dbx_eval.driver.runtime.request_context import DeadlineExceededError
from langchain_dbx_eval.errors import ConfigurationError
from tests.driver.engines.tiny_gpt2 import tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    import torch
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("bert")
    tokenizer = tiny_tokenizer()
    BertModel(
        BertConfig(
            vocab_size=len(tokenizer),
            hidden_size=16,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=32,
            max_position_embeddings=64,
        )
    ).save_pretrained(path / "bert")
    tokenizer.save_pretrained(path / "bert")
    transformer = Transformer(str(path / "bert"), max_seq_length=32)
    pooling = Pooling(transformer.get_embedding_dimension())
    SentenceTransformer(modules=[transformer, pooling], device="cpu").save(str(path / "model"))
    return str(path / "model")


@pytest.fixture(scope="module")
def engine(folder: str) -> EmbeddingEngine:
    return EmbeddingEngine(folder, device="cpu")


def test_vectors_have_the_order_of_the_texts(engine: EmbeddingEngine) -> None:
    texts = [f"text {number}" for number in range(70)]
    vectors = engine.embed(texts, RequestContext())
    assert [len(vector) for vector in vectors.values] == [16] * 70
    alone = [engine.embed([text], RequestContext()).values[0] for text in texts[:3]]
    assert [list(vector) for vector in vectors.values[:3]] == [
        pytest.approx(vector, abs=1e-5) for vector in alone
    ]
    assert vectors.prompt_tokens > 70


def test_the_index_of_a_truncated_text_is_returned(engine: EmbeddingEngine) -> None:
    vectors = engine.embed(["short", "long " * 100, "short"], RequestContext())
    assert vectors.truncated == (1,)
    assert vectors.prompt_tokens < 50


def test_concurrent_threads_do_not_change_each_others_truncation(engine: EmbeddingEngine) -> None:
    texts = ["short", "long " * 100, "a text in between"] * 20
    with ThreadPoolExecutor(8) as pool:
        embedded = list(pool.map(lambda text: engine.embed([text], RequestContext()), texts))
    assert len({(len(v.truncated), v.prompt_tokens) for v in embedded}) == 3


def test_a_vector_may_be_shortened(engine: EmbeddingEngine) -> None:
    (whole,) = engine.embed(["hello"], RequestContext()).values
    (short,) = engine.embed(["hello"], RequestContext(), dimensions=4).values
    length = sum(number**2 for number in whole[:4]) ** 0.5
    assert list(short) == pytest.approx([number / length for number in whole[:4]], abs=1e-5)
    with pytest.raises(RequestError, match="'dimensions' must be at most 16"):
        engine.embed(["hello"], RequestContext(), dimensions=17)


def test_the_deadline_is_checked_between_batches(engine: EmbeddingEngine) -> None:
    with pytest.raises(DeadlineExceededError):
        engine.embed(["a"], RequestContext(0))


def test_the_server_returns_embeddings(
    engine: EmbeddingEngine, start_server: Callable[..., DriverServer]
) -> None:
    answer: Any = requests.post(start_server(engine).url, json={"input": "hello"}).json()
    assert len(answer["data"][0]["embedding"]) == 16


@pytest.mark.parametrize("device", ["nonsense", "vulkan"])
def test_an_unknown_device_is_a_clear_error(folder: str, device: str) -> None:
    with pytest.raises(ConfigurationError, match=f"cannot be loaded as an embedding.*{device}"):
        EmbeddingEngine(folder, device=device)


def test_a_folder_without_a_model_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be loaded as an embedding model"):
        EmbeddingEngine(str(tmp_path / "none"))
