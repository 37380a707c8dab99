"""The folders of this package's files, and files that only their user can read."""

from __future__ import annotations

import os
from pathlib import Path

from langchain_dbx_eval._internal.imports import require

__all__ = [
    "catalog_root",
    "create_private_file",
    "create_private_folder",
    "expand_user",
    "home",
    "journals_root",
]


def home() -> Path:
    """Return ``DBX_EVAL_HOME``; default: a folder in the platform's user data folder.

    Raises:
        MissingDependencyError: The default needs platformdirs, which is not installed.
    """
    if path := os.environ.get("DBX_EVAL_HOME"):
        return expand_user(path)
    require("platformdirs", extra="delta")
    from platformdirs import user_data_path

    return user_data_path("langchain-dbx-eval", appauthor=False)


def expand_user(path: str | os.PathLike[str]) -> Path:
    """Return a path with the home folder for ``~``; ``~name`` of no user stays as it is."""
    # `Path.expanduser` raises RuntimeError for such a name, which a file may have.
    return Path(os.path.expanduser(path))


def catalog_root() -> Path:
    """Return the folder of the local catalog: ``DBX_EVAL_CATALOG``, else ``catalog`` in `home`."""
    if path := os.environ.get("DBX_EVAL_CATALOG"):
        return expand_user(path)
    return home() / "catalog"


def journals_root() -> Path:
    """Return the folder of the evaluations' journals: ``journals`` in `home`."""
    return home() / "journals"


def create_private_folder(path: Path) -> None:
    """Create a folder and its missing parents, which other users of the machine cannot open.

    A folder that exists keeps its permissions: a user may share it on purpose.
    """
    for folder in reversed((path, *path.parents)):
        if not folder.is_dir():
            folder.mkdir(mode=0o700, exist_ok=True)


def create_private_file(path: Path) -> None:
    """Create a file that other users of the machine cannot read, if it is missing.

    SQLite gives the files beside its database the same permissions.
    """
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
