"""`write_rows`: every value of an answer has a cell in every format."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from langchain_dbx_eval.cli.row_files import FORMATS, write_rows

VALUES = [2**70, "lone \ud800", {"deep": "\udfff"}, float("nan"), True, "=1+1", "line\nline", None]


@pytest.mark.parametrize("format_", FORMATS)
@pytest.mark.parametrize("value", VALUES, ids=ascii)
def test_a_row_with_any_value_is_written(format_: str, value: object, tmp_path: Path) -> None:
    rows = [{"value": value, "other": 1}, {"value": None}]
    assert write_rows(lambda: rows, tmp_path / "rows", format_) == 2


def test_a_column_of_parquet_has_one_type() -> None:
    rows = [
        {"large": 2**70, "mixed": 1, "text": "a\ud800", "number": 1},
        {"large": 1, "mixed": "x", "text": None, "number": 0.5},
    ]
    write_rows(lambda: rows, Path("rows.parquet"), "parquet")
    first, second = pq.read_table("rows.parquet").to_pylist()
    assert first == {"large": str(2**70), "mixed": "1", "text": "a?", "number": 1.0}
    assert second == {"large": "1", "mixed": "x", "text": None, "number": 0.5}
    assert json.loads(first["large"]) == 2**70
