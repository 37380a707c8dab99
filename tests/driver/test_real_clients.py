"""All formats, called by the clients that users have."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import trustme
from langchain_core.messages import HumanMessage
from openai import BadRequestError, OpenAI

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings
from langchain_dbx_eval.driver import DriverServer, EmbeddingResult, RequestContext
from langchain_dbx_eval.errors import AuthenticationError, InvalidRequestError
from langchain_dbx_eval.testing import LocalWorkspace

StartServer = Callable[..., DriverServer]
KEY = "a key of the app"


class GeneratesAndEmbeds:
    """One engine for all formats: a streaming function, and vectors."""

    parameters = frozenset({"temperature", "max_tokens"})

    def __init__(self) -> None:
        from langchain_dbx_eval.driver import CallableEngine

        self._function = CallableEngine(self._complete)
        self.generate, self.stream = self._function.generate, self._function.stream

    @staticmethod
    def _complete(prompt: str, temperature: float = 0.0, max_tokens: int = 0) -> Iterator[str]:
        yield from (f"{prompt} ", "is the ", f"question at {temperature}")

    def embed(self, texts: Sequence[str], context: RequestContext) -> EmbeddingResult:
        return EmbeddingResult([[float(len(text)), 1.0] for text in texts], 3)


ANSWER = "hi is the question at 0.5"


@pytest.fixture
def server(workspace: LocalWorkspace, start_server: StartServer) -> DriverServer:
    os.environ["DBX_EVAL_DRIVER_API_KEY"] = KEY
    return start_server(GeneratesAndEmbeds(), KEY)


def app(server: DriverServer, path: str = "") -> dict[str, Any]:
    return {"cluster_id": "0927-034054-wqx8yh0g", "cluster_driver_port": server.port, "path": path}


@pytest.fixture(autouse=True)
def _allow_any_port() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*3000-8000.*")
        yield


def test_the_text_model_of_this_package(server: DriverServer) -> None:
    llm = Databricks(**app(server), temperature=0.5)
    assert llm.invoke("hi") == ANSWER
    assert llm.invoke("hi", stop=[" is"]) == "hi"
    assert llm.batch(["hi", "ho"]) == [ANSWER, ANSWER.replace("hi", "ho")]
    assert asyncio.run(llm.ainvoke("hi")) == ANSWER


@pytest.mark.parametrize("path", ["", "v1/chat/completions"])
def test_the_chat_model_of_this_package(server: DriverServer, path: str) -> None:
    chat = ChatDatabricks(**app(server, path), temperature=0.5)
    assert chat.invoke("hi").content == ANSWER
    assert chat.invoke([HumanMessage("hi")], stop=["question"]).content == "hi is the "
    chunks = list(chat.stream("hi"))
    assert len(chunks) > 3
    assert "".join(str(chunk.content) for chunk in chunks) == ANSWER

    async def collected() -> str:
        return "".join([str(chunk.content) async for chunk in chat.astream("hi")])

    assert asyncio.run(collected()) == ANSWER
    assert asyncio.run(chat.ainvoke("hi")).content == ANSWER


@pytest.mark.parametrize("path", ["", "v1/embeddings"])
def test_the_embeddings_of_this_package(server: DriverServer, path: str) -> None:
    embeddings = DatabricksEmbeddings(**app(server, path), chunk_size=2)
    assert embeddings.embed_query("hello") == [5.0, 1.0]
    assert embeddings.embed_documents(["a", "bb", "ccc"]) == [[1.0, 1.0], [2.0, 1.0], [3.0, 1.0]]
    assert asyncio.run(embeddings.aembed_query("hello")) == [5.0, 1.0]


def test_a_wrong_key_is_an_authentication_error(server: DriverServer) -> None:
    with pytest.raises(AuthenticationError, match="driver_api_key"):
        Databricks(**app(server), driver_api_key="wrong").invoke("hi")


def test_the_message_about_an_invalid_request_reaches_the_user(server: DriverServer) -> None:
    with pytest.raises(InvalidRequestError, match="'temperature' must be a number from 0 to 2"):
        Databricks(**app(server), temperature=9).invoke("hi")


@pytest.fixture
def https_workspace(workspace: LocalWorkspace, tmp_path: Path) -> Iterator[str]:
    with behind_tls(int(workspace.url.rsplit(":", 1)[1]), tmp_path) as host:
        yield host


@contextmanager
def behind_tls(inside: int, tmp_path: Path) -> Iterator[str]:
    """Host and port of a port of this machine behind TLS, which the old client requires."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    os.environ["REQUESTS_CA_BUNDLE"] = str(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        accept = threading.Thread(target=_forward_all, args=(listener, context, inside))
        accept.start()
        yield f"localhost:{listener.getsockname()[1]}"
        listener.shutdown(socket.SHUT_RDWR)
        accept.join()


def _forward_all(listener: socket.socket, context: ssl.SSLContext, port: int) -> None:
    while True:
        try:
            plain, _ = listener.accept()
        except OSError:
            return
        threading.Thread(target=_forward, args=(plain, context, port), daemon=True).start()


def _forward(plain: socket.socket, context: ssl.SSLContext, port: int) -> None:
    inside = socket.create_connection(("127.0.0.1", port))
    outside = context.wrap_socket(plain, server_side=True)
    for source, sink in ((outside, inside), (inside, outside)):
        threading.Thread(target=_pump, args=(source, sink), daemon=True).start()


def _pump(source: socket.socket, sink: socket.socket) -> None:
    with source, sink, suppress(OSError):
        while chunk := source.recv(1 << 16):
            sink.sendall(chunk)


def test_the_client_of_langchain_community(
    workspace: LocalWorkspace, https_workspace: str, start_server: StartServer
) -> None:
    from langchain_community.llms import Databricks as CommunityDatabricks

    server = start_server(GeneratesAndEmbeds())  # that client does not send the key of an app
    llm = CommunityDatabricks(
        host=https_workspace,
        api_token=workspace.token,
        cluster_id=workspace.cluster_id,
        cluster_driver_port=str(server.port),
        extra_params={"temperature": 0.5},
    )
    assert llm.invoke("hi") == ANSWER
    assert llm.invoke("hi", stop=["is"]) == "hi "


def test_the_client_of_langchain_community_calls_a_keyed_server_on_the_node(
    tmp_path: Path, start_server: StartServer
) -> None:
    from langchain_community.llms import Databricks as CommunityDatabricks

    server = start_server(lambda prompt: f"You said {prompt}", KEY)
    with behind_tls(server.port, tmp_path) as host:
        llm = CommunityDatabricks(
            host=host, api_token=KEY, cluster_id="any", cluster_driver_port=str(server.port)
        )
        assert llm.invoke("hi") == "You said hi"


@pytest.fixture
def openai(server: DriverServer, workspace: LocalWorkspace) -> Iterator[OpenAI]:
    prefix = f"driver-proxy-api/o/0/{workspace.cluster_id}/{server.port}/v1"
    with OpenAI(
        base_url=f"{workspace.url}/{prefix}",
        api_key=workspace.token,
        default_headers={"X-Api-Key": KEY},
        max_retries=0,
    ) as client:
        yield client


def test_openais_sdk_calls_chat_completions_and_streams(openai: OpenAI) -> None:
    messages: Any = [{"role": "user", "content": "hi"}]
    request: Any = {"model": "m", "messages": messages, "temperature": 0.5}
    response = openai.chat.completions.create(**request)
    assert response.choices[0].message.content == ANSWER
    stream = openai.chat.completions.create(**request, stream=True)
    texts = [chunk.choices[0].delta.content or "" for chunk in stream]
    assert "".join(texts) == ANSWER
    assert len([text for text in texts if text]) == 3


def test_openais_sdk_calls_completions_embeddings_and_models(openai: OpenAI) -> None:
    assert (
        openai.completions.create(model="m", prompt="hi", temperature=0.5).choices[0].text == ANSWER
    )
    assert openai.embeddings.create(model="m", input=["a", "bb"]).data[1].embedding == [2.0, 1.0]
    assert [model.id for model in openai.models.list()] == ["GeneratesAndEmbeds"]


def test_openais_sdk_raises_our_error_messages(openai: OpenAI) -> None:
    with pytest.raises(BadRequestError, match="Unsupported value of 'top_p'") as caught:
        openai.completions.create(model="m", prompt="hi", top_p=0.5)
    assert (caught.value.type, caught.value.code) == (
        "invalid_request_error",
        "invalid_parameter_value",
    )


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_curl_calls_the_root_path(server: DriverServer, workspace: LocalWorkspace) -> None:
    url = f"{workspace.url}/driver-proxy-api/o/0/{workspace.cluster_id}/{server.port}/"
    headers = ["-H", f"Authorization: Bearer {workspace.token}", "-H", f"X-Api-Key: {KEY}"]
    body = json.dumps({"prompt": "hi", "temperature": 0.5})
    command = ["curl", "-s", url, *headers, "-H", "Content-Type: application/json", "-d", body]
    assert json.loads(subprocess.run(command, capture_output=True, check=True).stdout) == ANSWER
