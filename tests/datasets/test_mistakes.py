"""Mistakes of a new user: each is one typed error that names the argument and what to do."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from langchain_dbx_eval import EvalDataset, EvalRecord
from langchain_dbx_eval.errors import (
    ConfigurationError,
    DatabricksError,
    NotFoundError,
    SchemaError,
)

NAME = "main.default.questions"
ROWS = [{"request": "a?"}, {"request": "b?"}]
load = EvalDataset.load


def test_a_typo_names_similar_tables_and_the_way_to_a_workspace() -> None:
    EvalDataset.create(NAME)
    EvalDataset.create("main.default.quite_another")
    for typo in ("main.default.question", "main.defualt.questions"):
        with pytest.raises(NotFoundError, match=f"Did you mean '{NAME}'\\? .*DATABRICKS_HOST"):
            load(typo)
    for part in ("questions", "default.questions"):
        with pytest.raises(ConfigurationError, match=f"Did you mean '{NAME}'"):
            load(part)


@pytest.mark.parametrize("options", [{}, {"warehouse_id": "wh"}, {"backend": "managed"}])
def test_with_a_workspace_a_typo_names_the_local_catalog(workspace: Any, options: dict) -> None:
    workspace.add_warehouse("wh")
    with pytest.raises(NotFoundError, match=r"local catalog .* does not have it either"):
        load("main.default.question", **options)
    os.environ.pop("DATABRICKS_WAREHOUSE_ID", None)
    EvalDataset.create(NAME, backend="local")
    with pytest.raises(NotFoundError, match=f"local catalog .* has '{NAME}'"):
        load("main.default.question", **options)
    if options:
        with pytest.raises(NotFoundError, match="backend='local'"):
            load(NAME, **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: load({"request": "a"}), r"\[record\]"),
        (lambda: load(EvalRecord(request="a")), r"\[record\]"),
        (lambda: load({"a", "b"}), r"list\(…\)"),
        (lambda: load(open("q.jsonl")), "the path of the file"),  # noqa: SIM115
        (lambda: load(5), "a value of type int"),
        (lambda: load("/tmp"), "is a folder"),
        (lambda: load("folder.jsonl"), "is a folder"),
        (lambda: load("q.xlsx"), "The format of .* is not supported"),
        (lambda: load("https://example.com/q.jsonl"), "download it"),
        (lambda: load("dbfs:/q.jsonl"), "/Volumes/"),
        (lambda: load(NAME, version="1"), "`version` must be an integer.*got str '1'"),
        (lambda: load(NAME, version=1.0), "`version`"),
        (lambda: load(NAME, version=True), "`version`"),
        (lambda: load(ROWS, version=1), "`version` and `backend` apply to tables"),
        (lambda: load("q.jsonl", backend="local"), "`version` and `backend` apply to tables"),
        (lambda: load(NAME, timeout="5"), "`timeout` .*got '5'"),
        (lambda: load(NAME, timeout=float("nan")), "`timeout`"),
        (lambda: load(NAME, timeout=None), "`timeout`"),
        (lambda: load(NAME, backend=5), "`backend` must be a string"),
        (lambda: load(NAME, warehouse_id=5), "`warehouse_id` must be a string"),
        (lambda: load(NAME, volume=5), "`volume` must be a string"),
        (lambda: EvalDataset(NAME), r"Call EvalDataset\.load"),
        (lambda: EvalDataset.create(5), "must be a string such as 'main.default.questions'"),
        (lambda: EvalDataset.create(ROWS, NAME), "must be a string"),
        (lambda: EvalDataset.create(NAME, None), "a value of type NoneType"),
        (lambda: EvalDataset.create(NAME, ROWS[0]), r"\[record\]"),
        (lambda: EvalDataset.from_traces(5), "`experiment` must be a string"),
        (lambda: EvalDataset.from_traces(limit="5"), "`limit` must be an integer"),
        (lambda: EvalDataset.export_template(5), "`path` must be the path"),
        (lambda: EvalDataset.export_template("q.jsonl/x.yaml"), "cannot be written"),
        (lambda: load(ROWS).sample("1"), "`n` must be an integer"),
        (lambda: load(ROWS).sample(0.5), "`n` must be an integer"),
        (lambda: load(ROWS).split([0.8, 0.2]), "`fractions` .*got list"),
        (lambda: load(ROWS).split({"a": "1"}), "`fractions`"),
        (lambda: load(ROWS).split({"a": float("nan")}), "`fractions`"),
        (lambda: load(ROWS).split({"a": float("inf")}), "`fractions`"),
        (lambda: load(ROWS).split({"a": 10**400}), "`fractions`"),
        (lambda: load(ROWS).filter("request"), "`predicate` must be a function"),
        (lambda: load(ROWS).snapshot(5), r"`to` must be .*\.jsonl file"),
        (lambda: load(ROWS).snapshot("q.jsonl/x.jsonl"), "cannot be written"),
        (lambda: load(ROWS).to_mlflow(5), "requires a name"),
        (lambda: EvalDataset.create(NAME).delete_records(5), "takes a list"),
    ],
)
def test_each_argument_of_a_wrong_type_is_named(call: Callable[[], Any], message: str) -> None:
    Path("q.jsonl").touch()
    Path("q.xlsx").touch()
    Path("folder.jsonl").mkdir()
    with pytest.raises(ConfigurationError, match=message):
        call()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("q.csv", "", "is empty"),
        ("q.csv", "request,expected_response,request\na,b,c\n", "more than one column .*'request'"),
        ("q.csv", "request,,\na,b,c\n", "more than one column has no name"),
        ("q.csv", "request;expected_response\na;b\n", "expected commas.*got semicolons"),
        ("q.csv", "request\tresponse\na\tb\n", "expected commas.*got tabs"),
        ("q.csv", "request\nä\n".encode("latin-1"), "Save it as UTF-8"),
        ("q.json", '{"request": "a"}', r"expected a list .*\.jsonl"),
        ("q.json", '{"request": "a"}\n{"request": "b"}', r"is a \.jsonl file: rename it"),
        ("q.yaml", "request: a", "expected a list of records"),
        ("q.yaml", f"- {'[' * 5_000}", "nested too deeply"),
    ],
)
def test_a_file_of_another_format_is_named_with_what_to_do(
    name: str, content: str | bytes, message: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(SchemaError, match=message) as caught:
        list(load(tmp_path / name))
    assert str(tmp_path / name) in str(caught.value)


def test_two_columns_of_a_frame_with_the_same_name_are_an_error(tmp_path: Path) -> None:
    arrow = pa.Table.from_arrays([pa.array(["a"]), pa.array(["b"])], names=["request", "request"])
    pq.write_table(arrow, tmp_path / "q.parquet")
    frames = [pd.DataFrame([["a", "b"]], columns=["request", "request"]), arrow]
    for source in (*frames, tmp_path / "q.parquet"):
        with pytest.raises(SchemaError, match="more than one column has the name 'request'"):
            list(load(source))


def test_a_long_cell_and_spaces_in_the_header_of_a_csv_file_are_read(tmp_path: Path) -> None:
    path = tmp_path / "q.csv"
    path.write_text(f"request, expected_response\na,{'x' * 1_000_000}\n")
    [record] = load(path)
    assert len(record.expected_response) == 1_000_000


def test_an_unreadable_file_is_named(tmp_path: Path) -> None:
    path = tmp_path / "q.jsonl"
    path.symlink_to("/proc/self/mem")
    with pytest.raises(DatabricksError, match=r"q\.jsonl cannot be read: .*permissions"):
        list(load(path))


@pytest.mark.parametrize(
    ("row", "advice"),
    [
        ({"question": "a", "answer": "b"}, "'question', 'answer'. Rename 'question' to 'request'."),
        ({"Request": "a"}, "Rename 'Request' to 'request'."),
        ({"x": 1}, "The row has the column 'x'."),
        ({}, "The row is empty."),
    ],
)
def test_a_row_without_a_request_names_the_columns_that_it_has(row: dict, advice: str) -> None:
    [error] = load([row]).errors
    assert str(error).endswith(advice)


@pytest.mark.parametrize(
    ("column", "meant"),
    [
        ("expected_answer", "expected_response"),
        ("ground_truth", "expected_response"),
        ("Expected Response", "expected_response"),
        ("expected_fact", "expected_facts"),
        ("contexts", "retrieved_context"),
    ],
)
def test_a_column_that_was_meant_to_be_another_is_one_warning(
    column: str, meant: str, caplog: pytest.LogCaptureFixture
) -> None:
    dataset = load([{"request": "a", column: "b"}, {"request": "b", column: "c"}])
    assert len(list(dataset)) == len(list(dataset)) == 2
    [warning] = [r.message for r in caplog.records if r.levelno == logging.WARNING]
    assert f"the column {column!r}" in warning
    assert f"name it {meant!r}" in warning


def test_other_columns_are_no_warning(caplog: pytest.LogCaptureFixture) -> None:
    row = {"request": "a", "expected_response": "b", "reference": "c", "topic": 1, "source": "d"}
    assert len(list(load([row]))) == 1
    assert caplog.records == []


@pytest.mark.parametrize("folder", ["/proc/nothing", "file"])
def test_a_catalog_that_cannot_be_written_is_named(
    folder: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("file").touch()
    monkeypatch.setenv("DBX_EVAL_CATALOG", folder)
    with pytest.raises(ConfigurationError, match="DBX_EVAL_CATALOG"):
        EvalDataset.create(NAME, ROWS)


_BLOCKED = """
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

from langchain_dbx_eval.errors import MissingDependencyError
from langchain_dbx_eval.testing import LocalWorkspace
for module in ("sqlglot", "duckdb", "pyarrow", "deltalake", "waitress", "flask"):
    sys.meta_path.insert(0, Blocked())
    hidden = {name: sys.modules.pop(name) for name in list(sys.modules) if name == module}
    try:
        with LocalWorkspace() as workspace:
            workspace.add_warehouse("wh")
            workspace.add_table("main.default.t", [{"request": "a"}])
    except MissingDependencyError as error:
        print(module, "langchain-dbx-eval[testing]" in str(error))
    sys.meta_path.pop(0)
    sys.modules.update(hidden)
"""


def test_a_missing_library_of_the_workspace_is_one_error_with_its_extra() -> None:
    done = subprocess.run(
        [sys.executable, "-c", _BLOCKED], capture_output=True, text=True, check=False
    )
    lines = done.stdout.split("\n")[:-1]
    names = ("sqlglot", "duckdb", "pyarrow", "deltalake", "waitress", "flask")
    assert lines == [f"{name} True" for name in names], done.stderr
