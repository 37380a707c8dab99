"""What can be sent to the tasks, and what is refused before Spark starts."""

from __future__ import annotations

import json
import pickle
import pickletools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
from langchain_core.runnables import RunnableLambda
from mlflow.genai.judges import make_judge
from mlflow.genai.scorers import Correctness
from pydantic import SecretStr

from langchain_dbx_eval import ChatDatabricks, PromptJudge, errors, evaluate, scorer
from langchain_dbx_eval.evaluation import EvaluationOptions, SparkOptions
from langchain_dbx_eval.evaluation.journal.fingerprint import fingerprint
from langchain_dbx_eval.evaluation.spark import run
from langchain_dbx_eval.evaluation.spark.shipping import (
    encode,
    load_scorers,
    ship_model,
    ship_scorers,
)
from langchain_dbx_eval.evaluation.spark.task import TaskSpec
from langchain_dbx_eval.scoring import DEFAULT_SCORERS, Numeric
from tests.evaluation.spark import models

_MODULE = "tests.evaluation.spark.models"
_ARGUMENTS: dict[str, Any] = {
    "scorers": DEFAULT_SCORERS,
    "extra_metrics": None,
    "judge": None,
    "evaluator_config": None,
    "judge_repeats": 1,
    "max_concurrency": 4,
}


def test_a_model_is_shipped_by_its_name() -> None:
    assert ship_model(f"{_MODULE}:chain").load() is models.chain
    assert ship_model(f"{_MODULE}:make_chain").load() is models.chain
    assert ship_model(models.answer).reference == f"{_MODULE}:answer"
    assert ship_model("endpoints:/my-chat").load() == "endpoints:/my-chat"


def test_a_models_from_code_file_is_shipped_with_its_content(tmp_path: Path) -> None:
    file = tmp_path / "my_chain.py"
    file.write_text(
        "import mlflow\nfrom langchain_core.runnables import RunnableLambda\n"
        "mlflow.models.set_model(RunnableLambda(str.upper))\n"
    )
    shipped = pickle.loads(pickle.dumps(ship_model(file)))
    file.unlink()
    assert shipped.load().invoke("a") == "A"


def test_scorers_are_shipped_with_their_functions_by_name() -> None:
    given = {**_ARGUMENTS, "scorers": [models.length, *DEFAULT_SCORERS, f"{_MODULE}:is_even"]}
    loaded = load_scorers(ship_scorers({**given, "judge": f"{_MODULE}:judge"}))
    assert loaded["scorers"][0] is models.length
    assert loaded["scorers"][-1] is models.is_even
    assert loaded["judge"] is models.judge
    assert loaded["scorers"][1:-1] == DEFAULT_SCORERS


def test_scorers_are_shipped_with_their_arguments_as_json() -> None:
    own = PromptJudge("tone", "Is {response} polite?", scale=Numeric(1, 5), model="endpoints:/m")
    judge = make_judge("ok", "Is {{ outputs }} fine?", model="endpoints:/m")
    given = [own, Correctness(model="endpoints:/m"), judge, models.by_mlflow]
    text = ship_scorers({**_ARGUMENTS, "scorers": given, "judge": "endpoints:/m"})
    assert json.loads(text)
    loaded = load_scorers(text)["scorers"]
    assert (loaded[0].instructions, loaded[0].scale) == (own.instructions, own.scale)
    assert (loaded[1].name, loaded[1].model) == ("correctness", "endpoints:/m")
    assert (loaded[2].name, loaded[2].instructions) == ("ok", judge.instructions)
    assert loaded[3] is models.by_mlflow
    # The fingerprints, by which a second run knows the scorers, are the same.
    for before, after in zip(given, loaded, strict=True):
        assert fingerprint(before) == fingerprint(after)


def test_the_function_of_a_task_is_plain_data_and_functions_of_this_package() -> None:
    spec = TaskSpec(
        evaluation_id="e",
        model=ship_model(f"{_MODULE}:chain"),
        input_fn=encode("input_fn", models.answer),
        scorers=ship_scorers({**_ARGUMENTS, "scorers": [models.length]}),
        fingerprints={"metric/length": "1"},
        identity={"version": 1},
        concurrency=4,
        timeout=None,
        scorer_timeout=None,
        prices=None,
        retry_failures=False,
        sys_path=(),
    )
    pickled = cloudpickle.dumps(run._task(spec, 0))
    texts = [text for _, text, _ in pickletools.genops(pickled) if isinstance(text, str)]
    modules = {text.split()[0] for text in texts if text.startswith(("tests.", "mlflow"))}
    # Of the user there are names only, in the texts of the model and the scorers.
    assert not {text for text in modules if ":" not in text}
    assert any(text.startswith("langchain_dbx_eval.evaluation.spark") for text in texts)


@dataclass(frozen=True)
class Notebook:
    """A scorer whose class is in a notebook (``__main__``), or has a secret."""

    key: Any
    name: str = "own"
    column: str = "metric/own"


def test_an_object_with_a_secret_or_without_plain_arguments_is_refused() -> None:
    for value in (SecretStr("x"), ChatDatabricks(model="m"), RunnableLambda(str), object()):
        with pytest.raises(errors.ConfigurationError, match=r"scorers= cannot be sent.*may hold"):
            encode("scorers", [Notebook(value)])
    with_headers = make_judge("ok", "{{ outputs }}?", model="openai:/m", extra_headers={"a": "b"})
    with pytest.raises(errors.ConfigurationError, match="extra_headers, which may hold a secret"):
        encode("scorers", [with_headers])
    for parameters in ({"api_key": "x"}, {"extra_headers": {"a": "b"}}, {"api_base": "http://x"}):
        judge = make_judge("ok", "{{ outputs }}?", model="openai:/m", inference_params=parameters)
        with pytest.raises(errors.ConfigurationError, match="inference_params of the scorer 'ok'"):
            encode("scorers", [judge])
    plain = make_judge("ok", "{{ outputs }}?", inference_params={"temperature": 0, "max_tokens": 9})
    assert '"temperature": 0' in encode("scorers", [plain])


def test_a_known_secret_in_an_argument_is_refused(monkeypatch) -> None:
    monkeypatch.setenv("MY_API_KEY", "sk-1234567890")
    with pytest.raises(errors.ConfigurationError, match="it contains a secret") as caught:
        encode("guidelines", {"style": ["Never say sk-1234567890."]})
    assert "sk-123" not in str(caught.value)


def test_a_function_or_class_of_a_notebook_is_refused(monkeypatch) -> None:
    monkeypatch.setattr(Notebook, "__module__", "__main__")
    monkeypatch.setattr(models.answer, "__module__", "__main__")
    with pytest.raises(errors.ConfigurationError, match=r"class Notebook has no name.*import str"):
        encode("scorers", [Notebook("x")])
    with pytest.raises(errors.ConfigurationError, match=r"input_fn= cannot.*not a notebook"):
        encode("input_fn", models.answer)


@pytest.mark.parametrize(
    "model",
    [lambda question: question, RunnableLambda(str), ChatDatabricks(model="m"), "no reference"],
)
def test_a_model_without_a_name_is_refused_with_the_ways_out(model) -> None:
    with pytest.raises(errors.ConfigurationError, match="import string"):
        evaluate(model, [{"request": "a"}], engine="spark")


@pytest.mark.parametrize(
    "one",
    [
        scorer(lambda response: True, name="local"),
        PromptJudge("tone", "Is {response} polite?", model=ChatDatabricks(model="m")),
    ],
)
def test_a_scorer_that_cannot_be_shipped_is_refused(one) -> None:
    with pytest.raises(errors.ConfigurationError, match="scorers= cannot be sent"):
        evaluate(f"{_MODULE}:chain", [{"request": "a"}], scorers=[one], engine="spark")


def test_a_judge_object_is_refused() -> None:
    with pytest.raises(errors.ConfigurationError, match="endpoints:/my-chat"):
        evaluate(
            f"{_MODULE}:chain",
            [{"request": "a"}],
            judge=ChatDatabricks(model="m"),
            engine="spark",
        )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"engine": "ray"}, "engine='ray' is not supported"),
        ({"engine": SparkOptions(session="x")}, "must be a SparkSession"),
        ({"engine": "spark", "max_tokens": 5}, "does not support max_tokens"),
        (
            {"engine": "spark", "options": EvaluationOptions(judge_cache="a.sqlite")},
            "does not support judge_cache",
        ),
        ({"engine": "spark", "input_fn": lambda request: request}, "input_fn= cannot be sent"),
    ],
)
def test_an_argument_that_is_not_supported_is_refused(arguments, message) -> None:
    config = {"databricks-agent": {"metrics": []}}
    with pytest.raises(errors.ConfigurationError, match=message):
        evaluate(f"{_MODULE}:chain", [{"request": "a"}], evaluator_config=config, **arguments)


@pytest.mark.parametrize("options", [{"tasks": 0}, {"step_rows": "1"}, {"results": 3}])
def test_an_option_out_of_range_is_refused(options) -> None:
    with pytest.raises(errors.ConfigurationError, match=next(iter(options))):
        SparkOptions(**options)
