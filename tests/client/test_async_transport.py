"""The asynchronous transport beside its twin: event loops, time limits, logins, proxies."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, errors
from tests.loopback import (
    CALLS,
    TOKEN,
    Answer,
    LoopbackServer,
    Pieces,
    Received,
    Together,
    ask,
    chat_answer,
    chat_chunk,
    events,
)

WHOLE = ("invoke", "ainvoke")
STREAMS = ("stream", "astream")


def ok(received: Received) -> Any:
    if received.body and received.body.get("stream"):
        return Pieces(events(chat_chunk("ok"), chat_chunk(end="stop")))
    return chat_answer("ok")


@pytest.fixture
def server() -> Iterator[LoopbackServer]:
    with LoopbackServer(ok) as running:
        yield running


def chat_at(server: LoopbackServer, **arguments: Any) -> ChatDatabricks:
    return ChatDatabricks(**{"model": "m", "max_retries": 0, **server.login, **arguments})


PROGRAM = """
import asyncio, gc, sys
from langchain_dbx_eval import ChatDatabricks, DatabricksEmbeddings

chat = ChatDatabricks(model="m", max_retries=0)

async def all_ways():
    await asyncio.gather(*(chat.ainvoke("hi") for _ in range(64)))
    async for _ in chat.astream("hi"):
        pass
    async for _ in chat.astream("hi"):
        break  # a stream that nobody reads to its end

asyncio.run(all_ways())
asyncio.run(all_ways())
loop = asyncio.new_event_loop()
loop.run_until_complete(chat.ainvoke("hi"))
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
chat.invoke("hi")
del chat, loop
gc.collect()
print("fine")
"""


def test_event_loops_come_and_go_without_a_complaint(server: LoopbackServer) -> None:
    environment = {
        **os.environ,
        "DATABRICKS_HOST": server.url,
        "DATABRICKS_TOKEN": TOKEN,
        "PYTHONASYNCIODEBUG": "1",
    }
    done = subprocess.run(
        [sys.executable, "-W", "error::ResourceWarning", "-c", PROGRAM],
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout == "fine\n"
    complaints = [line for line in done.stderr.splitlines() if "took" not in line]
    assert complaints == []


def test_a_stream_that_is_left_gives_its_connection_back(server: LoopbackServer) -> None:
    chat = chat_at(server)

    async def leave() -> None:
        for _ in range(5):
            chunks = chat.astream("hi")
            await anext(chunks)
            await chunks.aclose()  # type: ignore[attr-defined]
        await chat.ainvoke("hi")

    asyncio.run(leave())
    assert len(server.requests) == 6


def test_a_loop_keeps_its_connection(server: LoopbackServer) -> None:
    async def several() -> None:
        for _ in range(3):
            await chat_at(server).ainvoke("hi")
            async for _ in chat_at(server).astream("hi"):
                pass

    asyncio.run(several())
    assert len(set(server.connections)) == 1


def test_sixty_four_calls_are_in_flight_at_once() -> None:
    async def gathered(chat: ChatDatabricks) -> int:
        return len(await asyncio.gather(*(chat.ainvoke("hi") for _ in range(64))))

    with LoopbackServer(Together(64, ok)) as server:
        assert asyncio.run(gathered(chat_at(server))) == 64


@pytest.mark.parametrize("call", CALLS)
def test_what_may_pass_is_tried_again(call: str) -> None:
    faults = iter(
        [
            Answer(status=429, headers={"Retry-After": "0"}),
            Answer(status=503, headers={"Retry-After": "0"}),
        ]
    )

    def flaky(received: Received) -> Any:
        fault = next(faults, None)
        return ok(received) if fault is None else fault

    with LoopbackServer(flaky) as server:
        assert ask(chat_at(server, max_retries=2), call)
        assert len(server.requests) == 3


@pytest.mark.parametrize("call", WHOLE)
def test_a_body_that_stops_in_the_middle_is_tried_again(call: str) -> None:
    bodies = iter([Answer(b'{"choices": [')])
    with LoopbackServer(lambda received: next(bodies, None) or ok(received)) as server:
        assert ask(chat_at(server, max_retries=1), call).text == "ok"


def test_a_connection_that_the_server_closed_is_opened_again() -> None:
    def closing(received: Received) -> Any:
        return Answer(ok(received), headers={"Connection": "close"})

    async def twice(chat: ChatDatabricks) -> None:
        await chat.ainvoke("hi")
        await chat.ainvoke("hi")

    with LoopbackServer(closing) as server:
        asyncio.run(twice(chat_at(server)))
        chat_at(server).invoke("hi")
        chat_at(server).invoke("hi")


def dripping(stop: threading.Event) -> Iterator[bytes]:
    """A byte now and then, for longer than anybody waits."""
    for _ in range(200):
        if stop.wait(0.02):
            return
        yield b" "


@pytest.mark.parametrize("call", WHOLE)
def test_a_body_that_drips_does_not_outlast_the_deadline(call: str) -> None:
    enough = threading.Event()
    with LoopbackServer(lambda _: Pieces(dripping(enough))) as server:
        with pytest.raises(errors.RequestTimeoutError, match="timeout="):
            ask(chat_at(server, timeout=0.2, max_retries=5), call)
        enough.set()


@pytest.mark.parametrize("call", WHOLE)
def test_the_deadline_is_of_all_tries_together(call: str) -> None:
    enough = threading.Event()
    with LoopbackServer(lambda _: enough.wait(5)) as server:
        with pytest.raises(errors.RequestTimeoutError):
            ask(chat_at(server, timeout=0.3, max_retries=50), call)
        enough.set()
        assert len(server.requests) <= 2


@pytest.mark.parametrize("call", STREAMS)
def test_a_stream_that_falls_silent_is_told_with_the_text_so_far(call: str) -> None:
    enough = threading.Event()

    def silent() -> Iterator[bytes]:
        yield events(chat_chunk("so far"), done=False)[0]
        enough.wait(5)

    with LoopbackServer(lambda _: Pieces(silent())) as server:
        with pytest.raises(errors.StreamInterruptedError) as raised:
            ask(chat_at(server, stream_chunk_timeout=0.2), call)
        enough.set()
    assert raised.value.partial_text == "so far"


@pytest.mark.parametrize("call", STREAMS)
def test_a_stream_may_last_longer_than_the_timeout(call: str) -> None:
    def slow() -> Iterator[bytes]:
        for event in events(*[chat_chunk("x")] * 5, chat_chunk(end="stop")):
            time.sleep(0.1)
            yield event

    with LoopbackServer(lambda _: Pieces(slow())) as server:
        chunks = ask(chat_at(server, timeout=0.4, stream_chunk_timeout=5), call)
    assert "".join(chunk.text for chunk in chunks) == "xxxxx"


@pytest.mark.parametrize("call", STREAMS)
def test_chunks_are_handed_on_as_they_come(call: str) -> None:
    read = threading.Event()

    def waiting() -> Iterator[bytes]:
        first, *others = events(chat_chunk("a"), chat_chunk("b", end="stop"))
        yield first
        assert read.wait(5), "the first chunk was held back"
        yield from others

    async def collect(chat: ChatDatabricks) -> str:
        text = ""
        async for chunk in chat.astream("hi"):
            text += chunk.text
            read.set()
        return text

    with LoopbackServer(lambda _: Pieces(waiting())) as server:
        if call == "astream":
            assert asyncio.run(collect(chat_at(server))) == "ab"
            return
        text = ""
        for chunk in chat_at(server).stream("hi"):
            text += chunk.text
            read.set()
        assert text == "ab"


def test_a_call_can_be_cancelled() -> None:
    enough = threading.Event()

    async def cancel(chat: ChatDatabricks) -> str:
        task = asyncio.create_task(chat.ainvoke("first"))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        enough.set()
        return (await chat.ainvoke("second")).text

    def slow(received: Received) -> Any:
        enough.wait(5)
        return ok(received)

    with LoopbackServer(slow) as server:
        assert asyncio.run(cancel(chat_at(server, max_retries=3))) == "ok"
        assert len(server.requests) == 2  # a cancelled call is not tried again


class Config:
    """What of databricks-sdk's `Config` is used."""

    auth_type = "oauth-m2m"

    def __init__(self, host: str) -> None:
        self.host = host
        self.tokens = ["old"]
        self.wait: threading.Event | None = None

    def authenticate(self) -> dict[str, str]:
        if self.wait is not None:
            assert self.wait.wait(2), "the event loop stands still while we log in"
        return {"Authorization": f"Bearer {self.tokens[-1]}", "X-Further": "header"}

    def init_auth(self) -> None:
        self.tokens.append("new")


class Client:
    def __init__(self, config: Config) -> None:
        self.config = config


def test_a_slow_login_leaves_the_event_loop_to_others(server: LoopbackServer) -> None:
    config = Config(server.url)
    config.wait = threading.Event()
    chat = ChatDatabricks(model="m", workspace_client=Client(config))
    embeddings = DatabricksEmbeddings(endpoint="m", workspace_client=Client(config), max_retries=0)

    async def others() -> None:
        for _ in range(5):
            await asyncio.sleep(0.01)
        assert config.wait is not None
        config.wait.set()

    async def everything() -> list[Any]:
        calls = [chat.ainvoke("hi") for _ in range(5)]
        queries = [embeddings.aembed_query("hi") for _ in range(5)]
        return await asyncio.gather(others(), *calls, *queries, return_exceptions=True)

    answers = asyncio.run(everything())
    assert [answer.text for answer in answers[1:6]] == ["ok"] * 5
    # The server knows no embeddings; but it was asked, so the login was found.
    assert all(isinstance(error, errors.InvalidResponseError) for error in answers[6:])


@pytest.mark.parametrize("call", CALLS)
def test_all_headers_of_the_login_are_sent(server: LoopbackServer, call: str) -> None:
    ask(ChatDatabricks(model="m", workspace_client=Client(Config(server.url))), call)
    sent = server.requests[0].headers
    assert (sent["Authorization"], sent["X-Further"]) == ("Bearer old", "header")


@pytest.mark.parametrize("call", CALLS)
def test_a_login_that_ran_out_is_made_anew_once(call: str) -> None:
    def strict(received: Received) -> Any:
        if received.headers["Authorization"] != "Bearer new":
            return Answer({"error_code": 401, "message": "token expired"}, 401)
        return ok(received)

    with LoopbackServer(strict) as server:
        config = Config(server.url)
        chat = ChatDatabricks(model="m", workspace_client=Client(config), max_retries=0)
        assert ask(chat, call)
        assert config.tokens == ["old", "new"]
        assert len(server.requests) == 2


@pytest.mark.parametrize("call", CALLS)
def test_a_login_that_is_refused_twice_is_an_error(call: str) -> None:
    refused = Answer({"error_code": 401, "message": "token expired"}, 401)
    with LoopbackServer(lambda _: refused) as server:
        chat = ChatDatabricks(model="m", workspace_client=Client(Config(server.url)))
        with pytest.raises(errors.AuthenticationError, match="token expired"):
            ask(chat, call)
        assert len(server.requests) == 2


@pytest.mark.parametrize("call", CALLS)
def test_a_token_that_is_refused_is_not_sent_again(call: str) -> None:
    refused = Answer({"error_code": 401, "message": "no"}, 401)
    with LoopbackServer(lambda _: refused) as server:
        with pytest.raises(errors.AuthenticationError, match="DATABRICKS_TOKEN"):
            ask(chat_at(server, max_retries=3), call)
        assert len(server.requests) == 1


@pytest.fixture
def _forgotten_environment() -> Iterator[None]:
    """What the environment says of hosts is looked up once a process; here it changes."""
    from langchain_dbx_eval.client.request import environment_of

    environment_of.cache_clear()
    yield
    environment_of.cache_clear()


@pytest.mark.usefixtures("_forgotten_environment")
@pytest.mark.parametrize("call", CALLS)
def test_a_proxy_of_the_environment_is_used(call: str) -> None:
    with LoopbackServer(lambda _: Answer(status=403)) as proxy:
        os.environ["HTTPS_PROXY"] = os.environ["https_proxy"] = proxy.url
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
        chat = ChatDatabricks(model="m", host="workspace.invalid", api_token="t", max_retries=0)
        with pytest.raises(errors.ConnectionFailedError):
            ask(chat, call)
        assert proxy.requests[0].method == "CONNECT"
        assert proxy.requests[0].path == "workspace.invalid:443"


@pytest.mark.usefixtures("_forgotten_environment")
@pytest.mark.parametrize("call", CALLS)
def test_a_host_of_no_proxy_is_called_directly(call: str) -> None:
    with LoopbackServer(lambda _: Answer(status=403)) as proxy:
        os.environ["HTTPS_PROXY"] = os.environ["https_proxy"] = proxy.url
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "0.0.0.0"
        chat = ChatDatabricks(model="m", host="0.0.0.0:1", api_token="t", max_retries=0)
        with pytest.raises(errors.ConnectionFailedError):
            ask(chat, call)
        assert not proxy.requests


@pytest.fixture
def proxy_for_all(_forgotten_environment: None) -> Iterator[LoopbackServer]:
    """A proxy that the environment names for every host."""
    with LoopbackServer(lambda _: Answer(status=403)) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            os.environ[name] = os.environ[name.lower()] = proxy.url
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
        yield proxy


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "127.0.0.9", "[::1]"])
@pytest.mark.parametrize("call", CALLS)
def test_a_proxy_never_sees_what_goes_to_this_machine(
    server: LoopbackServer, proxy_for_all: LoopbackServer, name: str, call: str
) -> None:
    host = f"http://{name}:{server.port}"
    chat = ChatDatabricks(model="m", host=host, api_token="t", max_retries=0)
    with suppress(errors.ConnectionFailedError):  # nobody listens on the addresses but the first
        ask(chat, call)
    assert not proxy_for_all.requests


@pytest.mark.parametrize("model", [Databricks, ChatDatabricks, DatabricksEmbeddings])
def test_a_proxy_never_sees_the_key_of_an_app_on_this_node(
    server: LoopbackServer, proxy_for_all: LoopbackServer, model: type[Any]
) -> None:
    client = model(cluster_driver_port=server.port, host="local", driver_api_key="k", max_retries=0)
    begin = client.embed_query if model is DatabricksEmbeddings else client.invoke
    with suppress(errors.DatabricksError):  # it answers all of them as a chat
        begin("hi")
    assert server.requests[0].headers["X-Api-Key"] == "k"
    assert not proxy_for_all.requests


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize("call", CALLS)
def test_a_redirect_is_not_followed(call: str, status: int) -> None:
    with LoopbackServer(ok) as elsewhere:
        moved = Answer(status=status, headers={"Location": f"{elsewhere.url}/stolen"})
        with (
            LoopbackServer(lambda _: moved) as server,
            pytest.raises(errors.DatabricksError, match="redirect, which is not followed"),
        ):
            ask(chat_at(server), call)
        assert not elsewhere.requests


@pytest.mark.parametrize("call", CALLS)
def test_netrc_does_not_replace_the_token(
    server: LoopbackServer, tmp_path: Path, call: str
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    os.environ["NETRC"] = str(netrc)
    ask(chat_at(server), call)
    assert server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("call", WHOLE)
def test_cookies_are_not_kept(call: str) -> None:
    async def twice(chat: ChatDatabricks) -> None:
        await chat.ainvoke("hi")
        await chat.ainvoke("hi")

    cookie = Answer(chat_answer("ok"), headers={"Set-Cookie": "session=1; Path=/"})
    with LoopbackServer(lambda _: cookie) as server:
        # By name: aiohttp keeps no cookies of bare addresses anyway.
        chat = chat_at(server, host=f"http://localhost:{server.port}")
        if call == "ainvoke":
            asyncio.run(twice(chat))
        else:
            chat.batch(["hi", "hi"], {"max_concurrency": 1})
        assert len(server.requests) == 2
        assert all("Cookie" not in request.headers for request in server.requests)
