"""Tokens, keys and passwords: in no error, `repr` or pickle."""

from __future__ import annotations

import os
import pickle
import traceback
from base64 import b64encode
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import requests
from langchain_core.load import dumps
from pydantic import SecretStr

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, errors
from langchain_dbx_eval._internal.log import describe_error
from langchain_dbx_eval._redaction import redact, remember, shorten
from langchain_dbx_eval.evaluation.tracking.store_access import with_retries
from tests.client.test_async_transport import chat_at, ok
from tests.loopback import TOKEN, Answer, LoopbackServer, call_model

SECRET = "dapi-0123456789abcdef"
COMPONENTS = [
    (Databricks, {"endpoint_name": "m", "task": "llm/v1/chat"}),
    (ChatDatabricks, {"model": "m"}),
    (DatabricksEmbeddings, {"endpoint": "m"}),
]


def full_text(error: BaseException) -> str:
    parts = [repr(error), str(error), *traceback.format_exception(error)]
    parts += [repr(vars(one)) for one in (error, error.__cause__) if one is not None]
    return "".join(parts)


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
@pytest.mark.parametrize("status", [407, 502, None])
def test_the_password_of_a_proxy_is_in_no_error(call: str, status: int | None) -> None:
    def refuse(_: Any) -> Answer:
        return Answer(b"no", status=status or 200, headers={"Content-Length": "99"})

    with LoopbackServer(refuse) as proxy:
        port = 1 if status is None else proxy.port
        os.environ["HTTPS_PROXY"] = f"http://user:{SECRET}@127.0.0.1:{port}"
        host = f"{call}-{status}.example"  # the proxy of a host is looked up once
        chat = ChatDatabricks(model="m", host=host, api_token=TOKEN, max_retries=0)
        with pytest.raises(errors.ConnectionFailedError) as raised:
            call_model(chat, call)
    assert SECRET not in full_text(raised.value)


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
def test_the_login_of_a_proxy_is_sent_to_it(call: str) -> None:
    with LoopbackServer(lambda _: Answer(b"", status=502)) as proxy:
        os.environ["HTTPS_PROXY"] = f"http://user:p%40ss@127.0.0.1:{proxy.port}"
        host = f"login-{call}.example"
        chat = ChatDatabricks(model="m", host=host, api_token=TOKEN, max_retries=0)
        with pytest.raises(errors.ConnectionFailedError):
            call_model(chat, call)
    login = proxy.requests[0].headers["Proxy-Authorization"]
    assert login == "Basic dXNlcjpwQHNz"  # user:p@ss


@pytest.mark.parametrize(
    "host",
    [f"ftp://u:{SECRET}@h", f"https://{SECRET}@h", f"u:{SECRET}@h", f"https://u:{SECRET}@h:port"],
)
@pytest.mark.parametrize(("component", "target"), COMPONENTS)
def test_a_token_in_the_host_is_in_no_error(component: Any, target: Any, host: str) -> None:
    with pytest.raises(errors.ConfigurationError) as raised:
        component(host=host, **target)
    assert SECRET not in full_text(raised.value)


@pytest.mark.parametrize("name", ["api_token", "api_key", "driver_api_key"])
@pytest.mark.parametrize("value", [[SECRET], {"token": SECRET}, SECRET.encode()], ids=type)
@pytest.mark.parametrize(("component", "target"), COMPONENTS)
def test_a_secret_of_a_wrong_type_is_an_error_without_it(
    component: Any, target: Any, name: str, value: Any
) -> None:
    with pytest.raises(errors.ConfigurationError, match="must be a string, not") as raised:
        component(**{**target, name: value})
    assert SECRET not in full_text(raised.value)


@pytest.mark.parametrize("call", ["invoke", "ainvoke"])
def test_a_key_in_extra_headers_is_not_in_an_error_that_repeats_it(call: str) -> None:
    def echo(received: Any) -> Answer:
        return Answer({"message": str(received.headers)}, status=400)

    headers = {"Authorization": f"Bearer {SECRET}", "X-Gateway-Key": f"{SECRET}-2"}
    with LoopbackServer(echo) as server:
        chat = chat_at(server, extra_params={"extra_headers": headers})
        with pytest.raises(errors.InvalidRequestError, match=r"\[redac") as raised:
            call_model(chat, call)
    assert SECRET not in full_text(raised.value)


def test_the_partial_text_of_a_stream_is_redacted() -> None:
    chat = ChatDatabricks(model="m", host="w.example", api_token=f"{SECRET}-stream")
    chat._resolve_credentials(timeout=1.0)
    error = errors.StreamInterruptedError("cut", partial_text=f"a {SECRET}-stream b")
    assert error.partial_text == "a [redacted] b"


@pytest.mark.parametrize("library", [pickle, cloudpickle])
@pytest.mark.parametrize(("component", "target"), COMPONENTS)
def test_a_pickle_contains_no_secret(component: Any, target: Any, library: Any) -> None:
    app = {"cluster_driver_port": 7777, "cluster_id": "c", "driver_api_key": SECRET}
    for arguments in (target, app):
        original = component(host="w.example", api_token=SECRET, **arguments)
        pickled = library.dumps(original)
        assert SECRET.encode() not in pickled
        loaded = library.loads(pickled)
        assert (loaded.api_token, loaded.driver_api_key) == (None, None)
        assert loaded.host == "w.example"
        assert original.api_token == SecretStr(SECRET)


@pytest.mark.parametrize(
    ("component", "field"), [(Databricks, "model_kwargs"), (ChatDatabricks, "extra_params")]
)
def test_a_key_in_extra_headers_is_in_no_form_of_a_component(
    component: Any, field: str, tmp_path: Path
) -> None:
    def create(key: str) -> Any:
        headers = {"X-Gateway-Key": key, "X-Team": "search"}
        target = {"endpoint_name": "m"} if component is Databricks else {"model": "m"}
        return component(host="w.example", **{field: {"extra_headers": headers}, **target})

    model, other = create(SECRET), create(f"{SECRET}-2")
    forms = [repr(model), dumps(model), str(model._identifying_params), str(pickle.dumps(model))]
    if component is Databricks:
        model.save(tmp_path / "model.yaml")
        forms.append((tmp_path / "model.yaml").read_text())
    assert not [form for form in forms if SECRET in form]
    assert all("search" in form for form in forms)
    # LangChain's caches are keyed by it.
    assert model._identifying_params != other._identifying_params
    with pytest.raises(errors.ConfigurationError, match=r"X-Gateway-Key.*Give it again"):
        pickle.loads(pickle.dumps(model)).invoke("hi")


def test_the_login_of_an_mlflow_store_is_in_no_error() -> None:
    def echo(received: Any) -> Answer:
        error = {"error_code": "PERMISSION_DENIED", "message": str(received.headers)}
        return Answer(error, status=403)

    import mlflow

    with LoopbackServer(echo) as server:
        uri = server.url.replace("://", f"://user:{SECRET}@")
        client = mlflow.MlflowClient(uri)
        with pytest.raises(errors.TrackingError, match=r"\[redacted\]") as raised:
            with_retries(uri, lambda: client.get_run("r"))
    written = full_text(raised.value)
    assert SECRET not in written
    assert b64encode(f"user:{SECRET}".encode()).decode() not in written


def test_the_key_that_a_failed_request_sent_is_in_no_description_of_its_error() -> None:
    request = requests.Request("GET", "http://w", headers={"X-Api-Key": f"{SECRET}-sent"}).prepare()
    error = RuntimeError(f"failed with {SECRET}-sent")
    error.__cause__ = requests.HTTPError("failed", request=request)
    assert describe_error(error) == "RuntimeError: failed with [redacted]"


def test_the_keys_of_the_environment_are_in_no_error() -> None:
    os.environ["SOME_API_KEY"] = f"{SECRET}-variable"
    assert redact(f"failed with {SECRET}-variable") == "failed with [redacted]"


def test_an_unpickled_component_logs_in_anew() -> None:
    with LoopbackServer(ok) as server:
        loaded = pickle.loads(pickle.dumps(chat_at(server)))
        with pytest.raises(errors.DatabricksError, match="A pickle does not contain"):
            loaded.invoke("hi", timeout=0.5)
        os.environ["DATABRICKS_TOKEN"] = f"{TOKEN}-2"
        assert loaded.invoke("hi").text == "ok"
    assert server.requests[-1].headers["Authorization"] == f"Bearer {TOKEN}-2"


def test_a_secret_is_removed_before_a_text_is_cut() -> None:
    remember(SECRET)
    assert shorten(f"12345 {SECRET}", 12) == "12345 [redac…"


def test_urls_keep_everything_but_their_login() -> None:
    text = "see https://w.example/a?b=c#d and http://u:p@proxy:3128, or mail a@b.example"
    expected = text.replace("u:p@", "[redacted]@")
    assert redact(text) == expected
