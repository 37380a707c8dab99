"""``langchain-dbx-eval datasets create``, ``merge`` and ``delete``."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_dbx_eval.cli.arguments import BackendOption, WarehouseOption
from langchain_dbx_eval.cli.datasets.read import SourceArgument
from langchain_dbx_eval.cli.output import print_text

__all__ = ["add_to"]

_Name = Annotated[
    str,
    typer.Argument(
        metavar="NAME", help="The name of the table: catalog.schema.table.", show_default=False
    ),
]


def add_to(group: typer.Typer) -> None:
    """Add the commands."""
    for name, command in (("create", create), ("merge", merge), ("delete", delete)):
        group.command(name)(command)


def create(
    name: _Name,
    source: Annotated[
        str | None,
        typer.Argument(
            metavar="SOURCE",
            help="Its first records: a file or another table. [default: none]",
            show_default=False,
        ),
    ] = None,
    backend: BackendOption = None,
    warehouse_id: WarehouseOption = None,
) -> None:
    """Create a table for a dataset.

    It is created with the SQL warehouse if one is configured, else in the local catalog.

    \b
    Examples:
      langchain-dbx-eval datasets create main.default.questions questions.jsonl
      langchain-dbx-eval datasets create main.default.questions --warehouse-id 1234abcd
    """
    from langchain_dbx_eval.datasets import EvalDataset

    records = () if source is None else EvalDataset.load(source)
    print_text(str(EvalDataset.create(name, records, backend=backend, warehouse_id=warehouse_id)))


def merge(
    name: _Name,
    source: SourceArgument,
    backend: BackendOption = None,
    warehouse_id: WarehouseOption = None,
) -> None:
    """Add records to a dataset, or update those it has.

    A record is merged into the one with the same request.

    Repeating the command is safe. Expectations are merged by name, and the new value wins.

    \b
    Example:
      langchain-dbx-eval datasets merge main.default.questions more.jsonl
    """
    from langchain_dbx_eval.datasets import EvalDataset

    dataset = EvalDataset.load(name, backend=backend, warehouse_id=warehouse_id)
    print_text(str(dataset.merge_records(EvalDataset.load(source))))


def delete(
    name: _Name,
    backend: BackendOption = None,
    warehouse_id: WarehouseOption = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
) -> None:
    """Delete a dataset with all its records, after a question.

    \b
    Example:
      langchain-dbx-eval datasets delete main.default.questions --yes
    """
    from langchain_dbx_eval.datasets import EvalDataset

    dataset = EvalDataset.load(name, backend=backend, warehouse_id=warehouse_id)
    if not yes:
        typer.confirm(f"Delete {dataset.name or name} with {len(dataset)} records?", abort=True)
    EvalDataset.delete(name, backend=backend, warehouse_id=warehouse_id)
    print_text(f"{name} is deleted.")
