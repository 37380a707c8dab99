"""One deadline over a whole call, also where no response is the cause of the wait.

`tests/faults` contains the responses that drip, flood or never end.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from traceback import walk_stack
from typing import Any

import pytest

from langchain_dbx_eval import ChatDatabricks, DatabricksEmbeddings, errors
from langchain_dbx_eval.client import sync_transport
from tests.loopback import CALLS, TOKEN, LoopbackServer, Pieces, call_model, chat_chunk, events
from tests.polling import wait_until

# An unlimited wait ends each of these tests by pytest's timeout.
_MARGIN_S = 20.0


class HangingConfig:
    """A login of databricks-sdk that does not end: its retries take five minutes."""

    auth_type = "oauth-m2m"
    host = "http://127.0.0.1:9"

    def __init__(self) -> None:
        self.calls = 0
        self.released = threading.Event()

    def authenticate(self) -> dict[str, str]:
        self.calls += 1
        self.released.wait(120)
        return {}


class Client:
    def __init__(self, config: Any) -> None:
        self.config = config


@pytest.fixture
def hanging() -> Iterator[HangingConfig]:
    config = HangingConfig()
    yield config
    config.released.set()


@pytest.mark.parametrize("call", CALLS)
def test_a_login_that_hangs_ends_with_the_timeout(hanging: HangingConfig, call: str) -> None:
    chat = ChatDatabricks(model="m", workspace_client=Client(hanging), timeout=0.3)
    started = time.monotonic()
    with pytest.raises(errors.RequestTimeoutError, match=r"login.*timeout=0\.3"):
        call_model(chat, call)
    assert time.monotonic() - started < _MARGIN_S


def test_calls_that_wait_for_a_login_share_one_attempt(hanging: HangingConfig) -> None:
    chat = ChatDatabricks(model="m", workspace_client=Client(hanging), timeout=0.1, max_retries=0)
    for _ in range(5):
        with pytest.raises(errors.RequestTimeoutError):
            chat.invoke("hi")
    assert hanging.calls == 1


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
def test_the_login_at_a_host_that_cannot_be_resolved_ends_with_the_timeout(call: str) -> None:
    # Without a token, databricks-sdk looks for the login on the host, by default for 5 minutes.
    chat = ChatDatabricks(model="m", host="nowhere.invalid", timeout=0.5)
    started = time.monotonic()
    with pytest.raises((errors.RequestTimeoutError, errors.AuthenticationError)):
        call_model(chat, call)
    assert time.monotonic() - started < _MARGIN_S
    # The thread that logs in is not left behind with requests of its own.
    wait_until(lambda: not sdk_retries())


def sdk_retries() -> list[int]:
    """The threads in which databricks-sdk sends requests or waits to send one again."""
    return [
        thread
        for thread, frame in sys._current_frames().items()
        if any("databricks/sdk" in called.f_code.co_filename for called, _ in walk_stack(frame))
    ]


def test_the_process_exits_while_a_login_hangs() -> None:
    program = """
import asyncio
from langchain_dbx_eval import ChatDatabricks, errors
chat = ChatDatabricks(model="m", host="nowhere.invalid", timeout=0.5)
try:
    asyncio.run(chat.ainvoke("hi"))
except errors.DatabricksError:
    print("ended")
"""
    environment = {name: value for name, value in os.environ.items() if "DATABRICKS" not in name}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stdout == "ended\n"


@pytest.mark.parametrize("call", ["invoke", "stream"])
def test_the_wait_for_a_connection_ends_with_the_timeout(
    monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(sync_transport, "POOL_SIZE", 2)
    read = threading.Event()

    def open_streams(_: Any) -> Pieces:
        def pieces() -> Iterator[bytes]:
            yield from events(chat_chunk("a"), done=False)
            read.wait(60)

        return Pieces(pieces())

    with LoopbackServer(open_streams) as server:
        # Long enough to open the streams on a loaded machine.
        chat = ChatDatabricks(model="m", **server.login, timeout=2.0, max_retries=0)
        streams = [chat.stream("hi") for _ in range(2)]
        for stream in streams:
            next(stream)
        with pytest.raises(errors.RequestTimeoutError):
            call_model(chat, call)
        read.set()
        for stream in streams:
            stream.close()  # type: ignore[attr-defined]


def test_a_host_whose_name_server_does_not_answer_ends_with_the_timeout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import socket

    released = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: released.wait(60) and [])
    for call in ("invoke", "ainvoke"):
        chat = ChatDatabricks(
            model="m", host="slow.example", api_token="t", timeout=0.3, max_retries=0
        )
        with pytest.raises(errors.RequestTimeoutError):
            call_model(chat, call)
    released.set()


@pytest.mark.parametrize("call", ["stream", "astream"])
def test_the_timeout_does_not_cut_the_wait_for_a_chunk(call: str) -> None:
    def slow(_: Any) -> Pieces:
        def pieces() -> Iterator[bytes]:
            first, *others = events(chat_chunk("a"), chat_chunk("b", end="stop"))
            yield first
            time.sleep(2.0)
            yield from others

        return Pieces(pieces())

    with LoopbackServer(slow) as server:
        chat = ChatDatabricks(model="m", **server.login, timeout=1.5, stream_chunk_timeout=60)
        assert "".join(chunk.text for chunk in call_model(chat, call)) == "ab"


@pytest.mark.parametrize("call", ["stream", "astream"])
def test_comments_do_not_extend_the_wait_for_a_chunk(call: str) -> None:
    def comments(_: Any) -> Pieces:
        def pieces() -> Iterator[bytes]:
            yield from events(chat_chunk("a"), done=False)
            for _ in range(600):
                time.sleep(0.05)
                yield b": keep-alive\n\n"

        return Pieces(pieces())

    with LoopbackServer(comments) as server:
        chat = ChatDatabricks(model="m", **server.login, stream_chunk_timeout=1.5)
        with pytest.raises(errors.StreamInterruptedError) as raised:
            call_model(chat, call)
    assert "stream_chunk_timeout" in str(raised.value)
    assert raised.value.partial_text == "a"


PROGRAM = """
import signal, sys, threading, time
from langchain_dbx_eval import {component}
# A process that a background job starts inherits that Ctrl-C is ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
threading.Thread(target=time.sleep, args=(60,), daemon=True).start()
signal.pthread_sigmask(signal.SIG_BLOCK, {masked})
component = {component}({arguments}, timeout=60, max_retries=0)
print("ready", flush=True)
try:
    {call}
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("masked", ["[]", "[signal.SIGINT]"])
@pytest.mark.parametrize(
    ("component", "arguments", "call"),
    [
        ("ChatDatabricks", "model='m'", "component.batch(['a', 'b', 'c'])"),
        ("Databricks", "endpoint_name='m', task='llm/v1/chat'", "component.batch(['a', 'b'])"),
        (
            "DatabricksEmbeddings",
            "endpoint='m', chunk_size=1",
            "component.embed_documents(['a', 'b', 'c'])",
        ),
    ],
)
def test_ctrl_c_ends_concurrent_calls_and_the_process_at_once(
    component: str, arguments: str, call: str, masked: str
) -> None:
    """Also if another thread receives the signal, or the main thread before it waits for a lock."""
    read = threading.Event()
    with LoopbackServer(lambda _: read.wait(60)) as server:
        environment = {**os.environ, "DATABRICKS_HOST": server.url, "DATABRICKS_TOKEN": TOKEN}
        program = PROGRAM.format(component=component, arguments=arguments, call=call, masked=masked)
        process = subprocess.Popen(
            [sys.executable, "-c", program], env=environment, stdout=subprocess.PIPE, text=True
        )
        while len(server.requests) < 2:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        # Each request may take a minute: neither the call nor the exit waits for one.
        output, _ = process.communicate(timeout=_MARGIN_S)
        read.set()
    assert output == "ready\ninterrupted\n"


def test_a_retry_after_beyond_the_timeout_is_reported(workspace: Any) -> None:
    workspace.add_endpoint("my-chat", lambda messages, **p: "ok", kind="chat")
    workspace.fail("my-chat", status=429, retry_after=86400, times=9)
    with pytest.raises(errors.RateLimitError, match=r"asks to wait 86400 s.*timeout=5 s"):
        ChatDatabricks(model="my-chat", timeout=5).invoke("hi")


def test_many_embedding_requests_have_a_deadline_each() -> None:
    def slow(received: Any) -> Any:
        time.sleep(0.05)
        return {"data": [{"index": 0, "embedding": [1.0]}]}

    with LoopbackServer(slow) as server:
        embeddings = DatabricksEmbeddings(
            endpoint="m", **server.login, chunk_size=1, max_concurrency=2, timeout=1.5
        )
        assert len(asyncio.run(embeddings.aembed_documents(["a"] * 80))) == 80
        assert len(embeddings.embed_documents(["a"] * 80)) == 80
