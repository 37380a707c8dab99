"""Whatever is wrong with what a user gives or a server answers is one typed error that helps."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, errors
from langchain_dbx_eval.testing import LocalWorkspace
from tests.loopback import CALLS, Answer, LoopbackServer, Pieces, Received, ask, events

SECRET = "dapi-very-secret"

Component = ChatDatabricks | Databricks | DatabricksEmbeddings


def components(**arguments: Any) -> list[Component]:
    """One of each, at the endpoint 'm'."""
    arguments = {"max_retries": 0, "api_token": SECRET, **arguments}
    return [
        ChatDatabricks(model="m", **arguments),
        Databricks(endpoint_name="m", task="llm/v1/completions", **arguments),
        DatabricksEmbeddings(endpoint="m", **arguments),
    ]


def every_way(component: Component) -> list[Any]:
    """Each way to call it."""
    if isinstance(component, DatabricksEmbeddings):
        import asyncio

        return [
            lambda: component.embed_query("hi"),
            lambda: component.embed_documents(["hi", "ho"]),
            lambda: asyncio.run(component.aembed_query("hi")),
            lambda: asyncio.run(component.aembed_documents(["hi", "ho"])),
        ]
    return [lambda call=call: ask(component, call) for call in CALLS]


def assert_told(kind: type[errors.DatabricksError], *told: str, arguments: dict[str, Any]) -> None:
    """Every component, however it is called, raises an error of one kind that tells as much."""
    for component in components(**arguments):
        for call in every_way(component):
            with pytest.raises(errors.DatabricksError) as raised:
                call()
            error, message = raised.value, str(raised.value)
            assert type(error) is kind, message
            for words in told:
                assert words in message
            assert error.target == "serving endpoint 'm'"
            assert SECRET not in message
            assert len(message) < 800


@pytest.fixture
def dead_port() -> Iterator[int]:
    """A port on which nobody listens, and nobody else can."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_a_host_that_does_not_exist() -> None:
    assert_told(
        errors.ConnectionFailedError,
        "no-such-workspace.invalid",
        "Check the host name",
        arguments={"host": "no-such-workspace.invalid"},
    )


def test_a_port_where_nobody_listens(dead_port: int) -> None:
    assert_told(
        errors.ConnectionFailedError,
        f"127.0.0.1:{dead_port}",
        "efused",
        "Check the host name, the network and the proxy settings",
        arguments={"host": f"http://127.0.0.1:{dead_port}"},
    )


def test_a_server_that_is_no_https_server() -> None:
    with LoopbackServer(lambda _: {}) as server:
        assert_told(
            errors.ConnectionFailedError,
            "SSL",
            arguments={"host": f"https://127.0.0.1:{server.port}"},
        )


@pytest.mark.parametrize(
    ("host", "told"),
    [
        ("http://w.example", "Use https"),
        ("https://user:pass@w.example", "Give the host alone"),
        ("ftp://w.example", "address bar"),
        ("w example", "address bar"),
        ("w.example:port", "not a URL"),
    ],
)
def test_a_host_that_cannot_be(host: str, told: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=told):
        ChatDatabricks(model="m", host=host)


def test_a_wrong_token(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda texts: "ok", kind="chat")
    assert_told(
        errors.AuthenticationError,
        "Invalid access token",
        "Check DATABRICKS_TOKEN (or api_token=)",
        arguments={"host": workspace.url},
    )


@pytest.mark.parametrize("token", [f"{SECRET}\nX-Evil: 1", f"{SECRET}€", "\n"])
def test_a_token_that_no_header_can_carry(workspace: LocalWorkspace, token: str) -> None:
    for component in components(host=workspace.url, api_token=token):
        for call in every_way(component):
            with pytest.raises(errors.ConfigurationError, match="api_token= or") as raised:
                call()
            assert SECRET not in str(raised.value)
    app = Databricks(cluster_driver_port=7777, driver_api_key=token)
    with pytest.raises(errors.ConfigurationError, match="driver_api_key="):
        app.invoke("hi")
    assert not workspace.requests


def test_a_token_from_a_file_may_end_in_a_line_end(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda messages: "ok", kind="chat")
    chat = ChatDatabricks(model="m", host=workspace.url, api_token=f"{workspace.token}\n")
    assert chat.invoke("hi").text == "ok"


def test_an_endpoint_that_does_not_exist(workspace: LocalWorkspace) -> None:
    assert_told(
        errors.NotFoundError,
        "Endpoint with name 'm' does not exist",
        "databricks serving-endpoints list",
        arguments={"api_token": None},
    )


def test_an_endpoint_that_is_not_ready() -> None:
    told = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "The endpoint is scaling up"}
    with LoopbackServer(lambda _: Answer(told, 503)) as server:
        assert_told(
            errors.ServerError,
            "503 TEMPORARILY_UNAVAILABLE",
            "scaling up",
            "max_retries=",
            arguments={"host": server.url},
        )


def test_too_many_requests() -> None:
    told = {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded 10 QPS"}
    with LoopbackServer(lambda _: Answer(told, 429)) as server:
        assert_told(
            errors.RateLimitError,
            "Exceeded 10 QPS",
            "max_concurrency",
            arguments={"host": server.url},
        )


def test_html_instead_of_json() -> None:
    page = b"<html><head><title>Sign in</title></head><body>Please sign in</body></html>"
    with LoopbackServer(lambda _: Answer(page)) as server:
        for component in components(host=server.url):
            for call in every_way(component):
                with pytest.raises(errors.InvalidResponseError, match="Sign in"):
                    call()


@pytest.mark.parametrize("call", ["stream", "astream"])
def test_an_answer_that_comes_whole_is_read_where_a_stream_was_asked_for(call: str) -> None:
    whole = {"choices": [{"message": {"content": "ok"}, "text": "ok"}]}
    with LoopbackServer(lambda _: whole) as server:
        chat, llm, _ = components(host=server.url)
        assert [chunk.text for chunk in ask(chat, call)] == ["ok"]
        assert ask(llm, call) == ["ok"]


def answer_as_asked(body: Any) -> Any:
    """The same body, whole, or as the one event of a stream where a stream was asked for."""

    def answer(received: Received) -> Any:
        if received.body.get("stream"):
            return Pieces(events(body))
        return body

    return answer


@pytest.mark.parametrize(
    "body",
    [
        {"error_code": "INTERNAL_ERROR", "message": "out of memory"},
        {"error": {"message": "out of memory"}},
        {"error": "out of memory"},
    ],
)
def test_an_error_with_status_200(body: Any) -> None:
    with LoopbackServer(answer_as_asked(body)) as server:
        for component in components(host=server.url):
            for call in every_way(component):
                with pytest.raises(errors.DatabricksError, match="out of memory") as raised:
                    call()
                assert isinstance(
                    raised.value, errors.InvalidResponseError | errors.StreamInterruptedError
                )


@pytest.mark.parametrize(
    "body",
    [
        {},
        [],
        None,
        5,
        {"choices": None, "data": None},
        {"choices": [], "data": []},
        {"choices": [None], "data": [None]},
        {"choices": [{}], "data": [{}]},
        {"choices": [{"message": None, "text": None}], "data": [{"embedding": None}]},
        {"choices": [{"message": "x", "text": 5}], "data": [{"embedding": "x"}]},
        {"choices": [{"message": {"content": 5}, "text": []}], "data": [{"embedding": [None]}]},
        {"choices": {"0": 1}, "data": {"0": 1}},
    ],
    ids=json.dumps,
)
def test_an_answer_of_another_shape(body: Any) -> None:
    with LoopbackServer(lambda _: body) as server:
        for component in components(host=server.url):
            whole = every_way(component)[:2]
            for call in whole:
                with pytest.raises(errors.InvalidResponseError, match="Serving endpoint 'm'"):
                    call()


def test_choices_are_empty() -> None:
    with LoopbackServer(lambda _: {"choices": []}) as server:
        chat, llm, _ = components(host=server.url)
        for component in (chat, llm):
            with pytest.raises(errors.InvalidResponseError, match=r"endpoint 'm'.*'choices'"):
                ask(component, "invoke")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_another_number_of_vectors(count: int) -> None:
    data = [{"index": i, "embedding": [1.0]} for i in range(count)]
    with LoopbackServer(lambda _: {"data": data}) as server:
        embeddings = components(host=server.url)[2]
        with pytest.raises(errors.InvalidResponseError, match="2 vectors, one for each text"):
            embeddings.embed_documents(["a", "b"])  # type: ignore[union-attr]


def test_a_prompt_longer_than_the_models_context() -> None:
    told = {"error_code": "BAD_REQUEST", "message": "prompt is too long: 9000 > 8000 tokens"}
    with LoopbackServer(lambda _: Answer(told, 400)) as server:
        assert_told(
            errors.ContextOverflowError, "9000 > 8000 tokens", arguments={"host": server.url}
        )


def test_a_request_larger_than_the_endpoint_takes() -> None:
    told = {"error_code": "BAD_REQUEST", "message": "Request size cannot exceed 4194304 bytes"}
    with LoopbackServer(lambda _: Answer(told, 413)) as server:
        assert_told(
            errors.InvalidRequestError,
            "4194304 bytes",
            "Send fewer or shorter texts",
            arguments={"host": server.url},
        )


def test_a_parameter_that_json_cannot_write(workspace: LocalWorkspace) -> None:
    with pytest.raises(errors.InvalidRequestError, match=r"endpoint 'm' cannot be written as JSON"):
        ChatDatabricks(model="m").invoke("hi", top_k={1, 2})
    with pytest.raises(errors.InvalidRequestError, match="cannot be written as JSON"):
        ChatDatabricks(model="m").invoke("hi", temperature=float("nan"))
    assert not workspace.requests


def test_a_text_that_utf8_cannot_write(workspace: LocalWorkspace) -> None:
    for component in components(host=workspace.url):
        for text in ("\ud800", "half a \udc00 pair"):
            embed = getattr(component, "embed_query", None)
            with pytest.raises(errors.InvalidRequestError, match="cannot be written"):
                (embed or component.invoke)(text)  # type: ignore[union-attr]
    assert not workspace.requests


def raising(*_: Any, **__: Any) -> Any:
    return {}["missing"]


def with_hook(name: str, hook: Any, host: str) -> list[Component]:
    return components(host=host, **{name: hook})


@pytest.mark.parametrize("name", ["transform_input_fn", "transform_output_fn"])
def test_a_hook_that_raises(name: str) -> None:
    with LoopbackServer(lambda _: {}) as server:
        for component in with_hook(name, raising, server.url):
            for call in every_way(component):
                told = f"{name} 'raising' raised KeyError: 'missing'"
                with pytest.raises(errors.TransformError, match=told) as raised:
                    call()
                assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize("returned", [None, "text", ["list"], 5])
def test_an_input_hook_that_returns_no_request(returned: Any) -> None:
    with LoopbackServer(lambda _: {}) as server:
        for component in with_hook("transform_input_fn", lambda **_: returned, server.url):
            for call in every_way(component):
                with pytest.raises(errors.TransformError, match="must return the request to send"):
                    call()
        assert not server.requests


@pytest.mark.parametrize("returned", [None, 5, {"no": 1}, [None], object()])
def test_an_output_hook_that_returns_nonsense(returned: Any) -> None:
    with LoopbackServer(lambda _: {"choices": []}) as server:
        for component in with_hook("transform_output_fn", lambda _: returned, server.url):
            for call in every_way(component):
                with pytest.raises(
                    errors.TransformError, match=r"endpoint 'm'.*transform_output_fn '.*<lambda>'"
                ):
                    call()


@pytest.mark.parametrize(
    ("hook", "told"),
    [
        ("no_colon", "not an import string"),
        ("no_such_module:hook", "cannot be imported"),
        ("os:no_such_function", "cannot be imported"),
        ("os:name", "not a function but a str"),
    ],
)
def test_a_hook_that_cannot_be_found(workspace: LocalWorkspace, hook: str, told: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=told):
        Databricks(endpoint_name="m", transform_input_fn=hook).invoke("hi")


BOTH = {"cluster_id": "c-1", "cluster_driver_port": 7777}


@pytest.mark.parametrize(
    "make",
    [
        lambda **more: Databricks(endpoint_name="m", **more),
        lambda **more: ChatDatabricks(model="m", **more),
        lambda **more: ChatDatabricks(endpoint="m", **more),
        lambda **more: DatabricksEmbeddings(endpoint="m", **more),
    ],
)
def test_both_targets_given(make: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"Both.*'m'.*7777.*Give the one to call"):
        make(**BOTH)


@pytest.mark.parametrize("kind", [Databricks, ChatDatabricks, DatabricksEmbeddings])
def test_no_target_given(kind: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"Name a serving endpoint.*driver_port="):
        kind()


def test_no_login_at_all() -> None:
    with pytest.raises(errors.AuthenticationError, match="Set DATABRICKS_HOST and"):
        Databricks(endpoint_name="m").invoke("hi")


def test_an_app_that_answers_another_shape() -> None:
    with LoopbackServer(lambda _: {"score": 0.5}) as server:
        os.environ.update(DATABRICKS_HOST=server.url, DATABRICKS_TOKEN="t")
        with pytest.raises(errors.InvalidResponseError, match=r"7777.*transform_output_fn.*score"):
            Databricks(**BOTH).invoke("hi")


@pytest.mark.parametrize("arguments", [{"temperature": "hot"}, {"n": 0}, {"timeout": -1}])
def test_a_value_of_a_wrong_type_names_its_argument(arguments: dict[str, Any]) -> None:
    [name] = arguments
    with pytest.raises(ValueError, match=name):
        ChatDatabricks(model="m", **arguments)
