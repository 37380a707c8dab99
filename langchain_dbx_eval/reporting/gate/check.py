"""Checking an evaluation, or a comparison, against conditions."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from langchain_dbx_eval.evaluation.journal.rows import Row, RowKey
from langchain_dbx_eval.evaluation.result import compute_on_rows
from langchain_dbx_eval.reporting.differences import OPERATIONAL
from langchain_dbx_eval.reporting.gate.conditions import Condition, parse_conditions
from langchain_dbx_eval.reporting.gate.measure import Measurements, MetricUnavailableError
from langchain_dbx_eval.reporting.gate.report import CheckReport, FailingRecord
from langchain_dbx_eval.reporting.gate.verdicts import CheckedCondition, Verdict, decide
from langchain_dbx_eval.scoring.aggregates import Failures, RecordKey, Summary
from langchain_dbx_eval.scoring.answer_text import answer_text, request_text
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation import EvaluationResult
    from langchain_dbx_eval.reporting.comparison import Comparison

__all__ = ["check_result", "non_inferiority_condition"]


def check_result(
    result: EvaluationResult,
    conditions: Iterable[str | Condition],
    *,
    comparison: Comparison | None = None,
    cluster: RecordKey | None = None,
    failures: Failures = "exclude",
) -> CheckReport:
    """Check an evaluation against conditions.

    Args:
        result: The evaluation.
        conditions: The conditions, as text or parsed.
        comparison: Its comparison with a baseline.
        cluster: See `EvaluationResult.summarize`.
        failures: See `EvaluationResult.summarize`.

    Raises:
        ConfigurationError: There is no condition, or one is invalid.
    """
    parsed = parse_conditions(conditions)
    summary = result.summarize(cluster=cluster, failures=failures)
    # The results of a comparison are not needed where the rows are.
    compared = comparison and replace(comparison, result=None, baseline=None, others=())
    checked, records = compute_on_rows(
        partial(
            _check_rows,
            conditions=parsed,
            summary=summary,
            comparison=compared,
            obstacle=_obstacle(result),
        ),
        result,
        cluster=cluster,
    )
    return CheckReport(
        name=result.dataset_name or "evaluation",
        conditions=checked,
        records=records,
        rows=summary.rows.total,
        failures=summary.failures,
        warning=summary.warning,
        run_id=result.run_id or result.evaluation_id,
    )


def _check_rows(
    rows: Iterable[Row],
    *,
    cluster: RecordKey | None,
    conditions: Iterable[Condition],
    summary: Summary,
    comparison: Comparison | None,
    obstacle: str | None,
) -> tuple[tuple[CheckedCondition, ...], tuple[FailingRecord, ...]]:
    numbers = Measurements(rows, summary, cluster=cluster, comparison=comparison)
    checked = tuple(_check(condition, numbers, obstacle) for condition in conditions)
    return checked, tuple(_failing_records(rows, checked, comparison))


def non_inferiority_condition(metric: str, margin: float) -> Condition:
    """Return the condition that a metric is worse than in the baseline by less than a margin.

    Args:
        metric: The full name of the metric.
        margin: The largest acceptable loss, 0 or more.
    """
    if metric.startswith(OPERATIONAL):
        text = f"{metric} < baseline + {margin:g} @ upper"
        return Condition(text, metric, "<", margin, to_baseline=True, bound="upper")
    text = f"{metric} > baseline - {margin:g} @ lower"
    return Condition(text, metric, ">", -margin, to_baseline=True, bound="lower")


def _obstacle(result: EvaluationResult) -> str | None:
    """Return why no condition can be checked; None if they can."""
    if not result.is_complete:
        return (
            f"the evaluation is incomplete, {len(result.rows)} rows are answered; continue with "
            f"evaluate(…, resume={result.run_id or result.evaluation_id!r})"
        )
    return None if len(result.rows) else "the evaluation has no rows"


def _check(condition: Condition, numbers: Measurements, obstacle: str | None) -> CheckedCondition:
    if obstacle is not None:
        return CheckedCondition(condition, Verdict.COULD_NOT_RUN, obstacle)
    try:
        return decide(condition, numbers.measure(condition))
    except MetricUnavailableError as error:
        return CheckedCondition(condition, Verdict.COULD_NOT_RUN, str(error))


def _failing_records(
    rows: Iterable[Row], checked: Iterable[CheckedCondition], comparison: Comparison | None
) -> Iterator[FailingRecord]:
    """Yield the rows that failed, whose overall assessment is "no", or whose score is too low.

    A score is too low if it does not meet the threshold of a condition on its metric, or if it
    passed in the baseline.
    """
    conditions: dict[str, Condition] = {}
    compared = set()
    for one in checked:
        name = one.measurement.name if one.measurement else ""
        if one.condition.to_baseline:
            compared.add(name)
        elif name and not name.startswith(OPERATIONAL) and not one.condition.is_coverage:
            conditions.setdefault(name.rpartition("/")[0], one.condition)
    regressions: dict[RowKey, list[str]] = {}
    for flip in comparison.flips if comparison else ():
        if flip.metric in compared and not flip.metric.startswith(OPERATIONAL) and not flip.after:
            reason = f"{flip.metric}: 1 in the baseline, 0 now"
            reason += f" ({flip.reason_after})" if flip.reason_after else ""
            key = RowKey(flip.row_id.number, flip.row_id.repetition)
            regressions.setdefault(key, []).append(reason)
    for row in rows:
        reasons = [*_reasons(row, conditions), *regressions.get(row.key, ())]
        if reasons:
            yield FailingRecord(
                request_id=row.record.request_id,
                repetition=row.repetition,
                request=request_text(row.record.request),
                response=answer_text(row.outcome.response) or "",
                expected_response=row.record.expected_response,
                reasons=tuple(dict.fromkeys(reasons)),
            )


def _reasons(row: Row, conditions: Mapping[str, Condition]) -> Iterator[str]:
    if row.outcome.error is not None:
        yield f"The invocation failed: {row.outcome.error}"
        return
    for assessment in row.assessments:
        rationale = f" ({assessment.rationale})" if assessment.rationale else ""
        if assessment.column == OVERALL_ASSESSMENT and assessment.value == "no":
            yield f"overall assessment: no{rationale}"
        condition, number = conditions.get(assessment.value_column), assessment.number
        if condition is not None and number is not None and not condition.holds(number):
            value = assessment.value if isinstance(assessment.value, str) else f"{number:.3g}"
            yield f"{assessment.name}: {value}, which does not meet {condition}{rationale}"
