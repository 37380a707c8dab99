"""Compatibility with `langchain_community.llms.Databricks`.

Both receive the same arguments, and must send and return the same. Theirs sends its defaults
(`temperature` 0.0, `n` 1), which ours leaves to the endpoint. The defects B1 to B17 are excluded.
"""

from __future__ import annotations

import json
import warnings
from typing import Any

import pytest
import responses

from langchain_dbx_eval import Databricks, errors
from langchain_dbx_eval.testing import LocalWorkspace

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from langchain_community.llms import Databricks as Community

pytestmark = pytest.mark.filterwarnings("ignore::Warning")


def add_context(**request: Any) -> dict[str, Any]:
    return {**request, "prompt": f"{request['prompt']} Be concise."}


def upper_case(response: Any) -> str:
    return response.upper()


def text_of_choice(response: Any) -> str:
    return response["choices"][0]["text"].upper()


def model(prompt: str, **params: Any) -> str:
    return f"You said {prompt} With {sorted(params)}"


def text_model(prompt: str, **params: Any) -> str:
    return model(prompt)


def chat_model(messages: list[dict[str, Any]], **params: Any) -> str:
    return model(messages[-1]["content"])


ARGUMENTS: dict[str, dict[str, Any]] = {
    "nothing else": {},
    "extra_params": {"extra_params": {"top_k": 3}},
    "input hook": {"transform_input_fn": add_context},
    "output hook": {"transform_output_fn": upper_case},
    "both hooks": {"transform_input_fn": add_context, "transform_output_fn": upper_case},
    "uri": {"databricks_uri": "databricks"},
    "stop": {"stop": ["."]},
    "max_tokens": {"max_tokens": 5},
    "temperature": {"temperature": 0.7},
    "n": {"n": 1},
}
CALLS: dict[str, dict[str, Any]] = {
    "plain": {},
    "stop": {"stop": ["."]},
    "parameters": {"temperature": 0.2, "top_k": 1},
}
# Arguments that theirs does not send to these targets (B12).
DROPPED_THERE = {"stop", "max_tokens", "temperature"}


def create_both(arguments: dict[str, Any]) -> list[Any]:
    return [kind(**arguments) for kind in (Community, Databricks)]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("given", [name for name in ARGUMENTS if name not in DROPPED_THERE])
def test_a_custom_model_receives_and_returns_the_same(
    workspace: LocalWorkspace, given: str, call: str
) -> None:
    workspace.add_endpoint("dolly", model, kind="custom")
    theirs, ours = create_both({"endpoint_name": "dolly", **ARGUMENTS[given]})
    expected = theirs.invoke("Hi.", **CALLS[call])
    sent = workspace.requests[-1].body
    assert ours.invoke("Hi.", **CALLS[call]) == expected
    assert workspace.requests[-1].body == sent


@pytest.mark.parametrize("kind", ["completions", "chat"])
@pytest.mark.parametrize("given", [name for name in ARGUMENTS if "hook" not in name])
def test_a_foundation_model_receives_and_returns_the_same(
    workspace: LocalWorkspace, given: str, kind: Any
) -> None:
    workspace.add_endpoint("m", chat_model if kind == "chat" else text_model, kind=kind)
    # Theirs sends a prompt to chat endpoints (B11), unless a hook converts it into messages.
    hook = {"transform_input_fn": as_messages} if kind == "chat" else {}
    theirs, ours = create_both({"endpoint_name": "m", **ARGUMENTS[given], **hook})
    expected = theirs.invoke("Hi.")
    sent = workspace.requests[-1].body
    assert ours.invoke("Hi.") == expected
    assert without_their_defaults(workspace.requests[-1].body) == without_their_defaults(sent)


def as_messages(prompt: str, **request: Any) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": prompt}], **request}


def without_their_defaults(body: dict[str, Any]) -> dict[str, Any]:
    defaults = {"temperature": 0.0, "n": 1}
    return {name: value for name, value in body.items() if defaults.get(name) != value}


def test_an_output_hook_receives_the_whole_completion(workspace: LocalWorkspace) -> None:
    workspace.add_endpoint("m", text_model, kind="completions")
    theirs, ours = create_both({"endpoint_name": "m", "transform_output_fn": text_of_choice})
    assert ours.invoke("Hi.") == theirs.invoke("Hi.")


APP = {
    "host": "w.example",
    "api_token": "t",
    "cluster_id": "0123-456789-abcdefgh",
    "cluster_driver_port": "7777",
}
PROXY = "https://w.example/driver-proxy-api/o/0/0123-456789-abcdefgh/7777"


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("given", [name for name in ARGUMENTS if name not in DROPPED_THERE])
@responses.activate
def test_an_app_behind_the_driver_proxy_receives_and_returns_the_same(
    given: str, call: str
) -> None:
    # Ours has the slash of the app's root; the proxy forwards both.
    for url in (PROXY, f"{PROXY}/"):
        responses.post(url, json="You said hi.")
    theirs, ours = create_both({**APP, **ARGUMENTS[given]})
    assert ours.invoke("Hi.", **CALLS[call]) == theirs.invoke("Hi.", **CALLS[call])
    by_ours, by_theirs = (recorded.request for recorded in responses.calls)
    assert json.loads(by_ours.body) == json.loads(by_theirs.body)
    for header in ("Authorization", "Content-Type"):
        assert by_ours.headers[header] == by_theirs.headers[header]


# Ours never unpickles: a hook is a function or an import string.
UNPICKLING = "allow_dangerous_deserialization"


@pytest.mark.parametrize("name", sorted({*Community.model_fields} - {UNPICKLING}))
def test_every_argument_of_theirs_exists_in_ours(name: str) -> None:
    assert name in Databricks.model_fields


def test_the_argument_that_allows_unpickling_is_rejected_by_name() -> None:
    with pytest.raises(errors.ConfigurationError, match=UNPICKLING):
        Databricks(endpoint_name="m", **{UNPICKLING: True})


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"endpoint_name": "m", "cluster_driver_port": "7777"},
        {"endpoint_name": "m", "cluster_id": "c-1"},
        {"cluster_id": "c-1"},
        {"cluster_id": "c-1", "cluster_driver_port": "0"},
        {"endpoint_name": "m", "no_such_argument": 1},
        {"endpoint_name": "m", "model_kwargs": {"prompt": "x"}},
    ],
)
def test_arguments_that_theirs_rejects_are_rejected_by_ours(
    workspace: LocalWorkspace, arguments: dict[str, Any]
) -> None:
    workspace.add_endpoint("m", model, kind="custom")
    for kind in (Community, Databricks):
        with pytest.raises(Exception, match=r"\w+ \w+"):
            kind(**arguments)
