"""Rows per second written to MLflow: our implementations and `mlflow.genai.evaluate`.

All of them take turns in one process, each with its own store, so that a busy machine slows all of
them: ratios are more reliable than durations. `mlflow.genai.evaluate` runs a function that does
nothing, with one scorer, ten workers and no rate limit, the setting with which it keeps all rows.

    python benchmarks/mlflow_writing.py --rows 200 --rounds 2
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock
from uuid import uuid4

os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_GENAI_EVAL_MAX_WORKERS": "10",
    "MLFLOW_GENAI_EVAL_PREDICT_RATE_LIMIT": "0",
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
}

import mlflow
import requests

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun, Span
from langchain_dbx_eval.evaluation.journal.manifest import Destination
from langchain_dbx_eval.evaluation.journal.rows import Row, RowKey
from langchain_dbx_eval.evaluation.tracking import sql_store
from langchain_dbx_eval.evaluation.tracking.runs import MlflowRun
from langchain_dbx_eval.scoring import Assessment, RowScores


def rows(count: int) -> list[Row]:
    """Return rows with a trace of one span and one score, like those of `mlflow.genai.evaluate`."""
    evaluated = []
    for number in range(count):
        now = time.time_ns()
        span = Span(
            run_id=uuid4(),
            parent_id=None,
            kind="CHAIN",
            name="predict",
            inputs={"question": f"question {number}"},
            outputs=f"answer {number}",
            start_ns=now,
            end_ns=now + 1_000_000,
        )
        run = CapturedRun((span,))
        scores = RowScores((Assessment(name="exact", column="exact", value=True),))
        record = EvalRecord(request=span.inputs)
        row = Row(
            key=RowKey(number),
            record=record,
            outcome=run.outcome(),
            scores=scores,
            run=run,
            matched=False,
        )
        evaluated.append(row)
    return evaluated


def ours(uri: str, count: int) -> int:
    """Write rows with one SQL transaction; return how many are in the store."""
    mlflow.set_tracking_uri(uri)
    experiment_id = mlflow.set_experiment("bench").experiment_id
    destination = Destination(tracking_uri=uri, experiment_id=experiment_id)
    run = MlflowRun.open(destination, uuid4().hex)
    written = rows(count)
    for start in range(0, count, 200):
        run.write_rows(written[start : start + 200])
    found = mlflow.search_traces(run_id=run.run_id, return_type="list", include_spans=False)
    return sum(len(trace.info.assessments) == 1 for trace in found)


def ours_without_sql(uri: str, count: int) -> int:
    """Write rows with MLflow's public API to the same store."""
    with mock.patch.object(sql_store, "insert", return_value=False):
        return ours(uri, count)


def theirs(uri: str, count: int) -> int:
    """Run `mlflow.genai.evaluate`; return the number of rows in its result."""
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("bench")

    @mlflow.genai.scorer
    def exact(outputs: str) -> bool:
        return outputs.startswith("answer")

    data = [{"inputs": {"question": f"question {n}"}} for n in range(count)]
    result = mlflow.genai.evaluate(
        data=data,
        scorers=[exact],
        predict_fn=lambda question: question.replace("question", "answer"),
    )
    return len(result.result_df)


@contextmanager
def server(database: Path) -> Iterator[str]:
    """Run a tracking server over a store, and return its URI."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--port", str(port)]
    command += ["--backend-store-uri", f"sqlite:///{database}"]
    command += ["--artifacts-destination", str(database.parent / "artifacts")]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, start_new_session=True, **quiet) as process:
        try:
            uri = f"http://127.0.0.1:{port}"
            wait_for(uri)
            yield uri
        finally:
            os.killpg(process.pid, 9)


def wait_for(uri: str) -> None:
    """Wait until a server answers, at most two minutes."""
    for _ in range(240):
        try:
            requests.get(f"{uri}/health", timeout=2)
        except requests.RequestException:
            time.sleep(0.5)
        else:
            return
    raise TimeoutError(uri)


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        stores = {name: Path(folder) / name / "mlflow.db" for name in ("own", "served", "theirs")}
        template = Path(folder) / "template.db"
        mlflow.set_tracking_uri(f"sqlite:///{template}")
        mlflow.search_experiments()
        for path in stores.values():
            path.parent.mkdir()
            shutil.copy(template, path)
        os.chdir(folder)
        local = {name: f"sqlite:///{path}" for name, path in stores.items()}
        with server(stores["served"]) as served:
            writers: dict[str, tuple[Callable[[str, int], int], str]] = {
                "mlflow.genai.evaluate": (theirs, local["theirs"]),
                "ours, one transaction": (ours, local["own"]),
                "ours, public API": (ours_without_sql, local["own"]),
                "ours, through a server": (ours, served),
            }
            report(measure(writers, options.rows, options.rounds), options.rows)


def measure(
    writers: dict[str, tuple[Callable[[str, int], int], str]], count: int, rounds: int
) -> dict[str, tuple[list[float], int]]:
    """Return the durations of all rounds, and the lowest number of rows stored, per writer."""
    for write, uri in writers.values():
        write(uri, 2)  # warm-up
    seconds: dict[str, list[float]] = {name: [] for name in writers}
    kept = dict.fromkeys(writers, count)
    for _ in range(rounds):
        for name, (write, uri) in writers.items():
            start = time.perf_counter()
            kept[name] = min(kept[name], write(uri, count))
            seconds[name].append(time.perf_counter() - start)
    return {name: (seconds[name], kept[name]) for name in writers}


def report(results: dict[str, tuple[list[float], int]], count: int) -> None:
    """Print a table."""
    reference = statistics.median(results["mlflow.genai.evaluate"][0])
    print(f"\n{'':24}{'ms/row':>8}{'rows/s':>8}{'kept':>6}{'times as fast':>15}")
    for name, (seconds, kept) in results.items():
        median = statistics.median(seconds)
        each = f"{1000 * median / count:8.1f}{count / median:8.0f}{kept:6}"
        print(f"{name:24}{each}{reference / median:15.1f}")


if __name__ == "__main__":
    main()
