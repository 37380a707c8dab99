"""Fixtures for the tests of datasets."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from langchain_dbx_eval._internal.paths import catalog_root


@pytest.fixture
def three() -> list[dict]:
    """Three records, in both vocabularies."""
    return [
        {"request": "one?", "expected_response": "1"},
        {"request": "two?", "expected_response": "2"},
        {"inputs": {"question": "three?"}, "expectations": {"expected_response": "3"}},
    ]


@pytest.fixture
def files() -> Callable[..., dict[Path, int]]:
    """Return a function that lists the files below a folder with their modification times."""

    def listing(folder: Path | None = None) -> dict[Path, int]:
        below = (folder or catalog_root()).rglob("*")
        return {path: path.stat().st_mtime_ns for path in below if path.is_file()}

    return listing
