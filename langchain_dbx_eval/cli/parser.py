"""The entry point of the command line, and the parser of all commands."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.cli import check, demo, export, serve, sync
from langchain_dbx_eval.cli import list as list_command
from langchain_dbx_eval.errors import DatabricksError

__all__ = ["build_parser", "main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command-line arguments; default: those of this process.

    Returns:
        The exit status: that of the command, or 1 after an error, which is printed to standard
        error.
    """
    options = build_parser().parse_args(arguments)
    try:
        return int(options.run(options) or 0)
    except DatabricksError as error:
        print(f"langchain-dbx-eval: {error}", file=sys.stderr)  # noqa: T201 - this is a terminal
        return 1


def build_parser() -> argparse.ArgumentParser:
    """Build the parser of all commands."""
    parser = argparse.ArgumentParser(
        prog="langchain-dbx-eval",
        description="LangChain on Databricks: serve a model from a driver node, evaluate a chain.",
    )
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for command in (serve, demo, list_command, sync, export, check):
        command.add_command(commands)
    return parser
