"""The demonstration: a chain over a driver-proxy app, evaluated and logged to MLflow."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.documents import Document
from langchain_core.language_models import BaseLLM
from langchain_core.prompts import PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval._internal.paths import home
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.demo.answerer import PROMPT, answer
from langchain_dbx_eval.demo.corpus import load_questions
from langchain_dbx_eval.demo.retriever import retriever_for
from langchain_dbx_eval.driver import DriverServer
from langchain_dbx_eval.errors import NotFoundError
from langchain_dbx_eval.evaluation import (
    EvaluationCallbackHandler,
    EvaluationResult,
)
from langchain_dbx_eval.llms import Databricks
from langchain_dbx_eval.reporting import compare, print_comparison, print_result, write_report
from langchain_dbx_eval.testing import LocalWorkspace

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["DATASET", "build_chain", "run_demo"]

DATASET = "main.default.demo_questions"
_EXPERIMENT = "langchain-dbx-eval demo"
_MAX_CONCURRENCY = 4

Variant = Literal["baseline", "better"]


def run_demo(variant: Variant = "baseline") -> EvaluationResult:
    """Run the demonstration and print the result.

    A workspace emulator and a driver server are started on this machine. The chain calls the model
    through the driver proxy of the workspace, as on Databricks.

    Args:
        variant: The retriever to use. ``"better"`` also runs the baseline and prints a comparison.

    Returns:
        The evaluation of that variant.

    Raises:
        MissingDependencyError: The extra ``demo`` is not installed.
    """
    require("rich", extra="demo")
    from rich.console import Console

    console = Console()
    tracking_uri = _use_local_mlflow()
    dataset = _dataset()
    console.print(f"Dataset {dataset}")
    key = secrets.token_urlsafe()
    server = DriverServer(answer, host="127.0.0.1", port=_free_port(), api_key=key)
    with LocalWorkspace(), server:
        llm = Databricks(cluster_driver_port=server.port, driver_api_key=key)
        baseline = _evaluate("baseline", dataset, llm, console)
        result = baseline if variant == "baseline" else _evaluate(variant, dataset, llm, console)
    print_result(result, console)
    comparison = None
    if result is not baseline:
        comparison = compare(result, baseline)
        print_comparison(comparison, console)
    page = home() / "reports" / f"{result.run_id}.html"
    baselines = [] if result is baseline else [baseline]
    write_report(result, page, comparison=comparison, baselines=baselines, log_artifact=True)
    ui = f"mlflow ui --backend-store-uri {shlex.quote(tracking_uri)}"
    run = f"http://127.0.0.1:5000/#/experiments/{result.experiment_id}/runs/{result.run_id}"
    for line in (f"Report: {page}", f"Open this run in MLflow: {ui}", f"  then open {run}"):
        # Without wrapping and highlighting, so that paths and commands can be copied.
        console.print(line, soft_wrap=True, highlight=False)
    return result


def build_chain(retriever: BaseRetriever, llm: BaseLLM) -> Runnable[str, Any]:
    """Build the RAG chain from a question to an answer.

    Args:
        retriever: Returns the documents for a question.
        llm: Answers `PROMPT` with these documents and the question.
    """
    inputs = {"context": retriever | _join, "question": RunnablePassthrough()}
    return inputs | PromptTemplate.from_template(PROMPT) | llm


def _join(documents: Sequence[Document]) -> str:
    return "\n\n".join(document.page_content for document in documents)


def _free_port() -> int:
    """Return the first free port from 7777 in the range that Databricks documents; 0: any port."""
    for port in range(7777, 8001):
        with socket.socket() as client:
            if client.connect_ex(("127.0.0.1", port)) != 0:
                return port
    return 0


def _use_local_mlflow() -> str:
    """Set MLflow's tracking URI to a store of the demonstration, and return it."""
    # MLflow's telemetry waits for the network, which the demonstration must not require.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # alembic logs hundreds of INFO lines for the migrations of a new store.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow = require("mlflow", extra="demo")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    folder = home() / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    tracking_uri = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
    mlflow.set_tracking_uri(tracking_uri)
    if mlflow.get_experiment_by_name(_EXPERIMENT) is None:
        artifacts = (folder / "artifacts").resolve().as_uri()
        mlflow.create_experiment(_EXPERIMENT, artifact_location=artifacts)
    return tracking_uri


def _dataset() -> EvalDataset:
    try:
        dataset = EvalDataset.load(DATASET)
    except NotFoundError:
        return EvalDataset.create(DATASET, load_questions())
    return dataset.merge_records(load_questions())


def _evaluate(
    variant: Variant, dataset: EvalDataset, llm: Databricks, console: Console
) -> EvaluationResult:
    chain = build_chain(retriever_for(variant), llm)
    handler = EvaluationCallbackHandler(
        dataset,
        # The demonstration needs no judge model.
        evaluator_config={"databricks-agent": {"metrics": []}},
        run_name=variant,
        experiment_name=_EXPERIMENT,
    )
    with console.status(f"Invoking the chain on {len(dataset)} questions ({variant}) …"):
        # One call per question: `batch` runs each step of the chain for all questions, so the
        # latency of each question would be that of all.
        with ThreadPoolExecutor(_MAX_CONCURRENCY) as pool:
            invoke = partial(chain.invoke, config={"callbacks": [handler]})
            list(pool.map(invoke, [record.request for record in dataset]))
        return handler.result()
