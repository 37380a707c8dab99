"""The file of the HTML report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from langchain_dbx_eval._internal.paths import create_private_file
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.tracking.runs import log_file
from langchain_dbx_eval.reporting.comparison import Comparison, compare
from langchain_dbx_eval.reporting.html import Redaction, render_report

__all__ = ["write_report"]

_MAX_BASELINES = 3


def write_report(
    result: EvaluationResult,
    path: Path,
    *,
    comparison: Comparison | None = None,
    baselines: Sequence[EvaluationResult] = (),
    redact: Iterable[Redaction] = (),
    log_artifact: bool = False,
) -> Path:
    """Write an evaluation as an HTML page: one file that loads nothing from the network.

    Args:
        result: The evaluation; of one on Spark, the page shows the rows of its `sample`.
        path: The file to write; its parent folders are created.
        comparison: The comparison with the baselines to show; default: that of `compare`. Without
            `baselines`, the page shows the differences, and not the rows of the baseline.
        baselines: Up to three other evaluations, whose rows are shown beside those of the result.
        redact: Texts, and patterns of ``re.compile``, that the page must not contain.
        log_artifact: Whether the page is also logged as an artifact of the result's MLflow run.

    Returns:
        `path`.

    Raises:
        ConfigurationError: There are more than three baselines, one has no row in common with the
            result, `redact` contains something else, or the result has no MLflow run to log to.
        TrackingError: MLflow cannot be reached.
        MissingDependencyError: The extra ``eval`` is not installed.
    """
    if len(baselines) > _MAX_BASELINES:
        msg = f"'baselines' may contain {_MAX_BASELINES} evaluations, got {len(baselines)}."
        raise ConfigurationError(msg)
    if comparison is not None and baselines and len(comparison.others) + 1 != len(baselines):
        msg = (
            f"'comparison' is with {len(comparison.others) + 1} evaluations, and 'baselines' "
            f"contains {len(baselines)}. Omit 'comparison', or pass the same evaluations."
        )
        raise ConfigurationError(msg)
    if log_artifact and result.run_id is None:
        msg = f"{result.evaluation_id} has no MLflow run: omit log_artifact, or run sync first."
        raise ConfigurationError(msg)
    if comparison is None and baselines:
        comparison = compare(result, *baselines)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    sampled = [baseline.sample for baseline in baselines]
    parts = render_report(result.sample, baselines=sampled, comparison=comparison, redact=redact)
    # The rows are read while the file is written: an error must not leave half a page.
    unfinished = path.with_name(f"{path.name}.new")
    try:
        create_private_file(unfinished)  # It contains requests and answers.
        with unfinished.open("w", encoding="utf-8") as file:
            file.writelines(parts)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    if log_artifact:
        log_file(result.manifest, path)
    return path
