"""Compare `evaluate` with other packages: ``make bench-eval`` (15 minutes; ARGS=--quick: one).

The systems take turns, ours between any two others, because the speed of a shared machine varies:
ratios are more reliable than seconds. A system evaluates only as many rows as it completes within
minutes.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.evaluation.systems import Results, System, Task
from benchmarks.processes import WorkerError

_PEERS = ("mlflow", "pydantic-evals")
_TIMEOUT_S = 600.0
_CALL_S = 0.05
_PARTS = ("peers", "defaults", "memory", "callback", "writing")

_MAX_RATIO_TO_MLFLOW = 1 / 6
_MAX_RATIO_TO_IDEAL = 2.0
_MAX_RATIO_TO_BARE_CHAIN = 1.25
_MAX_KIB_PER_ROW = 2.0


@dataclass(frozen=True)
class Sizes:
    """Sizes of the measurements.

    Attributes:
        few: Rows of the smallest task.
        some: Rows of the task that the thresholds apply to.
        many: Rows of the largest task, too many for `mlflow.genai.evaluate`, which needs more than
            a minute per thousand.
        rounds: Rounds of the benchmark of the callback.
        calls: Calls of each variant per round of that benchmark.
    """

    few: int = 200
    some: int = 1_000
    many: int = 10_000
    rounds: int = 10
    calls: int = 100


_QUICK = Sizes(few=5, some=10, many=20, rounds=1, calls=20)


def main() -> None:
    """Run the benchmark."""
    options = _parser().parse_args()
    sizes = _QUICK if options.quick else Sizes()
    parts = set(options.only)
    thresholds: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if "peers" in parts:
            thresholds += _peers(root, sizes, options.peers)
        if "memory" in parts:
            thresholds += _memory(root, sizes)
        if "defaults" in parts:
            _defaults(root, sizes)
    if "callback" in parts:
        thresholds += _callback(sizes)
    if "writing" in parts:
        _writing(sizes)
    print("\n" + "\n".join(thresholds))
    if options.quick:
        print("--quick tests the benchmark: the thresholds are meant for more rows.")


def _peers(folder: Path, sizes: Sizes, names: list[str]) -> Iterator[str]:
    with ExitStack() as stack:
        systems = {
            name: stack.enter_context(System(name, folder / name)) for name in ["ours", *names]
        }
        without_mlflow = [name for name in names if name != "mlflow"]
        results = {}
        for seconds in (0.0, _CALL_S):
            for rows in (sizes.few, sizes.some, sizes.many):
                task = Task(rows, seconds)
                peers = without_mlflow if rows == sizes.many else names
                results[task] = _run_in_turns(task, systems, peers)
                if peers != names:
                    results[task].failures["mlflow"] = "skipped: it would take over 10 minutes"
                print("\n" + results[task].table(), flush=True)
    yield from _peer_thresholds(results, sizes)


def _run_in_turns(task: Task, systems: dict[str, System], peers: list[str]) -> Results:
    results = Results(task)
    for name in ["ours", *(name for peer in peers for name in (peer, "ours"))]:
        if name in results.failures:
            continue
        try:
            results.measurements.setdefault(name, []).append(systems[name].run(task, _TIMEOUT_S))
        except WorkerError as error:
            results.measurements.pop(name, None)
            results.failures[name] = str(error)
    return results


def _peer_thresholds(results: dict[Task, Results], sizes: Sizes) -> Iterator[str]:
    no_op, waiting = results[Task(sizes.some, 0.0)], results[Task(sizes.some, _CALL_S)]
    ours, theirs = no_op.seconds("ours"), no_op.seconds("mlflow")
    if ours and theirs:
        what = f"{no_op.task}: at most 1/6 of mlflow.genai.evaluate's time: 1/{theirs / ours:.1f}"
        yield _threshold(what, ours <= theirs * _MAX_RATIO_TO_MLFLOW)
    scored, whole = waiting.scored_s("ours"), waiting.seconds("ours")
    if scored and whole:
        task = waiting.task
        ideal = task.rows * task.seconds / min(task.max_concurrency, task.rows)
        what = f"{task}, {task.max_concurrency} concurrent: the last row scored within "
        what += f"2 x {ideal:.2f} s: {scored:.2f} s, all written {whole - scored:.2f} s later"
        yield _threshold(what, scored <= _MAX_RATIO_TO_IDEAL * ideal)
    runs = [(task.rows, m) for task in results for m in results[task].measurements.get("ours", ())]
    lost = sum(2 * rows - one.in_result - (one.in_store or 0) for rows, one in runs)
    what = f"no row of ours is missing in result or store, in {len(runs)} runs: {lost} missing"
    yield _threshold(what, not lost and not any("ours" in r.failures for r in results.values()))


def _memory(folder: Path, sizes: Sizes) -> Iterator[str]:
    """Measure each number of rows in a new process, after a warm-up of a few rows."""
    peaks = {}
    print()
    for rows in (sizes.some, sizes.many):
        with System("ours", folder / f"memory-{rows}") as system:
            peaks[rows] = system.run(Task(rows, 0.0), _TIMEOUT_S).memory_kib
        print(f"memory: the process grows by {peaks[rows] / 1024:.1f} MiB with {rows:6,} rows")
    per_row = (peaks[sizes.many] - peaks[sizes.some]) / (sizes.many - sizes.some)
    what = f"an additional row needs at most {_MAX_KIB_PER_ROW:g} KiB: {per_row:.2f} KiB"
    yield _threshold(what, per_row <= _MAX_KIB_PER_ROW)


def _defaults(folder: Path, sizes: Sizes) -> None:
    task = Task(sizes.few, 0.0)
    with (
        System("ours", folder / "ours-with-defaults") as ours,
        System("mlflow-defaults", folder / "defaults") as theirs,
    ):
        systems = {"ours": ours, "mlflow-defaults": theirs}
        results = _run_in_turns(task, systems, ["mlflow-defaults"])
    print("\n" + results.table(), flush=True)


def _callback(sizes: Sizes) -> Iterator[str]:
    from benchmarks.callback_overhead import measure, ratio_of_ours, report

    print()
    variants = measure(sizes.rounds, sizes.calls)
    report(variants)
    ratio = ratio_of_ours(variants)
    what = f"a chain with the callback takes at most 1.25 x its time without: {ratio:.2f} x"
    yield _threshold(what, ratio <= _MAX_RATIO_TO_BARE_CHAIN)


def _writing(sizes: Sizes) -> None:
    script = Path(__file__).parents[1] / "mlflow_writing.py"
    command = [sys.executable, "-W", "ignore", str(script), "--rounds", "1"]
    subprocess.run([*command, "--rows", str(sizes.few)], check=True, stderr=subprocess.DEVNULL)


def _threshold(what: str, met: bool) -> str:
    return f"{'met   ' if met else 'MISSED'}  {what}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small counts, to test the benchmark")
    parser.add_argument(
        "--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="parts; default: all"
    )
    parser.add_argument(
        "--peers", nargs="*", choices=_PEERS, default=list(_PEERS), help="peers; default: all"
    )
    return parser


if __name__ == "__main__":
    main()
