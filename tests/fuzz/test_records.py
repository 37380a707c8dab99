"""Rows of any values and files of any bytes: a record, an invalid row, or a typed error."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_dbx_eval import EvalDataset, EvalRecord
from langchain_dbx_eval.datasets import InvalidRow
from langchain_dbx_eval.datasets.schema.row_codec import decode, encode
from langchain_dbx_eval.datasets.schema.table_name import TableName, looks_like_table_name
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError, SchemaError

FUZZ = settings(max_examples=int(os.environ.get("DBX_EVAL_FUZZ_EXAMPLES", "50")))
_WORDS = """request inputs response outputs request_id expected_response expected_facts guidelines
    expected_retrieved_context retrieved_context expectations custom_expected trace metadata tags
    dataset_record_id source question doc_uri content messages role
"""
COLUMNS = _WORDS.split()
TEXT = st.text(max_size=5) | st.text(st.characters(categories=["Cs", "Cc", "L"]), max_size=4)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | TEXT
    | st.sampled_from([*COLUMNS, "[]", "{}", '{"a": 1, "a": 2}', "[" * 300, "[" * 300 + "]" * 300])
)
KEYS = st.sampled_from(COLUMNS) | TEXT
VALUES = st.recursive(
    SCALARS | st.binary(max_size=3),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.dictionaries(KEYS | st.integers(), inner, max_size=4)
    ),
    max_leaves=12,
)
JSON = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)
ROW = st.dictionaries(KEYS, VALUES, max_size=5)


def check(dataset: EvalDataset) -> None:
    """Assert that each row is a record that can be used, or an invalid row."""
    for index, row in enumerate(dataset.iter_rows()):
        if isinstance(row, InvalidRow):
            assert (row.index, type(row.error)) == (index, SchemaError)
            assert row.to_record().request_id
            continue
        assert isinstance(row, EvalRecord)
        try:
            stored = encode(row)
        except SchemaError:
            continue
        # What a table takes, it returns.
        restored = EvalRecord.from_row(decode(stored))
        assert encode(restored) == stored
    assert len(dataset.digest) == 16
    assert len(dataset) + len(dataset.invalid_rows) == sum(1 for _ in dataset.iter_rows())
    dataset._repr_html_()


@FUZZ
@given(st.lists(ROW | VALUES, max_size=4))
def test_any_row_is_a_record_or_an_invalid_row(rows: list[Any]) -> None:
    check(EvalDataset.load(rows))


@FUZZ
@given(
    suffix=st.sampled_from([".jsonl", ".json", ".csv", ".yaml", ".parquet"]),
    content=st.binary(max_size=60)
    | st.lists(JSON, max_size=3).map(lambda rows: json.dumps(rows).encode())
    | st.lists(JSON, max_size=3).map(lambda rows: "\n".join(map(json.dumps, rows)).encode())
    | st.text('[]{}",:\\- \n1ae&*!|>?', max_size=40).map(str.encode),
)
def test_a_file_of_any_bytes_is_read_or_refused(suffix: str, content: bytes) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"questions{suffix}"
        path.write_bytes(content)
        with suppress(SchemaError):
            check(EvalDataset.load(path))


@FUZZ
@given(st.lists(KEYS, min_size=1, max_size=4), st.lists(st.lists(TEXT, max_size=4), max_size=3))
def test_a_csv_file_of_any_cells_is_read_or_refused(
    names: list[str], rows: list[list[str]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "questions.csv"
        with path.open("w", newline="", encoding="utf-8", errors="surrogatepass") as file:
            csv.writer(file).writerows([names, *rows])
        with suppress(SchemaError):
            check(EvalDataset.load(path))


@FUZZ
@given(st.text("`.ab/'\\\n*\0é\ud83d ", max_size=12) | VALUES)
def test_any_name_is_a_table_or_a_typed_error(name: Any) -> None:
    try:
        parsed = TableName.parse(name)
    except ConfigurationError:
        pass
    else:
        assert TableName.parse(str(parsed)) == parsed
        assert looks_like_table_name(str(parsed)) or parsed.table in {"csv", "json", "yaml"}
        assert ".." not in parsed.folder(Path("/root")).parts
    with suppress(DatabricksError):
        EvalDataset.load(name)
