"""A run that half failed does not look perfect: in the result, the terminal, HTML and MLflow."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

import mlflow
import pytest
from rich.console import Console

from langchain_dbx_eval import EvaluationResult, compare, evaluate
from langchain_dbx_eval.evaluation.tracking.runs import SUMMARY_FILE
from langchain_dbx_eval.reporting import print_result, write_report
from tests.reporting.report_file import read_overview
from tests.scoring.scripted_judge import ScriptedJudge, block, verdict

pytestmark = pytest.mark.usefixtures("mlflow_store")

MATCH = "response/ground_truth/exact_match/average"
OVERALL = "response/overall_assessment/rating/percentage"
CORRECT = "response/llm_judged/correctness/rating/percentage"
RECORDS = [{"request": f"question {n}", "expected_response": "right"} for n in range(10)]


def is_odd(model_input: Any) -> bool:
    return int(str(model_input["messages"][-1]["content"]).split()[-1]) % 2 == 1


def half_fails(model_input: dict[str, Any]) -> str:
    if is_odd(model_input):
        raise TimeoutError("too slow")
    return "right"


def half_is_none(model_input: dict[str, Any]) -> str | None:
    return None if is_odd(model_input) else "right"


def always_right(model_input: dict[str, Any]) -> str:
    return "right"


def half_is_judged(messages: Any) -> Any:
    is_unreadable = int(block(messages, "request").split()[-1]) % 2 == 1
    return "Well, it depends." if is_unreadable else verdict("yes")


def terminal(result: EvaluationResult, width: int = 160) -> str:
    text = io.StringIO()
    print_result(result, Console(file=text, width=width))
    return text.getvalue()


def page(result: EvaluationResult, folder: Path) -> str:
    [run] = read_overview(write_report(result, folder / "report.html"))["runs"]
    metrics = (f"{metric['name']}  {metric['text']}" for metric in run["metrics"])
    return "\n".join([run["warning"], *metrics, *run["notes"]])


def assert_shown_everywhere(
    result: EvaluationResult, folder: Path, *, warning: str, metrics: dict[str, str]
) -> Any:
    """Assert that each place has the warning before the metrics with their coverage."""
    places = {
        "repr": repr(result),
        "notebook": result._repr_html_(),
        "terminal": terminal(result),
        "page": page(result, folder),
        "MLflow": mlflow.get_run(result.run_id).data.tags["mlflow.note.content"],
    }
    for name, text in places.items():
        assert warning in text, name
    assert places["repr"].startswith(f"EvaluationResult({warning}, ")
    del places["repr"]
    for name, text in places.items():
        for metric, value in metrics.items():
            # A table has name, value, interval and coverage in columns of their own.
            cells = " ".join(re.sub(r"<[^>]*>|,| rows", " ", text).split())
            assert text.index(warning) < text.index(metric), name
            assert re.sub(r",| rows", "", value) in cells[cells.index(metric) :][:200], name
    table = mlflow.load_table(SUMMARY_FILE, run_ids=[result.run_id]).set_index("metric")
    assert set(table.index) == set(result.metrics)
    return table


def test_a_run_of_which_half_failed(tmp_path: Path) -> None:
    result = evaluate(half_fails, RECORDS)
    table = assert_shown_everywhere(
        result,
        tmp_path,
        warning="5 of 10 rows failed (TimeoutError 5)",
        metrics={MATCH: "1.00 [0.57, 1.00], 5 of 10 rows"},
    )
    # The documented name keeps excluding failed rows.
    assert result.metrics[MATCH] == 1.0
    assert result.summary[MATCH].failures_as_zero == 0.5
    assert result.summarize(failures="zero")[MATCH].value == 0.5
    assert dict(result.summary.failures) == {"TimeoutError": 5}
    logged = mlflow.get_run(result.run_id).data.metrics
    rows = {name: logged[f"rows/{name}"] for name in ("total", "answered", "failed", "empty")}
    assert rows == {"total": 10, "answered": 5, "failed": 5, "empty": 0}
    columns = ["value", "low", "high", "rows", "of_rows", "failures_as_zero"]
    values = table.loc[MATCH, columns].tolist()
    assert values == pytest.approx([1.0, 0.5655, 1.0, 5, 10, 0.5], abs=1e-4)
    [line] = [line for line in terminal(result).splitlines() if line.startswith(MATCH)]
    assert line.split() == [MATCH, "1.00", "[0.57,", "1.00]", "5", "of", "10", "0.50"]


def test_a_run_of_which_half_of_the_answers_are_none(tmp_path: Path) -> None:
    judge = ScriptedJudge()
    config = {"databricks-agent": {"metrics": ["safety"]}}
    result = evaluate(half_is_none, RECORDS, judge=judge, evaluator_config=config)
    assert_shown_everywhere(
        result,
        tmp_path,
        warning="5 of 10 answers empty",
        metrics={
            MATCH: "0.50 [0.24, 0.76], 10 of 10 rows",
            OVERALL: "0.50 [0.24, 0.76], 10 of 10 rows",
            "safety/rating/percentage": "1.00 [0.57, 1.00], 5 of 10 rows",
        },
    )
    # Equal answers need one call.
    assert [block(request, "response") for request in judge.requests] == ["right"]
    assert result.summary["safety/mean"].failures_as_zero == 0.5
    assert mlflow.get_run(result.run_id).data.metrics["rows/empty"] == 5
    assert "Skipped without response (it is empty): safety (5 rows)" in terminal(result)
    [run] = read_overview(write_report(result, tmp_path / "report.html"))["runs"]
    assert run["index"]["answer"].count("") == 5


def test_a_run_of_which_half_of_the_verdicts_are_errors(tmp_path: Path) -> None:
    config = {"databricks-agent": {"metrics": ["correctness"]}}
    judge = ScriptedJudge(script=half_is_judged)
    result = evaluate(always_right, RECORDS, judge=judge, evaluator_config=config)
    table = assert_shown_everywhere(
        result,
        tmp_path,
        warning="5 of 10 overall assessments unknown",
        metrics={
            CORRECT: "1.00 [0.57, 1.00], 5 of 10 rows",
            OVERALL: "1.00 [0.57, 1.00], 5 of 10 rows",
        },
    )
    summary = result.summary
    assert (summary.judged, summary.errors) == ({"correctness": 5}, {"correctness": 5})
    # The model did not fail.
    assert summary[CORRECT].failures_as_zero == 1.0
    assert "Errors of scorers: correctness (5 rows)" in terminal(result)
    ratings = result.tables["eval_results"]["response/overall_assessment/rating"]
    assert list(ratings) == ["yes", "unknown"] * 5
    logged = mlflow.get_run(result.run_id).data.metrics
    assert (logged["rows/unknown"], logged["judge/correctness/error_count"]) == (5, 5)
    assert table.loc[OVERALL, "of_rows"] == 10
    [feedback] = [
        assessment
        for assessment in mlflow.get_trace(result.rows[1].trace_id).info.assessments
        if assessment.name == "overall_assessment"
    ]
    # As MLflow's CategoricalRating, which its own aggregations leave out.
    assert feedback.value == "unknown"


def test_a_comparison_of_failing_runs_shows_no_improvement() -> None:
    baseline, result = evaluate(always_right, RECORDS), evaluate(half_is_none, RECORDS)
    assert compare(result, baseline)[MATCH].difference == -0.5
    failing = compare(evaluate(half_fails, RECORDS), baseline)
    assert (failing[MATCH].difference, failing[MATCH].pairs) == (0.0, 5)
    assert failing["rows/failed/percentage"].difference == 0.5


def test_a_complete_run_has_no_warning(tmp_path: Path) -> None:
    result = evaluate(always_right, RECORDS)
    assert result.summary.warning == ""
    assert repr(result).startswith("EvaluationResult(10 rows, 0 failed, run_id=")
    assert "ailures as 0" not in terminal(result) + page(result, tmp_path)
    assert re.search(r" 1\.00 +\[0\.72, 1\.00\] +10 of 10\n", terminal(result))
    assert "worst" not in terminal(result)


def test_a_narrow_terminal_shows_names_that_select_the_metric_or_names_on_lines_of_their_own() -> (
    None
):
    result = evaluate(always_right, RECORDS)
    lines = terminal(result, width=60).splitlines()
    [line] = [line for line in lines if line.startswith("exact_match ")]
    assert line.split() == ["exact_match", "1.00", "[0.72,", "1.00]", "10", "of", "10"]
    assert result.summary["exact_match"].name == MATCH
    lines = terminal(result, width=40).splitlines()
    assert lines[lines.index(MATCH) + 1].split()[0] == "1.00"


def test_repetitions_are_shown_with_their_pass_rates(tmp_path: Path) -> None:
    answers = iter(["right", "wrong", "right", "right"])
    result = evaluate(lambda model_input: next(answers), RECORDS[:2], repeat=2, max_concurrency=1)
    metric = result.summary[MATCH]
    assert (metric.n, metric.clusters) == (4, 2)
    for text in (terminal(result), page(result, tmp_path)):
        assert f"{MATCH} of 2 records: pass@2 1.00" in text
        assert "pass^2 0.50" in text


def test_a_description_that_the_user_wrote_is_kept() -> None:
    result = evaluate(half_fails, RECORDS)
    mlflow.MlflowClient().set_tag(result.run_id, "mlflow.note.content", "mine")
    evaluate(half_fails, RECORDS, resume=result.run_id)
    assert mlflow.get_run(result.run_id).data.tags["mlflow.note.content"] == "mine"


def test_a_run_of_the_user_keeps_its_description_and_has_each_summary() -> None:
    with mlflow.start_run(description="mine") as run:
        evaluate(half_fails, RECORDS)
        evaluate(half_is_none, RECORDS)
    assert mlflow.get_run(run.info.run_id).data.tags["mlflow.note.content"] == "mine"
    files = {file.path for file in mlflow.MlflowClient().list_artifacts(run.info.run_id)}
    assert {"eval_summary.json", "eval_summary_2.json"} <= files
