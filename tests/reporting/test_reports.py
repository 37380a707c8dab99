"""The comparison of evaluations, and their reports in the terminal."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from langchain_dbx_eval import EvaluationResult, compare, errors, evaluate
from langchain_dbx_eval.reporting import print_comparison, print_result
from langchain_dbx_eval.reporting.overview import find_worst
from langchain_dbx_eval.scoring import DEFAULT_SCORERS, scorer

pytestmark = pytest.mark.usefixtures("mlflow_store")
F1 = "response/ground_truth/token_f1"


def result_of(**answers: str) -> EvaluationResult:
    """Evaluate answers by request id; the expected response is always "right"."""
    rows = [
        {
            "request_id": request_id,
            "request": f"<b>{request_id}</b> [red]?",
            "response": answer,
            "expected_response": "right",
        }
        for request_id, answer in answers.items()
    ]
    return evaluate(data=rows)


def printed(print_fn: object, *arguments: object, width: int = 100) -> str:
    text = io.StringIO()
    print_fn(*arguments, Console(file=text, width=width))
    return text.getvalue()


def test_a_comparison_pairs_rows_and_counts_their_changes() -> None:
    baseline = result_of(a="right", b="wrong", c="wrong", only_before="right")
    comparison = compare(result_of(a="right", b="right", c="wrong"), baseline)
    [f1] = [m for m in comparison.metrics if m.name == f"{F1}/average"]
    assert f1.baseline == pytest.approx(1 / 3)
    assert f1.difference == pytest.approx(2 / 3 - 1 / 3)
    [changes] = [r for r in comparison.rows if r.column == F1]
    assert (changes.higher, changes.lower, changes.equal) == (1, 0, 2)
    assert comparison.paired == 3


def test_results_without_a_common_row_cannot_be_compared() -> None:
    with pytest.raises(errors.ConfigurationError, match="request_id"):
        compare(result_of(a="x"), result_of(b="x"))


def test_the_worst_rows_come_first_and_failed_rows_before_them() -> None:
    rows = [
        {"request_id": "good", "request": "q", "response": "x", "expected_response": "x"},
        {"request_id": "bad", "request": "q2", "response": "y", "expected_response": "x"},
        {"request_id": "failed", "request": "q3", "expected_response": "x"},
    ]
    worst = find_worst(evaluate(data=rows), 3)
    assert [row.record.request_id for row in worst.rows] == ["failed", "bad"]


def test_the_terminal_shows_metrics_and_rows_without_markup() -> None:
    text = printed(print_result, result_of(a="wrong [/red] answer"))
    assert f"{F1}/average" in text
    assert "wrong [/red] answer" in text
    assert "<b>a</b> [red]?" in text


def test_the_terminal_shows_a_comparison() -> None:
    text = printed(print_comparison, compare(result_of(a="right"), result_of(a="wrong")))
    assert "+1" in text
    for title in ("95 % interval", "p (Holm)", "Pairs"):
        assert title in text


def test_a_comparison_fits_80_columns_with_the_full_name_of_each_metric() -> None:
    @scorer
    def follows_the_guidelines_of_the_department(outputs: str) -> bool:
        return outputs == "right"

    scorers = [*DEFAULT_SCORERS, follows_the_guidelines_of_the_department]
    rows = [
        {"request_id": f"r{n}", "request": f"[b]{n}", "expected_response": "right"}
        for n in range(20)
    ]
    results = [
        evaluate(
            data=[{**row, "response": "right" if n < k else "?"} for n, row in enumerate(rows)],
            scorers=scorers,
        )
        for k in (18, 4)
    ]
    comparison = compare(*results)
    lines = printed(print_comparison, comparison, width=80).splitlines()
    assert max(map(len, lines)) <= 80
    for metric in comparison.metrics:
        # The average of a boolean is its share, which is shown.
        if metric.paired is not None and not metric.name.endswith("department/average"):
            numbers = lines[lines.index(metric.name) + 1].split("  ")
            assert numbers[-1].strip() == "20 of 20"
    f1 = lines[lines.index(f"{F1}/average") + 1]
    interval = comparison[f"{F1}/average"].interval
    assert f"[{interval.low:+.3g}, {interval.high:+.3g}]" in f1
    assert "< 0.001*" in f1
    assert "* significant: p below 0.05, corrected for the number of metrics" in lines
    # A wide terminal has one line per metric.
    wide = printed(print_comparison, comparison, width=160)
    assert any(
        line.startswith(f"{F1}/average ") and "20 of 20" in line for line in wide.split("\n")
    )


def test_a_comparison_shows_pairs_that_lack_a_value() -> None:
    def model(model_input: dict) -> str:
        if model_input["messages"][-1]["content"] == "1":
            raise ValueError("out of memory")
        return "right"

    rows = [
        {"request_id": f"r{n}", "request": str(n), "expected_response": "right"} for n in range(3)
    ]
    baseline = evaluate(data=[{**row, "response": "right"} for row in rows])
    text = printed(print_comparison, compare(evaluate(model, rows), baseline), width=160)
    [line] = [line for line in text.splitlines() if line.startswith(f"{F1}/average")]
    assert line.endswith("2 of 3")


def test_rows_that_only_one_evaluation_has_are_shown() -> None:
    comparison = compare(result_of(a="right", b="right"), result_of(a="wrong"))
    text = " ".join(printed(print_comparison, comparison).split())
    assert "1 rows in common, 0 only in the baseline, 1 only in this run" in text


def test_a_notebook_shows_the_metrics_of_a_result() -> None:
    assert f"{F1}/average" in result_of(a="right")._repr_html_()
