"""The examples run on the emulator, and each notebook is its script."""

from __future__ import annotations

import os
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path

import jupytext
import pytest

from tests.sail_sessions import stop_sail

EXAMPLES = sorted((Path(__file__).parents[1] / "examples").glob("*.py"))


@pytest.fixture
def _own_sail() -> Iterator[None]:
    """Stop the server of another test: its tasks have the environment of that time."""
    stop_sail()
    yield
    stop_sail()


@pytest.mark.timeout(600)  # includes the wait for port 7777
@pytest.mark.xdist_group("port 7777")
@pytest.mark.usefixtures("mlflow_store", "documented_port", "_own_sail")
@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_runs(example: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [str(example)])
    before = dict(os.environ)
    # Sail has the environment of its start: that of another page or example.
    stop_sail()
    runpy.run_path(str(example), run_name="__main__")
    left = {name for name in os.environ if name.startswith("DATABRICKS_")} - set(before)
    assert left == set(), "the emulated workspace was not stopped"


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_notebook_of_an_example_is_its_script(example: Path) -> None:
    """`make notebooks` writes them."""
    script = jupytext.read(example)
    notebook = jupytext.read(example.parent / "notebooks" / f"{example.stem}.ipynb")
    assert [(cell.cell_type, cell.source) for cell in notebook.cells] == [
        (cell.cell_type, cell.source) for cell in script.cells
    ]
    assert all(not cell.get("outputs") for cell in notebook.cells)


def test_the_readme_lists_every_example() -> None:
    text = (EXAMPLES[0].parent / "README.md").read_text(encoding="utf-8")
    assert [example.name for example in EXAMPLES if f"({example.name})" not in text] == []
