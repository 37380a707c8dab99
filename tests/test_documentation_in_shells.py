"""The code of a page runs as a script, in a Jupyter kernel and at the Python prompt, twice each.

`make test` runs two pages, `make docs-blocks` all of them and the notebooks of the examples: each
twice in its own process, in the same folder and with the same data as the pages before it, as for a
user who reads all of them.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

from tests.test_documentation import PAGES_WITH_CODE, ROOT, blocks_of_notebook, blocks_of_script

ALL_PAGES = bool(os.environ.get("DBX_EVAL_ALL_PAGES"))
SECONDS = 900  # per run of a page, on a loaded machine


def run_script(page: Path, folder: Path, environment: dict[str, str]) -> None:
    script = folder / f"{page.stem}_page.py"
    script.write_text("\n\n".join(blocks_of_script(page)), encoding="utf-8")
    _run([str(script)], folder, environment)


def run_prompt(page: Path, folder: Path, environment: dict[str, str]) -> None:
    """Paste the blocks, each with an empty line after it, into a prompt, which ignores errors."""
    pasted = "".join(f"{block}\n" for block in blocks_of_script(page))
    errors = _run(["-i", "-q"], folder, environment, pasted)
    failure = re.search(r"^(?:>>> |\.\.\. )*(?:Traceback|\w*Error\b)", errors, re.MULTILINE)
    assert failure is None, errors


def run_notebook(page: Path, folder: Path, environment: dict[str, str]) -> None:
    if page.suffix == ".ipynb":
        notebook = nbformat.read(page, as_version=4)
    else:
        cells = [nbformat.v4.new_code_cell(block) for block in blocks_of_notebook(page)]
        notebook = nbformat.v4.new_notebook(cells=cells)
    client = NotebookClient(notebook, timeout=SECONDS, kernel_name="python3")
    client.execute(cwd=str(folder), env=environment)


def _run(
    arguments: list[str], folder: Path, environment: dict[str, str], text: str | None = None
) -> str:
    """Run Python; return what it wrote to stderr."""
    ended = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env=environment,
        input=text,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


SHELLS = {"script": run_script, "notebook": run_notebook, "prompt": run_prompt}
NOTEBOOKS = sorted((ROOT / "examples/notebooks").glob("*.ipynb"))
# The other pages are run as scripts in tests/test_documentation.py.
SAMPLE = {("notebook", "docs/chat.md"), ("prompt", "docs/how-to/foundation-model.md")}
RUNS = [
    pytest.param(run, page, marks=pytest.mark.xdist_group(shell), id=f"{shell}-{name}")
    for shell, run in SHELLS.items()
    for page in [*PAGES_WITH_CODE, *(NOTEBOOKS if shell == "notebook" else ())]
    if ALL_PAGES or (shell, page.relative_to(ROOT).as_posix()) in SAMPLE
    for name in [page.relative_to(ROOT).with_suffix("").as_posix().removeprefix("docs/")]
]


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The parent of the folders of the shells."""
    return tmp_path_factory.mktemp("shells")


@pytest.mark.timeout(3 * SECONDS)
@pytest.mark.parametrize(("run", "page"), RUNS)
def test_a_page_runs_twice_in_a_row(
    run: Callable[[Path, Path, dict[str, str]], None],
    page: Path,
    folders: Path,
    request: pytest.FixtureRequest,
) -> None:
    folder = folders / run.__name__
    folder.mkdir(exist_ok=True)
    environment = {**os.environ, "HOME": str(folder), "DBX_EVAL_HOME": str(folder / "data")}
    if "port=7777" in page.read_text(encoding="utf-8"):
        request.getfixturevalue("documented_port")
    for _ in range(2):
        run(page, folder, environment)
