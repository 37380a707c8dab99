"""``langchain-dbx-eval export``: write the rows of an evaluation to a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_dbx_eval.cli.arguments import RunArgument, find_run, load_result
from langchain_dbx_eval.cli.output import error_line

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation import EvaluationResult

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(
    run: RunArgument,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="The new file. [default: standard output]"
        ),
    ] = None,
    format_: Annotated[
        str | None,
        typer.Option(
            "--format",
            metavar="FORMAT",
            help="jsonl, csv, parquet or junit. [default: that of the suffix of FILE, else jsonl]",
        ),
    ] = None,
    condition: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CONDITION",
            help="junit only: what is tested, as for `check`; repeatable. "
            "[default: rows/failed <= 0]",
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite FILE.")] = False,
    journal: Annotated[
        Path | None,
        typer.Option(
            metavar="PATH",
            help="Instead of the rows, copy the whole journal, also while the evaluation runs, to "
            "this new file, or into this folder: every command reads it as RUN.",
        ),
    ] = None,
) -> None:
    """Write the rows of an evaluation to a file.

    As JSON lines, CSV, Parquet or JUnit XML. A row has its request, answer, expectations, scores,
    rationales, latency and tokens. In CSV, a text that a spreadsheet would take for a formula
    begins with an apostrophe, and nested values are JSON.

    \b
    Examples:
      langchain-dbx-eval export last | jq .response
      langchain-dbx-eval export last -o rows.csv
      langchain-dbx-eval export last -o junit.xml --condition "exact_match >= 0.9"
      langchain-dbx-eval export last --journal /Volumes/main/evals/journals/
    """
    from langchain_dbx_eval.cli.row_files import FORMATS, check_absent, format_of, write_rows
    from langchain_dbx_eval.errors import ConfigurationError
    from langchain_dbx_eval.evaluation.journal.export import export_journal

    if journal is not None:
        if output or format_ or condition or force:
            msg = "--journal copies the journal as it is, to a new file: leave out other options."
            raise ConfigurationError(msg)
        typer.echo(export_journal(find_run(run), journal))
        return
    chosen = format_of(output, format_, (*FORMATS, "junit"))
    if condition and chosen != "junit":
        raise ConfigurationError("--condition applies to --format junit only.")
    result = load_result(run)
    if chosen == "junit":
        text = result.check(*(condition or ["rows/failed <= 0"])).to_junit()
        if output is None:
            typer.echo(text, nl=False)
            return
        check_absent(output, force=force)
        output.write_text(text, encoding="utf-8")
    else:
        write_rows(lambda: _rows(result), output, chosen, force=force)
    if output is not None:
        error_line(f"{len(result.rows)} rows are in {output}.")


def _rows(result: EvaluationResult) -> Iterator[dict[str, Any]]:
    for row in result.rows:
        values = row.to_dict()
        yield {
            "request_id": values.pop("request_id"),
            "repetition": row.repetition,
            **values,
            "trace_id": row.trace_id,
        }
