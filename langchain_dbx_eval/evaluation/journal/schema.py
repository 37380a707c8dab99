"""The tables of a journal, their version, and the migrations from earlier versions.

`codec` defines what the JSON texts contain. A change of either increments `VERSION` and adds a
migration to `_MIGRATIONS`; ``tests/evaluation/journal/files`` has a journal of each version.

The row ``settings`` of the table ``manifest`` is optional: only the command line writes it.

Version 5: the cost of a step, the traceback of a call; the versions of Python and of packages.
Version 4: the table ``usage``; cached tokens, the model of a step, the cost of a row, and the
traces that retried rows replace.
Version 3: records have `custom_expected`.
Version 2: fields by their own names; version 1 stored the keyword arguments of private dataclasses.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval._internal.paths import create_private_file
from langchain_dbx_eval.errors import JournalError

__all__ = ["VERSION", "connect", "create", "is_locked", "locked", "version_of"]

VERSION = 5
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
CREATE INDEX answers_states ON answers (written, scored, failed);
"""
# The tokens of each model, of rows that were retried too.
_USAGE = """
CREATE TABLE usage (
    model TEXT PRIMARY KEY,
    input_tokens INTEGER NOT NULL,
    cached_input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cost_usd REAL
) WITHOUT ROWID;
"""


def create(path: Path, manifest: Mapping[str, str]) -> None:
    """Create a journal file.

    Args:
        path: The file.
        manifest: The manifest, as `codec.encode_manifest` returns it.
    """
    # Under another name until it is complete: a reader of the folder finds complete journals only.
    unfinished = path.with_suffix(".new")
    create_private_file(unfinished)
    with contextlib.closing(sqlite3.connect(unfinished)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(f"BEGIN; {_TABLES} {_USAGE} PRAGMA user_version = {VERSION};")
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
        if version_of(database) != VERSION:
            _migrate(database, path)
    except BaseException as error:
        database.close()
        if not isinstance(error, sqlite3.Error):
            raise
        msg = f"{path} is not a journal of an evaluation, or cannot be read: {error}."
        raise JournalError(msg) from error
    return database


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Lock a journal against other processes that would continue its evaluation.

    Raises:
        JournalError: Another process has locked it.
    """
    filelock = require("filelock", extra="eval")
    # An instance may be released in another thread. `is_locked` holds the lock for a moment.
    lock = filelock.FileLock(path.with_suffix(".lock"), timeout=0.2, mode=0o600, thread_local=False)
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


def is_locked(path: Path) -> bool:
    """Whether a living process has locked a journal: the lock of a process ends with it."""
    filelock = require("filelock", extra="eval")
    file = path.with_suffix(".lock")
    if not file.exists():
        return False
    try:
        with filelock.FileLock(file, timeout=0):
            return False
    except filelock.Timeout:
        return True


def version_of(database: sqlite3.Connection) -> int:
    """Return the schema version of a journal file."""
    [(version,)] = database.execute("PRAGMA user_version")
    return int(version)


def _migrate(database: sqlite3.Connection, path: Path) -> None:
    found = version_of(database)
    if found not in _MIGRATIONS:
        msg = (
            f"{path} is a journal of version {found}; this release of langchain-dbx-eval reads "
            f"versions {min(_MIGRATIONS)} to {VERSION}. Use the release that wrote it."
        )
        raise JournalError(msg)
    with locked(path), database:
        database.execute("BEGIN IMMEDIATE")
        for version in range(version_of(database), VERSION):
            _MIGRATIONS[version](database)
        database.execute(f"PRAGMA user_version = {VERSION}")


def _migrate_1_to_2(database: sqlite3.Connection) -> None:
    database.execute("ALTER TABLE facts RENAME TO manifest")
    database.execute("ALTER TABLE scores RENAME COLUMN said TO output")
    decode = json.JSONDecoder(object_hook=_without_class_name).decode
    database.create_function("answer_2", 1, lambda text: json.dumps(decode(text)))
    database.create_function("output_2", 1, lambda text: json.dumps(_split_output(decode(text))))
    database.execute("UPDATE answers SET answer = answer_2(answer)")
    database.execute("UPDATE scores SET output = output_2(output)")
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


# A tuple: the value of a user may have the same form, and contain something unhashable.
_V1_CLASSES = ("EvalRecord", "Outcome", "CapturedRun", "Span", "Assessment", "Skip", "JudgeUsage")


def _without_class_name(value: dict[str, Any]) -> Any:
    """Return an object of version 1 without the name of its class around it."""
    is_ours = value.keys() == {"$dbx_eval", "value"} and value["$dbx_eval"] in _V1_CLASSES
    return value["value"] if is_ours else value


def _split_output(output: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the output of a scorer of version 1, divided into assessments and skips."""
    return {
        "assessments": [item for item in output if "reason" not in item],
        "skips": [item for item in output if "reason" in item],
    }


def _migrate_2_to_3(database: sqlite3.Connection) -> None:
    def convert(text: str) -> str:
        answer = json.loads(text)
        return json.dumps({**answer, "record": {**answer["record"], "custom_expected": None}})

    database.create_function("answer_3", 1, convert)
    database.execute("UPDATE answers SET answer = answer_3(answer)")


def _migrate_3_to_4(database: sqlite3.Connection) -> None:
    used: Counter[tuple[str, str]] = Counter()

    def convert_answer(text: str) -> str:
        answer = json.loads(text)
        answer["outcome"] |= {"cached_input_tokens": None, "cost_usd": None}
        if answer["run"] is not None:
            # The models of the steps are not known: their tokens are those of one without a name.
            count("", answer["outcome"])
            for span in answer["run"]["spans"]:
                span |= {"cached_input_tokens": None, "model": None}
        return json.dumps(answer)

    def convert_output(text: str) -> str:
        output = json.loads(text)
        for assessment in output["assessments"]:
            if assessment["usage"] is not None:
                count(assessment["metadata"].get("judge_model", ""), assessment["usage"])
                assessment["usage"]["cached_input_tokens"] = 0
        return json.dumps(output)

    def count(model: str, counts: dict[str, Any]) -> None:
        for name in ("input_tokens", "output_tokens", "cost_usd"):
            used[model, name] += counts.get(name) or 0

    database.execute(_USAGE)
    database.execute("DROP INDEX answers_to_write")
    database.execute("CREATE INDEX answers_states ON answers (written, scored, failed)")
    database.create_function("answer_4", 1, convert_answer)
    database.create_function("output_4", 1, convert_output)
    database.execute("UPDATE answers SET answer = answer_4(answer)")
    database.execute("UPDATE scores SET output = output_4(output)")
    for model in {model for model, _ in used}:
        counts = (used[model, name] for name in ("input_tokens", "output_tokens", "cost_usd"))
        database.execute("INSERT INTO usage VALUES (?, ?, 0, ?, nullif(?, 0))", (model, *counts))
    # Not if the process ended before the evaluation started (version 1).
    database.execute(
        "INSERT INTO manifest SELECT 'replaced_traces', '{}' "
        "WHERE EXISTS (SELECT 1 FROM manifest WHERE name = 'scorers')"
    )


def _migrate_4_to_5(database: sqlite3.Connection) -> None:
    def convert(text: str) -> str:
        answer = json.loads(text)
        for span in (answer["run"] or {}).get("spans", ()):
            span |= {"cost_usd": None, "traceback": None}
        return json.dumps(answer)

    database.create_function("answer_5", 1, convert)
    database.execute("UPDATE answers SET answer = answer_5(answer)")
    # Not if the process ended before the evaluation started (version 1).
    database.execute(
        "INSERT INTO manifest SELECT 'versions', '{}' "
        "WHERE EXISTS (SELECT 1 FROM manifest WHERE name = 'scorers')"
    )


_MIGRATIONS = {
    1: _migrate_1_to_2,
    2: _migrate_2_to_3,
    3: _migrate_3_to_4,
    4: _migrate_4_to_5,
}
