"""``langchain-dbx-eval show``: the metrics of an evaluation, or one of its rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_dbx_eval.cli.arguments import JsonOption, RunArgument, load_result
from langchain_dbx_eval.cli.output import cell, console, print_json, print_text

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation import EvaluationResult
    from langchain_dbx_eval.evaluation.journal.rows import Row

__all__ = ["add_to", "result_values"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("show")(show)


def show(
    run: RunArgument,
    row: Annotated[
        str | None,
        typer.Argument(
            metavar="ROW",
            help="The request id of a row, its beginning, or the number of the row, from 0.",
            show_default=False,
        ),
    ] = None,
    worst: Annotated[
        int, typer.Option(help="Number of worst rows to show.", metavar="N", min=0)
    ] = 5,
    as_json: JsonOption = False,
) -> None:
    """Show the metrics and worst rows of an evaluation, or one row.

    \b
    Examples:
      langchain-dbx-eval show last
      langchain-dbx-eval show last q7
      langchain-dbx-eval show last --json | jq .metrics
    """
    result = load_result(run)
    if row is not None:
        rows = _find_rows(result, row)
        if as_json:
            print_json([_row_values(one) for one in rows])
        else:
            print_text("\n\n".join(_row_text(one) for one in rows))
        return
    if as_json:
        print_json(result_values(result))
        return
    from langchain_dbx_eval.reporting import print_result

    print_result(result, console(), worst=worst)


def result_values(result: EvaluationResult) -> dict[str, Any]:
    """Return an evaluation as plain values: its ids, its rows by outcome, its metrics."""
    summary = result.summary
    return {
        "evaluation_id": result.evaluation_id,
        "run_id": result.run_id,
        "experiment_id": result.experiment_id,
        "journal": str(result.journal),
        "dataset": result.manifest.dataset,
        "complete": result.is_complete,
        "rows": vars(summary.rows),
        "failures": dict(summary.failures),
        "warning": summary.warning,
        "metrics": dict(summary.metrics),
    }


def _find_rows(result: EvaluationResult, wanted: str) -> list[Row]:
    """Return the row with this id, and its repetitions.

    Raises:
        NotFoundError: There is none.
        ConfigurationError: Several ids begin with the text.
    """
    from langchain_dbx_eval.errors import ConfigurationError, NotFoundError

    rows = list(result.rows)
    for matches in (
        lambda row: row.record.request_id == wanted,
        lambda row: str(row.number) == wanted,
        lambda row: row.record.request_id.startswith(wanted),
    ):
        if found := [row for row in rows if matches(row)]:
            break
    else:
        examples = ", ".join(cell(row.record.request_id) for row in rows[:5])
        msg = (
            f"{result.evaluation_id} has no row {wanted!r}. It has {len(rows)} rows: {examples}, …"
        )
        raise NotFoundError(msg)
    ids = list(dict.fromkeys(row.record.request_id for row in found))
    if len(ids) > 1:
        msg = f"{len(ids)} rows begin with {wanted!r}: {', '.join(ids[:5])}. Give more of the id."
        raise ConfigurationError(msg)
    return found


def _row_values(row: Row) -> dict[str, Any]:
    return {
        "number": row.number,
        "repetition": row.repetition,
        "trace_id": row.trace_id,
        **row.to_dict(),
    }


def _row_text(row: Row) -> str:
    from langchain_dbx_eval.scoring.answer_text import answer_text, request_text

    record, outcome = row.record, row.outcome
    repetition = f", repetition {row.repetition}" if row.repetition > 1 else ""
    lines = [f"Row {row.number}{repetition}: {cell(record.request_id)}"]
    texts = {
        "Request": request_text(record.request),
        "Response": answer_text(outcome.response) or ("" if outcome.error else "(empty)"),
        "Error": outcome.error,
        "Expected": record.expected_response,
        "Expected facts": "\n".join(f"- {fact}" for fact in record.expected_facts or ()),
    }
    lines += [f"{title}:\n{_indent(text)}" for title, text in texts.items() if text]
    documents = outcome.retrieved_context or ()
    if documents:
        uris = "\n".join(cell(document.get("doc_uri")) for document in documents)
        lines.append(f"Retrieved documents:\n{_indent(uris)}")
    if row.assessments:
        lines.append("Scores:")
    for assessment in row.assessments:
        value = "-" if assessment.value is None else cell(assessment.value)
        lines.append(f"  {assessment.value_column}: {value}")
        lines += [_indent(t, 6) for t in (assessment.rationale, assessment.error) if t]
    facts = {
        "latency": outcome.latency_seconds and f"{outcome.latency_seconds:.3f} s",
        "input tokens": outcome.input_tokens,
        "output tokens": outcome.output_tokens,
        "cost": outcome.cost_usd is not None and f"{outcome.cost_usd:.6f} USD",
        "trace": row.trace_id,
    }
    shown = ", ".join(f"{name} {value}" for name, value in facts.items() if value)
    return "\n".join([*lines, *([shown[0].upper() + shown[1:]] if shown else [])])


def _indent(text: str, width: int = 2) -> str:
    return "\n".join(" " * width + line for line in str(text).splitlines())
