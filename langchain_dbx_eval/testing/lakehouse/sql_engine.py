"""Execution of Databricks SQL over Delta tables, with sqlglot and DuckDB.

It tests the meaning of a statement. It does not emulate the optimizer, the privileges or the types
of Databricks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.testing.errors import ApiError
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse, Table

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["SqlError", "execute"]

_HISTORY = re.compile(r"\s*DESCRIBE\s+HISTORY\s+(?P<name>.+?)(?:\s+LIMIT\s+(?P<n>\d+))?\s*", re.I)
_DESCRIBE = re.compile(r"\s*DESCRIBE\s+TABLE\s+(?P<name>.+?)\s*", re.I)
_LOCK = "SET enable_external_access = false; SET lock_configuration = true"
"""A statement of a client reads and writes tables only: no files, extensions or settings."""
_CHANGES = ("Merge", "Insert", "Update", "Delete")


class SqlError(Exception):
    """A statement that fails.

    Args:
        message: Databricks' error message.
        sql_state: Databricks' SQLSTATE.
    """

    def __init__(self, message: str, sql_state: str) -> None:
        super().__init__(message)
        self.sql_state = sql_state


def execute(lakehouse: Lakehouse, sql: str, parameters: Mapping[str, str | None]) -> pa.Table:
    """Execute one statement.

    Args:
        lakehouse: The tables and volumes.
        sql: The statement in Databricks' dialect.
        parameters: Values of its named parameters.

    Returns:
        The result; of a change, the counts of affected rows as Databricks returns them.

    Raises:
        SqlError: The statement fails.
    """
    sqlglot = require("sqlglot", extra="testing")
    duckdb = require("duckdb", extra="testing")
    with lakehouse.lock:
        try:
            if match := _HISTORY.fullmatch(sql):
                return _history(lakehouse, match["name"], int(match["n"] or 1_000))
            if match := _DESCRIBE.fullmatch(sql):
                return _columns(lakehouse, match["name"])
            tree = sqlglot.parse_one(sql, read="databricks")
            if type(tree).__name__ == "Create":
                return _create(lakehouse, tree)
            if type(tree).__name__ == "Alter":
                return _add_columns(lakehouse, tree)
            if type(tree).__name__ == "Drop":
                return _drop(lakehouse, tree)
            return _query(lakehouse, tree, parameters)
        except sqlglot.errors.SqlglotError as error:
            message = f"[PARSE_SYNTAX_ERROR] {str(error).splitlines()[0]}"
            raise SqlError(message, "42601") from error
        except duckdb.Error as error:
            raise SqlError(str(error).splitlines()[0], "42000") from error


def _history(lakehouse: Lakehouse, quoted_name: str, limit: int) -> pa.Table:
    import pyarrow as pa
    import sqlglot

    table = _find(lakehouse, sqlglot.to_table(quoted_name, dialect="databricks"))
    entries = [
        {"version": entry["version"], "operation": entry["operation"]}
        for entry in table.load().history(limit)
    ]
    schema = pa.schema([("version", pa.int64()), ("operation", pa.string())])
    return pa.Table.from_pylist(entries, schema)


def _columns(lakehouse: Lakehouse, quoted_name: str) -> pa.Table:
    import pyarrow as pa
    import sqlglot

    table = _find(lakehouse, sqlglot.to_table(quoted_name, dialect="databricks"))
    columns = table.describe()["columns"]
    return pa.table(
        {
            "col_name": [column["name"] for column in columns],
            "data_type": [column["type_text"] for column in columns],
        }
    )


def _create(lakehouse: Lakehouse, tree: Any) -> pa.Table:
    import duckdb
    import pyarrow as pa
    from sqlglot import exp

    target = tree.find(exp.Table)
    name = _name(target)
    if name in lakehouse.tables:
        if not tree.args.get("exists"):
            message = f"[TABLE_OR_VIEW_ALREADY_EXISTS] Cannot create table {name}: it exists."
            raise SqlError(message, "42P07")
        return pa.table({})
    target.replace(exp.to_table("created"))
    tree.set("properties", None)
    for comment in list(tree.find_all(exp.CommentColumnConstraint)):
        comment.parent.pop()
    with duckdb.connect() as connection:
        connection.execute(_LOCK)
        connection.execute(tree.sql("duckdb"))
        empty = connection.sql("FROM created").to_arrow_table()
    lakehouse.add_table(name, _in_utc(empty))
    return pa.table({})


def _add_columns(lakehouse: Lakehouse, tree: Any) -> pa.Table:
    """Execute ``ALTER TABLE … ADD COLUMNS (…)``."""
    import pyarrow as pa
    from deltalake.schema import Field, PrimitiveType
    from sqlglot import exp

    table = _find(lakehouse, tree.find(exp.Table)).load()
    existing = {field.name.casefold() for field in table.schema().fields}
    added = []
    for column in tree.find_all(exp.ColumnDef):
        if column.name.casefold() in existing:
            message = f"[FIELD_ALREADY_EXISTS] Cannot add column, because {column.name} exists."
            raise SqlError(message, "42710")
        type_ = column.args["kind"].sql("databricks").lower()
        added.append(Field(column.name, PrimitiveType({"bigint": "long"}.get(type_, type_))))
    table.alter.add_columns(added)
    return pa.table({})


def _drop(lakehouse: Lakehouse, tree: Any) -> pa.Table:
    import pyarrow as pa
    from sqlglot import exp

    target = tree.find(exp.Table)
    if not tree.args.get("exists") or _name(target) in lakehouse.tables:
        lakehouse.drop_table(_find(lakehouse, target).name)
    return pa.table({})


def _query(lakehouse: Lakehouse, tree: Any, parameters: Mapping[str, str | None]) -> pa.Table:
    import duckdb
    import pyarrow as pa
    from sqlglot import exp

    changed = _find(lakehouse, tree.find(exp.Table)) if type(tree).__name__ in _CHANGES else None
    with duckdb.connect() as connection:
        connection.execute("SET TimeZone = 'UTC'")
        for number, node in enumerate(list(tree.find_all(exp.Table))):
            local = f"table_{number}"
            if isinstance(node.this, exp.Func):
                if node.this.name.lower() != "read_files":
                    continue
                path = [str(_volume_file(lakehouse, node.this))]
                connection.execute(f"CREATE TABLE {local} AS FROM read_parquet(?)", path)
            else:
                _load(connection, _find(lakehouse, node), node.args.get("version"), local)
            renamed = exp.to_table(local)
            renamed.set("alias", node.args.get("alias"))
            node.replace(renamed)
        _translate_json(tree)
        connection.execute(_LOCK)
        sql = tree.sql("duckdb")
        used = {name: value for name, value in parameters.items() if f"${name}" in sql}
        if changed is None:
            return _in_utc(connection.sql(sql, params=used).to_arrow_table())
        counts = connection.execute(sql, used).fetchall()
        changed.write(_in_utc(connection.sql("FROM table_0").to_arrow_table()), "overwrite")
        return pa.table({"num_affected_rows": [count for count, *_ in counts]})


def _load(connection: Any, table: Table, version: Any, local: str) -> None:
    import pyarrow as pa

    number = None if version is None else int(version.expression.this)
    rows = pa.table(table.load(number).scan())
    connection.register("rows", rows)
    connection.execute(f"CREATE TABLE {local} AS FROM rows")
    connection.unregister("rows")


def _volume_file(lakehouse: Lakehouse, function: Any) -> Path:
    """Return the file of ``read_files('/Volumes/…', format => 'parquet')``."""
    path = function.expressions[0].name if function.expressions else ""
    try:
        file = lakehouse.volumes.find(path)
    except ApiError as error:
        raise SqlError(f"[UC_VOLUME_NOT_FOUND] {error}", "42704") from error
    if not file.is_file():
        raise SqlError(f"[PATH_NOT_FOUND] Path does not exist: {path}", "42K03")
    return file


def _translate_json(tree: Any) -> None:
    """Translate ``inline(from_json(x, 'ARRAY<STRUCT<…>>'))`` and ``explode(…)`` to DuckDB."""
    from sqlglot import exp

    for node in list(tree.find_all(exp.FromJson)):
        data_type = exp.DataType.build(node.expression.this, dialect="databricks")
        structure = exp.Literal.string(json.dumps(_structure(data_type)))
        node.replace(exp.Anonymous(this="FROM_JSON", expressions=[node.this, structure]))
    for node in list(tree.find_all(exp.Inline)):
        recursive = exp.PropertyEQ(this=exp.to_identifier("recursive"), expression=exp.true())
        node.replace(exp.Anonymous(this="UNNEST", expressions=[node.this, recursive]))


def _structure(data_type: Any) -> Any:
    """Return the type in the notation of DuckDB's ``from_json``."""
    from sqlglot import exp

    if data_type.is_type(exp.DataType.Type.ARRAY, exp.DataType.Type.LIST):
        return [_structure(data_type.expressions[0])]
    if data_type.is_type(exp.DataType.Type.STRUCT):
        return {field.name: _structure(field.args["kind"]) for field in data_type.expressions}
    return data_type.sql("duckdb")


def _find(lakehouse: Lakehouse, node: Any) -> Table:
    name = _name(node)
    if name not in lakehouse.tables:
        message = f"[TABLE_OR_VIEW_NOT_FOUND] The table or view {name} cannot be found."
        raise SqlError(message, "42P01")
    return lakehouse.tables[name]


def _name(node: Any) -> str:
    return ".".join(part.name for part in node.parts).lower()


def _in_utc(table: pa.Table) -> pa.Table:
    """Cast DuckDB's timestamps to Delta's: microseconds in UTC."""
    import pyarrow as pa

    utc = pa.timestamp("us", tz="UTC")
    fields = [
        field.with_type(utc) if pa.types.is_timestamp(field.type) and field.type.tz else field
        for field in table.schema
    ]
    return table.cast(pa.schema(fields))
