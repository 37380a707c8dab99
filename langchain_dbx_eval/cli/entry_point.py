"""The entry point of the command line."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

__all__ = ["main"]

_PROGRAM = "langchain-dbx-eval"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Args:
        arguments: The command-line arguments; default: those of this process.

    Returns:
        The exit status: that of the command, or 1 after an error, which is printed to standard
        error.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    # Accepted after the command too: that is where one adds it after an error.
    if "--debug" in words:
        words = ["--debug", *(word for word in words if word != "--debug")]
    for stream in (sys.stdout, sys.stderr):
        # A terminal or pipe that is not UTF-8 must not turn a result into an error.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    try:
        import typer  # noqa: F401
    except ModuleNotFoundError:
        text = "the command line needs 'typer'. Run: pip install 'langchain-dbx-eval[cli]'"
        print(f"{_PROGRAM}: {text}", file=sys.stderr)  # noqa: T201 - this is a terminal
        return 1
    from langchain_dbx_eval.cli.app import app

    try:
        app(words, prog_name=_PROGRAM)
    except SystemExit as error:
        status = error.code if isinstance(error.code, int) else int(error.code is not None)
    else:
        status = 0
    try:
        sys.stdout.flush()
    except BrokenPipeError:
        # `… | head` has read enough. Python would report the pipe once more when it ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return status
