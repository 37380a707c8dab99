"""Rows that are added to a table of the local catalog exactly once, however often it is tried.

Each append carries its writer's name and number as a transaction of the Delta protocol
("Transaction Identifiers"), in the same commit as its rows: what is there already is known by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import tenacity

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval._internal.paths import catalog_root
from langchain_dbx_eval.datasets.delta.local_catalog import COMMIT_TRIES, table_lock
from langchain_dbx_eval.datasets.delta.reader import is_delta_folder, open_delta
from langchain_dbx_eval.datasets.schema.table_name import TableName
from langchain_dbx_eval.errors import SchemaError

if TYPE_CHECKING:
    import pyarrow as pa
    from deltalake import DeltaTable

__all__ = ["append_once"]


def append_once(name: TableName, rows: pa.Table, *, writer: str, number: int) -> bool:
    """Append rows to a table of the local catalog, which is made where there is none.

    Args:
        name: The table.
        rows: The rows; their columns and types are the table's. Delta would cast them without a
            word, a 0.75 to 0 in a column of integers (delta-rs#2642).
        writer: Who appends: an id of a run, for one.
        number: Which of the writer's appends this is: each higher than the one before.

    Returns:
        Whether the rows were written now: False where this append was done before.

    Raises:
        SchemaError: The table has other columns, or other types.
        RequestTimeoutError: Other processes kept the table locked all the time.
    """
    deltalake = require("deltalake", extra="delta")
    path = name.folder(catalog_root())
    where = f"the local catalog's table {name} at {path}"
    properties = deltalake.CommitProperties(
        # A commit that lost a race is looked at anew, not repeated by deltalake.
        max_commit_retries=0,
        app_transactions=[deltalake.Transaction(writer, number)],
    )
    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(deltalake.exceptions.CommitFailedError),
        stop=tenacity.stop_after_attempt(COMMIT_TRIES),
        wait=tenacity.wait_random(0, 0.05),
        reraise=True,
    )

    def attempt() -> bool:
        if not is_delta_folder(path):
            deltalake.write_deltalake(path, rows, mode="error", commit_properties=properties)
            return True
        table = open_delta(str(path), version=None, where=where)
        done = table.transaction_version(writer)
        if done is not None and done >= number:
            return False
        _check_schema(table, rows, where)
        deltalake.write_deltalake(table, rows, mode="append", commit_properties=properties)
        return True

    with table_lock(path):
        written: bool = retrying(attempt)
    return written


def _check_schema(table: DeltaTable, rows: pa.Table, where: str) -> None:
    theirs = _types(table.schema().to_arrow())
    ours = _types(rows.schema)
    odd = [
        f"{name} ({ours.get(name, 'absent')}, there {theirs.get(name, 'absent')})"
        for name in sorted(ours.keys() | theirs.keys())
        if ours.get(name) != theirs.get(name)
    ]
    if odd:
        msg = f"Nothing was appended: {where} has other columns or types: {', '.join(odd)}."
        raise SchemaError(msg)


def _types(schema: Any) -> dict[str, str]:
    import pyarrow as pa

    return {field.name: str(field.type) for field in pa.schema(schema)}
