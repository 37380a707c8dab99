"""Regression tests for defects measured in `langchain_community.llms.Databricks` 0.4.2.

The numbers B1 to B17 are those of the project's research on the peers.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import responses
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.load import dumps

from langchain_dbx_eval import Databricks, errors
from langchain_dbx_eval.testing import LocalWorkspace
from tests.loopback import Answer, LoopbackServer, Received, RequireConcurrency

TEXT = {"choices": [{"index": 0, "text": "ok", "finish_reason": "stop"}]}
CUSTOM = "custom"
COMPLETIONS = "llm/v1/completions"


class Spy(BaseCallbackHandler):
    """Records what tracers receive."""

    def __init__(self) -> None:
        self.received: list[Any] = []

    def on_llm_start(self, serialized: Any, prompts: list[str], **kwargs: Any) -> None:
        self.received.append((serialized, kwargs))


def test_b01_the_token_is_not_shown() -> None:
    spy = Spy()
    with LoopbackServer(lambda _: TEXT) as server:
        llm = Databricks(
            endpoint_name="m", task=COMPLETIONS, host=server.url, api_token="dapi-secret"
        )
        llm.invoke("hi", config={"callbacks": [spy]})
    assert spy.received
    for shown in (repr(llm), str(llm), str(llm.model_dump()), llm.model_dump_json(), dumps(llm)):
        assert "dapi-secret" not in shown
    assert "dapi-secret" not in str(spy.received)


def test_b02_the_cluster_id_is_read_from_the_notebook(monkeypatch: pytest.MonkeyPatch) -> None:
    context = ModuleType("dbruntime.databricks_repl_context")
    context.get_context = lambda: SimpleNamespace(clusterId="0123-notebook")  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, context.__name__, context)
    with LoopbackServer(lambda _: "ok") as server:
        assert Databricks(cluster_driver_port=7777, **server.login).invoke("hi") == "ok"
        assert server.requests[0].path == "/driver-proxy-api/o/0/0123-notebook/7777/"


@pytest.mark.parametrize("name", ["model_kwargs", "extra_params"])
def test_b03_model_kwargs_are_sent(name: str) -> None:
    with LoopbackServer(lambda _: {"predictions": ["ok"]}) as server:
        llm = Databricks(endpoint_name="m", task=CUSTOM, **server.login, **{name: {"top_k": 3}})
        llm.invoke("hi")
        assert server.bodies == [{"dataframe_records": [{"prompt": "hi", "top_k": 3}]}]


def test_b03_parameters_of_a_call_take_precedence_over_model_kwargs() -> None:
    with LoopbackServer(lambda _: {"predictions": ["ok"]}) as server:
        llm = Databricks(
            endpoint_name="m", task=CUSTOM, model_kwargs={"stop": ["a"], "top_k": 1}, **server.login
        )
        llm.invoke("hi", stop=["b"], top_k=2)
        assert server.bodies == [
            {"dataframe_records": [{"prompt": "hi", "stop": ["b"], "top_k": 2}]}
        ]


@pytest.mark.parametrize("where", ["argument", "environment"])
@pytest.mark.parametrize(
    ("given", "host"),
    [
        ("https://staging.example", "staging.example"),
        ("https://test.example/", "test.example"),
        ("https://http-proxy.example", "http-proxy.example"),
        ("https://w.example/?o=123", "w.example"),
        ("w.example", "w.example"),
    ],
)
@responses.activate
def test_b04_b05_a_host_is_accepted_in_any_form(given: str, host: str, where: str) -> None:
    sent = responses.post(f"https://{host}/driver-proxy-api/o/77/c-1/7777/v1/generate", json="ok")
    os.environ["DATABRICKS_TOKEN"] = "t"
    if where == "environment":
        os.environ["DATABRICKS_HOST"] = given
    llm = Databricks(
        host=given if where == "argument" else None,
        cluster_id="c-1",
        cluster_driver_port="7777",
        org_id="77",
        path="v1/generate",
    )
    assert llm.invoke("hi") == "ok"
    assert sent.call_count == 1


@pytest.mark.parametrize("port", [7777, "7777"])
def test_b06_a_port_is_a_number_or_digits(port: int | str) -> None:
    with LoopbackServer(lambda _: "ok") as server:
        Databricks(cluster_id="c-1", cluster_driver_port=port, **server.login).invoke("hi")
        assert server.requests[0].path == "/driver-proxy-api/o/0/c-1/7777/"


def test_b07_calls_share_a_connection() -> None:
    with LoopbackServer(lambda _: "ok") as server:
        llm = Databricks(cluster_id="c-1", cluster_driver_port=7777, **server.login)
        for _ in range(10):
            llm.invoke("hi")
        assert len(server.connections) == 10
        assert len(set(server.connections)) == 1


def test_b07_a_call_is_retried() -> None:
    answers = iter([Answer(status=503, headers={"Retry-After": "0"}), "ok"])
    with LoopbackServer(lambda _: next(answers)) as server:
        llm = Databricks(cluster_id="c-1", cluster_driver_port=7777, **server.login)
        assert llm.invoke("hi") == "ok"


def test_b07_a_call_times_out() -> None:
    silent = threading.Event()
    with LoopbackServer(lambda _: silent.wait(10)) as server:
        llm = Databricks(
            cluster_id="c-1", cluster_driver_port=7777, timeout=0.2, max_retries=0, **server.login
        )
        with pytest.raises(errors.RequestTimeoutError, match="timeout="):
            llm.invoke("hi")
        silent.set()


def app_of(server: LoopbackServer) -> Databricks:
    return Databricks(cluster_id="c-1", cluster_driver_port=7777, **server.login)


def echo(received: Received) -> str:
    return received.body["prompt"] + "!"


def test_b08_a_batch_to_an_app_is_concurrent_and_in_order() -> None:
    prompts = [str(number) for number in range(20)]
    with LoopbackServer(RequireConcurrency(20, echo)) as server:
        assert app_of(server).batch(prompts) == [f"{prompt}!" for prompt in prompts]


def test_b08_an_async_batch_to_an_app_is_concurrent_and_in_order() -> None:
    prompts = [str(number) for number in range(20)]
    with LoopbackServer(RequireConcurrency(20, echo)) as server:
        answers = asyncio.run(app_of(server).abatch(prompts))
    assert answers == [f"{prompt}!" for prompt in prompts]


def test_b08_gathered_calls_are_concurrent() -> None:
    async def gathered(llm: Databricks) -> list[str]:
        return await asyncio.gather(*(llm.ainvoke(str(number)) for number in range(100)))

    with LoopbackServer(RequireConcurrency(100, echo)) as server:
        assert asyncio.run(gathered(app_of(server)))[99] == "99!"


def test_b09_all_generations_and_the_usage_are_returned() -> None:
    choices = [{"index": i, "text": f"text {i}", "finish_reason": "stop"} for i in range(3)]
    usage = {"prompt_tokens": 1, "completion_tokens": 6, "total_tokens": 7}
    with LoopbackServer(lambda _: {"choices": choices, "usage": usage, "model": "x"}) as server:
        llm = Databricks(endpoint_name="m", task=COMPLETIONS, n=3, **server.login)
        result = llm.generate(["hi"])
        assert server.bodies[0]["n"] == 3
    assert [g.text for g in result.generations[0]] == ["text 0", "text 1", "text 2"]
    assert result.llm_output == {"token_usage": usage, "model_name": "x"}


def test_b10_the_task_decides_the_wire_format() -> None:
    def answer(received: Received) -> Any:
        return {"name": "m", "task": COMPLETIONS} if received.method == "GET" else TEXT

    with LoopbackServer(answer) as server:
        assert Databricks(endpoint_name="m", **server.login).invoke("hi") == "ok"
        assert server.bodies == [None, {"prompt": "hi"}]


def test_b11_a_chat_endpoint_is_sent_messages(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda messages: "ok", kind="chat")
    assert Databricks(endpoint_name="m").invoke("hi") == "ok"
    assert workspace.requests[-1].body == {"messages": [{"role": "user", "content": "hi"}]}


PARAMS = {"stop": ["."], "max_tokens": 5, "temperature": 0.5}


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ({"endpoint_name": "m", "task": CUSTOM}, {"predictions": ["ok"]}),
        ({"cluster_id": "c-1", "cluster_driver_port": 7777}, "ok"),
    ],
    ids=["custom", "app"],
)
def test_b12_the_constructors_parameters_reach_every_target(target: Any, answer: Any) -> None:
    with LoopbackServer(lambda _: answer) as server:
        Databricks(**target, **PARAMS, **server.login).invoke("hi")
        [body] = server.bodies
    assert body.get("dataframe_records", [body])[0] == {"prompt": "hi", **PARAMS}


@pytest.mark.parametrize(
    "predictions", [["ok"], "ok", [{"0": "ok"}], [{"text": "ok"}], {"text": "ok"}, [["ok"]]]
)
def test_b13_predictions_of_mlflow_are_decoded(predictions: Any) -> None:
    with LoopbackServer(lambda _: {"predictions": predictions}) as server:
        llm = Databricks(endpoint_name="m", task=CUSTOM, **server.login)
        assert llm.invoke("hi") == "ok"


@pytest.mark.parametrize(
    "body", [{"error": "boom"}, {"error_code": "INTERNAL_ERROR", "message": "boom"}]
)
def test_b13_an_error_with_status_200_is_raised(body: Any) -> None:
    with (
        LoopbackServer(lambda _: body) as server,
        pytest.raises(errors.InvalidResponseError, match=r"port 7777.*boom"),
    ):
        app_of(server).invoke("hi")


def test_b14_hooks_are_never_pickled() -> None:
    lock = threading.Lock()  # cannot be pickled

    def guarded(response: Any) -> str:
        with lock:
            return response

    spy = Spy()
    with LoopbackServer(lambda _: {"predictions": ["ok"]}) as server:
        llm = Databricks(
            endpoint_name="m", task=CUSTOM, transform_output_fn=guarded, **server.login
        )
        assert llm.invoke("hi", config={"callbacks": [spy]}) == "ok"
    assert len(str(llm._identifying_params)) < 600
    assert "800595" not in str(spy.received)  # the first digits of a pickle in hexadecimal


def test_b15_the_constructor_sends_nothing(workspace: LocalWorkspace) -> None:
    Databricks(endpoint_name="missing")
    Databricks(cluster_driver_port=7777)
    assert not workspace.requests


def test_b16_an_app_is_reached_with_a_profile(tmp_path: Path) -> None:
    with LoopbackServer(lambda _: "ok") as server:
        profile = f"[staging]\nhost = {server.url}\ntoken = from-profile\n"
        (tmp_path / ".databrickscfg").write_text(profile)
        llm = Databricks(
            cluster_id="c-1", cluster_driver_port=7777, databricks_uri="databricks://staging"
        )
        assert llm.invoke("hi") == "ok"
        assert server.requests[-1].headers["Authorization"] == "Bearer from-profile"


def test_b16_an_error_is_typed_and_short() -> None:
    page = b"<html><title>502 Bad Gateway</title>" + b"x" * 5000
    with LoopbackServer(lambda _: Answer(page, 502)) as server:
        llm = app_of(server).model_copy(update={"max_retries": 0})
        with pytest.raises(errors.ServerError, match=r"502 Bad Gateway.*port 7777") as raised:
            llm.invoke("hi")
    assert len(str(raised.value)) < 500


def test_b17_a_model_is_called_like_a_function() -> None:
    with LoopbackServer(echo) as server:
        assert app_of(server)("hi", stop=["."]) == "hi!"
        assert server.bodies[0]["stop"] == ["."]
