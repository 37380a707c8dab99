"""``langchain-dbx-eval compare``: compare an evaluation with earlier ones."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from langchain_dbx_eval.cli.arguments import JsonOption, RunArgument, complete_runs, load_result
from langchain_dbx_eval.cli.output import console, print_json, print_text

if TYPE_CHECKING:
    from langchain_dbx_eval.reporting import Comparison

__all__ = ["add_to"]


def add_to(app: typer.Typer) -> None:
    """Add the command."""
    app.command("compare")(compare)


def compare(
    run: RunArgument,
    baselines: Annotated[
        list[str],
        typer.Argument(
            metavar="BASELINE",
            help="The earlier evaluation, in the same forms as RUN; several are compared each.",
            show_default=False,
            autocompletion=complete_runs,
        ),
    ],
    primary: Annotated[
        str | None, typer.Option(help="The metric that decides, such as exact_match/mean.")
    ] = None,
    by: Annotated[
        str | None, typer.Option(help="Also compare the rows with equal values of this column.")
    ] = None,
    cluster: Annotated[
        str | None,
        typer.Option(help="Column whose equal values make rows depend on each other."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare an evaluation with earlier ones, row by row.

    Rows are paired by their request id; a difference is RUN minus BASELINE. docs/statistics.md
    explains the intervals and p-values.

    \b
    Examples:
      langchain-dbx-eval compare last 20261122-101500-1f2e3d4c
      langchain-dbx-eval compare last 8a44e2 --primary correctness --json
    """
    from langchain_dbx_eval.reporting import compare as compare_results
    from langchain_dbx_eval.reporting import print_comparison

    first, *more = map(load_result, baselines)
    comparison = compare_results(
        load_result(run), first, *more, primary=primary, by=by, cluster=cluster
    )
    comparisons = [comparison, *comparison.others]
    if as_json:
        values = [_values(one) for one in comparisons]
        for reference, value in zip(baselines, values, strict=True):
            value["baseline"] = reference
        print_json(values)
        return
    for reference, one in zip(baselines, comparisons, strict=True):
        if len(baselines) > 1:
            print_text(f"\nBaseline {reference}")
        print_comparison(one, console())


def _values(comparison: Comparison) -> dict[str, Any]:
    return {
        "baseline": None,
        "paired": comparison.paired,
        "only_baseline": len(comparison.only_baseline),
        "only_candidate": len(comparison.only_candidate),
        "metrics": [
            {
                "name": metric.name,
                "baseline": metric.baseline,
                "candidate": metric.candidate,
                "difference": metric.difference,
                "interval": metric.interval,
                "p_value": metric.p_value,
                "p_adjusted": metric.p_adjusted,
                "is_significant": metric.is_significant,
                "pairs": metric.pairs,
            }
            for metric in comparison.metrics
        ],
        "rows": [vars(changes) for changes in comparison.rows],
        "latency": [{**vars(one), "difference": one.difference} for one in comparison.latency],
        "flips": [vars(flip) for flip in comparison.flips],
        "slices": [
            {
                "value": part.value,
                "paired": part.paired,
                "metrics": {m.name: m.difference for m in part.metrics},
            }
            for part in comparison.slices
        ],
    }
