"""Appends to a table of the local catalog: each exactly once, whoever is killed or races."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pytest
from deltalake import DeltaTable

from langchain_dbx_eval import errors
from langchain_dbx_eval._internal.paths import catalog_root
from langchain_dbx_eval.datasets import local_append
from langchain_dbx_eval.datasets.local_append import append_once
from langchain_dbx_eval.datasets.schema.table_name import TableName

NAME = TableName.parse("main.default.metrics")
# Appends numbers 0 to 7, and dies after the one that it is told, before it can say that it is done.
WORKER = """
import os, sys
import pyarrow as pa
from langchain_dbx_eval.datasets.local_append import append_once
from langchain_dbx_eval.datasets.schema.table_name import TableName
for n in range(8):
    append_once(TableName.parse("main.default.metrics"), pa.table({"n": [n]}),
                writer=sys.argv[1], number=n)
    if n == int(sys.argv[2]):
        os.kill(os.getpid(), 9)
"""


def rows() -> list:
    table = DeltaTable(NAME.folder(catalog_root()))
    return sorted(pa.table(table.scan()).to_pylist(), key=str)


def test_the_same_append_is_done_once() -> None:
    data = pa.table({"run": ["a"], "value": [0.5]})
    assert append_once(NAME, data, writer="run-a", number=0)
    assert not append_once(NAME, data, writer="run-a", number=0)
    assert append_once(NAME, data, writer="run-a", number=1)
    assert append_once(NAME, data, writer="run-b", number=0)
    assert len(rows()) == 3


def test_a_value_that_would_be_cast_is_refused_and_nothing_is_written() -> None:
    append_once(NAME, pa.table({"value": [1]}), writer="a", number=0)
    with pytest.raises(errors.SchemaError, match=r"value \(double, there int64\)"):
        append_once(NAME, pa.table({"value": [0.75]}), writer="b", number=0)
    with pytest.raises(errors.SchemaError, match=r"more \(string, there absent\)"):
        append_once(NAME, pa.table({"value": [1], "more": ["x"]}), writer="b", number=0)
    assert rows() == [{"value": 1}]
    assert append_once(NAME, pa.table({"value": [2]}), writer="b", number=0)


def test_writers_that_are_killed_and_begin_anew_append_each_row_once() -> None:
    def run(who: str) -> None:
        for dies_after in (3, 99):
            command = [sys.executable, "-c", WORKER, who, str(dies_after)]
            done = subprocess.run(command, timeout=60)
            assert done.returncode == (0 if dies_after == 99 else -9)

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(run, "ab"))
    assert [row["n"] for row in rows()] == sorted([*range(8), *range(8)])


def test_where_the_lock_does_not_reach_the_transaction_decides(monkeypatch) -> None:
    data = pa.table({"n": [1]})
    append_once(NAME, data, writer="first", number=0)
    check = local_append._check_schema

    def check_after_rival(*arguments) -> None:
        monkeypatch.setattr(local_append, "_check_schema", check)
        monkeypatch.setattr(local_append, "table_lock", contextlib.nullcontext)
        assert append_once(NAME, data, writer="same", number=0)
        check(*arguments)

    monkeypatch.setattr(local_append, "_check_schema", check_after_rival)
    assert not append_once(NAME, data, writer="same", number=0)
    assert len(rows()) == 2
