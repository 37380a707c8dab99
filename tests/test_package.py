"""The package as a whole: the cost of its import, its public names, and its import contracts."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import langchain_dbx_eval
from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.errors import MissingDependencyError

HEAVY = ("mlflow", "pandas", "flask", "deltalake", "pyarrow", "databricks.sdk", "waitress")
CLIENTS = "from langchain_dbx_eval import Databricks, ChatDatabricks, DatabricksEmbeddings"


@pytest.mark.parametrize(
    "statement",
    [
        "import langchain_dbx_eval",
        CLIENTS,
        f"{CLIENTS}; Databricks(endpoint_name='dolly')",
        "import langchain_dbx_eval.driver",
        "import langchain_dbx_eval.testing",
        "import langchain_dbx_eval.datasets",
        "import langchain_dbx_eval.evaluation",
        "import langchain_dbx_eval.reporting",
        "import langchain_dbx_eval.cli",
    ],
)
def test_an_import_loads_no_heavy_dependency(statement: str) -> None:
    program = f"import sys; {statement}; print([m for m in {HEAVY!r} if m in sys.modules])"
    printed = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert printed.stdout.strip() == "[]"


def test_every_public_name_can_be_imported() -> None:
    for name in langchain_dbx_eval.__all__:
        assert getattr(langchain_dbx_eval, name) is not None


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = langchain_dbx_eval.no_such_name


def test_the_import_contracts_hold() -> None:
    pytest.importorskip("importlinter", reason="`make test-lowest` has no tools of `make check`")
    # In a process of its own: import-linter configures logging, which disables other loggers.
    program = "from importlinter.cli import lint_imports; exit(lint_imports(cache_dir=None))"
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_the_error_for_a_missing_extra_has_the_command() -> None:
    with pytest.raises(MissingDependencyError, match=r"pip install 'langchain-dbx-eval\[delta\]'"):
        require("no_such_module_anywhere", extra="delta")
