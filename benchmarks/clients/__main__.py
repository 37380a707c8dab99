"""Measure our clients beside a bare HTTP call and beside their peers: ``make bench-clients``.

All clients take turns in random order within one run, because a shared machine is now fast and now
slow: their ratios say more than their figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.clients import tasks
from benchmarks.clients.environments import python_of, versions_of
from benchmarks.clients.processes import Server, Worker, import_alone
from benchmarks.clients.report import Row, as_json, table, told
from benchmarks.clients.tasks import CLIENTS, Task

_UNITS = {"call": ("ms", 1e3), "chunk": ("µs", 1e6), "": ("s", 1.0)}


class Clock:
    """Ends a run in time: once it is up, a client that has a figure does no further round."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def is_up(self) -> bool:
        """Whether it is."""
        return time.monotonic() >= self._end


def main() -> None:
    """Run the command."""
    arguments = _parser().parse_args()
    clients: list[str] = arguments.clients
    here = arguments.here
    pythons = {client: sys.executable if here else python_of(client) for client in clients}
    clock = Clock(arguments.seconds)
    rows: list[Row] = []
    if not arguments.skip_imports:
        rows += _imports(pythons, clock, rounds=1 if arguments.quick else tasks.IMPORT_ROUNDS)
    rows += _calls(pythons, tasks.QUICK_TASKS if arguments.quick else tasks.TASKS, clock)
    versions = {client: versions_of(client, python) for client, python in pythons.items()}
    print("\n" + table(rows), "\n\n" + told(rows), sep="")
    print("\n" + "\n".join(f"{client}: {version}" for client, version in versions.items()))
    if arguments.json:
        facts: dict[str, object] = {
            "time": datetime.now(timezone.utc).isoformat(timespec="seconds"),
            "python": platform.python_version(),
            "quick": arguments.quick,
            "versions": versions,
        }
        text = json.dumps(as_json(rows, facts), indent=2, ensure_ascii=False)
        arguments.json.write_text(text + "\n", encoding="utf-8")


def _calls(pythons: dict[str, str], todo: tuple[Task, ...], clock: Clock) -> list[Row]:
    with ExitStack() as running:
        server = running.enter_context(Server())
        workers = {
            client: running.enter_context(Worker(client, python, server.host))
            for client, python in pythons.items()
        }
        return [_measure(task, workers, clock) for task in todo]


def _measure(task: Task, workers: dict[str, Worker], clock: Clock) -> Row:
    unit, scale = _UNITS[task.per]
    title = f"{task.title}, {unit} {'CPU' if task.by == 'cpu' else 'wall'}"
    row = Row(task.name, f"{title} a {task.per}" if task.per else title)
    print(f"{title} …", file=sys.stderr, flush=True)
    able = [client for client in workers if task.of(client)]
    for client in able:
        with row.noting_failures_of(client):
            workers[client].do(task.name, task.model, task.warm_up)
    for client in _turns({client: task.of(client) for client in able}):
        if client in row.failures or (clock.is_up and client in row.figures):
            continue
        with row.noting_failures_of(client):
            took = workers[client].do(task.name, task.model, task.count)[task.by]
            row.add(client, took * scale / (task.count if task.per else 1))
    return row


def _imports(pythons: dict[str, str], clock: Clock, rounds: int) -> list[Row]:
    rows = []
    for kind, competitors in tasks.IMPORTS.items():
        # Core is imported where we are installed, so that both find the same versions.
        python_of_one = {"core": pythons.get("ours", sys.executable), **pythons}
        named = {name: what for name, what in competitors if name in python_of_one}
        time_row = Row(f"import {kind}", f"import, {kind}, s CPU")
        memory_row = Row(f"memory {kind}", f"memory after import, {kind}, MiB")
        print(f"{time_row.title} …", file=sys.stderr, flush=True)
        for name in _turns({n: min(rounds, tasks.IMPORT_ROUNDS_OF.get(n, rounds)) for n in named}):
            if name in time_row.failures or (clock.is_up and name in time_row.figures):
                continue
            with time_row.noting_failures_of(name):
                found = import_alone(python_of_one[name], named[name])
                time_row.add(name, found["cpu"])
                memory_row.add(name, found["memory"])
        rows += [time_row, memory_row]
    return rows


def _turns(rounds: dict[str, int]) -> Iterator[str]:
    """Whose turn it is: in each round, all clients that have rounds left, in random order."""
    for number in range(max(rounds.values(), default=0)):
        able = [client for client, count in rounds.items() if number < count]
        yield from random.sample(able, len(able))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="tiny counts: does it run at all?")
    parser.add_argument("--json", type=Path, metavar="PATH", help="write every figure there too")
    parser.add_argument(
        "--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS), help="default: all"
    )
    parser.add_argument(
        "--here", action="store_true", help="measure what this interpreter has, install nothing"
    )
    parser.add_argument("--skip-imports", action="store_true", help="measure calls alone")
    parser.add_argument(
        "--seconds", type=float, default=140.0, help="after these, no further rounds (default: 140)"
    )
    return parser


if __name__ == "__main__":
    main()
