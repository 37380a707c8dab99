"""The journal of an evaluation: one SQLite file that holds all of it, as it happens.

State lives here and nowhere else: results, reports, what MLflow is told, and what is still to be
done are read from it. Each finished piece of work is committed before it counts, so that it is
there after `kill -9`; only the power may take the last moments (``synchronous=NORMAL``, SQLite
documentation, "PRAGMA synchronous": no commit of a process that died is lost).
"""

from __future__ import annotations

import contextlib
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from enum import IntEnum
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval._internal.paths import journals_root
from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.errors import JournalError, NotFoundError
from langchain_dbx_eval.evaluation.journal.codec import dump, load
from langchain_dbx_eval.evaluation.journal.rows import Answer, Row, RowKey
from langchain_dbx_eval.scoring.score_row import ScorerOutput, row_scores

__all__ = ["FAILED", "MAYBE_WRITTEN", "SCORED", "UNWRITTEN", "Journal", "Written"]

_SCHEMA_VERSION = 1
_SCHEMA = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
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
    said TEXT NOT NULL,
    PRIMARY KEY (number, repetition, scorer)
);
CREATE INDEX answers_to_write ON answers (written, scored);
"""
_PAGE = 200

FAILED = "failed = 1"
SCORED = "scored = 1"
UNWRITTEN = "scored = 1 AND written < 2"
MAYBE_WRITTEN = "written = 1"
"""Conditions on rows, for `Journal.rows`, `Journal.places` and `Journal.count`."""


class Written(IntEnum):
    """How far a row is in MLflow."""

    NO = 0
    PERHAPS = 1
    """It was being written when the process ended, or when the server failed."""
    YES = 2


class Journal:
    """One evaluation's file.

    Safe to use from many threads. A second process that opens it reads what is committed.

    Args:
        path: The file, which `create` has made.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._database = _connect(path)

    @classmethod
    def create(cls, facts: Mapping[str, Any]) -> Journal:
        """Begin a journal in `journals_root`.

        Args:
            facts: What the evaluation is, as JSON values by name.

        Raises:
            JournalError: The file cannot be made.
        """
        folder = journals_root()
        name = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        path = folder / f"{name}.sqlite"
        try:
            # Journals hold questions and answers: on a shared machine they are their user's alone.
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            _initialise(path)
        except (OSError, sqlite3.Error) as error:
            msg = (
                f"No journal can be kept in {folder}: {error}. Set DBX_EVAL_HOME to a folder on a "
                "local disk: SQLite's journals do not work on network file systems."
            )
            raise JournalError(msg) from error
        journal = cls(path)
        journal.note(**facts)
        return journal

    @classmethod
    def find(cls, reference: str | Path) -> Journal:
        """Open the journal of an evaluation.

        Args:
            reference: Its file, its MLflow run's id, or the evaluation's own id.

        Raises:
            NotFoundError: There is none on this machine.
            JournalError: The file is no journal, or one of another version.
        """
        given = Path(reference).expanduser()
        if given.is_file():
            return cls(given)
        for path in sorted(journals_root().glob("*.sqlite"), reverse=True):
            if path.stem == str(reference) or _run_id_in(path) == str(reference):
                return cls(path)
        msg = (
            f"No evaluation {str(reference)!r} is known in {journals_root()}. Give the id of its "
            "MLflow run or its journal's file; DBX_EVAL_HOME says where journals are."
        )
        raise NotFoundError(msg)

    @property
    def evaluation_id(self) -> str:
        """The evaluation's own id, which it has before MLflow gives it one."""
        return self.path.stem

    def note(self, **facts: Any) -> None:
        """Write facts of the evaluation, over those of the same names."""
        rows = [(name, json.dumps(value)) for name, value in facts.items()]
        with self._writing() as database:
            database.executemany("INSERT OR REPLACE INTO facts VALUES (?, ?)", rows)

    @property
    def facts(self) -> dict[str, Any]:
        """All facts by name."""
        return {name: json.loads(value) for name, value in self._read("SELECT * FROM facts")}

    def save_answer(self, place: RowKey, input_key: str, answer: Answer) -> None:
        """Keep what the chain answered; the row's scores come later."""
        row = (*_key(place), input_key, dump(_parts(answer)), answer.outcome.error is not None)
        with self._writing() as database:
            database.execute(
                "INSERT INTO answers (number, repetition, input_key, answer, failed) "
                "VALUES (?, ?, ?, ?, ?)",
                row,
            )

    def save_scores(
        self, place: RowKey, said: Mapping[str, ScorerOutput], *, last: bool = False
    ) -> None:
        """Keep what some scorers said of a row.

        Args:
            place: The row.
            said: What they said, by the scorer's column.
            last: Whether all scorers have now said what they have to say of the row.
        """
        rows = [(*_key(place), column, dump(list(what))) for column, what in said.items()]
        with self._writing() as database:
            database.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)
            if last:
                database.execute(
                    "UPDATE answers SET scored = 1 WHERE number = ? AND repetition = ?", _key(place)
                )

    def mark_scored(self, place: RowKey) -> None:
        """No scorer has anything more to say of a row."""
        self.save_scores(place, {}, last=True)

    def mark_writing(self, places: Sequence[RowKey]) -> None:
        """These rows are about to be written to MLflow: from now on they may be there."""
        with self._writing() as database:
            database.executemany(
                "UPDATE answers SET written = ? WHERE number = ? AND repetition = ?",
                [(Written.PERHAPS, *_key(place)) for place in places],
            )

    def mark_written(self, trace_ids: Mapping[RowKey, str]) -> None:
        """These rows are in MLflow, as these traces."""
        with self._writing() as database:
            database.executemany(
                "UPDATE answers SET written = ?, trace_id = ? WHERE number = ? AND repetition = ?",
                [(Written.YES, trace_id, *_key(place)) for place, trace_id in trace_ids.items()],
            )

    def rearrange(self, moved: Mapping[RowKey, RowKey], gone: Sequence[RowKey]) -> None:
        """Move rows to other places, and take some out.

        Args:
            moved: Each row's new place by its old one.
            gone: The rows to take out.
        """
        at = "WHERE number = ? AND repetition = ?"
        # By way of numbers below 0, which no row has: two rows may change places.
        steps = [(-1 - new.number, new.repetition, *_key(old)) for old, new in moved.items()]
        with self._writing() as database:
            for table in ("answers", "scores"):
                database.executemany(f"DELETE FROM {table} {at}", map(_key, gone))  # noqa: S608
                database.executemany(
                    f"UPDATE {table} SET number = ?, repetition = ? {at}",  # noqa: S608 - ours
                    steps,
                )
                database.execute(
                    f"UPDATE {table} SET number = -1 - number WHERE number < 0"  # noqa: S608 - ours
                )

    def replace_record(self, place: RowKey, record: EvalRecord) -> None:
        """Give a row its record as it is now, to be scored by that."""
        answer = dump(_parts(replace(self.row(place), record=record)))
        with self._writing() as database:
            database.execute(
                "UPDATE answers SET answer = ?, scored = failed, written = min(written, ?) "
                "WHERE number = ? AND repetition = ?",
                (answer, Written.PERHAPS, *_key(place)),
            )
            database.execute("DELETE FROM scores WHERE number = ? AND repetition = ?", _key(place))

    def forget_scores(self, columns: Sequence[str]) -> None:
        """Take out what some scorers said, so that they are asked again; and who lacks theirs."""
        with self._writing() as database:
            database.executemany(
                "DELETE FROM scores WHERE scorer = ?", [(column,) for column in columns]
            )
            # What is in MLflow already stays there; what is new is added to it.
            database.execute(
                "UPDATE answers SET scored = 0, written = min(written, ?) WHERE failed = 0",
                (Written.PERHAPS,),
            )

    def answered(self) -> dict[RowKey, tuple[str, bool]]:
        """The rows that are answered: the key of what was asked, and whether they are scored."""
        found = self._read("SELECT number, repetition, input_key, scored FROM answers")
        return {RowKey(number, n): (key, bool(scored)) for number, n, key, scored in found}

    def said(self, place: RowKey) -> dict[str, ScorerOutput]:
        """What scorers have said of a row, by their columns."""
        return self._said_of([place]).get(place, {})

    def count(self, condition: str = "1") -> int:
        """How many rows are answered, or meet a condition on their columns."""
        [(count,)] = self._read(f"SELECT count(*) FROM answers WHERE {condition}")  # noqa: S608
        return int(count)

    def row(self, place: RowKey) -> Row:
        """One row, which is answered.

        Raises:
            JournalError: It is there no more.
        """
        row = next(self.rows("number = ? AND repetition = ?", _key(place)), None)
        if row is None:
            msg = (
                f"Row {place.number} (repetition {place.repetition}) is no longer in {self.path}: "
                "the evaluation was gone on with since then. Load its result again."
            )
            raise JournalError(msg)
        return row

    def places(self, condition: str = "1") -> list[RowKey]:
        """The places of the rows that meet a condition, in order."""
        found = self._read(
            f"SELECT number, repetition FROM answers WHERE {condition} "  # noqa: S608 - ours
            "ORDER BY number, repetition"
        )
        return [RowKey(*place) for place in found]

    def rows(self, condition: str = "1", values: Sequence[Any] = ()) -> Iterator[Row]:
        """The rows that meet a condition, in order: some at a time, however many there are."""
        order = [scorer["column"] for scorer in self.facts.get("scorers", ())]
        after = (-1, 0)
        while True:
            page = self._read(
                "SELECT number, repetition, answer, trace_id FROM answers "  # noqa: S608 - ours
                f"WHERE ({condition}) AND (number, repetition) > (?, ?) "
                f"ORDER BY number, repetition LIMIT {_PAGE}",
                (*values, *after),
            )
            said = self._said_of([RowKey(*row[:2]) for row in page])
            for number, repetition, answer, trace_id in page:
                place = RowKey(number, repetition)
                of_row = said.get(place, {})
                scores = row_scores([of_row[column] for column in order if column in of_row])
                yield Row(**load(answer), place=place, scores=scores, trace_id=trace_id)
            if len(page) < _PAGE:
                return
            after = page[-1][:2]

    @contextlib.contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the evaluation, so that no other process goes on with it meanwhile.

        Raises:
            JournalError: Another process holds it.
        """
        filelock = require("filelock", extra="eval")
        lock = filelock.FileLock(self.path.with_suffix(".lock"), timeout=0)
        try:
            lock.acquire()
        except filelock.Timeout as error:
            msg = (
                f"Evaluation {self.evaluation_id} is being run by another process. Wait for it to "
                "end, or stop it first."
            )
            raise JournalError(msg) from error
        try:
            yield
        finally:
            lock.release()

    def _said_of(self, places: Sequence[RowKey]) -> dict[RowKey, dict[str, ScorerOutput]]:
        said: dict[RowKey, dict[str, ScorerOutput]] = {}
        if not places:
            return said
        wanted = ", ".join(["(?, ?)"] * len(places))
        found = self._read(
            f"WITH wanted (number, repetition) AS (VALUES {wanted}) "  # noqa: S608 - ours
            # In this order of the two, and not as an `IN`: SQLite then uses the table's index.
            "SELECT number, repetition, scorer, said "
            "FROM wanted CROSS JOIN scores USING (number, repetition)",
            [part for place in places for part in _key(place)],
        )
        for number, repetition, scorer, what in found:
            said.setdefault(RowKey(number, repetition), {})[scorer] = load(what)
        return said

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock, self._database:
                yield self._database
        except sqlite3.Error as error:
            msg = (
                f"{self.path} cannot be written to: {error}. What was saved before is kept; "
                "resume= goes on with it."
            )
            raise JournalError(msg) from error

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            msg = f"{self.path} cannot be read: {error}."
            raise JournalError(msg) from error


def _key(place: RowKey) -> tuple[int, int]:
    return place.number, place.repetition


def _parts(answer: Answer) -> dict[str, Any]:
    # Not all fields of a `Row`: its place and scores are in columns and a table of their own.
    return {
        "record": answer.record,
        "outcome": answer.outcome,
        "run": answer.run,
        "matched": answer.matched,
    }


def _connect(path: Path) -> sqlite3.Connection:
    database = sqlite3.connect(path, check_same_thread=False, timeout=60)
    try:
        [(version,)] = database.execute("PRAGMA user_version")
        database.execute("PRAGMA synchronous = NORMAL")
    except sqlite3.DatabaseError as error:
        database.close()
        msg = f"{path} is no journal of an evaluation: {error}."
        raise JournalError(msg) from error
    if version != _SCHEMA_VERSION:
        database.close()
        msg = (
            f"{path} is a journal of version {version}, and this package reads version "
            f"{_SCHEMA_VERSION}. Use the release of langchain-dbx-eval that wrote it."
        )
        raise JournalError(msg)
    return database


def _initialise(path: Path) -> None:
    # Under another name until it is whole: whoever lists the folder finds journals only.
    unfinished = path.with_suffix(".new")
    with contextlib.closing(sqlite3.connect(unfinished)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {_SCHEMA_VERSION}; COMMIT;")
    unfinished.rename(path)


def _run_id_in(path: Path) -> str | None:
    """The MLflow run that a journal tells of; None for a file that cannot be read."""
    try:
        with contextlib.closing(sqlite3.connect(path, timeout=5)) as database:
            found = database.execute("SELECT value FROM facts WHERE name = 'run_id'").fetchone()
    except sqlite3.Error:
        return None
    return None if found is None else str(json.loads(found[0]))
