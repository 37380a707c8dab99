"""The folders of this package's files."""

from __future__ import annotations

import os
from pathlib import Path

from langchain_dbx_eval._internal.extras import require

__all__ = ["catalog_root", "home", "journals_root"]


def home() -> Path:
    """Return ``DBX_EVAL_HOME``; default: a folder in the platform's user data folder.

    Raises:
        MissingDependencyError: The default needs platformdirs, which is not installed.
    """
    if path := os.environ.get("DBX_EVAL_HOME"):
        return Path(path).expanduser()
    require("platformdirs", extra="delta")
    from platformdirs import user_data_path

    return user_data_path("langchain-dbx-eval", appauthor=False)


def catalog_root() -> Path:
    """Return the folder of the local catalog: ``DBX_EVAL_CATALOG``, else ``catalog`` in `home`."""
    if path := os.environ.get("DBX_EVAL_CATALOG"):
        return Path(path).expanduser()
    return home() / "catalog"


def journals_root() -> Path:
    """Return the folder of the evaluations' journals: ``journals`` in `home`."""
    return home() / "journals"
