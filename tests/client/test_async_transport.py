"""Both transports: event loops, timeouts, logins, proxies."""

from __future__ import annotations

import asyncio
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import trustme

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, errors
from tests.loopback import (
    CALLS,
    TOKEN,
    Answer,
    LoopbackServer,
    Pieces,
    Received,
    RequireConcurrency,
    call_model,
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

async def all_calls():
    await asyncio.gather(*(chat.ainvoke("hi") for _ in range(64)))
    async for _ in chat.astream("hi"):
        pass
    async for _ in chat.astream("hi"):
        break  # a stream that is not read to its end

asyncio.run(all_calls())
asyncio.run(all_calls())
loop = asyncio.new_event_loop()
loop.run_until_complete(chat.ainvoke("hi"))
loop.run_until_complete(loop.shutdown_asyncgens())
loop.close()
chat.invoke("hi")
del chat, loop
gc.collect()
print("fine")
"""


def test_several_event_loops_cause_no_warning(server: LoopbackServer) -> None:
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
    warnings = [line for line in done.stderr.splitlines() if "took" not in line]
    assert warnings == []


def test_a_stream_that_is_closed_early_releases_its_connection(server: LoopbackServer) -> None:
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


def test_sixty_four_calls_run_concurrently() -> None:
    async def gathered(chat: ChatDatabricks) -> int:
        return len(await asyncio.gather(*(chat.ainvoke("hi") for _ in range(64))))

    with LoopbackServer(RequireConcurrency(64, ok)) as server:
        assert asyncio.run(gathered(chat_at(server))) == 64


@pytest.mark.parametrize("call", CALLS)
def test_transient_errors_are_retried(call: str) -> None:
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
        assert call_model(chat_at(server, max_retries=2), call)
        assert len(server.requests) == 3


@pytest.mark.parametrize("call", WHOLE)
def test_an_incomplete_body_is_retried(call: str) -> None:
    bodies = iter([Answer(b'{"choices": [')])
    with LoopbackServer(lambda received: next(bodies, None) or ok(received)) as server:
        assert call_model(chat_at(server, max_retries=1), call).text == "ok"


def test_a_connection_that_the_server_closed_is_reopened() -> None:
    def closing(received: Received) -> Any:
        return Answer(ok(received), headers={"Connection": "close"})

    async def twice(chat: ChatDatabricks) -> None:
        await chat.ainvoke("hi")
        await chat.ainvoke("hi")

    with LoopbackServer(closing) as server:
        asyncio.run(twice(chat_at(server)))
        chat_at(server).invoke("hi")
        chat_at(server).invoke("hi")


def byte_by_byte(stop: threading.Event) -> Iterator[bytes]:
    """Yield a byte every 20 ms for four seconds."""
    for _ in range(200):
        if stop.wait(0.02):
            return
        yield b" "


@pytest.mark.parametrize("call", WHOLE)
def test_a_body_that_arrives_byte_by_byte_does_not_exceed_the_timeout(call: str) -> None:
    stop = threading.Event()
    with LoopbackServer(lambda _: Pieces(byte_by_byte(stop))) as server:
        with pytest.raises(errors.RequestTimeoutError, match="timeout="):
            call_model(chat_at(server, timeout=0.2, max_retries=5), call)
        stop.set()


@pytest.mark.parametrize("call", WHOLE)
def test_the_timeout_covers_all_attempts(call: str) -> None:
    stop = threading.Event()
    with LoopbackServer(lambda _: stop.wait(5)) as server:
        with pytest.raises(errors.RequestTimeoutError):
            call_model(chat_at(server, timeout=0.3, max_retries=50), call)
        stop.set()
        assert len(server.requests) <= 2


@pytest.mark.parametrize("call", STREAMS)
def test_a_stalled_stream_raises_with_the_text_so_far(call: str) -> None:
    stop = threading.Event()

    def stalled() -> Iterator[bytes]:
        yield events(chat_chunk("so far"), done=False)[0]
        stop.wait(60)

    with LoopbackServer(lambda _: Pieces(stalled())) as server:
        with pytest.raises(errors.StreamInterruptedError) as raised:
            call_model(chat_at(server, stream_chunk_timeout=1.5), call)
        stop.set()
    assert raised.value.partial_text == "so far"


@pytest.mark.parametrize("call", STREAMS)
def test_a_stream_may_last_longer_than_the_timeout(call: str) -> None:
    def slow() -> Iterator[bytes]:
        for event in events(*[chat_chunk("x")] * 5, chat_chunk(end="stop")):
            time.sleep(0.25)
            yield event

    with LoopbackServer(lambda _: Pieces(slow())) as server:
        chunks = call_model(chat_at(server, timeout=1.0, stream_chunk_timeout=60), call)
    assert "".join(chunk.text for chunk in chunks) == "xxxxx"


@pytest.mark.parametrize("call", STREAMS)
def test_chunks_are_returned_as_they_arrive(call: str) -> None:
    read = threading.Event()

    def waiting() -> Iterator[bytes]:
        first, *others = events(chat_chunk("a"), chat_chunk("b", end="stop"))
        yield first
        assert read.wait(60), "the first chunk was not returned at once"
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


def test_a_call_can_be_canceled() -> None:
    stop = threading.Event()

    async def cancel(chat: ChatDatabricks) -> str:
        task = asyncio.create_task(chat.ainvoke("first"))
        while not server.requests:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        stop.set()
        return (await chat.ainvoke("second")).text

    def slow(received: Received) -> Any:
        stop.wait(5)
        return ok(received)

    with LoopbackServer(slow) as server:
        assert asyncio.run(cancel(chat_at(server, max_retries=3))) == "ok"
        assert len(server.requests) == 2  # a canceled call is not retried


class Config:
    """The part of databricks-sdk's `Config` that is used."""

    auth_type = "oauth-m2m"

    def __init__(self, host: str) -> None:
        self.host = host
        self.tokens = ["old"]
        self.wait: threading.Event | None = None

    def authenticate(self) -> dict[str, str]:
        if self.wait is not None:
            assert self.wait.wait(60), "the login blocks the event loop"
        return {"Authorization": f"Bearer {self.tokens[-1]}", "X-Further": "header"}

    def init_auth(self) -> None:
        self.tokens.append("new")


class Client:
    def __init__(self, config: Config) -> None:
        self.config = config


def test_a_slow_login_does_not_block_the_event_loop(server: LoopbackServer) -> None:
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
    # The server answers with a chat completion: the error shows that the login succeeded.
    assert all(isinstance(error, errors.InvalidResponseError) for error in answers[6:])


@pytest.mark.parametrize("call", CALLS)
def test_all_headers_of_the_login_are_sent(server: LoopbackServer, call: str) -> None:
    call_model(ChatDatabricks(model="m", workspace_client=Client(Config(server.url))), call)
    sent = server.requests[0].headers
    assert (sent["Authorization"], sent["X-Further"]) == ("Bearer old", "header")


@pytest.mark.parametrize("call", CALLS)
def test_an_expired_login_is_refreshed_once(call: str) -> None:
    def strict(received: Received) -> Any:
        if received.headers["Authorization"] != "Bearer new":
            return Answer({"error_code": 401, "message": "token expired"}, 401)
        return ok(received)

    with LoopbackServer(strict) as server:
        config = Config(server.url)
        chat = ChatDatabricks(model="m", workspace_client=Client(config), max_retries=0)
        assert call_model(chat, call)
        assert config.tokens == ["old", "new"]
        assert len(server.requests) == 2


@pytest.mark.parametrize("call", CALLS)
def test_a_login_that_is_rejected_twice_is_an_error(call: str) -> None:
    refused = Answer({"error_code": 401, "message": "token expired"}, 401)
    with LoopbackServer(lambda _: refused) as server:
        chat = ChatDatabricks(model="m", workspace_client=Client(Config(server.url)))
        with pytest.raises(errors.AuthenticationError, match="token expired"):
            call_model(chat, call)
        assert len(server.requests) == 2


@pytest.mark.parametrize("call", CALLS)
def test_a_rejected_token_is_not_sent_again(call: str) -> None:
    refused = Answer({"error_code": 401, "message": "no"}, 401)
    with LoopbackServer(lambda _: refused) as server:
        with pytest.raises(errors.AuthenticationError, match="DATABRICKS_TOKEN"):
            call_model(chat_at(server, max_retries=3), call)
        assert len(server.requests) == 1


@pytest.fixture
def _uncached_environment() -> Iterator[None]:
    """Clear the cached network settings, which these tests change."""
    from langchain_dbx_eval.client.request import environment_of

    environment_of.cache_clear()
    yield
    environment_of.cache_clear()


@pytest.mark.usefixtures("_uncached_environment")
@pytest.mark.parametrize("call", CALLS)
def test_a_proxy_of_the_environment_is_used(call: str) -> None:
    with LoopbackServer(lambda _: Answer(status=403)) as proxy:
        os.environ["HTTPS_PROXY"] = os.environ["https_proxy"] = proxy.url
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
        chat = ChatDatabricks(model="m", host="workspace.invalid", api_token="t", max_retries=0)
        with pytest.raises(errors.ConnectionFailedError):
            call_model(chat, call)
        assert proxy.requests[0].method == "CONNECT"
        assert proxy.requests[0].path == "workspace.invalid:443"


@pytest.mark.usefixtures("_uncached_environment")
@pytest.mark.parametrize("call", CALLS)
def test_a_host_of_no_proxy_is_called_directly(call: str) -> None:
    with LoopbackServer(lambda _: Answer(status=403)) as proxy:
        os.environ["HTTPS_PROXY"] = os.environ["https_proxy"] = proxy.url
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = "0.0.0.0"
        chat = ChatDatabricks(model="m", host="0.0.0.0:1", api_token="t", max_retries=0)
        with pytest.raises(errors.ConnectionFailedError):
            call_model(chat, call)
        assert not proxy.requests


@pytest.fixture
def proxy_for_all(_uncached_environment: None) -> Iterator[LoopbackServer]:
    """A proxy that the environment sets for every host."""
    with LoopbackServer(lambda _: Answer(status=403)) as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            os.environ[name] = os.environ[name.lower()] = proxy.url
        os.environ["NO_PROXY"] = os.environ["no_proxy"] = ""
        yield proxy


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LocalHost", "127.0.0.9", "[::1]"])
@pytest.mark.parametrize("call", CALLS)
def test_requests_to_this_machine_use_no_proxy(
    server: LoopbackServer, proxy_for_all: LoopbackServer, name: str, call: str
) -> None:
    host = f"http://{name}:{server.port}"
    chat = ChatDatabricks(model="m", host=host, api_token="t", max_retries=0)
    with suppress(errors.ConnectionFailedError):  # only the first address has a listener
        call_model(chat, call)
    assert not proxy_for_all.requests


@pytest.mark.parametrize("model", [Databricks, ChatDatabricks, DatabricksEmbeddings])
def test_requests_to_an_app_on_this_node_use_no_proxy(
    server: LoopbackServer, proxy_for_all: LoopbackServer, model: type[Any]
) -> None:
    client = model(cluster_driver_port=server.port, host="local", driver_api_key="k", max_retries=0)
    begin = client.embed_query if model is DatabricksEmbeddings else client.invoke
    with suppress(errors.DatabricksError):  # each component receives a chat completion
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
            call_model(chat_at(server), call)
        assert not elsewhere.requests


@pytest.mark.parametrize("call", CALLS)
def test_netrc_does_not_replace_the_token(
    server: LoopbackServer, tmp_path: Path, call: str
) -> None:
    netrc = tmp_path / ".netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    netrc.chmod(0o600)
    os.environ["NETRC"] = str(netrc)
    call_model(chat_at(server), call)
    assert server.requests[0].headers["Authorization"] == f"Bearer {TOKEN}"


@pytest.mark.parametrize("call", WHOLE)
def test_cookies_are_not_kept(call: str) -> None:
    async def twice(chat: ChatDatabricks) -> None:
        await chat.ainvoke("hi")
        await chat.ainvoke("hi")

    cookie = Answer(chat_answer("ok"), headers={"Set-Cookie": "session=1; Path=/"})
    with LoopbackServer(lambda _: cookie) as server:
        # By name: aiohttp never keeps cookies of IP addresses.
        chat = chat_at(server, host=f"http://localhost:{server.port}")
        if call == "ainvoke":
            asyncio.run(twice(chat))
        else:
            chat.batch(["hi", "hi"], {"max_concurrency": 1})
        assert len(server.requests) == 2
        assert all("Cookie" not in request.headers for request in server.requests)


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
@pytest.mark.parametrize("is_trusted", [False, True])
def test_the_certificate_of_a_server_is_verified(
    call: str, is_trusted: bool, tmp_path: Path
) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    if is_trusted:
        authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
        os.environ["REQUESTS_CA_BUNDLE"] = str(tmp_path / "ca.pem")
    server = LoopbackServer(ok)
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    with server:
        host = f"https://localhost:{server.port}"
        chat = ChatDatabricks(model="m", host=host, api_token=TOKEN, max_retries=0)
        if is_trusted:
            assert call_model(chat, call).text == "ok"
            return
        with pytest.raises(errors.ConnectionFailedError, match="certificate"):
            call_model(chat, call)
    assert server.requests == []
