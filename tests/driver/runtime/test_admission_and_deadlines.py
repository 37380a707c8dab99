"""Too many requests, too slow ones, and clients that disconnect."""

from __future__ import annotations

import socket
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
import requests

from langchain_dbx_eval.driver import Delta, DriverServer, GenerationRequest, Limits, create_app
from langchain_dbx_eval.driver.http.app import executor_of
from langchain_dbx_eval.errors import ConfigurationError


class Gate:
    """A function that returns when it is released."""

    def __init__(self) -> None:
        self.entered = threading.Semaphore(0)
        self.released = threading.Event()

    def __call__(self, prompt: str) -> str:
        self.entered.release()
        self.released.wait(30)
        return prompt


class Endless:
    """An engine that streams until it is closed."""

    parameters: frozenset[str] = frozenset()

    def __init__(self) -> None:
        self.closed = threading.Event()

    def generate(self, request: GenerationRequest) -> Any:
        raise NotImplementedError

    def stream(self, request: GenerationRequest) -> Iterator[Delta]:
        try:
            while True:
                request.context.check()
                yield Delta("x" * 1000)
                time.sleep(0.001)
        finally:
            self.closed.set()


@pytest.fixture
def limited() -> Iterator[Callable[..., DriverServer]]:
    with ExitStack() as servers:

        def start(engine: Any, **limits: Any) -> DriverServer:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                server = DriverServer(engine, "127.0.0.1", 0, False, limits=Limits(**limits))
            return servers.enter_context(server)

        yield start


def post_prompt(server: DriverServer, prompt: str = "hi") -> requests.Response:
    return requests.post(server.url, json={"prompt": prompt})


def test_one_request_too_many_is_a_429_with_retry_after(limited: Any) -> None:
    gate = Gate()
    server = limited(gate, max_in_flight=2)
    with ThreadPoolExecutor(2) as pool:
        admitted = [pool.submit(post_prompt, server) for _ in range(2)]
        for _ in admitted:
            gate.entered.acquire(timeout=30)
        rejected = post_prompt(server)
        gate.released.set()
        assert [response.result().json() for response in admitted] == ["hi", "hi"]
    assert rejected.status_code == 429
    assert rejected.headers["Retry-After"] == "1"
    assert rejected.json()["error_code"] == "REQUEST_LIMIT_EXCEEDED"
    assert post_prompt(server).status_code == 200


def test_ten_times_too_many_requests_are_answered_with_429_or_200(limited: Any) -> None:
    server = limited(lambda prompt: time.sleep(0.05) or prompt, max_in_flight=8)
    with ThreadPoolExecutor(80) as pool:
        statuses = [r.status_code for r in pool.map(lambda _: post_prompt(server), range(160))]
    assert set(statuses) == {200, 429}
    assert requests.get(f"{server.url}/metrics").text.count("in_flight 0.0") == 1


def test_a_completion_after_the_deadline_is_a_504(limited: Any) -> None:
    gate = Gate()
    server = limited(gate, request_timeout=1.0)
    response = post_prompt(server)
    gate.released.set()
    assert response.status_code == 504
    assert response.json()["error_code"] == "DEADLINE_EXCEEDED"
    assert post_prompt(server).status_code == 200


def test_a_stream_beyond_the_deadline_ends_with_an_error(limited: Any) -> None:
    server = limited(Endless(), request_timeout=0.3)
    body = {"prompt": "a", "stream": True}
    text = requests.post(f"{server.url}/v1/completions", json=body).text
    assert '"error_code":"DEADLINE_EXCEEDED"' in text[-500:]


def test_a_function_that_yields_without_a_pause_ends_at_the_deadline(limited: Any) -> None:
    def endless(prompt: str) -> Iterator[str]:
        while True:
            yield ""

    server = limited(endless, request_timeout=0.3)
    assert post_prompt(server).status_code == 504
    body = {"prompt": "a", "stream": True}
    text = requests.post(f"{server.url}/v1/completions", json=body, timeout=30).text
    assert '"error_code":"DEADLINE_EXCEEDED"' in text[-500:]


@contextmanager
def connected(server: DriverServer, path: str, body: bytes) -> Iterator[socket.socket]:
    """A client that disconnects at the end of the block, without reading the response."""
    with socket.create_connection(("127.0.0.1", server.port)) as client:
        head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        client.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        yield client


def is_listening(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def wait_until_free(server: DriverServer) -> None:
    deadline = time.monotonic() + 60
    while "in_flight 0.0" not in requests.get(f"{server.url}/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_a_client_that_disconnects_from_a_stream_ends_it(limited: Any) -> None:
    engine = Endless()
    server = limited(engine)
    with connected(server, "/v1/completions", b'{"prompt": "a", "stream": true}') as client:
        client.recv(100)
    assert engine.closed.wait(30)
    wait_until_free(server)


def test_a_client_that_disconnects_before_the_response_frees_its_slot(limited: Any) -> None:
    gate = Gate()
    server = limited(gate, max_in_flight=1)
    with connected(server, "/", b'{"prompt": "a"}'):
        # Wait for the call: waitress drops a request whose client disconnects earlier.
        assert gate.entered.acquire(timeout=30)
    wait_until_free(server)
    gate.released.set()
    assert post_prompt(server).status_code == 200


def test_a_stopping_server_answers_503_on_open_connections(
    limited: Any,
) -> None:
    gate = Gate()
    server = limited(gate)
    with ThreadPoolExecutor(2) as pool, requests.Session() as session:
        session.get(f"{server.url}/health")
        admitted = pool.submit(post_prompt, server)
        gate.entered.acquire(timeout=30)
        stopped = pool.submit(server.stop)
        deadline = time.monotonic() + 60
        while is_listening(server.port):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        late = session.post(server.url, json={"prompt": "late"})
        gate.released.set()
        assert admitted.result().json() == "hi"
        stopped.result()
    assert late.status_code == 503
    assert late.headers["Retry-After"]


def test_health_is_answered_while_all_slots_are_in_use(limited: Any) -> None:
    gate = Gate()
    server = limited(gate, max_in_flight=1)
    with ThreadPoolExecutor(1) as pool:
        pool.submit(post_prompt, server)
        gate.entered.acquire(timeout=30)
        assert requests.get(f"{server.url}/health").json() == {"status": "ok"}
        gate.released.set()


def test_health_fails_while_calls_of_ended_requests_occupy_all_slots(limited: Any) -> None:
    gate = Gate()
    server = limited(gate, max_in_flight=2, request_timeout=1.0)
    with ThreadPoolExecutor(2) as pool:
        statuses = list(pool.map(lambda _: post_prompt(server).status_code, range(2)))
    assert statuses == [504, 504]
    response = requests.get(f"{server.url}/health")
    assert response.status_code == 503
    assert "outlived their requests" in response.json()["message"]
    gate.released.set()
    deadline = time.monotonic() + 60
    while not requests.get(f"{server.url}/health").ok:
        assert time.monotonic() < deadline
    assert post_prompt(server).status_code == 200


def test_health_counts_each_prompt_of_an_ended_request(limited: Any) -> None:
    gate = Gate()
    server = limited(gate, max_in_flight=2, request_timeout=0.2)
    body = {"model": "m", "prompt": ["a", "b"]}
    assert requests.post(f"{server.url}/v1/completions", json=body).status_code == 504
    assert requests.get(f"{server.url}/health").status_code == 503
    gate.released.set()


def test_as_many_calls_run_as_requests_are_admitted(limited: Any) -> None:
    all_running = threading.Barrier(70, timeout=60)
    server = limited(lambda prompt: f"{all_running.wait() >= 0}", max_in_flight=70)
    with ThreadPoolExecutor(70) as pool:
        responses = list(pool.map(lambda _: post_prompt(server).json(), range(70)))
    assert responses == ["True"] * 70


def test_a_stopping_server_is_not_healthy() -> None:
    app = create_app(lambda prompt: prompt, api_key=False)
    assert app.test_client().get("/health").status_code == 200
    executor_of(app).admission.draining = True
    assert app.test_client().get("/health").status_code == 503


class Unhealthy:
    parameters: frozenset[str] = frozenset()

    def generate(self, request: GenerationRequest) -> Any: ...

    def start(self) -> None: ...

    def close(self) -> None: ...

    def health(self) -> str | None:
        return "The worker died."


def test_health_returns_the_message_of_the_engine(limited: Any) -> None:
    response = requests.get(f"{limited(Unhealthy()).url}/health")
    assert response.status_code == 503
    assert response.json()["error_code"] == "TEMPORARILY_UNAVAILABLE"
    assert response.json()["message"] == "The worker died."


def test_a_server_answers_beside_two_hundred_slow_connections(limited: Any) -> None:
    server = limited(lambda prompt: prompt)
    with ExitStack() as stack:
        for _ in range(200):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 100\r\n")
        assert post_prompt(server).json() == "hi"


@pytest.mark.parametrize("name", ["max_in_flight", "max_request_bytes"])
@pytest.mark.parametrize("value", [0, -1, 2.5, True, "64", None, float("nan")])
def test_an_invalid_count_is_rejected(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be a whole number, at least 1"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", ["request_timeout", "keep_alive"])
@pytest.mark.parametrize("value", [0, -1.5, True, "290", None, float("nan")])
def test_an_invalid_duration_is_rejected(name: str, value: Any) -> None:
    with pytest.raises(ConfigurationError, match=f"{name} must be a number of seconds above 0"):
        Limits(**{name: value})
