"""The program: its commands, its errors and its exit statuses."""

from __future__ import annotations

import errno
import logging
import os
import re
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.cli import datasets, demo, doctor, init, judges, serve
from langchain_dbx_eval.cli.evaluations import check, compare, export, report, show, sync
from langchain_dbx_eval.cli.evaluations import list as list_command
from langchain_dbx_eval.cli.output import error_line
from langchain_dbx_eval.cli.runs import resume, run

__all__ = ["app"]

_INTERRUPTED = 130  # 128 + SIGINT, as in a shell


class _Program(TyperGroup):
    """The commands; an error of one is a message on standard error, and an exit status."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command of the arguments."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as error:
            _print_error(str(error) or "interrupted")
            raise typer.Exit(_INTERRUPTED) from error
        except (typer.Exit, typer.Abort):
            raise
        except Exception as error:
            # A wrong argument (typer's errors have a status of their own), and a closed pipe.
            is_pipe = isinstance(error, OSError) and error.errno == errno.EPIPE
            if ctx.params.get("debug") or hasattr(error, "exit_code") or is_pipe:
                raise
            _print_error(_describe(error))
            raise typer.Exit(1) from error


app = typer.Typer(
    cls=_Program,
    no_args_is_help=True,
    rich_markup_mode=None,  # help in plain text, which `rich` need not be imported for
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(is_wanted: bool) -> None:
    if is_wanted:
        typer.echo(__version__)
        raise typer.Exit


@app.callback(
    epilog="\b\nExit status: 0 success; 1 error; 2 wrong arguments; 130 Ctrl-C.\n"
    "With conditions (check, run --check): 0 pass; 1 could not run; 3 regression;\n"
    "4 inconclusive.\n\n"
    "\b\nA first session:\n  langchain-dbx-eval init my-eval && cd my-eval\n"
    "  langchain-dbx-eval run eval.yaml\n  langchain-dbx-eval show last"
)
def program(
    version: Annotated[  # noqa: ARG001 - its callback prints it
        bool,
        typer.Option("--version", help="Show the version.", callback=_print_version, is_eager=True),
    ] = False,
    debug: Annotated[  # noqa: ARG001 - `_Program` reads it
        bool, typer.Option("--debug", help="Show the traceback of an error. Also after a command.")
    ] = False,
    env_file: Annotated[
        Path | None,
        typer.Option(help="Read environment variables from this file. [default: .env, if present]"),
    ] = None,
) -> None:
    """LangChain on Databricks: evaluate a chain or an endpoint, serve a model from a driver node.

    Start with `init`, or see it work with `demo`. RUN is the id of an evaluation or of its MLflow
    run, the path of a journal, or `last`.
    """
    _read_environment(env_file)
    _configure_logging()


def _read_environment(file: Path | None) -> None:
    """Set the variables of a file that the environment lacks."""
    path = file or Path(".env")
    if file is None and not path.is_file():
        return
    from langchain_dbx_eval._internal.imports import require
    from langchain_dbx_eval.errors import NotFoundError

    if not path.is_file():
        msg = f"--env-file: there is no file {path}."
        raise NotFoundError(msg)
    values = require("dotenv", extra="cli").dotenv_values(path)
    for name, value in values.items():
        if value is not None:
            os.environ.setdefault(name, value)


def _configure_logging() -> None:
    """Print the warnings of this package with the advice for a shell."""

    class Handler(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            error_line(_for_shell(self.format(record)))

    log = logging.getLogger("langchain_dbx_eval")
    if not log.handlers and not logging.getLogger().handlers:
        log.addHandler(Handler())
    # They log hundreds of lines for the migrations of a new MLflow store.
    for name in ("alembic", "mlflow.store.db.utils"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _for_shell(text: str) -> str:
    """Replace the advice to pass ``resume=`` by the command."""
    command = r"`langchain-dbx-eval resume \1`"
    return re.sub(r"(?:evaluate\(…, )?resume='([^']+)'\)?", command, text)


def _describe(error: Exception) -> str:
    from langchain_dbx_eval.errors import DatabricksError

    if isinstance(error, DatabricksError):
        return str(error)
    from langchain_dbx_eval._internal.log import describe_error

    return f"{describe_error(error)} (--debug shows the traceback)"


def _print_error(text: str) -> None:
    error_line(f"langchain-dbx-eval: {_for_shell(text)}")


for _module in (init, run, resume, list_command, show, compare, check, report, export, sync):
    _module.add_to(app)
for _module in (datasets, judges, doctor, serve, demo):
    _module.add_to(app)
