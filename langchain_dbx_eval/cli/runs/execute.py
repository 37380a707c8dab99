"""Run an evaluation from its settings, and print the result."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from langchain_dbx_eval.cli.evaluations.check import append_job_summary, check_evaluation
from langchain_dbx_eval.cli.evaluations.show import result_values
from langchain_dbx_eval.cli.output import console, error_line, print_json, print_text

if TYPE_CHECKING:
    from langchain_dbx_eval.cli.runs.config import RunConfig, RunSettings
    from langchain_dbx_eval.evaluation import EvaluationResult

__all__ = ["execute"]


def execute(
    settings: RunSettings,
    *,
    resume: str | Path | None = None,
    retry_failures: bool = False,
    allow_changes: bool = False,
    as_json: bool = False,
) -> None:
    """Evaluate, print the result, and check it if there are conditions.

    Args:
        settings: The settings, which are stored in the journal.
        resume: The evaluation to resume; None: a new one.
        retry_failures: See `evaluate`.
        allow_changes: See `EvaluationOptions`.
        as_json: Whether to print JSON.

    Raises:
        typer.Exit: A condition does not pass (with its exit status), or all rows failed (1).
        DatabricksError: See `evaluate`.
    """
    from langchain_dbx_eval.evaluation import EvaluationOptions, evaluate
    from langchain_dbx_eval.reporting.gate import parse_conditions

    config = settings.parse()
    if config.check:
        parse_conditions(config.check)  # an invalid condition must not cost an evaluation
    if config.baseline is not None and not config.check:
        from langchain_dbx_eval.errors import ConfigurationError

        raise ConfigurationError("'baseline' needs conditions: 'check' in the file, or --check.")
    settings.add_to_import_path()
    if config.tracking_uri is not None:
        from langchain_dbx_eval._internal.imports import require

        require("mlflow", extra="eval").set_tracking_uri(config.tracking_uri)
    options = EvaluationOptions(
        judge_cache=config.judge_cache and str(settings.folder / config.judge_cache),
        judge_repeats=config.judge_repeats,
        allow_changes=allow_changes,
        settings=settings.model_dump(mode="json"),
    )
    result = evaluate(
        **_arguments(config, settings),
        resume=resume,
        retry_failures=retry_failures,
        options=options,
    )
    _print(result, config, settings, as_json=as_json)


def _arguments(config: RunConfig, settings: RunSettings) -> dict[str, Any]:
    """Return the arguments of `evaluate`."""
    from langchain_dbx_eval._internal.imports import load_object
    from langchain_dbx_eval.cli.runs.config import load_model, load_scorer
    from langchain_dbx_eval.scoring import DEFAULT_SCORERS

    judges = {"metrics": config.judges, "global_guidelines": config.global_guidelines}
    judges = {name: value for name, value in judges.items() if value is not None}
    scorers = config.scorers
    return {
        "model": load_model(config.model),
        "data": settings.path(config.data) if isinstance(config.data, str) else config.data,
        "input_fn": config.input_fn and load_object(config.input_fn),
        "judge": config.judge,
        "evaluator_config": {"databricks-agent": judges} if judges else None,
        "scorers": DEFAULT_SCORERS if scorers is None else [*map(load_scorer, scorers)],
        "extra_metrics": [load_scorer(text) for text in config.extra_metrics or ()],
        "max_concurrency": config.max_concurrency,
        "timeout": config.timeout,
        "repeat": config.repeat,
        "max_tokens": config.max_tokens,
        "max_cost": config.max_cost,
        "prices": settings.path(config.prices) if isinstance(config.prices, str) else config.prices,
        "run_name": config.run_name,
        "experiment_name": config.experiment_name,
    }


def _print(
    result: EvaluationResult, config: RunConfig, settings: RunSettings, *, as_json: bool
) -> None:
    report = check_evaluation(result, config.check, config.baseline) if config.check else None
    page = None if config.report is None else settings.folder / config.report
    if page is not None:
        from langchain_dbx_eval.reporting import write_report

        write_report(result, page)
    if report is not None:
        append_job_summary(report)
    if as_json:
        values = result_values(result)
        values["check"] = None if report is None else report.to_dict()
        values["report"] = None if page is None else str(page)
        print_json(values)
    else:
        from langchain_dbx_eval.reporting import print_result

        print_result(result, console())
        if report is not None:
            print_text(f"\n{report}")
        if page is not None:
            print_text(f"Report: {page}")
        print_text(f"Evaluation {result.evaluation_id}")
        print_text("Next: langchain-dbx-eval report last --open")
    if report is not None:
        raise typer.Exit(report.exit_code)
    if result.rows and len(result.failures) == len(result.rows):
        error_line("langchain-dbx-eval: all rows failed: `show last` shows the errors.")
        raise typer.Exit(1)
