"""`make faults`: the whole matrix, one line per fault."""

from __future__ import annotations

import argparse
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

from tests.faults.matrix import (
    CALLS,
    CELLS,
    COMPONENTS,
    TARGETS,
    Cell,
    Outcome,
    memory_in_use,
    run_cell,
)
from tests.faults.table import FAULTS, Fault

_MARGIN_S = 1.0
_CONCURRENCY = 18
_CONCURRENCY_OF_FLOODS = 2
_MAX_MEMORY = 300_000_000
"""Bytes for all cells of a fault together; the server's own are among them."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("words", nargs="*", help="only faults whose kind or name contains these")
    parser.add_argument("-v", "--verbose", action="store_true", help="show each error")
    arguments = parser.parse_args()
    faults = [f for f in FAULTS if all(w in f"{f.kind} {f.name}" for w in arguments.words)]
    print(f"{len(faults)} faults, {len(CELLS)} cells: {', '.join(CALLS)} of each")
    columns = [f"{component} {target}"[:13] for component in COMPONENTS for target in TARGETS]
    print(f"{'':52}" + " ".join(f"{column:13}" for column in columns))
    started, violations = time.monotonic(), 0
    for fault in faults:
        outcomes, memory = _run(fault)
        marks = [
            "".join(outcomes[Cell(component, call, target)].mark for call in CALLS)
            for component in COMPONENTS
            for target in TARGETS
        ]
        fat = f"  M {memory >> 20} MB" if memory > _MAX_MEMORY else ""
        name = f"{fault.kind}: {fault.name}"
        print(f"{name[:51]:52}" + " ".join(f"{mark:13}" for mark in marks) + fat, flush=True)
        bad = {cell: one for cell, one in outcomes.items() if one.is_violation}
        violations += len(bad) + bool(fat)
        for cell, outcome in (outcomes if arguments.verbose else bad).items():
            detail = outcome.detail if arguments.verbose else outcome.detail.strip()[-300:]
            print(f"    {cell}: {outcome.mark} {detail}")
    print(f". success   e expected error   violations: {violations}")
    print(f"{len(faults) * len(CELLS)} cells in {time.monotonic() - started:.0f} s")
    return 1 if violations else 0


def _run(fault: Fault) -> tuple[dict[Cell, Outcome], int]:
    """Run all cells of a fault; return their outcomes, and the memory that they took."""
    before, peak, done = memory_in_use(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not done.wait(0.02):
            peak = max(peak, memory_in_use() - before)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    workers = _CONCURRENCY_OF_FLOODS if fault.floods else _CONCURRENCY
    with ThreadPoolExecutor(workers) as pool:
        results = pool.map(lambda cell: run_cell(fault, cell, _MARGIN_S), CELLS)
        outcomes = dict(zip(CELLS, results, strict=True))
    done.set()
    watcher.join()
    # The cells run beside each other, and this machine may be busy: a late one is run alone, too.
    for cell, outcome in outcomes.items():
        if outcome.mark in "LC":
            outcomes[cell] = run_cell(fault, cell, _MARGIN_S)
    return outcomes, peak


if __name__ == "__main__":
    sys.exit(main())
