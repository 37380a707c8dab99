"""MLflow creates endpoints of the emulated workspace: `POST /api/2.0/serving-endpoints`."""

from __future__ import annotations

from typing import Any

import pytest
import requests

from langchain_dbx_eval import ChatDatabricks
from langchain_dbx_eval.testing import LocalWorkspace

MODEL = {"name": "gpt-4", "provider": "openai", "task": "llm/v1/chat"}


def create(workspace: LocalWorkspace, name: Any, config: Any) -> requests.Response:
    url = f"{workspace.url}/api/2.0/serving-endpoints"
    headers = {"Authorization": f"Bearer {workspace.token}"}
    body = {"name": name, "config": config}
    return requests.post(url, json=body, headers=headers, timeout=30)


@pytest.fixture
def emulated(workspace: LocalWorkspace) -> LocalWorkspace:
    workspace.add_external_model("gpt-4", lambda messages, **params: "Hello!")
    return workspace


def test_an_endpoint_of_an_external_model_is_created_once(emulated: LocalWorkspace) -> None:
    config = {"served_entities": [{"external_model": MODEL}]}
    assert create(emulated, "my-chat", config).json()["task"] == "llm/v1/chat"
    assert ChatDatabricks(model="my-chat").invoke("hi").text == "Hello!"
    again = create(emulated, "my-chat", config)
    assert (again.status_code, again.json()["error_code"]) == (400, "RESOURCE_ALREADY_EXISTS")


@pytest.mark.parametrize(
    ("name", "model", "reason"),
    [
        (None, {}, "Invalid endpoint name: None"),
        ("a/b", {}, "Invalid endpoint name: 'a/b'"),
        ("x", {"name": "gpt-5"}, "LocalWorkspace.add_external_model"),
        ("x", {"name": ["gpt-4"]}, "LocalWorkspace.add_external_model"),
        ("x", {"task": "llm/v1/other"}, "Invalid task of an external model: 'llm/v1/other'"),
        ("x", {"task": None}, "Invalid task of an external model: None"),
    ],
)
def test_an_invalid_endpoint_is_a_400_with_the_reason(
    emulated: LocalWorkspace, name: Any, model: dict[str, Any], reason: str
) -> None:
    entity = {"external_model": {**MODEL, **model}}
    response = create(emulated, name, {"served_entities": [entity]})
    assert (response.status_code, response.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    assert reason in response.json()["message"]


@pytest.mark.parametrize(
    "config",
    [
        *(
            None,
            "text",
            {},
            {"served_entities": []},
            {"served_entities": {"external_model": MODEL}},
        ),
        *({"served_entities": ["text"]}, {"served_entities": [{"entity_name": "main.a.b"}]}),
    ],
)
def test_other_configurations_are_refused(emulated: LocalWorkspace, config: Any) -> None:
    response = create(emulated, "x", config)
    assert response.status_code == 400
    assert "one external_model only" in response.json()["message"]
