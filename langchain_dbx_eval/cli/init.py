"""``langchain-dbx-eval init``: write the files of a first evaluation."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Annotated

import typer

from langchain_dbx_eval.cli.output import print_text

__all__ = ["add_to"]

_FILES = ("eval.yaml", "questions.jsonl", "my_model.py")


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("init")(init)


def init(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="The folder; it is created.")
    ] = Path(),
) -> None:
    """Write the files of a first evaluation.

    A config, a small dataset and a model function, which `run` evaluates as they are.

    Nothing is overwritten: if one of the files exists, none is written.

    \b
    Examples:
      langchain-dbx-eval init my-eval
      cd my-eval && langchain-dbx-eval run eval.yaml
    """
    from langchain_dbx_eval.errors import AlreadyExistsError

    if existing := [name for name in _FILES if (folder / name).exists()]:
        msg = f"{folder / existing[0]} already exists: choose another folder. Nothing was written."
        raise AlreadyExistsError(msg)
    folder.mkdir(parents=True, exist_ok=True)
    starter = files("langchain_dbx_eval.cli").joinpath("starter")
    for name in _FILES:
        (folder / name).write_text(starter.joinpath(name).read_text("utf-8"), encoding="utf-8")
        print_text(f"wrote {folder / name}")
    change = "" if folder == Path() else f"cd {folder} && "
    print_text(f"Next: {change}langchain-dbx-eval run eval.yaml")
