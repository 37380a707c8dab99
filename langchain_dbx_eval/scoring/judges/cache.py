"""Verdicts on disk, so that a run over the same answers asks no judge again."""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TypeAlias

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["CachedVerdict", "JudgeCache"]

CachedVerdict: TypeAlias = tuple[str | float, str | None, str, str]
"""Rating, rationale, who judged, and by which text."""

_logger = logging.getLogger(__name__)
_BUSY_SECONDS = 30.0


class JudgeCache:
    """A SQLite file of verdicts by key; several processes may use it at once.

    It holds keys (hashes) and verdicts: nothing of what was judged but what rationales quote. Where
    the file fails in the middle of a run (a full disk), that is logged, and judging goes on.

    Args:
        path: The file; it is made, with its folder, where there is none.

    Raises:
        ConfigurationError: The file cannot be made, or is something else than such a cache.
    """

    def __init__(self, path: str | Path) -> None:
        self._path = Path(path)
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._open() as database:
                database.execute("PRAGMA journal_mode=WAL")
                # `value` without a type keeps a number a number and a text a text.
                database.execute(
                    "CREATE TABLE IF NOT EXISTS verdicts (key TEXT PRIMARY KEY, value, "
                    "rationale TEXT, judged_by TEXT, prompt_version TEXT)"
                )
        except (OSError, sqlite3.Error) as error:
            msg = (
                f"judge_cache={str(path)!r} cannot be used: {error}. Give the path of a file that "
                "this package has made, or of one that is not there yet."
            )
            raise ConfigurationError(msg) from error

    def get(self, key: str) -> CachedVerdict | None:
        """The verdict under a key, where there is one."""
        query = "SELECT value, rationale, judged_by, prompt_version FROM verdicts WHERE key = ?"
        rows: list[CachedVerdict] = []
        with self._logged(), self._open() as database:
            rows = database.execute(query, (key,)).fetchall()
        return rows[0] if rows else None

    def put(self, key: str, verdict: CachedVerdict) -> None:
        """Keep a verdict under a key."""
        with self._logged(), self._open() as database:
            statement = "INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?, ?)"
            database.execute(statement, (key, *verdict))

    @contextmanager
    def _logged(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            _logger.warning("judge_cache=%s failed: %s. Judging goes on.", self._path, error)

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=_BUSY_SECONDS)) as database, database:
            yield database
