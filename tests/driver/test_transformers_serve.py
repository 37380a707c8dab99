"""A model server of somebody else behind the upstream engine: ``transformers serve``."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("torch", reason="torch is not installed: scripts/install says how it gets it")
pytest.importorskip("transformers.cli.serve", reason="transformers' server is not installed")
pytest.importorskip("accelerate", reason="transformers serve needs accelerate")
pytest.importorskip("fastapi", reason="transformers serve needs FastAPI")
pytest.importorskip("uvicorn", reason="transformers serve needs uvicorn")

from tiny_gpt2 import tiny_model, tiny_tokenizer

from langchain_dbx_eval import ChatDatabricks
from langchain_dbx_eval.driver import DriverServer, GenerationRequest, UpstreamEngine

READY_S = 100


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[UpstreamEngine]:
    folder = tmp_path_factory.mktemp("model")
    tokenizer = tiny_tokenizer()
    tiny_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    options = ["--device", "cpu", "--host", "127.0.0.1", "--port", str(port)]
    (folder / "cache").mkdir()  # without one it cannot list its models (transformers 5.23)
    offline = {
        "HF_HUB_CACHE": str(folder / "cache"),
        "HF_HUB_OFFLINE": "1",
        "OMP_NUM_THREADS": "1",
    }
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options], stdout=output, stderr=output, env={**os.environ, **offline}
        )
    try:
        _wait(f"http://127.0.0.1:{port}/health", process, log)
        yield UpstreamEngine(f"http://127.0.0.1:{port}/v1", str(folder))
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(url, timeout=5).ok:
                return
        except requests.ConnectionError:
            time.sleep(0.1)
    pytest.fail(f"transformers serve was not ready after {READY_S} s: {log.read_text()}")


def ask(prompt: str, stop: tuple[str, ...] = (), **params: Any) -> GenerationRequest:
    return GenerationRequest(prompt, stop, {"max_tokens": 24, "temperature": 0, **params})


def test_it_completes_and_streams_and_counts(engine: UpstreamEngine) -> None:
    whole = engine.generate(ask("Hello there"))
    assert whole.text
    assert whole.completion_tokens == 24
    assert whole.finish_reason == "length"
    pieces = list(engine.stream(ask("Hello there")))
    assert "".join(piece.text for piece in pieces) == whole.text
    assert engine.trouble() is None


def test_its_stop_strings_are_exact_behind_this_engine(engine: UpstreamEngine) -> None:
    text = engine.generate(ask("Hello there")).text
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    answer = engine.generate(ask("Hello there", (stop,)))
    assert answer.text == text[: text.find(stop)]
    assert answer.finish_reason == "stop"


@pytest.mark.filterwarnings("ignore:cluster_driver_port")
def test_a_chat_model_of_langchain_talks_to_it_through_the_driver_server(
    engine: UpstreamEngine,
) -> None:
    with DriverServer(engine, "127.0.0.1", 0, False) as server:
        chat = ChatDatabricks(
            cluster_driver_port=str(server.port), cluster_id="c", host="local", max_tokens=8
        )
        answer = chat.invoke("Hello")
        streamed = "".join(str(chunk.content) for chunk in chat.stream("Hello"))
    assert answer.content
    assert answer.response_metadata["finish_reason"] == "length"
    assert streamed
