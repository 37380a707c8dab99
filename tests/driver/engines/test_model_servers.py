"""Third-party model servers behind the upstream engine.

``transformers serve`` always; llama.cpp's ``llama-server`` (with the package ``gguf``) and ``vllm``
if they are installed, or if the environment variables ``LLAMA_SERVER`` and ``VLLM`` contain their
paths.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest
import requests

pytest.importorskip("torch", reason="torch is not installed: see scripts/install")

from langchain_dbx_eval import ChatDatabricks
from langchain_dbx_eval.driver import (
    DriverServer,
    GenerationRequest,
    RequestContext,
    RequestError,
    UpstreamEngine,
)
from tests.driver.engines.tiny_gguf import write_gguf
from tests.driver.engines.tiny_gpt2 import tiny_model, tiny_tokenizer

# One process starts each server once for all tests.
pytestmark = [pytest.mark.xdist_group("model servers"), pytest.mark.timeout(600)]
READY_S = 300
CONTEXT = 4096


@contextmanager
def serving(
    command: Sequence[str], options: Sequence[str], folder: Path, **variables: str
) -> Iterator[str]:
    """Run a model server on a free port until the end of the block, and yield its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    log = folder / "log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options, "--host", "127.0.0.1", "--port", str(port)],
            stdout=output,
            stderr=output,
            env={**os.environ, "OMP_NUM_THREADS": "1", **variables},
        )
    try:
        _wait(f"{url}/health", process, log)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        assert process.poll() is None, log.read_text()
        try:
            if requests.get(url, timeout=30).ok:
                return
        except requests.RequestException:
            time.sleep(0.1)
    pytest.fail(f"{process.args!r} was not ready after {READY_S} s: {log.read_text()}")


@contextmanager
def transformers_serve(folder: Path) -> Iterator[UpstreamEngine]:
    for module in ("transformers.cli.serve", "accelerate", "fastapi", "uvicorn"):
        pytest.importorskip(module, reason=f"transformers serve needs {module}")
    tokenizer = tiny_tokenizer()
    tiny_model(tokenizer).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / "cache").mkdir()  # required to list the models (transformers 5.23)
    command = [str(Path(sys.executable).with_name("transformers")), "serve", str(folder)]
    offline = {"HF_HUB_CACHE": str(folder / "cache"), "HF_HUB_OFFLINE": "1"}
    with serving(command, ["--device", "cpu"], folder, **offline) as url:
        yield UpstreamEngine(f"{url}/v1", str(folder))


@contextmanager
def llama_serving(folder: Path, *options: str) -> Iterator[str]:
    pytest.importorskip("gguf", reason="gguf writes the model for llama.cpp")
    program = _program("llama-server", "LLAMA_SERVER")
    write_gguf(folder / "tiny.gguf", *_slow_model())
    command = [program, "--model", str(folder / "tiny.gguf"), "--ctx-size", str(CONTEXT)]
    with serving(command, ["--parallel", "1", "--threads", "1", *options], folder) as url:
        yield url


@contextmanager
def llama_server(folder: Path) -> Iterator[UpstreamEngine]:
    with llama_serving(folder) as url:
        yield UpstreamEngine(f"{url}/v1", "tiny")


@contextmanager
def vllm_serve(folder: Path) -> Iterator[UpstreamEngine]:
    command = [_program("vllm", "VLLM"), "serve", str(folder), "--served-model-name", "tiny"]
    for part in _slow_model():
        part.save_pretrained(folder)
    options = ["--enforce-eager", "--dtype", "float32", "--max-model-len", str(CONTEXT)]
    offline = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}
    with serving(command, options, folder, **offline) as url:
        yield UpstreamEngine(f"{url}/v1", "tiny")


def _program(name: str, variable: str) -> str:
    program = os.environ.get(variable) or shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed")
    return program


def _slow_model() -> tuple[Any, Any]:
    """A model whose full context takes seconds, during which a client can disconnect."""
    tokenizer = tiny_tokenizer()
    return tiny_model(tokenizer, width=256, layers=8, positions=CONTEXT), tokenizer


SERVERS = {
    "transformers serve": transformers_serve,
    "llama-server": llama_server,
    "vllm": vllm_serve,
}


@pytest.fixture(scope="module", params=SERVERS)
def engine(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[UpstreamEngine]:
    with SERVERS[request.param](tmp_path_factory.mktemp("model")) as engine:
        yield engine


def request_for(prompt: str, stop: tuple[str, ...] = (), **params: Any) -> GenerationRequest:
    return GenerationRequest(prompt, stop, {"max_tokens": 24, "temperature": 0, **params})


def test_completions_and_streams_have_text_and_token_counts(engine: UpstreamEngine) -> None:
    whole = engine.generate(request_for("Hello there"))
    assert whole.text
    assert whole.completion_tokens == 24
    assert whole.finish_reason == "length"
    deltas = list(engine.stream(request_for("Hello there")))
    assert "".join(delta.text for delta in deltas) == whole.text
    assert engine.health() is None


def test_stop_strings_are_exact(engine: UpstreamEngine) -> None:
    text = engine.generate(request_for("Hello there")).text
    stop = text[len(text) // 2 : len(text) // 2 + 3]
    answer = engine.generate(request_for("Hello there", (stop,)))
    assert answer.text == text[: text.find(stop)]
    assert answer.finish_reason == "stop"


@pytest.mark.filterwarnings("ignore:cluster_driver_port")
def test_langchains_chat_model_calls_it_through_the_driver_server(
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


def test_closing_a_stream_cancels_the_request_in_llama_cpp(tmp_path: Path) -> None:
    with llama_serving(tmp_path, "--metrics") as url:

        def count(name: str) -> float:
            lines = requests.get(f"{url}/metrics", timeout=30).text.splitlines()
            name = f"llamacpp:{name} "
            return next(float(line.split()[1]) for line in lines if line.startswith(name))

        engine = UpstreamEngine(f"{url}/v1", "tiny")
        with closing(engine.stream(request_for("Hello there", max_tokens=CONTEXT - 16))) as deltas:
            next(delta for delta in deltas if delta.text)
        deadline = time.monotonic() + 30
        while count("requests_processing"):
            assert time.monotonic() < deadline
        assert count("tokens_predicted_total") < CONTEXT / 2
        assert engine.generate(request_for("Hello there")).completion_tokens == 24


def test_a_prompt_that_exceeds_the_context_of_llama_cpp_is_a_400(tmp_path: Path) -> None:
    with llama_server(tmp_path) as engine, pytest.raises(RequestError, match="context") as caught:
        engine.generate(request_for("word " * 3 * CONTEXT))
    assert caught.value.status == 400


def test_embeddings_of_llama_cpp(tmp_path: Path) -> None:
    with llama_serving(tmp_path, "--embeddings", "--pooling", "mean") as url:
        vectors = UpstreamEngine(f"{url}/v1", "tiny").embed(
            ["one", "another text"], RequestContext()
        )
    assert [len(values) for values in vectors.values] == [256, 256]
    assert vectors.values[0] != vectors.values[1]
    assert vectors.prompt_tokens
