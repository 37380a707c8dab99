"""Each fault of the matrix in some of its cells; `make faults` runs all of them."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.matrix import CELLS, run_cell
from tests.faults.table import FAULTS

_MARGIN_S = 15.0
_CELLS_PER_FAULT = 2
# Of a fault, each of its cells is run by the fault's position: together, they cover all calls.
_CHOSEN = {
    fault: [CELLS[(2 * number + 7 * i) % len(CELLS)] for i in range(_CELLS_PER_FAULT)]
    for number, fault in enumerate(FAULTS)
}


@pytest.mark.parametrize("kind", dict.fromkeys(fault.kind for fault in FAULTS))
def test_a_fault_ends_in_success_or_in_a_typed_error_in_time_without_a_secret(kind: str) -> None:
    chosen = [
        (fault, cell) for fault, cells in _CHOSEN.items() for cell in cells if fault.kind == kind
    ]
    with ThreadPoolExecutor(8) as pool:
        outcomes = list(pool.map(lambda pair: run_cell(*pair, margin=_MARGIN_S), chosen))
    violations = [
        f"{fault.name} in {cell}: {outcome.mark} {outcome.detail}"
        for (fault, cell), outcome in zip(chosen, outcomes, strict=True)
        if outcome.is_violation
    ]
    assert not violations, "\n".join(violations)


def test_the_faults_have_distinct_names() -> None:
    names = [(fault.kind, fault.name) for fault in FAULTS]
    assert len(names) == len(set(names)) >= 109
