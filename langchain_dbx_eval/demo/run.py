"""The demonstration: a chain over a driver-proxy app, evaluated and logged to MLflow."""

from __future__ import annotations

import io
import logging
import os
import secrets
import shlex
import socket
import sysconfig
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stdout, suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from langchain_core.documents import Document
from langchain_core.language_models import BaseLLM
from langchain_core.prompts import PromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import Runnable, RunnablePassthrough

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.paths import home
from langchain_dbx_eval.chat_models import ChatDatabricks
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.demo.answerer import PROMPT, answer
from langchain_dbx_eval.demo.corpus import load_questions
from langchain_dbx_eval.demo.judge import judge
from langchain_dbx_eval.demo.retriever import retriever_for
from langchain_dbx_eval.driver import DriverServer
from langchain_dbx_eval.errors import InvalidRequestError
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
_JUDGE = "deterministic-judge"
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
    console.print(f"Dataset {dataset}", soft_wrap=True)
    console.print(
        f"The judge {_JUDGE!r} is no model but a deterministic function: an answer is correct if "
        "it has 60 % of the words of the expected one."
    )
    key = secrets.token_urlsafe()
    server = DriverServer(answer, host="127.0.0.1", port=_free_port(), api_key=key)
    with LocalWorkspace() as workspace:
        workspace.add_endpoint(_JUDGE, judge, kind="chat")
        # It prints its address, which is of no use after the demonstration.
        with redirect_stdout(io.StringIO()):
            server.start()
        with server:
            llm = Databricks(cluster_driver_port=server.port, driver_api_key=key)
            baseline = _evaluate("baseline", dataset, llm, console)
            result = baseline
            if variant != "baseline":
                result = _evaluate(variant, dataset, llm, console)
    print_result(result, console)
    comparison = None
    if result is not baseline:
        comparison = compare(result, baseline)
        console.print()
        print_comparison(comparison, console)
    page = home() / "reports" / f"{result.run_id}.html"
    baselines = [] if result is baseline else [baseline]
    write_report(result, page, comparison=comparison, baselines=baselines, log_artifact=True)
    _print_next(result, page, tracking_uri, console)
    return result


def _print_next(result: EvaluationResult, page: Path, tracking_uri: str, console: Console) -> None:
    """Print what to look at next, with commands that work in any shell and folder."""
    scripts = Path(sysconfig.get_path("scripts"))
    this, mlflow = (shlex.quote(str(scripts / name)) for name in ("langchain-dbx-eval", "mlflow"))
    journal, copy = shlex.quote(str(result.journal)), shlex.quote(str(page.with_stem("copy")))
    experiment = f"http://127.0.0.1:5000/#/experiments/{result.experiment_id}"
    lines = {
        "Report": page.as_uri(),
        "All rows": f"{this} show {journal} --worst 50",
        "Report again": f"{this} report {journal} --output {copy}",
        "MLflow": f"{mlflow} ui --backend-store-uri {shlex.quote(tracking_uri)}",
        "  this evaluation there": f"{experiment}/evaluation-runs?selectedRunUuid={result.run_id}",
    }
    console.print()
    for name, text in lines.items():
        # Without wrapping and highlighting, so that paths and commands can be copied.
        console.print(f"{name}: {text}", soft_wrap=True, highlight=False, markup=False)


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
    # In the local catalog, also for a user who is logged in to a workspace.
    return EvalDataset.get_or_create(DATASET, backend="local").merge_records(load_questions())


def _evaluate(
    variant: Variant, dataset: EvalDataset, llm: Databricks, console: Console
) -> EvaluationResult:
    chain = build_chain(retriever_for(variant), llm)
    handler = EvaluationCallbackHandler(
        dataset,
        evaluator_config={"databricks-agent": {"metrics": ["correctness"]}},
        judge=ChatDatabricks(model=_JUDGE, temperature=0),
        run_name=variant,
        experiment_name=_EXPERIMENT,
    )
    with console.status(f"Invoking the chain on {len(dataset)} questions ({variant}) …"):
        # One call per question: `batch` runs each step of the chain for all questions, so the
        # latency of each question would be that of all.
        with ThreadPoolExecutor(_MAX_CONCURRENCY) as pool:
            list(pool.map(partial(_invoke, chain, handler), [row.request for row in dataset]))
        return handler.result()


def _invoke(chain: Runnable[str, Any], handler: EvaluationCallbackHandler, question: Any) -> None:
    # A failed call is a row of the evaluation: prompts of the baseline exceed the model's context.
    with suppress(InvalidRequestError):
        chain.invoke(question, config={"callbacks": [handler]})
