"""Components as objects: serialized, copied, pickled, forked, cached."""

from __future__ import annotations

import copy
import multiprocessing
import os
import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.load import dumps, loads

from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, errors
from langchain_dbx_eval.testing import LocalWorkspace

COMPONENTS = [
    Databricks(endpoint_name="m", temperature=0.5, api_token="dapi-secret", host="w.example"),
    ChatDatabricks(model="m", temperature=0.5, api_token="dapi-secret", host="w.example"),
]


def unchanged(**request: Any) -> dict[str, Any]:
    return request


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda c: type(c).__name__)
def test_serialization_omits_secrets_and_reads_them_from_the_environment(component: Any) -> None:
    os.environ["DATABRICKS_TOKEN"] = "from-environment"
    text = dumps(component)
    assert "dapi-secret" not in text
    loaded = loads(
        text,
        allowed_objects=[type(component)],
        valid_namespaces=["langchain_dbx_eval"],
        secrets_from_env=True,
    )
    assert (loaded.host, loaded.temperature) == ("w.example", 0.5)
    assert loaded.api_token.get_secret_value() == "from-environment"


def test_only_hooks_given_as_import_strings_are_serialized() -> None:
    named = f"{__name__}:unchanged"
    llm = Databricks(
        endpoint_name="m", transform_input_fn=named, transform_output_fn=lambda response: "x"
    )
    loaded = loads(
        dumps(llm), allowed_objects=[Databricks], valid_namespaces=["langchain_dbx_eval"]
    )
    assert loaded.transform_input_fn == named
    assert loaded.transform_output_fn is None


@pytest.fixture
def workspace_of_three(workspace: LocalWorkspace) -> LocalWorkspace:
    workspace.add_endpoint("llm", lambda prompt: "text", kind="completions")
    workspace.add_endpoint("chat", lambda messages: "chat", kind="chat")
    workspace.add_endpoint("e", lambda texts: [[1.0] for _ in texts], kind="embeddings")
    return workspace


def used(kind: str) -> tuple[Any, Any]:
    """Return a component after its first call, and the call."""
    component, call = {
        "llm": (Databricks(endpoint_name="llm"), lambda c: c.invoke("hi")),
        "chat": (ChatDatabricks(model="chat"), lambda c: c.invoke("hi").text),
        "embeddings": (DatabricksEmbeddings(endpoint="e"), lambda c: c.embed_query("hi")),
    }[kind]
    call(component)
    return component, call


KINDS = ["llm", "chat", "embeddings"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_used_component_can_be_pickled(workspace_of_three: LocalWorkspace, kind: str) -> None:
    component, call = used(kind)
    assert call(pickle.loads(pickle.dumps(component))) == call(component)


@pytest.mark.parametrize("kind", KINDS)
def test_a_used_component_can_be_copied_deeply(
    workspace_of_three: LocalWorkspace, kind: str
) -> None:
    component, call = used(kind)
    assert call(copy.deepcopy(component)) == call(component)


def test_a_copy_with_another_endpoint_calls_that_endpoint(
    workspace_of_three: LocalWorkspace,
) -> None:
    chat, _ = used("chat")
    workspace_of_three.add_endpoint("other", lambda messages: "other", kind="chat")
    assert chat.model_copy(update={"model": "other"}).invoke("hi").text == "other"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="only POSIX has fork")
def test_a_used_component_works_in_a_forked_process(workspace_of_three: LocalWorkspace) -> None:
    chat, call = used("chat")
    with multiprocessing.get_context("fork").Pool(1) as pool:
        assert pool.apply(_invoke, (chat,)) == "chat"
    assert call(chat) == "chat"


def _invoke(chat: ChatDatabricks) -> str:
    return chat.invoke("hi").text


def test_the_cache_distinguishes_workspaces_and_hooks() -> None:
    cache = InMemoryCache()
    with LocalWorkspace(set_environment=False) as one, LocalWorkspace(set_environment=False) as two:
        one.add_endpoint("m", lambda messages: "one", kind="chat")
        two.add_endpoint("m", lambda messages: "two", kind="chat")
        answers = [
            ChatDatabricks(
                model="m", host=w.url, api_token=w.token, cache=cache, transform_output_fn=hook
            )
            .invoke("hi")
            .text
            for w in (one, two)
            for hook in (None, lambda r: "hooked")
        ]
        assert answers == ["one", "hooked", "two", "hooked"]
        loaded = ChatDatabricks(model="m", host=one.url, api_token=one.token, cache=cache)
        assert loaded.invoke("hi").text == "one"
        assert len(one.requests) == 2


@pytest.mark.parametrize("suffix", ["yaml", "json"])
def test_a_saved_text_model_is_loaded_with_its_arguments_but_no_secret(
    tmp_path: Path, suffix: str
) -> None:
    path = tmp_path / "folder" / f"llm.{suffix}"
    llm = Databricks(
        cluster_driver_port=7777,
        cluster_id="c",
        host="w.example",
        api_token="dapi-secret",
        driver_api_key="my-key",
        model_kwargs={"top_k": 5},
        stop=["é"],
        transform_input_fn=f"{__name__}:unchanged",
    )
    llm.save(path)
    assert not any(secret in path.read_text() for secret in ("dapi-secret", "my-key"))
    loaded = Databricks.load(path, api_token="dapi-secret", driver_api_key="my-key")
    assert loaded == llm


def test_a_text_model_with_a_function_as_its_hook_cannot_be_saved(tmp_path: Path) -> None:
    llm = Databricks(endpoint_name="m", transform_output_fn=unchanged)
    with pytest.raises(errors.ConfigurationError, match="transform_output_fn="):
        llm.save(tmp_path / "llm.yaml")


@pytest.mark.parametrize(("name", "text"), [("llm.txt", "{}"), ("llm.json", "{}"), ("a.yaml", "1")])
def test_another_file_is_not_loaded_as_a_text_model(tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(errors.ConfigurationError, match=name):
        Databricks.load(tmp_path / name)
