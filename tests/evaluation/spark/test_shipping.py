"""What can be sent to the tasks, and what is refused before Spark starts."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from langchain_core.runnables import RunnableLambda

from langchain_dbx_eval import ChatDatabricks, PromptJudge, errors, evaluate, scorer
from langchain_dbx_eval.evaluation import EvaluationOptions, SparkOptions
from langchain_dbx_eval.evaluation.spark.shipping import load_scorers, ship_model, ship_scorers
from langchain_dbx_eval.scoring import DEFAULT_SCORERS
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
