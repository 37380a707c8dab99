"""Invalid arguments and unexpected responses: each raises one typed error with advice."""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, errors
from langchain_dbx_eval.testing import LocalWorkspace
from tests.loopback import CALLS, Answer, LoopbackServer, Pieces, Received, call_model, events

SECRET = "dapi-very-secret"

Component = ChatDatabricks | Databricks | DatabricksEmbeddings


def components(**arguments: Any) -> list[Component]:
    """Return one of each component, for the endpoint 'm'."""
    arguments = {"max_retries": 0, "api_token": SECRET, **arguments}
    return [
        ChatDatabricks(model="m", **arguments),
        Databricks(endpoint_name="m", task="llm/v1/completions", **arguments),
        DatabricksEmbeddings(endpoint="m", **arguments),
    ]


def every_call(component: Component) -> list[Any]:
    """Return each call of a component."""
    if isinstance(component, DatabricksEmbeddings):
        import asyncio

        return [
            lambda: component.embed_query("hi"),
            lambda: component.embed_documents(["hi", "ho"]),
            lambda: asyncio.run(component.aembed_query("hi")),
            lambda: asyncio.run(component.aembed_documents(["hi", "ho"])),
        ]
    return [lambda call=call: call_model(component, call) for call in CALLS]


def assert_raises(
    kind: type[errors.DatabricksError], *texts: str, arguments: dict[str, Any]
) -> None:
    """Check that each call of each component raises an error with these texts."""
    for component in components(**arguments):
        for call in every_call(component):
            with pytest.raises(errors.DatabricksError) as raised:
                call()
            error, message = raised.value, str(raised.value)
            assert type(error) is kind, message
            for text in texts:
                assert text in message
            assert error.target == "serving endpoint 'm'"
            assert SECRET not in message
            assert len(message) < 800


@pytest.fixture
def closed_port() -> Iterator[int]:
    """A port without a listener, reserved for the test."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield bound.getsockname()[1]


def test_an_unknown_host_is_a_connection_error() -> None:
    assert_raises(
        errors.ConnectionFailedError,
        "no-such-workspace.invalid",
        "Check the host name",
        arguments={"host": "no-such-workspace.invalid"},
    )


def test_a_closed_port_is_a_connection_error(closed_port: int) -> None:
    assert_raises(
        errors.ConnectionFailedError,
        f"127.0.0.1:{closed_port}",
        "efused",
        "Check the host name, the network and the proxy settings",
        arguments={"host": f"http://127.0.0.1:{closed_port}"},
    )


def test_a_server_without_tls_is_a_connection_error() -> None:
    with LoopbackServer(lambda _: {}) as server:
        assert_raises(
            errors.ConnectionFailedError,
            "SSL",
            arguments={"host": f"https://127.0.0.1:{server.port}"},
        )


@pytest.mark.parametrize(
    ("host", "message"),
    [
        ("http://w.example", "Use https"),
        ("https://user:pass@w.example", "Give the host alone"),
        ("ftp://w.example", "address bar"),
        ("w example", "address bar"),
        ("w.example:port", "not a URL"),
    ],
)
def test_an_invalid_host_is_rejected_with_advice(host: str, message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=message):
        ChatDatabricks(model="m", host=host)


def test_a_wrong_token_is_an_authentication_error(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda texts: "ok", kind="chat")
    assert_raises(
        errors.AuthenticationError,
        "Invalid access token",
        "Check DATABRICKS_TOKEN (or api_token=)",
        arguments={"host": workspace.url},
    )


@pytest.mark.parametrize("token", [f"{SECRET}\nX-Evil: 1", f"{SECRET}€", "\n"])
def test_a_token_with_invalid_characters_is_rejected_and_not_shown(
    workspace: LocalWorkspace, token: str
) -> None:
    for component in components(host=workspace.url, api_token=token):
        for call in every_call(component):
            with pytest.raises(errors.ConfigurationError, match="api_token= or") as raised:
                call()
            assert SECRET not in str(raised.value)
    app = Databricks(cluster_driver_port=7777, driver_api_key=token)
    with pytest.raises(errors.ConfigurationError, match="driver_api_key="):
        app.invoke("hi")
    assert not workspace.requests


def test_a_token_may_end_with_a_line_break(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", lambda messages: "ok", kind="chat")
    chat = ChatDatabricks(model="m", host=workspace.url, api_token=f"{workspace.token}\n")
    assert chat.invoke("hi").text == "ok"


def test_an_unknown_endpoint_is_a_not_found_error(workspace: LocalWorkspace) -> None:
    assert_raises(
        errors.NotFoundError,
        "Endpoint with name 'm' does not exist",
        "databricks serving-endpoints list",
        arguments={"api_token": None},
    )


def test_an_endpoint_that_is_not_ready_is_a_server_error() -> None:
    body = {"error_code": "TEMPORARILY_UNAVAILABLE", "message": "The endpoint is scaling up"}
    with LoopbackServer(lambda _: Answer(body, 503)) as server:
        assert_raises(
            errors.ServerError,
            "503 TEMPORARILY_UNAVAILABLE",
            "scaling up",
            "max_retries=",
            arguments={"host": server.url},
        )


def test_too_many_requests_are_a_rate_limit_error() -> None:
    body = {"error_code": "REQUEST_LIMIT_EXCEEDED", "message": "Exceeded 10 QPS"}
    with LoopbackServer(lambda _: Answer(body, 429)) as server:
        assert_raises(
            errors.RateLimitError,
            "Exceeded 10 QPS",
            "max_concurrency",
            arguments={"host": server.url},
        )


def test_html_instead_of_json_is_shown() -> None:
    page = b"<html><head><title>Sign in</title></head><body>Please sign in</body></html>"
    with LoopbackServer(lambda _: Answer(page)) as server:
        for component in components(host=server.url):
            for call in every_call(component):
                with pytest.raises(errors.InvalidResponseError, match="Sign in"):
                    call()


@pytest.mark.parametrize("call", ["stream", "astream"])
def test_a_complete_response_to_a_streaming_request_is_decoded(call: str) -> None:
    whole = {"choices": [{"message": {"content": "ok"}, "text": "ok"}]}
    with LoopbackServer(lambda _: whole) as server:
        chat, llm, _ = components(host=server.url)
        assert [chunk.text for chunk in call_model(chat, call)] == ["ok"]
        assert call_model(llm, call) == ["ok"]


def as_requested(body: Any) -> Any:
    """Return the body, or a stream with it as its only event if a stream was requested."""

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
def test_an_error_with_status_200_is_raised(body: Any) -> None:
    with LoopbackServer(as_requested(body)) as server:
        for component in components(host=server.url):
            for call in every_call(component):
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
def test_a_response_of_another_shape_is_an_error(body: Any) -> None:
    with LoopbackServer(lambda _: body) as server:
        for component in components(host=server.url):
            whole = every_call(component)[:2]
            for call in whole:
                with pytest.raises(errors.InvalidResponseError, match="Serving endpoint 'm'"):
                    call()


def test_empty_choices_are_an_error() -> None:
    with LoopbackServer(lambda _: {"choices": []}) as server:
        chat, llm, _ = components(host=server.url)
        for component in (chat, llm):
            with pytest.raises(errors.InvalidResponseError, match=r"endpoint 'm'.*'choices'"):
                call_model(component, "invoke")


@pytest.mark.parametrize("count", [0, 1, 3])
def test_a_wrong_number_of_vectors_is_an_error(count: int) -> None:
    data = [{"index": i, "embedding": [1.0]} for i in range(count)]
    with LoopbackServer(lambda _: {"data": data}) as server:
        embeddings = components(host=server.url)[2]
        with pytest.raises(errors.InvalidResponseError, match="one vector for each of the 2 texts"):
            embeddings.embed_documents(["a", "b"])  # type: ignore[union-attr]


def test_a_prompt_beyond_the_context_is_a_context_overflow() -> None:
    body = {"error_code": "BAD_REQUEST", "message": "prompt is too long: 9000 > 8000 tokens"}
    with LoopbackServer(lambda _: Answer(body, 400)) as server:
        assert_raises(
            errors.ContextOverflowError, "9000 > 8000 tokens", arguments={"host": server.url}
        )


def test_a_request_that_is_too_large_is_an_invalid_request() -> None:
    body = {"error_code": "BAD_REQUEST", "message": "Request size cannot exceed 4194304 bytes"}
    with LoopbackServer(lambda _: Answer(body, 413)) as server:
        assert_raises(
            errors.InvalidRequestError,
            "4194304 bytes",
            "Send fewer or shorter texts",
            arguments={"host": server.url},
        )


def test_a_parameter_without_json_form_is_rejected(workspace: LocalWorkspace) -> None:
    with pytest.raises(errors.InvalidRequestError, match=r"endpoint 'm' cannot be written as JSON"):
        ChatDatabricks(model="m").invoke("hi", top_k={1, 2})
    with pytest.raises(errors.InvalidRequestError, match="cannot be written as JSON"):
        ChatDatabricks(model="m").invoke("hi", temperature=float("nan"))
    assert not workspace.requests


def test_a_text_without_utf8_form_is_rejected(workspace: LocalWorkspace) -> None:
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
def test_a_hook_that_raises_is_named(name: str) -> None:
    with LoopbackServer(lambda _: {}) as server:
        for component in with_hook(name, raising, server.url):
            for call in every_call(component):
                message = f"{name} 'raising' raised KeyError: 'missing'"
                with pytest.raises(errors.TransformError, match=message) as raised:
                    call()
                assert isinstance(raised.value.__cause__, KeyError)


@pytest.mark.parametrize("returned", [None, "text", ["list"], 5])
def test_an_input_hook_that_does_not_return_a_request_is_an_error(returned: Any) -> None:
    with LoopbackServer(lambda _: {}) as server:
        for component in with_hook("transform_input_fn", lambda **_: returned, server.url):
            for call in every_call(component):
                with pytest.raises(errors.TransformError, match="must return the request to send"):
                    call()
        assert not server.requests


@pytest.mark.parametrize("returned", [None, 5, {"no": 1}, [None], object()])
def test_an_output_hook_that_returns_an_invalid_value_is_named(returned: Any) -> None:
    with LoopbackServer(lambda _: {"choices": []}) as server:
        for component in with_hook("transform_output_fn", lambda _: returned, server.url):
            for call in every_call(component):
                with pytest.raises(
                    errors.TransformError, match=r"endpoint 'm'.*transform_output_fn '.*<lambda>'"
                ):
                    call()


@pytest.mark.parametrize(
    ("hook", "message"),
    [
        ("no_colon", "not an import string"),
        ("no_such_module:hook", "cannot be imported"),
        ("os:no_such_function", "cannot be imported"),
        ("os:name", "not a function but a str"),
    ],
)
def test_a_hook_that_cannot_be_imported_is_an_error(
    workspace: LocalWorkspace, hook: str, message: str
) -> None:
    with pytest.raises(errors.ConfigurationError, match=message):
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
def test_two_targets_are_rejected(make: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"Both.*'m'.*7777.*Give the one to call"):
        make(**BOTH)


@pytest.mark.parametrize("kind", [Databricks, ChatDatabricks, DatabricksEmbeddings])
def test_a_missing_target_is_rejected(kind: Any) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"Name a serving endpoint.*driver_port="):
        kind()


def test_missing_credentials_are_an_authentication_error() -> None:
    with pytest.raises(errors.AuthenticationError, match="Set DATABRICKS_HOST and"):
        Databricks(endpoint_name="m").invoke("hi")


def test_an_app_with_another_shape_is_an_error_that_shows_it() -> None:
    with LoopbackServer(lambda _: {"score": 0.5}) as server:
        os.environ.update(DATABRICKS_HOST=server.url, DATABRICKS_TOKEN="t")
        with pytest.raises(errors.InvalidResponseError, match=r"7777.*transform_output_fn.*score"):
            Databricks(**BOTH).invoke("hi")


@pytest.mark.parametrize("arguments", [{"temperature": "hot"}, {"n": 0}, {"timeout": -1}])
def test_a_value_of_a_wrong_type_names_its_argument(arguments: dict[str, Any]) -> None:
    [name] = arguments
    with pytest.raises(ValueError, match=name):
        ChatDatabricks(model="m", **arguments)
