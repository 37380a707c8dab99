"""What people look at: the comparison, the terminal, the page."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from langchain_dbx_eval import EvaluationResult, compare, errors, evaluate
from langchain_dbx_eval.reporting import print_comparison, print_result, write_report
from langchain_dbx_eval.reporting.worst_rows import worst_rows

pytestmark = pytest.mark.usefixtures("mlflow_store")
F1 = "response/ground_truth/token_f1"


def result_of(**answers: str) -> EvaluationResult:
    """An evaluation of rows by request id, each of which should have been answered "right"."""
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


def printed(show: object, *arguments: object) -> str:
    text = io.StringIO()
    show(*arguments, Console(file=text, width=100))
    return text.getvalue()


def test_a_comparison_pairs_rows_and_tells_how_each_moved() -> None:
    baseline = result_of(a="right", b="wrong", c="wrong", only_before="right")
    comparison = compare(result_of(a="right", b="right", c="wrong"), baseline)
    [f1] = [m for m in comparison.metrics if m.name == f"{F1}/average"]
    assert f1.baseline == 0.5
    assert f1.difference == pytest.approx(2 / 3 - 1 / 2)
    [moves] = [r for r in comparison.rows if r.column == F1]
    assert (moves.higher, moves.lower, moves.equal) == (1, 0, 2)
    assert comparison.paired == 3


def test_results_without_a_common_row_cannot_be_compared() -> None:
    with pytest.raises(errors.ConfigurationError, match="request_id"):
        compare(result_of(a="x"), result_of(b="x"))


def test_the_worst_rows_come_first_and_failures_before_all() -> None:
    rows = [
        {"request_id": "good", "request": "q", "response": "x", "expected_response": "x"},
        {"request_id": "bad", "request": "q2", "response": "y", "expected_response": "x"},
        {"request_id": "failed", "request": "q3", "expected_response": "x"},
    ]
    worst = worst_rows(evaluate(data=rows), 2)
    assert [row.record.request_id for row in worst] == ["failed", "bad"]


def test_the_terminal_shows_metrics_and_rows_as_they_are() -> None:
    text = printed(print_result, result_of(a="wrong [/red] answer"))
    assert f"{F1}/average" in text
    assert "wrong [/red] answer" in text
    assert "<b>a</b> [red]?" in text


def test_the_terminal_shows_a_comparison() -> None:
    text = printed(print_comparison, compare(result_of(a="right"), result_of(a="wrong")))
    assert "+1" in text


def test_the_page_escapes_what_people_wrote(tmp_path: Path) -> None:
    result = result_of(a="<script>alert(1)</script>")
    page = write_report(result, tmp_path / "deep" / "report.html").read_text(encoding="utf-8")
    assert "<script>" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert result.run_id in page


def test_the_page_shows_a_comparison(tmp_path: Path) -> None:
    result, baseline = result_of(a="right"), result_of(a="wrong")
    path = write_report(result, tmp_path / "r.html", comparison=compare(result, baseline))
    assert "+1" in path.read_text(encoding="utf-8")


def test_a_result_shows_itself_in_a_notebook() -> None:
    assert f"{F1}/average" in result_of(a="right")._repr_html_()
