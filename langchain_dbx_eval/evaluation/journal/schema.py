"""The tables of a journal, their version, and the migrations from earlier versions.

`codec` defines what the JSON texts contain. A change of either increments `VERSION` and adds a
migration to `_MIGRATIONS`; ``tests/evaluation/journal/files`` has a journal of each version.

Version 3: records have `custom_expected`.
Version 2: fields by their own names; version 1 stored the keyword arguments of our dataclasses.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.errors import JournalError

__all__ = ["VERSION", "connect", "create", "locked"]

VERSION = 3
_TABLES = """
CREATE TABLE manifest (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE answers (
    number INTEGER NOT NULL,
    repetition INTEGER NOT NULL,
    input_key TEXT NOT NULL,
    answer TEXT NOT NULL,
    failed INTEGER NOT NULL,
    scored INTEGER NOT NULL DEFAULT 0,
    written INTEGER NOT NULL DEFAULT 0,
    trace_id TEXT,
    PRIMARY KEY (number, repetition)
);
CREATE TABLE scores (
    number INTEGER NOT NULL,
    repetition INTEGER NOT NULL,
    scorer TEXT NOT NULL,
    output TEXT NOT NULL,
    PRIMARY KEY (number, repetition, scorer)
);
CREATE INDEX answers_to_write ON answers (written, scored);
"""


def create(path: Path, manifest: Mapping[str, str]) -> None:
    """Create a journal file.

    Args:
        path: The file.
        manifest: The manifest, as `codec.encode_manifest` returns it.
    """
    # Under another name until it is complete: a reader of the folder finds complete journals only.
    unfinished = path.with_suffix(".new")
    with contextlib.closing(sqlite3.connect(unfinished)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(f"BEGIN; {_TABLES} PRAGMA user_version = {VERSION};")
        database.executemany("INSERT INTO manifest VALUES (?, ?)", manifest.items())
        database.commit()
    unfinished.rename(path)


def connect(path: Path) -> sqlite3.Connection:
    """Open a journal file; one of an earlier version is migrated in place.

    Raises:
        JournalError: The file is not a journal, or one of a version that cannot be migrated.
    """
    database = sqlite3.connect(path, check_same_thread=False, timeout=60)
    try:
        # No commit is lost when a process dies; the last ones may be when the power fails (SQLite
        # documentation, "PRAGMA synchronous").
        database.execute("PRAGMA synchronous = NORMAL")
        if _version(database) != VERSION:
            _migrate(database, path)
    except sqlite3.Error as error:
        database.close()
        msg = f"{path} is not a journal of an evaluation, or cannot be read: {error}."
        raise JournalError(msg) from error
    except BaseException:
        database.close()
        raise
    return database


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a journal against other processes that would continue its evaluation.

    Raises:
        JournalError: Another process has locked it.
    """
    filelock = require("filelock", extra="eval")
    lock = filelock.FileLock(path.with_suffix(".lock"), timeout=0)
    try:
        lock.acquire()
    except filelock.Timeout as error:
        msg = (
            f"Evaluation {path.stem} is being run by another process. Wait for that process to "
            "end, or stop it first."
        )
        raise JournalError(msg) from error
    try:
        yield
    finally:
        lock.release()


def _version(database: sqlite3.Connection) -> int:
    [(version,)] = database.execute("PRAGMA user_version")
    return int(version)


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    found = _version(database)
    if found not in _MIGRATIONS:
        msg = (
            f"{path} is a journal of version {found}; this release of langchain-dbx-eval reads "
            f"versions {min(_MIGRATIONS)} to {VERSION}. Use the release that wrote it."
        )
        raise JournalError(msg)
    with locked(path), database:
        database.execute("BEGIN IMMEDIATE")
        for version in range(_version(database), VERSION):
            _MIGRATIONS[version](database)
        database.execute(f"PRAGMA user_version = {VERSION}")


def _migrate_1_to_2(database: sqlite3.Connection) -> None:
    database.execute("ALTER TABLE facts RENAME TO manifest")
    database.execute("ALTER TABLE scores RENAME COLUMN said TO output")
    _update_json(database, "answers", "answer", _without_class_names)
    _update_json(database, "scores", "output", _split_output)
    stored = {name: json.loads(value) for name, value in database.execute("SELECT * FROM manifest")}
    if "scorers" not in stored:
        return  # The process ended before the evaluation started.
    destination = stored.get("destination", {})
    if "active_run" in destination:
        destination["run_id"] = destination.pop("active_run")
    database.execute("DELETE FROM manifest WHERE name = 'of_calls'")
    manifest = {
        "from_callback": stored.pop("of_calls"),
        "run_id": None,
        "experiment_id": None,
        "complete": False,
        "logged": False,
        **stored,
        "destination": destination,
        "scorers": {item["column"]: item["fingerprint"] for item in stored["scorers"]},
    }
    database.executemany(
        "INSERT OR REPLACE INTO manifest VALUES (?, ?)",
        [(name, json.dumps(value)) for name, value in manifest.items()],
    )


_V1_CLASSES = {"EvalRecord", "Outcome", "CapturedRun", "Span", "Assessment", "Skip", "JudgeUsage"}


def _without_class_names(value: Any) -> Any:
    """Return JSON of version 1 without the names of our classes around our own values."""
    if isinstance(value, list):
        return [_without_class_names(item) for item in value]
    if not isinstance(value, dict):
        return value
    value = {name: _without_class_names(item) for name, item in value.items()}
    if value.keys() != {"$dbx_eval", "value"} or value["$dbx_eval"] not in _V1_CLASSES:
        return value
    return value["value"]


def _split_output(output: list[Any]) -> dict[str, Any]:
    """Return the output of a scorer of version 1, divided into assessments and skips."""
    stored: dict[str, Any] = {"assessments": [], "skips": []}
    for item in output:
        kind = "skips" if item["$dbx_eval"] == "Skip" else "assessments"
        stored[kind].append(_without_class_names(item))
    return stored


def _update_json(
    database: sqlite3.Connection, table: str, column: str, convert: Callable[[Any], Any]
) -> None:
    """Convert a column of JSON texts; one text at a time is in memory."""
    for (rowid,) in database.execute(f"SELECT rowid FROM {table}").fetchall():  # noqa: S608 - ours
        [(text,)] = database.execute(
            f"SELECT {column} FROM {table} WHERE rowid = ?",  # noqa: S608 - ours
            (rowid,),
        )
        database.execute(
            f"UPDATE {table} SET {column} = ? WHERE rowid = ?",  # noqa: S608 - ours
            (json.dumps(convert(json.loads(text))), rowid),
        )


def _migrate_2_to_3(database: sqlite3.Connection) -> None:
    _update_json(database, "answers", "answer", _with_custom_expected)


def _with_custom_expected(answer: dict[str, Any]) -> dict[str, Any]:
    return {**answer, "record": {**answer["record"], "custom_expected": None}}


_MIGRATIONS = {1: _migrate_1_to_2, 2: _migrate_2_to_3}
