"""Runs the demonstration: from a chain over a driver-proxy app to scores in MLflow."""

from __future__ import annotations

import logging
import os
import secrets
import shlex
import socket
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval._internal.paths import home
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.demo.answerer import answer
from langchain_dbx_eval.demo.chain import build_chain
from langchain_dbx_eval.demo.corpus import load_questions
from langchain_dbx_eval.demo.retriever import retriever_for
from langchain_dbx_eval.driver import DriverServer
from langchain_dbx_eval.errors import NotFoundError
from langchain_dbx_eval.evaluation import (
    CallbackOptions,
    EvaluationCallbackHandler,
    EvaluationResult,
)
from langchain_dbx_eval.llms import Databricks
from langchain_dbx_eval.reporting import compare, print_comparison, print_result, write_report
from langchain_dbx_eval.testing import LocalWorkspace

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["DATASET", "show"]

DATASET = "main.default.demo_questions"
_EXPERIMENT = "langchain-dbx-eval demo"
_QUESTIONS_AT_ONCE = 4

Variant = Literal["baseline", "better"]


def show(variant: Variant = "baseline") -> EvaluationResult:
    """Run the demonstration, and print what came out.

    A workspace emulator and a driver server are started on this machine; the chain asks the model
    through the workspace's driver proxy, as it would on Databricks.

    Args:
        variant: Which retriever to use. ``"better"`` runs the baseline first, and shows what
            changed.

    Returns:
        The evaluation of that variant.
    """
    require("rich", extra="demo")
    from rich.console import Console

    console = Console()
    store = _use_local_mlflow()
    dataset = _dataset()
    console.print(f"Dataset {dataset}")
    key = secrets.token_urlsafe()
    server = DriverServer(answer, host="127.0.0.1", port=_free_port(), api_key=key)
    with LocalWorkspace(), server:
        llm = Databricks(cluster_driver_port=server.port, driver_api_key=key)
        results = {name: _evaluate(name, dataset, llm, console) for name in _variants(variant)}
    result = results[variant]
    comparison = compare(result, results["baseline"]) if variant != "baseline" else None
    print_result(result, console)
    if comparison is not None:
        print_comparison(comparison, console)
    page = home() / "reports" / f"{result.run_id}.html"
    write_report(result, page, comparison=comparison)
    ui = f"mlflow ui --backend-store-uri {shlex.quote(store)}"
    run = f"http://127.0.0.1:5000/#/experiments/{result.experiment_id}/runs/{result.run_id}"
    # Paths and commands are to be copied: wrapped or coloured they would not be.
    console.print(f"Report: {page}", soft_wrap=True, highlight=False)
    console.print(f"Look at this run in MLflow: {ui}", soft_wrap=True, highlight=False)
    console.print(f"  then open {run}", soft_wrap=True, highlight=False)
    return result


def _variants(variant: Variant) -> tuple[Variant, ...]:
    return ("baseline",) if variant == "baseline" else ("baseline", variant)


def _free_port() -> int:
    """The first port from 7777 on that is free, in the range that Databricks documents."""
    for port in range(7777, 8001):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) != 0:
                return port
    return 0


def _use_local_mlflow() -> str:
    """Point MLflow at a store of the demonstration's own, so that no other is written to."""
    # MLflow's usage reports wait for a network that the demonstration must do without.
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    # Its INFO lines (hundreds of migrations on a new store) would bury what is shown here.
    logging.getLogger("alembic").setLevel(logging.WARNING)
    mlflow = require("mlflow", extra="demo")
    logging.getLogger("mlflow").setLevel(logging.WARNING)
    folder = home() / "demo"
    folder.mkdir(parents=True, exist_ok=True)
    store = f"sqlite:///{(folder / 'mlflow.db').as_posix()}"
    mlflow.set_tracking_uri(store)
    if mlflow.get_experiment_by_name(_EXPERIMENT) is None:
        mlflow.create_experiment(_EXPERIMENT, artifact_location=_uri(folder / "artifacts"))
    return store


def _uri(folder: Path) -> str:
    return folder.resolve().as_uri()


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
        run_name=variant,
        options=CallbackOptions(experiment_name=_EXPERIMENT),
    )
    with console.status(f"Asking {len(dataset)} questions ({variant}) …"):
        # One call a question: `batch` takes a chain's steps for all questions together, so each
        # call would seem to last as long as all of them.
        with ThreadPoolExecutor(_QUESTIONS_AT_ONCE) as pool:
            ask = partial(chain.invoke, config={"callbacks": [handler]})
            list(pool.map(ask, [record.request for record in dataset]))
        return handler.result()
