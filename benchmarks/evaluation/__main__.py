"""Measure `evaluate` beside its peers: ``make bench-eval`` (about 15 minutes; ARGS=--quick: one).

The sides take turns, ours between any two others, because a shared machine is now fast and now
slow: ratios say more than seconds. A peer is asked for as many rows as it ends within minutes.
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

from benchmarks.evaluation.sides import Figures, Side, SideError, Task

_PEERS = ("mlflow", "pydantic-evals")
_PATIENCE_S = 600.0
_WAIT_S = 0.05
_PARTS = ("peers", "defaults", "memory", "callback", "writing")

_MOST_OF_MLFLOW = 1 / 6
_MOST_OF_IDEAL = 2.0
_MOST_OF_BARE_CHAIN = 1.25
_MOST_KIB_A_ROW = 2.0


@dataclass(frozen=True)
class Sizes:
    """How much is measured.

    Attributes:
        few: Rows that all sides are asked for.
        some: Rows that the bars are about.
        many: Rows that are too many for `mlflow.genai.evaluate`, at more than a minute a thousand.
        rounds: Of the callback's benchmark, with `calls` calls of each kind.
        calls: As above.
    """

    few: int = 200
    some: int = 1_000
    many: int = 10_000
    rounds: int = 10
    calls: int = 100


_QUICK = Sizes(few=5, some=10, many=20, rounds=1, calls=20)


def main() -> None:
    """Run the command."""
    asked = _parser().parse_args()
    sizes = _QUICK if asked.quick else Sizes()
    parts = set(asked.only)
    bars: list[str] = []
    with tempfile.TemporaryDirectory() as folder:
        where = Path(folder)
        if "peers" in parts:
            bars += _peers(where, sizes, asked.sides)
        if "memory" in parts:
            bars += _memory(where, sizes)
        if "defaults" in parts:
            _defaults(where, sizes)
    if "callback" in parts:
        bars += _callback(sizes)
    if "writing" in parts:
        _writing(sizes)
    print("\n" + "\n".join(bars))
    if asked.quick:
        print("So few rows only show that it runs: these bars are meant for more.")


def _peers(folder: Path, sizes: Sizes, names: list[str]) -> Iterator[str]:
    with ExitStack() as running:
        sides = {
            name: running.enter_context(Side(name, folder / name)) for name in ["ours", *names]
        }
        without_mlflow = [name for name in names if name != "mlflow"]
        figures = {}
        for seconds in (0.0, _WAIT_S):
            for rows in (sizes.few, sizes.some, sizes.many):
                task = Task(rows, seconds)
                able = without_mlflow if rows == sizes.many else names
                figures[task] = _in_turns(task, sides, able)
                if able != names:
                    figures[task].failures["mlflow"] = "not asked: it would take over 10 minutes"
                print("\n" + figures[task].table(), flush=True)
    yield from _peer_bars(figures, sizes)


def _in_turns(task: Task, sides: dict[str, Side], peers: list[str]) -> Figures:
    figures = Figures(task)
    for turn in ["ours", *(name for peer in peers for name in (peer, "ours"))]:
        if turn in figures.failures:
            continue
        try:
            figures.found.setdefault(turn, []).append(sides[turn].do(task, _PATIENCE_S))
        except SideError as error:
            figures.found.pop(turn, None)
            figures.failures[turn] = str(error)
    return figures


def _peer_bars(figures: dict[Task, Figures], sizes: Sizes) -> Iterator[str]:
    no_op, waiting = figures[Task(sizes.some, 0.0)], figures[Task(sizes.some, _WAIT_S)]
    ours, theirs = no_op.seconds("ours"), no_op.seconds("mlflow")
    if ours and theirs:
        what = f"{no_op.task}: at most 1/6 of mlflow.genai.evaluate's time: 1/{theirs / ours:.1f}"
        yield _bar(what, ours <= theirs * _MOST_OF_MLFLOW)
    scored, whole = waiting.scored_s("ours"), waiting.seconds("ours")
    if scored and whole:
        task = waiting.task
        ideal = task.rows * task.seconds / min(task.in_flight, task.rows)
        what = f"{task}, {task.in_flight} at once: the last scored within 2 x {ideal:.2f} s: "
        what += f"{scored:.2f} s, and {whole - scored:.2f} s until all is written"
        yield _bar(what, scored <= _MOST_OF_IDEAL * ideal)
    runs = [(task.rows, found) for task in figures for found in figures[task].found.get("ours", ())]
    lost = sum(2 * rows - found.in_result - (found.in_store or 0) for rows, found in runs)
    what = f"no row of ours is lost, from result or store, in {len(runs)} runs: {lost} lost"
    yield _bar(what, not lost and not any("ours" in each.failures for each in figures.values()))


def _memory(folder: Path, sizes: Sizes) -> Iterator[str]:
    """Each number of rows in a process of its own, which has evaluated a few rows before."""
    peaks = {}
    print()
    for rows in (sizes.some, sizes.many):
        with Side("ours", folder / f"memory-{rows}") as side:
            peaks[rows] = side.do(Task(rows, 0.0), _PATIENCE_S).memory_kib
        print(f"memory: {rows:6,} rows let the process grow by {peaks[rows] / 1024:.1f} MiB")
    further = (peaks[sizes.many] - peaks[sizes.some]) / (sizes.many - sizes.some)
    what = f"a further row takes at most {_MOST_KIB_A_ROW:g} KiB at the peak: {further:.2f} KiB"
    yield _bar(what, further <= _MOST_KIB_A_ROW)


def _defaults(folder: Path, sizes: Sizes) -> None:
    task = Task(sizes.few, 0.0)
    with (
        Side("ours", folder / "beside-defaults") as ours,
        Side("mlflow-defaults", folder / "defaults") as theirs,
    ):
        figures = _in_turns(task, {"ours": ours, "mlflow-defaults": theirs}, ["mlflow-defaults"])
    print("\n" + figures.table(), flush=True)


def _callback(sizes: Sizes) -> Iterator[str]:
    from benchmarks.callback_overhead import measure, ratio_of_ours, report

    print()
    ways = measure(sizes.rounds, sizes.calls)
    report(ways)
    ratio = ratio_of_ours(ways)
    what = f"the callback takes a chain at most 1.25 x its bare time: {ratio:.2f} x"
    yield _bar(what, ratio <= _MOST_OF_BARE_CHAIN)


def _writing(sizes: Sizes) -> None:
    script = Path(__file__).parents[1] / "mlflow_writing.py"
    command = [sys.executable, "-W", "ignore", str(script), "--rounds", "1"]
    subprocess.run([*command, "--rows", str(sizes.few)], check=True, stderr=subprocess.DEVNULL)


def _bar(what: str, reached: bool) -> str:
    return f"bar: {what}: {'reached' if reached else 'missed'}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.evaluation", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny counts: does it run at all?")
    parser.add_argument(
        "--only", nargs="+", choices=_PARTS, default=list(_PARTS), help="parts; default: all"
    )
    parser.add_argument(
        "--sides", nargs="*", choices=_PEERS, default=list(_PEERS), help="peers; default: all"
    )
    return parser


if __name__ == "__main__":
    main()
