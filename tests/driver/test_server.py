"""Start, stop and restart of a server; ports; requests in flight."""

from __future__ import annotations

import gc
import os
import socket
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import requests

from langchain_dbx_eval import Databricks, DatabricksEmbeddings
from langchain_dbx_eval.driver import CallableEngine, DriverServer, EmbeddingResult, RequestContext
from langchain_dbx_eval.driver.http.app import executor_of
from langchain_dbx_eval.driver.server import tuned_for_serving
from langchain_dbx_eval.errors import ConfigurationError, DriverServerError

StartServer = Callable[..., DriverServer]


def echo(prompt: str) -> str:
    return prompt


def post_prompt(server: DriverServer, prompt: str = "hi") -> Any:
    return requests.post(server.url, json={"prompt": prompt}).json()


def local_server(port: int = 0) -> DriverServer:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a free port may be outside the documented range
        return DriverServer(echo, host="127.0.0.1", port=port, api_key=False)


def accepts(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def waitress_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("waitress-")]


class Gate:
    """A function that returns when it is released."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.released = threading.Event()

    def __call__(self, prompt: str) -> str:
        self.entered.set()
        self.released.wait(30)
        return prompt


def test_a_server_runs_in_the_background() -> None:
    with local_server() as server:
        assert post_prompt(server) == "hi"


def test_an_engine_is_served_like_a_function(start_server: StartServer) -> None:
    assert post_prompt(start_server(CallableEngine(echo))) == "hi"


def test_start_returns_the_server_and_may_be_called_again() -> None:
    with local_server() as server:
        assert server.start() is server


def test_sixteen_threads_receive_their_own_completions(start_server: StartServer) -> None:
    server = start_server(echo)
    prompts = [f"prompt {number}" for number in range(160)]
    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(lambda prompt: post_prompt(server, prompt), prompts)) == prompts


def test_a_slow_request_does_not_delay_others(start_server: StartServer) -> None:
    gate = Gate()
    server = start_server(lambda prompt: gate(prompt) if prompt == "slow" else prompt)
    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(post_prompt, server, "slow")
        gate.entered.wait(30)
        assert post_prompt(server, "quick") == "quick"
        gate.released.set()
        assert slow.result() == "slow"


def test_the_port_is_known_after_a_start_with_port_0() -> None:
    with local_server() as server:
        assert server.port != 0
        assert server.url == f"http://127.0.0.1:{server.port}"


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:7777"),
        ("::1", "http://[::1]:7777"),
        ("10.0.0.4", "http://10.0.0.4:7777"),
    ],
)
def test_the_url_can_be_used_on_this_machine(host: str, url: str) -> None:
    assert DriverServer(echo, host=host, api_key="key").url == url


def test_a_port_in_use_is_a_clear_error() -> None:
    with (
        local_server() as first,
        pytest.raises(DriverServerError, match=rf"Port {first.port} is in use.*choose another"),
    ):
        local_server(first.port).start()


def test_a_server_starts_when_the_port_is_free_again() -> None:
    first = local_server().start()
    second = local_server(first.port)
    with pytest.raises(DriverServerError):
        second.start()
    first.stop()
    with second:
        assert post_prompt(second) == "hi"


def test_an_address_of_another_machine_is_a_clear_error() -> None:
    server = DriverServer(echo, host="192.0.2.1", port=0, api_key="key")
    with pytest.raises(DriverServerError, match=r"192\.0\.2\.1"):
        server.start()


def test_five_servers_in_a_row_use_the_same_port() -> None:
    with local_server() as first:
        port = first.port
    for _ in range(5):
        with local_server(port) as server:
            assert post_prompt(server) == "hi"


def test_one_server_can_be_started_five_times() -> None:
    server = local_server()
    for _ in range(5):
        server.start()
        assert post_prompt(server) == "hi"
        server.stop()


def test_stop_frees_the_port_and_ends_all_threads() -> None:
    before = set(threading.enumerate())
    server = local_server().start()
    post_prompt(server)
    server.stop()
    assert not accepts(server.port)
    for thread in waitress_threads():
        thread.join(10)
    assert set(threading.enumerate()) <= before


def test_stop_closes_idle_connections() -> None:
    server = local_server().start()
    with requests.Session() as session:
        session.get(f"{server.url}/health")
        server.stop()
        with pytest.raises(requests.ConnectionError):
            session.get(f"{server.url}/health")


def test_stopping_a_stopped_server_has_no_effect() -> None:
    server = local_server()
    server.stop()
    assert repr(server) == "DriverServer(http://127.0.0.1:0, stopped)"


def test_stop_lets_requests_in_flight_finish(start_server: StartServer) -> None:
    gate = Gate()
    server = start_server(gate)
    with ThreadPoolExecutor(21) as pool:
        answers = [pool.submit(post_prompt, server, str(number)) for number in range(20)]
        gate.entered.wait(30)
        wait_until(lambda: executor_of(server._app).admission.in_flight == 20)
        stopped = pool.submit(server.stop)
        wait_until(lambda: not accepts(server.port))
        assert not stopped.done()
        gate.released.set()
        stopped.result()
        assert [answer.result() for answer in answers] == [str(number) for number in range(20)]


def test_a_request_that_exceeds_the_grace_period_is_aborted(start_server: StartServer) -> None:
    gate = Gate()
    server = start_server(gate)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post_prompt, server)
        gate.entered.wait(30)
        server.stop(grace=0)
        with pytest.raises(requests.ConnectionError):
            answer.result()
        gate.released.set()


@pytest.mark.parametrize("port", [-1, 65536, "7777x", "", 77.0, None, True, "-1"])
def test_an_invalid_port_is_rejected(port: Any) -> None:
    with pytest.raises(ConfigurationError, match="is not a port"):
        DriverServer(echo, port=port, api_key="key")


def test_a_port_may_be_a_string_as_in_the_documentation() -> None:
    assert DriverServer(echo, port="7777", api_key="key").port == 7777


@pytest.mark.parametrize("port", [2999, 8001, 80])
def test_a_port_outside_the_documented_range_warns(port: int) -> None:
    with pytest.warns(UserWarning, match="3000-8000"):
        DriverServer(echo, port=port, api_key="key")


@pytest.mark.parametrize("port", [0, 3000, 8000])
def test_a_port_in_the_documented_range_does_not_warn(port: int) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DriverServer(echo, port=port, api_key="key")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "", "10.0.0.4", "driver.example"])
def test_an_open_server_warns_beyond_loopback(host: str) -> None:
    with pytest.warns(UserWarning, match="Without an API key"):
        DriverServer(echo, host=host, api_key=False)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_an_open_server_does_not_warn_on_loopback(host: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        DriverServer(echo, host=host, api_key=False)


def test_start_prints_the_address_and_the_langchain_line(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with local_server() as server:
        assert capsys.readouterr().out == (
            f"Serving on {server.url}\n"
            f'From LangChain: Databricks(host="local", cluster_driver_port="{server.port}")\n'
        )


@pytest.mark.filterwarnings("ignore:cluster_driver_port")
def test_the_printed_langchain_line_works(capsys: pytest.CaptureFixture[str]) -> None:
    with local_server():
        line = capsys.readouterr().out.splitlines()[1].removeprefix("From LangChain: ")
        assert eval(line, {"Databricks": Databricks}).invoke("hi") == "hi"


class Embeds:
    """An engine that only embeds."""

    def embed(self, texts: Sequence[str], context: RequestContext) -> EmbeddingResult:
        return EmbeddingResult([[1.0] for _ in texts])


@pytest.mark.filterwarnings("ignore:cluster_driver_port")
def test_the_langchain_line_of_an_embedder_creates_embeddings(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with DriverServer(Embeds(), "127.0.0.1", 0, False):
        line = capsys.readouterr().out.splitlines()[1].removeprefix("From LangChain: ")
        client = eval(line, {"DatabricksEmbeddings": DatabricksEmbeddings})
        assert client.embed_query("hi") == [1.0]


def test_on_a_cluster_the_langchain_line_has_the_cluster_id(
    capsys: pytest.CaptureFixture[str],
) -> None:
    os.environ["DATABRICKS_CLUSTER_ID"] = "0927-034054-wqx8yh0g"
    with local_server() as server:
        printed = capsys.readouterr().out
    assert 'Databricks(cluster_id="0927-034054-wqx8yh0g", cluster_driver_port="' in printed
    proxy = f"driver-proxy-api/o/0/0927-034054-wqx8yh0g/{server.port}/"
    assert f"https://<workspace>/{proxy}" in printed


def test_in_a_notebook_the_langchain_line_has_the_cluster_id(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    context: Any = ModuleType("dbruntime.databricks_repl_context")
    context.get_context = lambda: SimpleNamespace(clusterId="c-2")
    monkeypatch.setitem(sys.modules, "dbruntime.databricks_repl_context", context)
    with local_server():
        assert 'Databricks(cluster_id="c-2", ' in capsys.readouterr().out


@pytest.mark.parametrize("host", ["my.databricks.com", "https://my.databricks.com/"])
def test_the_printed_address_of_the_proxy_is_a_url(
    capsys: pytest.CaptureFixture[str], host: str
) -> None:
    os.environ["DATABRICKS_CLUSTER_ID"] = "c-1"
    os.environ["DATABRICKS_HOST"] = host
    with local_server():
        printed = capsys.readouterr().out
    assert ": https://my.databricks.com/driver-proxy-api/o/0/c-1/" in printed


def test_creating_a_server_with_a_key_prints_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    DriverServer(echo, api_key="key")
    assert capsys.readouterr().out == ""


def test_serve_forever_returns_after_a_stop_from_another_thread() -> None:
    server = local_server()
    with ThreadPoolExecutor(1) as pool:
        serving = pool.submit(server.serve_forever)
        wait_until(lambda: server.port != 0 and accepts(server.port))
        server.stop()
        serving.result(timeout=30)


def test_the_interpreter_is_tuned_only_while_the_server_runs() -> None:
    interval, frozen = sys.getswitchinterval(), gc.get_freeze_count()
    with tuned_for_serving():
        assert gc.get_freeze_count() > frozen
        assert sys.getswitchinterval() < interval
    assert gc.get_freeze_count() == 0
    assert sys.getswitchinterval() == interval
