"""The two forms of a table of metrics.

Long: one row per run and metric, whose columns never change. Wide: one row per run and one column
per metric, as the function of the documentation writes it.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timezone
from typing import Any, Literal, TypeAlias

from langchain_dbx_eval.datasets.schema.row_codec import KEY as DATASET_KEY
from langchain_dbx_eval.datasets.schema.row_codec import Row
from langchain_dbx_eval.errors import ConfigurationError, SchemaError
from langchain_dbx_eval.reporting.dashboard.run_metrics import MetricPoint, RunMetrics
from langchain_dbx_eval.reporting.metric_names import metric_kind

__all__ = ["EncodedRun", "Form", "choose_form", "decode_runs", "encode_run", "key_of"]

Form: TypeAlias = Literal["long", "wide"]
"""``"long"``: one row per run and metric; ``"wide"``: one row per run, a column per metric."""

_RUN_COLUMNS = {
    "run_name": "STRING",
    "timestamp": "TIMESTAMP",
    "run_id": "STRING",
    "experiment_id": "STRING",
    "dataset": "STRING",
    "dataset_version": "STRING",
    "model": "STRING",
}
_POINT_COLUMNS = {
    "value": "DOUBLE",
    "low": "DOUBLE",
    "high": "DOUBLE",
    "n": "BIGINT",
    "total": "BIGINT",
    "failures_as_zero": "DOUBLE",
}
_LONG_COLUMNS = {**_RUN_COLUMNS, "metric": "STRING", "kind": "STRING", **_POINT_COLUMNS}
# What a wide table has beside the value of a score, as `<metric>/low` and so on.
_DETAILS = tuple(name for name in _POINT_COLUMNS if name != "value")
# Delta rejects " ,;{}()\n\t=" in the name of a column ("Column mapping"). A back-tick and a control
# character would be legal in some clients only.
_REJECTED = re.compile(r"[ ,;{}()=`\x00-\x1f\x7f]")
_MAX_NAME = 255
_INTEGERS = frozenset({"bigint", "long", "int64"})
_NUMBERS = _INTEGERS | {"double", "float64"}


@dataclass(frozen=True)
class EncodedRun:
    """A run as rows of a table.

    Attributes:
        rows: The rows; a missing column is null.
        columns: SQL types by column, those that the table lacks included.
        renamed: Columns by metric, of metrics whose name is not the name of their column.
        row_id: The column that identifies a row within the run; None: it has one row.
    """

    rows: list[Row]
    columns: dict[str, str]
    renamed: Mapping[str, str]
    row_id: str | None


def key_of(run: RunMetrics) -> dict[str, str]:
    """Return the column that identifies a run, with its value."""
    return {"run_name": run.run_name} if run.run_id is None else {"run_id": run.run_id}


def choose_form(columns: Mapping[str, str] | None, form: Form | None, table: str) -> Form:
    """Return the form of a table, or that of a new one.

    Args:
        columns: The types of the table's columns; None: it does not exist.
        form: The form that the user asks for.
        table: The table's name, for messages.

    Raises:
        ConfigurationError: `form` is invalid, or is not that of the table.
        SchemaError: The table has other contents than metrics.
    """
    if form not in (None, "long", "wide"):
        msg = f"`form` must be 'long' or 'wide', got {form!r}."
        raise ConfigurationError(msg)
    if columns is None:
        return form or "long"
    if DATASET_KEY in columns:
        msg = f"Nothing was written: {table} is an evaluation dataset. Name another table."
        raise SchemaError(msg)
    found: Form = "long" if {"metric", "value"} <= columns.keys() else "wide"
    if found == "long" and (
        not {"run_name", "run_id"} <= columns.keys() or columns["value"].lower() not in _NUMBERS
    ):
        msg = (
            f"{table} has columns 'metric' and 'value', but is not a table of metrics, which has "
            "'run_name', 'run_id' and numbers as 'value'. Name another table."
        )
        raise SchemaError(msg)
    if form is not None and form != found:
        msg = (
            f"{table} has the {found} form, so form={form!r} cannot be appended to it. Leave "
            "`form` out, or name another table."
        )
        raise ConfigurationError(msg)
    return found


def encode_run(run: RunMetrics, form: Form, existing: Mapping[str, str] | None) -> EncodedRun:
    """Encode a run for a table.

    Args:
        run: The run.
        form: The form of the table.
        existing: The types of the columns that the table has; None: it does not exist.

    Raises:
        SchemaError: A column of the table has a type that cannot store the values.
    """
    described = {name: getattr(run, name) for name in _RUN_COLUMNS}
    if form == "long":
        rows = [
            {**described, "metric": name, **asdict(point)} for name, point in run.metrics.items()
        ]
        encoded = EncodedRun(rows, dict(_LONG_COLUMNS), {}, "metric")
    else:
        encoded = _encode_wide(run, described, existing or {})
    for column, type_ in encoded.columns.items():
        if existing is None or column not in existing:
            continue
        _check_type(column, existing[column], type_, [row.get(column) for row in encoded.rows])
        if type_ == "DOUBLE" and existing[column].lower() in _INTEGERS:
            encoded.columns[column] = "BIGINT"
            for row in encoded.rows:
                row[column] = None if row.get(column) is None else int(row[column])
    return encoded


def decode_runs(rows: Iterable[Row], columns: Mapping[str, str]) -> list[RunMetrics]:
    """Decode the rows of a table of either form: the runs in the order of their time."""
    decode = _decode_long if {"metric", "value"} <= columns.keys() else _decode_wide
    runs = decode([{**row, "timestamp": _in_utc(row.get("timestamp"))} for row in rows])
    first = datetime.min.replace(tzinfo=timezone.utc)
    return sorted(runs, key=lambda run: (run.timestamp or first, run.run_name, run.run_id or ""))


def _encode_wide(run: RunMetrics, described: Row, existing: Mapping[str, str]) -> EncodedRun:
    row, columns = dict(described), dict(_RUN_COLUMNS)
    used = {name.casefold(): name for name in (*existing, *_RUN_COLUMNS)}
    renamed = {}
    for name, point in run.metrics.items():
        column = _column_name(name, used)
        if column != name:
            renamed[name] = column
        values = {column: point.value}
        if point.kind == "score" and point.n is not None:
            values |= {f"{column}/{detail}": getattr(point, detail) for detail in _DETAILS}
        for one, value in values.items():
            detail = one.rpartition("/")[2] if one != column else "value"
            is_count = point.kind == "count" and one == column
            columns[one] = "BIGINT" if is_count else _POINT_COLUMNS[detail]
            row[one] = int(value) if is_count and value is not None else value
            used[one.casefold()] = one
    # Of a run that is replaced, values of metrics that it has no longer.
    for column, type_ in existing.items():
        if column not in columns and type_.lower() in ("double", *_INTEGERS):
            columns[column] = "DOUBLE" if type_.lower() == "double" else "BIGINT"
    return EncodedRun([row], columns, renamed, None)


def _column_name(name: str, used: Mapping[str, str]) -> str:
    """Return the column of a metric: its name, or a legal one that ends with a hash of the name.

    The hash makes the column independent of the other metrics and of the order in which runs are
    appended.
    """
    legal = _REJECTED.sub("_", name) or "metric"
    # Unity Catalog and Delta do not distinguish the case of columns.
    is_taken = used.get(legal.casefold(), legal) != legal or legal in _RUN_COLUMNS
    if legal == name and not is_taken and len(name) <= _MAX_NAME - len("/failures_as_zero"):
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{legal[: _MAX_NAME - 40]}_{digest}"


def _check_type(column: str, existing: str, type_: str, values: list[Any]) -> None:
    """Raise if the table would change a value of the column."""
    found = existing.lower()
    if type_ == "DOUBLE":
        fits = found == "double" or (
            found in _INTEGERS
            and all(value is None or float(value).is_integer() for value in values)
        )
    elif type_ == "BIGINT":
        fits = found == "double" or found in _INTEGERS
    else:
        fits = found.startswith(type_.lower())
    if not fits:
        msg = (
            f"Nothing was written: the column {column!r} has the type {existing.upper()}, and the "
            f"metrics require {type_}. Change the type of the column, or name another table."
        )
        raise SchemaError(msg)


def _decode_long(rows: Iterable[Row]) -> list[RunMetrics]:
    grouped: dict[tuple[Any, ...], list[Row]] = defaultdict(list)
    for row in rows:
        grouped[row["run_id"], row["run_name"]].append(row)
    return [
        replace(_describe(of_run[0]), metrics={str(row["metric"]): _point(row) for row in of_run})
        for of_run in grouped.values()
    ]


def _point(row: Row) -> MetricPoint:
    kind = row.get("kind") or metric_kind(str(row["metric"]))
    return MetricPoint(kind, **{name: row.get(name) for name in _POINT_COLUMNS})


def _decode_wide(rows: Iterable[Row]) -> list[RunMetrics]:
    return [replace(_describe(row), metrics=_points(row)) for row in rows]


def _describe(row: Row) -> RunMetrics:
    values: dict[str, Any] = {name: row.get(name) for name in _RUN_COLUMNS}
    values["run_name"] = str(values["run_name"] or "")
    return RunMetrics(**values)


def _points(row: Row) -> dict[str, MetricPoint]:
    details: dict[str, dict[str, Any]] = defaultdict(dict)
    for name in row:
        metric, _, detail = name.rpartition("/")
        if detail in _DETAILS and metric in row:
            details[metric][detail] = row[name]

    def is_detail(name: str) -> bool:
        metric, _, detail = name.rpartition("/")
        return detail in details.get(metric, {})

    return {
        name: MetricPoint(metric_kind(name), float(value), **details.get(name, {}))
        for name, value in row.items()
        if name not in _RUN_COLUMNS
        and isinstance(value, int | float)
        and not isinstance(value, bool)
        and not is_detail(name)
    }


def _in_utc(moment: Any) -> datetime | None:
    # pyspark returns local times without a zone.
    return moment.astimezone(timezone.utc) if isinstance(moment, datetime) else None
