"""Copies of journals, also of evaluations that are running."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
from pathlib import Path

from langchain_dbx_eval._internal.paths import (
    create_private_file,
    create_private_folder,
    expand_user,
)
from langchain_dbx_eval.errors import AlreadyExistsError, JournalError
from langchain_dbx_eval.evaluation.journal.store import Journal

__all__ = ["export_journal"]


def export_journal(reference: str | Path, path: str | Path) -> Path:
    """Copy the journal of an evaluation, which may be running in this or another process.

    The copy has all rows that were saved when the call began, in one file, which
    `EvaluationResult.load` and ``resume=`` read.

    Args:
        reference: The id of its MLflow run, its evaluation id, or the path of its journal.
        path: The new file, or a folder, in which the copy gets the name of the journal.

    Returns:
        The path of the copy. Other users of the machine cannot read it.

    Raises:
        NotFoundError: This machine has no such evaluation.
        AlreadyExistsError: The file exists.
        JournalError: The journal cannot be read, or the copy cannot be written.
    """
    journal = Journal.find(reference)
    target = expand_user(path).absolute()
    if target.is_dir():
        target /= journal.path.name
    if target.exists():
        msg = f"The file {target} already exists. Delete it, or choose another name."
        raise AlreadyExistsError(msg)
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        # By way of a local disk: on a volume, files can only be written from their beginning to
        # their end (Databricks, "Volumes", limitations), and SQLite does not.
        with tempfile.TemporaryDirectory(prefix="dbx-eval-") as folder:
            local = Path(folder) / target.name
            create_private_file(local)
            journal.backup(local)
            create_private_folder(target.parent)
            create_private_file(partial)
            shutil.copyfile(local, partial)
        partial.replace(target)
    except (OSError, sqlite3.Error) as error:
        msg = f"{journal.path} cannot be copied to {target}: {error}."
        raise JournalError(msg) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return target
