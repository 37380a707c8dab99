"""Responses of MLflow's own scoring server, for each type that a model may return."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest
from fastapi.testclient import TestClient

from langchain_dbx_eval import Databricks, errors
from tests.loopback import Answer, LoopbackServer, Received

PREDICTIONS: dict[str, Callable[[list[str]], Any]] = {}


def predicting(function: Callable[[list[str]], Any]) -> Callable[[list[str]], Any]:
    PREDICTIONS[function.__name__] = function
    return function


@predicting
def a_list(answers: list[str]) -> Any:
    return answers


@predicting
def an_array(answers: list[str]) -> Any:
    import numpy as np

    return np.array(answers)


@predicting
def a_column(answers: list[str]) -> Any:
    import numpy as np

    return np.array([[answer] for answer in answers])


@predicting
def a_series(answers: list[str]) -> Any:
    import pandas as pd

    return pd.Series(answers)


@predicting
def a_named_series(answers: list[str]) -> Any:
    import pandas as pd

    return pd.Series(answers, name="generated_text")


@predicting
def a_frame(answers: list[str]) -> Any:
    import pandas as pd

    return pd.DataFrame({"text": answers})


@predicting
def a_frame_of_one_column_of_any_name(answers: list[str]) -> Any:
    import pandas as pd

    return pd.DataFrame({"my_column": answers})


@predicting
def dicts(answers: list[str]) -> Any:
    return [{"generated_text": answer} for answer in answers]


@predicting
def candidates(answers: list[str]) -> Any:
    return [{"candidates": [{"text": answer}], "metadata": {}} for answer in answers]


@predicting
def chats(answers: list[str]) -> Any:
    return [{"choices": [{"message": {"content": answer}}]} for answer in answers]


ONE: dict[str, Callable[[str], Any]] = {
    "a_string": lambda answer: answer,
    "a_dict": lambda answer: {"text": answer},
    "a_dict_of_a_list": lambda answer: {"text": [answer]},
    "a_chat": lambda answer: {"choices": [{"message": {"role": "assistant", "content": answer}}]},
}


class Model(mlflow.pyfunc.PythonModel):
    """Returns the prompts in upper case, in one of the types above."""

    shape: Callable[[list[str]], Any]

    # Without type hints, which MLflow would use as a schema.
    def predict(self, context, model_input, params=None):
        return type(self).shape([prompt.upper() for prompt in model_input["prompt"]])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """The scoring server's own application."""
    from mlflow.pyfunc import scoring_server

    path: Path = tmp_path_factory.mktemp("model") / "model"
    before = dict(os.environ)
    mlflow.pyfunc.save_model(path, python_model=Model(), pip_requirements=[])
    with TestClient(scoring_server.init(mlflow.pyfunc.load_model(str(path)))) as running:
        yield running
    os.environ.pop("MLFLOW_SCORING_SERVER_REQUEST_TIMEOUT", None)
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture
def server(client: TestClient) -> Iterator[LoopbackServer]:
    def answer(received: Received) -> Answer:
        headers = {"Content-Type": received.headers["Content-Type"]}
        scored = client.post("/invocations", content=received.raw, headers=headers)
        return Answer(scored.content, scored.status_code)

    with LoopbackServer(answer) as running:
        yield running


def llm_at(server: LoopbackServer) -> Databricks:
    return Databricks(endpoint_name="m", task="custom", **server.login)


@pytest.mark.parametrize("name", PREDICTIONS)
def test_predictions_for_many_prompts_are_decoded(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(Model, "shape", staticmethod(PREDICTIONS[name]), raising=False)
    assert llm_at(server).batch(["a", "b", "c"]) == ["A", "B", "C"]
    assert len(server.requests) == 1
    assert asyncio.run(llm_at(server).ainvoke("a")) == "A"


@pytest.mark.parametrize("name", ONE)
def test_a_prediction_without_a_list_around_it_is_decoded(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    shape = ONE[name]
    monkeypatch.setattr(Model, "shape", staticmethod(lambda a: shape(a[0])), raising=False)
    assert llm_at(server).invoke("a") == "A"


def test_an_exception_of_the_model_is_an_error(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    def failing(answers: list[str]) -> Any:
        msg = "out of memory"
        raise RuntimeError(msg)

    monkeypatch.setattr(Model, "shape", staticmethod(failing), raising=False)
    with pytest.raises(errors.DatabricksError, match=r"endpoint 'm'.*BAD_REQUEST") as raised:
        llm_at(server).invoke("a")
    assert raised.value.error_code == "BAD_REQUEST"


def test_too_few_predictions_are_an_error(
    server: LoopbackServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Model, "shape", staticmethod(lambda answers: answers[:1]), raising=False)
    with pytest.raises(
        errors.InvalidResponseError, match="one prediction for each of the 2 inputs"
    ):
        llm_at(server).batch(["a", "b"])
