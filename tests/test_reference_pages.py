"""The code of the reference pages runs from top to bottom, with the imports changed.

The pages are not part of this repository. They are read from `../shared/reference` beside the
checkout, or from the folder in DBX_EVAL_REFERENCE. What differs from a page is listed here with its
reason: imports, values that the page leaves open, its errors, and what is not executed.
"""

from __future__ import annotations

import ast
import json
import os
import re
import sys
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import mlflow
import pandas as pd
import pytest

from langchain_dbx_eval import EvaluationResult
from langchain_dbx_eval.driver import DriverServer
from langchain_dbx_eval.testing import LocalWorkspace
from tests.scoring.documented_sets import COMPLETE, COMPLETE_WITH_OUTPUTS, QUESTION

ROOT = Path(__file__).parents[1]
FOLDER = Path(os.environ.get("DBX_EVAL_REFERENCE", ROOT.parent / "shared" / "reference"))

pytestmark = [
    # One page uses this port: the tests run in one worker, one after the other.
    pytest.mark.xdist_group("port 7777"),
    pytest.mark.timeout(600),  # includes the wait for port 7777
    pytest.mark.skipif(
        not FOLDER.is_dir(),
        reason=f"the reference pages are not in {FOLDER}; set DBX_EVAL_REFERENCE to their folder",
    ),
]


@dataclass(frozen=True)
class Page:
    """A page, and all that the test changes in its code. Each entry must apply.

    Attributes:
        name: The name of the file.
        imports: What a user changes: names of other packages, and ours.
        values: Values that the page leaves open, or that exist on its author's machine only.
        corrections: Errors of the page, with which its code cannot run anywhere.
        omitted_lines: Lines that are not executed, with the reason.
        omitted_blocks: The first lines of blocks that are not executed, with the reason.
        run_first: The first line of a block that the page uses before it shows it.
    """

    name: str
    imports: dict[str, str]
    values: dict[str, str] = field(default_factory=dict)
    corrections: dict[str, str] = field(default_factory=dict)
    omitted_lines: dict[str, str] = field(default_factory=dict)
    omitted_blocks: dict[str, str] = field(default_factory=dict)
    run_first: str | None = None

    def blocks(self) -> list[str]:
        """Return the code to execute, changed as listed."""
        text = (FOLDER / self.name).read_text(encoding="utf-8")
        found = _fenced_blocks(text) if "```" in text else _blocks_without_fences(text)
        applied: set[str] = set()
        kept = []
        for block in found:
            first = next((line for line in self.omitted_blocks if block.startswith(line)), None)
            if first is not None:
                applied.add(first)
                continue
            lines = block.splitlines()
            applied.update(line for line in lines if line in self.omitted_lines)
            block = "\n".join(line for line in lines if line not in self.omitted_lines)
            for old, new in {**self.values, **self.corrections, **self.imports}.items():
                if old in block:
                    applied.add(old)
                    block = block.replace(old, new)
            kept.append(block)
        listed = {*self.imports, *self.values, *self.corrections}
        listed |= {*self.omitted_lines, *self.omitted_blocks}
        assert listed - applied == set(), "these changes do not apply to the page"
        if self.run_first is not None:
            kept.sort(key=lambda block: not block.startswith(self.run_first))
        return kept

    def run(self, namespace: dict[str, Any]) -> Iterator[Any]:
        """Execute the blocks in order, and yield what each displays: its last expression."""
        for number, block in enumerate(self.blocks(), start=1):
            yield execute(block, f"{self.name}, block {number}", namespace)


def _fenced_blocks(text: str) -> list[str]:
    return re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE)


def _blocks_without_fences(text: str) -> list[str]:
    """Return the code of a Korean page without fences: its lines without Korean letters.

    Single words, such as the names of images, are no code.
    """
    groups: list[list[str]] = [[]]
    for line in text.splitlines():
        if re.search("[가-힣]", line):
            groups.append([])
        else:
            groups[-1].append(line)
    blocks = [textwrap.dedent("\n".join(lines)).strip() for lines in groups]
    return [block for block in blocks if " " in block]


def execute(code: str, name: str, namespace: dict[str, Any]) -> Any:
    """Execute code as a notebook does, and return the value of its last expression."""
    tree = ast.parse(code, name)
    last = tree.body.pop() if isinstance(tree.body[-1], ast.Expr) else None
    exec(compile(tree, name, "exec"), namespace)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), name, "eval"), namespace)


CLIENTS = Page(
    "databricks-llm.ko.md",
    imports={
        "from langchain_community.chat_models import": "from langchain_dbx_eval import",
        "from langchain_community.embeddings import": "from langchain_dbx_eval import",
        "from langchain_community.llms import": "from langchain_dbx_eval import",
    },
    values={'host="myworkspace.cloud.databricks.com"': 'host=os.environ["DATABRICKS_HOST"]'},
    omitted_blocks={
        "from flask import Flask": "It downloads a model of 6 GB, and its last line never returns. "
        "The port is served by a DriverServer.",
    },
)


@pytest.mark.filterwarnings("ignore:Passing 'name', 'config':UserWarning")  # MLflow 3.17
def test_the_page_about_the_clients(
    workspace: LocalWorkspace, documented_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(prompt: str, stop: list[str] | None = None, temperature: float = 1.0) -> str:
        return f"{prompt.split()[-1]} {stop} {temperature}"

    workspace.add_external_model("gpt-4", lambda messages, **params: "Hello!")
    workspace.add_endpoint(
        "databricks-bge-large-en", lambda texts: [[0.25] * 8] * len(texts), kind="embeddings"
    )
    workspace.add_endpoint("dolly", answer, kind="custom")
    dbutils = SimpleNamespace(secrets=SimpleNamespace(get=lambda scope, key: workspace.token))
    monkeypatch.setitem(sys.modules, "dbutils", dbutils)
    with DriverServer(answer, host="127.0.0.1", port=documented_port):
        chat, vector, *texts = CLIENTS.run({})
    assert chat.content == "Hello!"
    assert vector == [0.25, 0.25, 0.25]
    assert texts == [
        *("you? None 1.0", "you? ['.'] 1.0", "you? None 1.0", "you? None 0.1"),
        "Concise. None 1.0",
        *("you? None 1.0", "you? None 1.0", "you? None 0.1", "CONCISE. NONE 1.0"),
    ]


DATASETS = Page(
    "mlflow-dataset.ko.md",
    imports={"mlflow.genai.datasets": "langchain_dbx_eval.datasets"},
    omitted_blocks={"HTTPError: 400 Client Error": "The text of an error, not code."},
)


@pytest.mark.parametrize("store", ["local catalog", "SQL warehouse"])
def test_the_page_about_datasets(
    store: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with LocalWorkspace(set_environment=False) as workspace:
        settings = ""
        if store == "SQL warehouse":
            workspace.add_warehouse("serverless", state="STOPPED", start_seconds=0.1)
            settings = f"DATABRICKS_HOST={workspace.url}\nDATABRICKS_TOKEN={workspace.token}\n"
            settings += "DATABRICKS_WAREHOUSE_ID=serverless\n"
        (tmp_path / ".env").write_text(settings)
        for outcome in ("Dataset created successfully", "Dataset retrieved successfully"):
            namespace: dict[str, Any] = {}
            list(DATASETS.run(namespace))
            dataset = namespace["dataset"]
            shown = capsys.readouterr().out
            assert outcome in shown
            assert f"Dataset ID: {dataset.dataset_id}" in shown
            assert len(dataset) == len(namespace["records"]) == 3


EVALUATION = Page(
    "agent-evaluation.ko.md",
    imports={
        # MLflow 3 has no attribute `deployments` before this import.
        "import mlflow\n": "import mlflow.deployments\nimport langchain_dbx_eval\n",
        "mlflow.evaluate(": "langchain_dbx_eval.evaluate(",
    },
    values={
        "pd.DataFrame(...)": "eval_set_with_chain_outputs_df",
        "mlflow.langchain.log_model(...)": "log_model()",
        "evaluate(..., ": "evaluate(data=eval_set_with_chain_outputs_df, ",
        "mlflow.pyfunc.load_model(...)": "mlflow.pyfunc.load_model(model_uri),",
        '6b69501828264f9s9a64eff825371711/chain"': '" + RUN_ID + "/chain"',
    },
    corrections={
        # Commas that the page lacks.
        'model_name/1"  #': 'model_name/1",  #',
        '/chain"\n': '/chain",\n',
        "model = model\n": "model = model,\n",
        'of-your-agent"\n': 'of-your-agent",\n',
        # A return statement that is indented by three spaces, a method that lists do not have, and
        # the scheme of MLflow's URIs in the place of a name.
        "\n   return runs": "\n  return runs",
        'predictions.join("\\n")': '"\\n".join(predictions)',
        'endpoint="endpoints:/': 'endpoint="',
    },
    omitted_lines={
        "%pip install databricks-agents": "A command of notebooks.",
        "%pip install databricks-agents pandas": "A command of notebooks.",
        "dbutils.library.restartPython()": "It restarts the process.",
    },
    omitted_blocks={
        '{\n  "messages"': "The form of a function's input, with an ellipsis.",
        '{\n  "choices"': "The form of a function's output, with an ellipsis.",
    },
    run_first="# Definition of",
)
CHAIN = """
import mlflow
from langchain_core.runnables import RunnableLambda


def answer(state):
    # MLflow's pyfunc flavor of a chain passes LangChain's messages.
    last = state[-1].content if isinstance(state, list) else state["messages"][-1]["content"]
    return ["MLflow is", last]


mlflow.models.set_model(RunnableLambda(answer))
"""


class NotebookSpark:
    """The variable `spark` of a notebook: tables that are read and appended to."""

    def __init__(self, tables: dict[str, list[dict[str, Any]]]) -> None:
        self.tables = tables

    def table(self, name: str) -> Any:
        return SimpleNamespace(toPandas=lambda: pd.DataFrame(self.tables[name]))

    def createDataFrame(self, frame: pd.DataFrame) -> Any:  # noqa: N802
        def append(name: str) -> None:
            self.tables.setdefault(name, []).extend(frame.to_dict("records"))

        writer = SimpleNamespace(mode={"append": SimpleNamespace(saveAsTable=append)}.__getitem__)
        return SimpleNamespace(write=writer)


@pytest.fixture
def notebook(
    workspace: LocalWorkspace, mlflow_store: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> dict[str, Any]:
    """The variables that the page about evaluation takes for granted."""
    verdict = '{"rationale": "r", "rating": "no"}'
    workspace.add_endpoint("judge", lambda messages, **params: verdict, kind="chat")
    monkeypatch.setenv("DBX_EVAL_JUDGE", "endpoints:/judge")
    for name, kind in (
        ("databricks-meta-llama-3-1-405b-instruct", "chat"),
        ("endpoint-name-of-your-agent", "chat_agent"),
    ):
        workspace.add_endpoint(name, lambda messages, **params: "MLflow is MLflow.", kind=kind)
    (tmp_path / "chain.py").write_text(CHAIN)
    signature = mlflow.models.infer_signature(
        {"messages": [{"role": "user", "content": "a"}]}, ["a"]
    )

    def log_model() -> Any:
        path = str(tmp_path / "chain.py")
        return mlflow.langchain.log_model(
            path, name="chain", pip_requirements=[], signature=signature
        )

    with mlflow.start_run() as run:
        logged = log_model()
    mlflow.register_model(logged.model_uri, "catalog.schema.model_name")
    past = mlflow.create_experiment("/Users/<user_name>/db_docs_mlflow_experiment")
    with mlflow.start_run(experiment_id=past, run_name="evaluation__2024-10-09_02:27:17_AM"):
        mlflow.log_metric("quality", 1.0)
    return {
        "RUN_ID": run.info.run_id,
        "log_model": log_model,
        "model_uri": logged.model_uri,
        "logged_agent_info": logged,
        "model": logged.model_uri,
        "eval_set_df": pd.DataFrame(COMPLETE),
        "evaluation_set": pd.DataFrame(COMPLETE),
        "eval_set_with_app_outputs_df": pd.DataFrame(COMPLETE_WITH_OUTPUTS),
        "eval_set_with_chain_outputs_df": pd.DataFrame(COMPLETE_WITH_OUTPUTS),
        "spark": NotebookSpark({"catalog.schema.table": COMPLETE_WITH_OUTPUTS}),
    }


def test_the_page_about_evaluation(
    notebook: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    displayed: list[pd.DataFrame] = []
    monkeypatch.setattr(pd.DataFrame, "display", lambda frame: displayed.append(frame), False)
    results: dict[str, EvaluationResult] = {}
    for _ in EVALUATION.run(notebook):
        for name in ("evaluation_results", "results", "eval_results"):
            if name in notebook:
                results[notebook[name].run_id] = notebook[name]

    assert [result.failures for result in results.values()] == [[]] * 12
    recorded, answered = COMPLETE_WITH_OUTPUTS[0]["response"], json.dumps(["MLflow is", QUESTION])
    assert [list(result.tables["eval_results"]["response"]) for result in results.values()] == [
        *([recorded], [answered], [recorded], [recorded]),
        # The five kinds of models.
        *([answered], [answered], [answered], ["MLflow is MLflow."], ["MLflow is MLflow."]),
        [recorded],
        ["MLflow is\nWhat is MLflow?", "MLflow is\nWhat is Spark?"],
        [answered],
    ]
    assert {
        metric for result in results.values() for metric in result.metrics if "llm_judged" in metric
    } >= {f"response/llm_judged/{name}/rating/percentage" for name in ("groundedness", "safety")}
    assert "that are grounded: 0.0" in capsys.readouterr().out
    assert [list(frame["response"]) for frame in displayed] == [[recorded]]
    of_evaluation, of_past_run = notebook["spark"].tables["catalog.schema.results"]
    assert of_evaluation["response/llm_judged/safety/rating/percentage"] == 0.0
    assert of_past_run == {"quality": 1.0}
