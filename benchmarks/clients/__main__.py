"""Compare our clients with plain HTTP calls and with other packages: ``make bench-clients``.

The clients take turns in random order within one run, because the speed of a shared machine varies:
ratios are more reliable than figures.
"""

from __future__ import annotations

import argparse
import json
import platform
import random
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from datetime import datetime, timezone
from pathlib import Path

from benchmarks.clients import tasks
from benchmarks.clients.report import Row, as_json, ratio_table, table
from benchmarks.clients.tasks import CLIENTS, REPORTED_PACKAGES, Task
from benchmarks.environments import ROOT, python_of_environment
from benchmarks.processes import WorkerError, WorkerProcess, clean_environment
from langchain_dbx_eval._internal.deadline import Deadline

_UNITS = {"call": ("ms", 1e3), "chunk": ("µs", 1e6), "": ("s", 1.0)}
_TIMEOUT_S = 90.0
_IMPORT = """
import importlib, json, resource, sys, time
module, name = sys.argv[1].split(":")
wall, cpu = time.perf_counter(), time.process_time()
getattr(importlib.import_module(module), name)
wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
# ru_maxrss is in KiB, but in bytes on macOS.
unit = 2**20 if sys.platform == "darwin" else 2**10
memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit
print(json.dumps({"wall": wall, "cpu": cpu, "memory": memory}))
"""
_VERSIONS = """
import sys, importlib.metadata as m
versions = {d.name: d.version for d in m.distributions()}
print(*(f"{n} {versions[n]}" for n in sys.argv[1:] if n in versions), sep=", ")
"""


def main() -> None:
    """Run the benchmark."""
    arguments = _parser().parse_args()
    clients: list[str] = arguments.clients
    here = arguments.here
    pythons = {client: sys.executable if here else _python_of(client) for client in clients}
    deadline = Deadline(arguments.seconds)
    rows: list[Row] = []
    if not arguments.skip_imports:
        rows += _imports(pythons, deadline, rounds=1 if arguments.quick else tasks.IMPORT_ROUNDS)
    rows += _calls(pythons, tasks.QUICK_TASKS if arguments.quick else tasks.TASKS, deadline)
    versions = {client: _versions_of(client, python) for client, python in pythons.items()}
    print("\n" + table(rows), "\n\n" + ratio_table(rows), sep="")
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


def _calls(pythons: dict[str, str], todo: tuple[Task, ...], deadline: Deadline) -> list[Row]:
    with ExitStack() as stack:
        server = stack.enter_context(WorkerProcess(sys.executable, "benchmarks.clients.server"))
        host = f"http://127.0.0.1:{int(server.read_line(_TIMEOUT_S))}"
        workers = {
            client: stack.enter_context(
                WorkerProcess(python, "benchmarks.clients.worker", client, host)
            )
            for client, python in pythons.items()
        }
        return [_measure(task, workers, deadline) for task in todo]


def _measure(task: Task, workers: dict[str, WorkerProcess], deadline: Deadline) -> Row:
    unit, scale = _UNITS[task.per]
    title = f"{task.title}, {unit} {'CPU' if task.by == 'cpu' else 'wall'}"
    row = Row(task.name, f"{title} per {task.per}" if task.per else title)
    print(f"{title} …", file=sys.stderr, flush=True)
    rounds = {client: count for client in workers if (count := task.of(client))}

    def run(client: str, count: int) -> float:
        payload = {"task": task.name, "model": task.model, "count": count}
        seconds: float = workers[client].request(payload, _TIMEOUT_S)[task.by]
        return seconds

    for client in rounds:
        with row.recording_failures_of(client):
            run(client, task.warm_up)
    for client in _turns(rounds):
        if client in row.failures or (deadline.passed and client in row.figures):
            continue
        with row.recording_failures_of(client):
            row.add(client, run(client, task.count) * scale / (task.count if task.per else 1))
    return row


def _imports(pythons: dict[str, str], deadline: Deadline, rounds: int) -> list[Row]:
    rows = []
    for kind, competitors in tasks.IMPORTS.items():
        # langchain-core is imported in our environment, so that both use the same versions.
        interpreters = {"core": pythons.get("ours", sys.executable), **pythons}
        targets = {name: target for name, target in competitors if name in interpreters}
        time_row = Row(f"import {kind}", f"import, {kind}, s CPU")
        memory_row = Row(f"memory {kind}", f"memory after import, {kind}, MiB")
        print(f"{time_row.title} …", file=sys.stderr, flush=True)
        for name in _turns(
            {n: min(rounds, tasks.IMPORT_ROUNDS_OF.get(n, rounds)) for n in targets}
        ):
            if name in time_row.failures or (deadline.passed and name in time_row.figures):
                continue
            with time_row.recording_failures_of(name):
                figures = _measure_import(interpreters[name], targets[name])
                time_row.add(name, figures["cpu"])
                memory_row.add(name, figures["memory"])
        rows += [time_row, memory_row]
    return rows


def _turns(rounds: dict[str, int]) -> Iterator[str]:
    """Yield the clients in random order in each round, as long as they have rounds left."""
    for number in range(max(rounds.values(), default=0)):
        active = [client for client, count in rounds.items() if number < count]
        yield from random.sample(active, len(active))


def _measure_import(python: str, target: str) -> dict[str, float]:
    """Import ``module:name`` in a new process.

    Returns:
        `wall` and `cpu` in seconds, and `memory`, the peak of the process in MiB.

    Raises:
        WorkerError: The import failed.
    """
    command = [python, "-W", "ignore", "-c", _IMPORT, target]
    environment = clean_environment()
    completed = subprocess.run(
        command, capture_output=True, text=True, timeout=_TIMEOUT_S, env=environment
    )
    if completed.returncode:
        raise WorkerError(completed.stderr.strip().splitlines()[-1])
    figures: dict[str, float] = json.loads(completed.stdout)
    return figures


def _python_of(client: str) -> str:
    packages = CLIENTS[client]
    if packages is CLIENTS["ours"]:
        project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
        return python_of_environment("ours", *packages, inputs=project)
    return python_of_environment(client, *packages)


def _versions_of(client: str, python: str) -> str:
    """Return the versions of the client's installed packages, such as ``openai 3.52.0``."""
    command = [python, "-c", _VERSIONS, *REPORTED_PACKAGES[client]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.clients", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small counts, to test the benchmark")
    parser.add_argument(
        "--json", type=Path, metavar="PATH", help="also write all figures to this file"
    )
    parser.add_argument(
        "--clients", nargs="+", choices=CLIENTS, default=list(CLIENTS), help="default: all"
    )
    parser.add_argument(
        "--here",
        action="store_true",
        help="use the packages of this interpreter, without installing any",
    )
    parser.add_argument("--skip-imports", action="store_true", help="measure calls only")
    parser.add_argument(
        "--seconds",
        type=float,
        default=140.0,
        help="time after which no further round starts (default: 140)",
    )
    return parser


if __name__ == "__main__":
    main()
