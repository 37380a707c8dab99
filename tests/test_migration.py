"""The tables of docs/migration.md about evaluation: their tests exist, their errors occur."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from langchain_dbx_eval import evaluate
from langchain_dbx_eval.datasets import create_dataset
from langchain_dbx_eval.testing import LocalWorkspace

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "docs" / "migration.md").read_text(encoding="utf-8")
ROWS = [
    row
    for table in re.findall(r"^\| feature \|.*\n\|---\|.*\n((?:\|.*\n)+)", TEXT, re.MULTILINE)
    for row in re.findall(r"^\| (.+) \| (.+) \| `(.+)` \|$", table, re.MULTILINE)
]
SUPPORTED = [(feature, test) for feature, here, test in ROWS if "not supported" not in here]
UNSUPPORTED = [(call, error) for call, here, error in ROWS if "not supported" in here]


def test_every_row_of_the_tables_is_read() -> None:
    lines = re.findall(r"^\| .*(?:`tests/|not supported)", TEXT, re.MULTILINE)
    assert len(ROWS) == len(lines) > 40


@pytest.mark.parametrize(("feature", "test"), SUPPORTED)
def test_the_test_of_a_feature_exists(feature: str, test: str) -> None:
    path, _, name = test.partition("::")
    code = (ROOT / path).read_text(encoding="utf-8")
    assert re.search(rf"^(async )?def {name}\(", code, re.MULTILINE)


@pytest.mark.usefixtures("mlflow_store")
@pytest.mark.parametrize(("call", "error"), UNSUPPORTED)
def test_what_is_not_supported_has_the_error_of_the_table(call: str, error: str) -> None:
    import mlflow
    import pandas as pd
    from mlflow.genai.simulators import ConversationSimulator

    rows = [{"request": "q", "response": "a"}]
    names = {
        "ConversationSimulator": ConversationSimulator,
        "create_dataset": create_dataset,
        "evaluate": evaluate,
        "frame": pd.DataFrame(rows),
        "mlflow": mlflow,
        "rows": rows,
    }
    with pytest.raises(Exception) as caught:  # noqa: PT011
        eval(call.strip("`"), names)
    assert f"{caught.type.__name__}: {caught.value}".startswith(error)


def test_a_predict_fn_of_mlflow_is_a_model(workspace: LocalWorkspace, mlflow_store: str) -> None:
    from mlflow.genai import to_predict_fn

    workspace.add_endpoint("chat", lambda messages, **params: "hello", kind="chat")
    data = [{"inputs": {"messages": [{"role": "user", "content": "q"}]}}]
    result = evaluate(predict_fn=to_predict_fn("endpoints:/chat"), data=data, scorers=[])
    assert list(result.tables["eval_results"]["response"]) == ["hello"]


def test_ensembles_and_registered_scorers_run(mlflow_store: str) -> None:
    from mlflow.genai.scorers import (
        RegexMatch,
        ResponseLength,
        get_scorer,
        make_scorer_ensemble,
    )

    RegexMatch(pattern="a").register(name="has_a")
    short = [ResponseLength(name=name, max_length=9) for name in ("one", "two")]
    both = make_scorer_ensemble(name="both", scorers=short, ensemble_fn="majority_vote")
    data = [{"request": "q", "response": "a"}]
    result = evaluate(data=data, scorers=[get_scorer(name="has_a"), both])
    assert result.metrics["has_a/value/percentage"] == 1.0
    assert result.metrics["both/value/percentage"] == 1.0
