"""The journal of an evaluation: one SQLite file that contains all of its state.

Results, reports, MLflow and resuming read it, and nothing else keeps state. Each finished piece of
work is committed before it counts, so it survives ``kill -9``.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from langchain_dbx_eval._internal.paths import create_private_folder, expand_user, journals_root
from langchain_dbx_eval.datasets import EvalRecord, record_key
from langchain_dbx_eval.errors import JournalError, NotFoundError
from langchain_dbx_eval.evaluation.capture.spans import ModelUsage
from langchain_dbx_eval.evaluation.journal import codec, schema
from langchain_dbx_eval.evaluation.journal.manifest import EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, Row, RowKey
from langchain_dbx_eval.scoring import Assessment
from langchain_dbx_eval.scoring.score_row import ScorerOutput, row_scores

__all__ = [
    "ANSWERED",
    "FAILED",
    "HUMAN_RATING",
    "MAYBE_WRITTEN",
    "REPEATED",
    "SCORED",
    "UNSCORED",
    "UNWRITTEN",
    "UNWRITTEN_ANSWERS",
    "Journal",
]

_PAGE = 200
_MAX_TOKENS = 2**53
_AT = "WHERE number = ? AND repetition = ?"

ANSWERED = "failed = 0"
FAILED = "failed = 1"
REPEATED = "repetition > 1"
SCORED = "scored = 1"
UNSCORED = "scored = 0"
UNWRITTEN = "scored = 1 AND written < 2"
UNWRITTEN_ANSWERS = "written < 2"
MAYBE_WRITTEN = "written = 1"
"""Conditions for `Journal.rows`, `Journal.row_keys` and `Journal.count`."""


HUMAN_RATING = "human/rating"
"""The column of the ratings of a person: it is no scorer, so resuming does not miss it."""

# Values of the column `written`: 0 until the row is sent to MLflow.
_MAYBE = 1
"""The row is being written; or the process ended, or the server failed, meanwhile."""
_YES = 2


class Journal:
    """The journal of one evaluation.

    It may be used by many threads. A second process that opens it reads what is committed.

    Args:
        path: The file.

    Raises:
        JournalError: The file is not a journal, or one of another version.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.RLock()
        self._database = schema.connect(path)

    @classmethod
    def create(cls, manifest: EvaluationManifest) -> Journal:
        """Create a journal in `journals_root`.

        Raises:
            JournalError: The file cannot be created.
        """
        folder = journals_root()
        name = f"{datetime.now(timezone.utc):%Y%m%d-%H%M%S}-{secrets.token_hex(4)}"
        path = folder / f"{name}.sqlite"
        try:
            create_private_folder(folder)
            schema.create(path, codec.encode_manifest(manifest))
        except (OSError, sqlite3.Error) as error:
            msg = (
                f"A journal cannot be created in {folder}: {error}. Set DBX_EVAL_HOME to a folder "
                "on a local disk: SQLite's write-ahead log does not work on network file systems."
            )
            raise JournalError(msg) from error
        return cls(path)

    @classmethod
    def find(cls, reference: str | Path) -> Journal:
        """Open the journal of an evaluation.

        Args:
            reference: The path of its file, the id of its MLflow run, or the evaluation id.

        Raises:
            NotFoundError: This machine has no such evaluation.
            JournalError: The file is not a journal, or one of another version.
        """
        file = expand_user(reference)
        if file.is_file():
            return cls(file)
        for path in sorted(journals_root().glob("*.sqlite"), reverse=True):
            if path.stem == str(reference) or _run_id_in(path) == str(reference):
                return cls(path)
        msg = (
            f"There is no evaluation {str(reference)!r} in {journals_root()}. Pass the id of its "
            "MLflow run, its evaluation id or the path of its journal. The environment variable "
            "DBX_EVAL_HOME sets the folder."
        )
        raise NotFoundError(msg)

    @property
    def evaluation_id(self) -> str:
        """The id of the evaluation; unlike MLflow's run id it is known from the start."""
        return self.path.stem

    @property
    def manifest(self) -> EvaluationManifest:
        """What the evaluation consists of, and how far it got.

        Raises:
            JournalError: The process ended before it wrote the manifest (version 1 only).
        """
        stored = dict(self._read("SELECT name, value FROM manifest"))
        if not stored:
            msg = (
                f"{self.path} contains no evaluation: its process ended before it started. Start "
                "a new evaluation."
            )
            raise JournalError(msg)
        return codec.decode_manifest(stored)

    def update_manifest(self, **changes: Any) -> None:
        """Replace fields of the manifest."""
        with self._transaction() as database:
            database.execute("BEGIN IMMEDIATE")
            self._replace_manifest(database, changes)

    @property
    def settings(self) -> dict[str, Any] | None:
        """How the evaluation was started, if its caller saved it with `save_settings`."""
        for (value,) in self._read("SELECT value FROM manifest WHERE name = 'settings'"):
            settings: dict[str, Any] = json.loads(value)
            return settings
        return None

    def save_settings(self, settings: Mapping[str, Any]) -> None:
        """Save how the evaluation was started, as plain JSON."""
        with self._transaction() as database:
            database.execute(
                "INSERT OR REPLACE INTO manifest VALUES ('settings', ?)", (json.dumps(settings),)
            )

    def save_answer(self, key: RowKey, answer: Answer) -> None:
        """Save the answer of a row, which has no scores yet.

        Raises:
            JournalError: The row is answered already, or the file cannot be written to.
        """
        input_key, failed = record_key(answer.record.request), answer.outcome.error is not None
        with self._transaction() as database:
            database.execute(
                "INSERT INTO answers (number, repetition, input_key, answer, failed) "
                "VALUES (?, ?, ?, ?, ?)",
                (*key, input_key, codec.encode_answer(answer), failed),
            )
            _add_usage(database, [] if answer.run is None else answer.run.usage())

    def save_scores(
        self, key: RowKey, outputs: Mapping[str, ScorerOutput], *, last: bool = False
    ) -> None:
        """Save the outputs of some scorers for a row.

        Args:
            key: The row.
            outputs: The outputs, by the column of the scorer.
            last: Whether these complete the row.
        """
        rows = [(*key, c, codec.encode_scorer_output(output)) for c, output in outputs.items()]
        with self._transaction() as database:
            database.executemany("INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)", rows)
            _add_usage(database, _judge_usage(outputs))
            if last:
                database.execute(f"UPDATE answers SET scored = 1 {_AT}", key)  # noqa: S608 - no user input

    def save_ratings(self, ratings: Mapping[RowKey, ScorerOutput]) -> None:
        """Save the ratings of a person, and mark their rows to be written to MLflow again."""
        with self._transaction() as database:
            database.executemany(
                "INSERT OR REPLACE INTO scores VALUES (?, ?, ?, ?)",
                [(*k, HUMAN_RATING, codec.encode_scorer_output(r)) for k, r in ratings.items()],
            )
            database.executemany(
                f"UPDATE answers SET written = min(written, {_MAYBE}) {_AT}",  # noqa: S608 - no user input
                list(ratings),
            )
        self.update_manifest(logged=False)

    def mark_writing(self, keys: Iterable[RowKey]) -> None:
        """Mark rows as being written to MLflow: from now on they may be there."""
        with self._transaction() as database:
            database.executemany(
                f"UPDATE answers SET written = ? {_AT}",  # noqa: S608 - no user input
                [(_MAYBE, *key) for key in keys],
            )

    def mark_written(self, trace_ids: Mapping[RowKey, str]) -> None:
        """Mark rows as written to MLflow, with the ids of their traces."""
        with self._transaction() as database:
            database.executemany(
                f"UPDATE answers SET written = ?, trace_id = ? {_AT}",  # noqa: S608 - no user input
                [(_YES, trace_id, *key) for key, trace_id in trace_ids.items()],
            )

    def reassign(self, moved: Mapping[RowKey, RowKey], removed: Iterable[RowKey]) -> None:
        """Give rows new keys, and delete others.

        Args:
            moved: The new key of a row by its present one.
            removed: The rows to delete.
        """
        # By way of negative numbers, which no row has: two rows may exchange their keys.
        moves = [(-1 - new.number, new.repetition, *old) for old, new in moved.items()]
        deletions = list(removed)
        with self._transaction() as database:
            for table in ("answers", "scores"):
                database.executemany(f"DELETE FROM {table} {_AT}", deletions)  # noqa: S608 - no user input
                database.executemany(
                    f"UPDATE {table} SET number = ?, repetition = ? {_AT}",  # noqa: S608 - no user input
                    moves,
                )
                database.execute(
                    f"UPDATE {table} SET number = -1 - number WHERE number < 0"  # noqa: S608 - no user input
                )

    def replace_record(self, row: Row, record: EvalRecord) -> None:
        """Replace the record of a row, and delete its scores."""
        answer = codec.encode_answer(replace(row, record=record))
        with self._transaction() as database:
            database.execute(
                "UPDATE answers SET answer = ?, scored = failed, "  # noqa: S608 - no user input
                f"written = min(written, {_MAYBE}) {_AT}",
                (answer, *row.key),
            )
            database.execute(f"DELETE FROM scores {_AT}", row.key)  # noqa: S608 - no user input

    def delete_scores(self, columns: Iterable[str]) -> None:
        """Delete the outputs of some scorers, and mark all rows as not completely scored."""
        with self._transaction() as database:
            database.executemany(
                "DELETE FROM scores WHERE scorer = ?", [(column,) for column in columns]
            )
            # Assessments that are in MLflow stay there; new ones are added.
            database.execute(
                f"UPDATE answers SET scored = 0, written = min(written, {_MAYBE}) "  # noqa: S608 - no user input
                "WHERE failed = 0"
            )

    def reopen(
        self,
        failed: Iterable[RowKey],
        scorers: Mapping[RowKey, Iterable[str]],
        replaced_traces: Mapping[str, Sequence[str] | None],
    ) -> None:
        """Delete what is to be repeated, in one transaction; the evaluation is then incomplete.

        Args:
            failed: The rows to delete.
            scorers: The columns of the scorers whose outputs are to be deleted, by row.
            replaced_traces: See `EvaluationManifest.replaced_traces`.
        """
        deletions = list(failed)
        outputs = [(*key, column) for key, columns in scorers.items() for column in columns]
        with self._transaction() as database:
            database.execute("BEGIN IMMEDIATE")
            for table in ("answers", "scores"):
                database.executemany(f"DELETE FROM {table} {_AT}", deletions)  # noqa: S608 - no user input
            database.executemany(f"DELETE FROM scores {_AT} AND scorer = ?", outputs)  # noqa: S608 - no user input
            database.executemany(
                f"UPDATE answers SET scored = 0, written = min(written, {_MAYBE}) {_AT}",  # noqa: S608 - no user input
                list(scorers),
            )
            replaced = dict(self.manifest.replaced_traces)
            for trace_id, names in replaced_traces.items():
                known = replaced.get(trace_id, ())
                # A trace that is to be deleted stays so.
                both = None if names is None or known is None else sorted({*names, *known})
                replaced[trace_id] = both
            changes = {"replaced_traces": replaced, "complete": False, "logged": False}
            self._replace_manifest(database, changes)

    def trace_ids(self) -> list[str]:
        """Return the traces of the rows in MLflow; rows may share one."""
        rows = self._read("SELECT trace_id FROM answers WHERE trace_id IS NOT NULL")
        return [trace_id for (trace_id,) in rows]

    def usage(self) -> list[ModelUsage]:
        """Return the tokens that each model used so far, those of retried rows included."""
        columns = ", ".join(ModelUsage._fields)
        rows = self._read(f"SELECT {columns} FROM usage ORDER BY model")  # noqa: S608 - no user input
        return [ModelUsage(*row) for row in rows]

    def answered(self) -> dict[RowKey, tuple[str, bool]]:
        """Return the answered rows: the `record_key` of each request, and whether it is scored."""
        rows = self._read("SELECT number, repetition, input_key, scored FROM answers")
        return {RowKey(number, n): (key, bool(scored)) for number, n, key, scored in rows}

    def count(self, condition: str = "1") -> int:
        """Return the number of answered rows that meet a condition."""
        [(count,)] = self._read(f"SELECT count(*) FROM answers WHERE {condition}")  # noqa: S608 - no user input
        return int(count)

    def row_keys(self, condition: str = "1") -> list[RowKey]:
        """Return the keys of the answered rows that meet a condition, in order."""
        rows = self._read(
            f"SELECT number, repetition FROM answers WHERE {condition} "  # noqa: S608 - no user input
            "ORDER BY number, repetition"
        )
        return [RowKey(*row) for row in rows]

    def rows(self, condition: str = "1") -> Iterator[Row]:
        """Yield the answered rows that meet a condition, in order."""
        return self.read_rows(self.row_keys(condition))

    def row(self, key: RowKey) -> Row:
        """Return an answered row.

        Raises:
            JournalError: It is no longer there.
        """
        row = next(self.read_rows([key]), None)
        if row is None:
            msg = (
                f"Row {key.number} (repetition {key.repetition}) is no longer in {self.path}: the "
                "evaluation was resumed with other data. Load its result again."
            )
            raise JournalError(msg)
        return row

    def read_rows(self, keys: Iterable[RowKey]) -> Iterator[Row]:
        """Yield answered rows in the order of `keys`; keys that do not exist are left out.

        One page of rows is in memory.
        """
        columns = [*self.manifest.scorers, HUMAN_RATING]
        remaining = iter(keys)
        while page := list(itertools.islice(remaining, _PAGE)):
            outputs = self.scorer_outputs(page)
            answers = {RowKey(*row[:2]): row[2:] for row in self._read_at("answers", page)}
            for key in filter(answers.__contains__, page):
                of_row = outputs.get(key, {})
                answer, trace_id, scored = answers[key]
                found = [of_row[column] for column in columns if column in of_row]
                scores = row_scores(found, is_complete=bool(scored))
                yield codec.decode_row(key, answer, scores, trace_id)

    def scorer_outputs(self, keys: Sequence[RowKey]) -> dict[RowKey, dict[str, ScorerOutput]]:
        """Return the outputs of scorers for some rows, by row and by the column of the scorer."""
        outputs: dict[RowKey, dict[str, ScorerOutput]] = {}
        for number, repetition, scorer, output in self._read_at("scores", keys):
            of_row = outputs.setdefault(RowKey(number, repetition), {})
            of_row[scorer] = codec.decode_scorer_output(output)
        return outputs

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Lock the evaluation against other processes that would continue it.

        At the end, also that of an evaluation which is interrupted, the file is complete by itself.

        Raises:
            JournalError: Another process has locked it.
        """
        with schema.locked(self.path):
            try:
                yield
            finally:
                self.checkpoint()

    def checkpoint(self) -> None:
        """Copy the write-ahead log into the file, so that a copy of the file alone has all rows.

        Without this, SQLite does so when the last connection is closed, or after 1,000 pages.
        """
        # PASSIVE does not wait for other connections. A file that is read-only has no log.
        with contextlib.suppress(sqlite3.Error), self._lock:
            self._database.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()

    def backup(self, path: Path) -> None:
        """Copy everything that is saved to an empty file, while other processes write.

        Raises:
            sqlite3.Error: The file cannot be written, or the journal cannot be read.
        """
        # In one step, and so of one state: other writers are not blocked, and do not restart it.
        with contextlib.closing(sqlite3.connect(path)) as copy, self._lock:
            self._database.backup(copy)

    @property
    def is_locked(self) -> bool:
        """Whether a living process runs this evaluation, or writes it to MLflow."""
        return schema.is_locked(self.path)

    def _replace_manifest(self, database: sqlite3.Connection, changes: Mapping[str, Any]) -> None:
        stored = codec.encode_manifest(replace(self.manifest, **changes))
        database.executemany("INSERT OR REPLACE INTO manifest VALUES (?, ?)", stored.items())

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            with self._lock, self._database:
                yield self._database
        except sqlite3.Error as error:
            msg = (
                f"{self.path} cannot be written to: {error}. Everything saved before is kept; "
                "continue with resume=."
            )
            raise JournalError(msg) from error

    def _read(self, query: str, values: Sequence[Any] = ()) -> list[Any]:
        try:
            with self._lock:
                return self._database.execute(query, values).fetchall()
        except sqlite3.Error as error:
            msg = f"{self.path} cannot be read: {error}."
            raise JournalError(msg) from error

    def _read_at(self, table: str, keys: Sequence[RowKey]) -> list[Any]:
        columns = {"answers": "answer, trace_id, scored", "scores": "scorer, output"}[table]
        wanted = ", ".join(["(?, ?)"] * len(keys))
        return self._read(
            f"WITH wanted (number, repetition) AS (VALUES {wanted}) "  # noqa: S608 - no user input
            # A cross join in this order, and not `IN`: SQLite then uses the index of the table.
            f"SELECT number, repetition, {columns} "
            f"FROM wanted CROSS JOIN {table} USING (number, repetition)",
            list(itertools.chain.from_iterable(keys)),
        )


def _judge_usage(outputs: Mapping[str, ScorerOutput]) -> list[ModelUsage]:
    """Return the tokens of the judges that gave these outputs."""
    return [
        ModelUsage(
            item.metadata.get("judge_model", ""),
            item.usage.input_tokens,
            item.usage.cached_input_tokens,
            item.usage.output_tokens,
            item.usage.cost_usd,
        )
        for output in outputs.values()
        for item in output
        if isinstance(item, Assessment) and item.usage is not None
    ]


def _add_usage(database: sqlite3.Connection, usage: Iterable[ModelUsage]) -> None:
    """Add tokens to those of their models. SQLite has integers of 64 bits."""
    counts = [
        (str(u.model), *(min(n, _MAX_TOKENS) for n in u[1:4]), u.cost_usd)  # the counts
        for u in usage
    ]
    database.executemany(
        "INSERT INTO usage (model, input_tokens, cached_input_tokens, output_tokens, cost_usd) "
        "VALUES (?, ?, ?, ?, ?) ON CONFLICT (model) DO UPDATE SET "
        "input_tokens = input_tokens + excluded.input_tokens, "
        "cached_input_tokens = cached_input_tokens + excluded.cached_input_tokens, "
        "output_tokens = output_tokens + excluded.output_tokens, "
        "cost_usd = CASE WHEN excluded.cost_usd IS NULL THEN cost_usd "
        "ELSE coalesce(cost_usd, 0) + excluded.cost_usd END",
        counts,
    )


def _run_id_in(path: Path) -> str | None:
    """Return the MLflow run of a journal; None for a file that cannot be read."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path)) as database:
        table = "facts" if schema.version_of(database) == 1 else "manifest"
        for (value,) in database.execute(f"SELECT value FROM {table} WHERE name = 'run_id'"):  # noqa: S608 - no user input
            run_id: str | None = json.loads(value)
            return run_id
    return None
