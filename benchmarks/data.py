"""A million records in the local catalog, compared with deltalake and MLflow's datasets.

The ratios are of durations measured one after the other in one process.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

MILLION = 1_000_000
TEN_THOUSAND = 10_000


def timed(action: Callable[[], Any]) -> tuple[float, Any]:
    """Return the duration of an action in seconds, and its result."""
    start = time.perf_counter()
    result = action()
    return time.perf_counter() - start, result


def rows(count: int, start: int = 0) -> list[dict[str, Any]]:
    """Return records of the usual size."""
    return [
        {
            "inputs": {"question": f"What is {n}?"},
            "expectations": {"expected_response": f"It is {n}, " + "and so on " * 5},
        }
        for n in range(start, start + count)
    ]


def peak_megabytes() -> int:
    """Return the peak memory of this process in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def a_million() -> None:
    """Load, iterate, digest and merge a million records."""
    import pyarrow as pa
    from deltalake import DeltaTable

    from langchain_dbx_eval import EvalDataset

    dataset = EvalDataset.load("main.bench.million")
    base = peak_megabytes()
    plain, _ = timed(
        lambda: sum(
            len(batch.to_pylist())
            for batch in pa.RecordBatchReader.from_stream(DeltaTable(dataset.path).scan())
        )
    )
    print(f"plain deltalake, rows as dicts       {plain:6.1f} s   1.00  ({peak_megabytes()} MB)")
    for name, action in (
        ("load and len", lambda: len(EvalDataset.load("main.bench.million"))),
        ("iterate, as EvalRecord", lambda: sum(1 for _ in dataset)),
        ("digest", lambda: dataset.digest),
        ("merge 1,000 new", lambda: dataset.merge_records(rows(1_000, MILLION))),
        ("merge the same 1,000 again", lambda: dataset.merge_records(rows(1_000, MILLION))),
    ):
        seconds, _ = timed(action)
        print(f"{name:36s} {seconds:6.1f} s {seconds / plain:6.2f}  ({peak_megabytes()} MB)")
    print(f"memory above an idle process: {peak_megabytes() - base} MB")
    change = [{**row, "expectations": {"expected_response": "new"}} for row in rows(1_000)]
    seconds, _ = timed(lambda: dataset.merge_records(change))
    print(
        f"{'merge 1,000 changed (rewrites file)':36s} {seconds:6.1f} s {seconds / plain:6.2f}"
        f"  ({peak_megabytes()} MB)"
    )


def against_mlflow() -> None:
    """Merge 10,000 records into an empty dataset of ours and of MLflow's SQLite store."""
    import mlflow
    from mlflow.genai.datasets import create_dataset

    from langchain_dbx_eval import EvalDataset

    mlflow.set_tracking_uri(f"sqlite:///{Path.cwd() / 'mlflow.db'}")
    names = ("merge 10,000", "merge them again")
    best = {name: [float("inf")] * 2 for name in names}
    # The best of three in turns, because other processes affect each measurement.
    for turn in range(3):
        theirs = create_dataset(name=f"bench{turn}")
        ours = EvalDataset.create(f"main.bench.ten_thousand_{turn}")
        for name in names:
            for column, dataset in enumerate((ours, theirs)):
                records = rows(TEN_THOUSAND)
                seconds, _ = timed(lambda d=dataset, r=records: d.merge_records(r))
                best[name][column] = min(best[name][column], seconds)
    for name, (our_seconds, their_seconds) in best.items():
        print(
            f"{name:36s} {our_seconds:6.2f} s, MLflow {their_seconds:6.2f} s: "
            f"{our_seconds / their_seconds:.3f}"
        )


def create_a_million() -> None:
    """Create a dataset of a million records from an iterator."""
    from langchain_dbx_eval import EvalDataset

    records = (row for start in range(0, MILLION, 1_000) for row in rows(1_000, start))
    before = peak_megabytes()
    seconds, _ = timed(lambda: EvalDataset.create("main.bench.million", records))
    print(f"{'create with 1,000,000':36s} {seconds:6.1f} s         ({before} MB, then ", end="")
    print(f"{peak_megabytes()} MB)")


PARTS = (against_mlflow, create_a_million, a_million)


def main() -> None:
    """Run each part in its own process, so that its memory can be measured."""
    if len(sys.argv) > 1:
        {part.__name__: part for part in PARTS}[sys.argv[1]]()
        return
    script = str(Path(__file__).absolute())
    with tempfile.TemporaryDirectory() as folder:
        settings = {"DBX_EVAL_CATALOG": f"{folder}/catalog", "MLFLOW_DISABLE_TELEMETRY": "true"}
        for part in PARTS:
            command = [sys.executable, script, part.__name__]
            subprocess.run(command, check=True, cwd=folder, env={**os.environ, **settings})


if __name__ == "__main__":
    main()
