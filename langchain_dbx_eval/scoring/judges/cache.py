"""Verdicts stored on disk, so that a repeated run calls no judge model again."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from langchain_dbx_eval._internal.log import get_logger
from langchain_dbx_eval._internal.paths import create_private_file, create_private_folder
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.judges.protocol import Verdict

__all__ = ["JudgeCache"]

_logger = get_logger(__name__)
_BUSY_TIMEOUT_S = 30.0


class JudgeCache:
    """SQLite file of verdicts by key, which several processes may share.

    It stores keys (hashes) and verdicts; of the judged texts only what a rationale quotes. If the
    file fails during a run (a full disk), the failure is logged and the verdict is not stored.

    Args:
        path: The file; it is created, with its folder, if missing.

    Raises:
        ConfigurationError: The file cannot be created, or is not such a cache.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            create_private_folder(self._path.parent)
            create_private_file(self._path)
            with self._open() as database:
                database.execute("PRAGMA journal_mode=WAL")
                # `value` has no type, so that SQLite keeps numbers and texts as they are.
                database.execute(
                    "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, value, "
                    "rationale TEXT, judged_by TEXT, prompt_version TEXT)"
                )
        except (OSError, sqlite3.Error) as error:
            msg = (
                f"judge_cache={str(path)!r} cannot be used: {error}. Pass the path of a cache that "
                "this package created, or of a new file."
            )
            raise ConfigurationError(msg) from error

    def get(self, key: str) -> Verdict | None:
        """Return the verdict with this key; None if there is none."""
        query = "SELECT value, rationale, judged_by, prompt_version FROM verdicts WHERE key = ?"
        row = None
        with self._log_failure(), self._open() as database:
            row = database.execute(query, (key,)).fetchone()
        if row is None:
            return None
        value, rationale, judge_model, prompt_version = row
        return Verdict(
            value=value,
            rationale=rationale,
            judge_model=judge_model,
            prompt_version=prompt_version,
        )

    def put(self, key: str, verdict: Verdict) -> None:
        """Store a verdict under a key."""
        values = (verdict.value, verdict.rationale, verdict.judge_model, verdict.prompt_version)
        with self._log_failure(), self._open() as database:
            statement = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)"
            database.execute(statement, (key, *values))

    @contextmanager
    def _log_failure(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            _logger.warning("judge_cache=%s failed: %s. Judging continues.", self._path, error)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_BUSY_TIMEOUT_S)) as database, database:
            yield database
