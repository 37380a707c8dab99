"""``langchain-dbx-eval datasets list``, ``show`` and ``export``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated, Any

import typer

from langchain_dbx_eval.cli.arguments import (
    BackendOption,
    JsonOption,
    VersionOption,
    WarehouseOption,
)
from langchain_dbx_eval.cli.output import (
    cell,
    error_line,
    print_json,
    print_table,
    print_text,
)

__all__ = ["SourceArgument", "add_to"]

SourceArgument = Annotated[
    str,
    typer.Argument(
        metavar="SOURCE",
        help="A table (catalog.schema.table), a file (.jsonl, .json, .csv, .parquet, .yaml), or a "
        "Delta folder.",
        show_default=False,
    ),
]


def add_to(group: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (("list", list_), ("show", show), ("export", export)):
        group.command(name)(command)


def list_(as_json: JsonOption = False) -> None:
    """List the datasets of the local catalog, which is on this machine.

    Tables of Unity Catalog are in the workspace's catalog explorer; `datasets show` reads them.

    \b
    Example:
      langchain-dbx-eval datasets list
    """
    from langchain_dbx_eval._internal.paths import catalog_root
    from langchain_dbx_eval.datasets import EvalDataset
    from langchain_dbx_eval.datasets.delta.local_catalog import list_tables

    tables = [EvalDataset.load(name, backend="local") for name in list_tables()]
    if as_json:
        print_json([_properties(table) for table in tables])
        return
    rows = [
        (
            table.name,
            len(table),
            table.version,
            f"{table.last_update_time:%Y-%m-%d %H:%M}" if table.last_update_time else "-",
        )
        for table in tables
    ]
    print_table(("DATASET", "RECORDS", "VERSION", "UPDATED"), rows)
    if not tables:
        error_line(f"There is no dataset in {catalog_root()} yet: `datasets create` makes one.")


def show(
    source: SourceArgument,
    records: Annotated[
        int, typer.Option(help="Number of records to show.", metavar="N", min=0)
    ] = 5,
    backend: BackendOption = None,
    version: VersionOption = None,
    warehouse_id: WarehouseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show the properties, invalid rows and first records of a dataset.

    \b
    Examples:
      langchain-dbx-eval datasets show questions.jsonl
      langchain-dbx-eval datasets show main.default.questions --version 3 --records 20
    """
    from langchain_dbx_eval.datasets import EvalDataset

    dataset = EvalDataset.load(source, backend=backend, version=version, warehouse_id=warehouse_id)
    properties = _properties(dataset)
    shown = [record.to_row() for record in itertools.islice(dataset, records)]
    errors = [str(error) for error in dataset.errors]
    if as_json:
        print_json({**properties, "errors": errors, "rows": shown})
        return
    print_text("\n".join(f"{name}: {cell(value)}" for name, value in properties.items()))
    for error in errors[:records]:
        print_text(f"invalid: {cell(error)}")
    if shown:
        columns = ("request_id", "request", "expected_response", "expected_facts")
        present = [name for name in columns if any(row.get(name) is not None for row in shown)]
        print_text("")
        titles = [name.upper().replace("_", " ") for name in present]
        print_table(titles, [[row.get(name) for name in present] for row in shown], whole=-1)


def export(
    source: SourceArgument,
    output: Annotated[
        Path | None,
        typer.Argument(
            metavar="FILE",
            help="The new file: .jsonl, .csv or .parquet. [default: JSON lines on standard output]",
            show_default=False,
        ),
    ] = None,
    backend: BackendOption = None,
    version: VersionOption = None,
    warehouse_id: WarehouseOption = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
) -> None:
    """Write the records of a dataset to a file.

    Every command reads such a file as SOURCE.

    In CSV, a text that a spreadsheet would take for a formula begins with an apostrophe: export
    JSON lines or Parquet for an exact copy.

    \b
    Examples:
      langchain-dbx-eval datasets export main.default.questions questions.jsonl
      langchain-dbx-eval datasets export main.default.questions --version 3 | head -3
    """
    from langchain_dbx_eval.cli.row_files import format_of, write_rows
    from langchain_dbx_eval.datasets import EvalDataset

    chosen = format_of(output, None)
    dataset = EvalDataset.load(source, backend=backend, version=version, warehouse_id=warehouse_id)
    count = write_rows(lambda: (record.to_row() for record in dataset), output, chosen, force=force)
    if output is not None:
        error_line(f"{count} records are in {output}.")


def _properties(dataset: Any) -> dict[str, Any]:
    return {
        "name": dataset.name,
        "source": dataset.source,
        "version": dataset.version,
        "digest": dataset.digest,
        "records": len(dataset),
        "invalid_rows": len(dataset.invalid_rows),
        "created_by": dataset.created_by,
        "last_update_time": dataset.last_update_time,
    }
