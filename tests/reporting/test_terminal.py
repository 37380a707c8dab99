"""Evaluations and comparisons in the terminal: widths, root causes, texts of the data."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from langchain_dbx_eval import EvaluationResult, compare, evaluate
from langchain_dbx_eval.reporting import print_comparison, print_result
from tests.reporting.report_samples import hostile_rows
from tests.reporting.support_answers import evaluate_support

pytestmark = pytest.mark.usefixtures("mlflow_store")
WIDTHS = (80, 100, 120)


def printed(print_fn: object, *arguments: object, width: int = 100, color: bool = False) -> str:
    text = io.StringIO()
    system = "standard" if color else None
    console = Console(file=text, width=width, force_terminal=color, color_system=system)
    print_fn(*arguments, console)
    return text.getvalue()


def test_an_evaluation_and_a_comparison_fit_the_width() -> None:
    baseline, result = evaluate_support(0.55, "prompt-v1"), evaluate_support(0.8, "prompt-v2")
    comparison = compare(result, baseline)
    assert str(comparison) == printed(print_comparison, comparison).rstrip()
    assert repr(comparison).startswith("Comparison(36 rows in common, metrics significantly")
    for width in WIDTHS:
        text = printed(print_result, result, width=width)
        lines = [line.rstrip() for line in text.splitlines()]
        assert max(map(len, lines)) <= width
        assert lines[0].startswith("3 of 36 rows failed (ConnectionError 3), ")
        assert re.fullmatch(r"Root causes: (\w+ \d+(, )?)+", lines[1])
        [line] = [line for line in lines if re.match(r"(\S+/)?groundedness(/\S+)? ", line)]
        metric = result.summary["groundedness"]
        assert line.endswith(
            f"{metric.n} of {metric.total}           {metric.failures_as_zero:.2f}"
        )
        assert f"[{metric.interval.low:.2f}, {metric.interval.high:.2f}]" in line
        assert lines.index("The 3 worst rows") > lines.index(line)

        lines = printed(print_comparison, comparison, width=width).splitlines()
        assert max(map(len, lines)) <= width
        [title] = [line for line in lines if line.startswith("Rows that changed")]
        flips = lines[lines.index(title) + 1 :]
        assert flips[0].startswith("✓ → ✕")
        assert any("now: groundedness" in line for line in flips)
        difference = f"{comparison['groundedness'].difference:+.3g}"
        assert any(re.search(rf"(^|\s){re.escape(difference)}\s", line) for line in lines)


def result_of(answers: list[str]) -> EvaluationResult:
    rows = [
        {"request_id": f"r{n}", "request": f"{n}?", "response": a, "expected_response": "right"}
        for n, a in enumerate(answers)
    ]
    return evaluate(data=rows)


def test_only_a_significant_difference_has_a_color() -> None:
    baseline = result_of(["wrong"] * 20)
    red, green = "\x1b[31m", "\x1b[32m"
    significant = printed(
        print_comparison, compare(result_of(["right"] * 20), baseline), color=True
    )
    assert re.search(rf"{re.escape(green)} +\+1\b", significant)
    unclear = printed(
        print_comparison, compare(result_of(["right"] + ["wrong"] * 19), baseline), color=True
    )
    table, _, flips = unclear.partition("Rows that changed")
    assert "+0.05" in table
    assert red not in table
    assert green not in table
    assert green in flips


def test_texts_of_the_data_are_never_executed_by_a_terminal() -> None:
    result = evaluate(data=hostile_rows())
    text = printed(lambda *a: print_result(*a, worst=20), result)
    text += printed(print_comparison, compare(result, result))
    assert not re.search("[\0-\x09\x0b-\x1f\x7f-\x9f\u202e\u2066]", text)
    assert "\\x1b[31mred" in text
    assert "<script>document.title = 'owned'</script>" in text
    assert '=HYPERLINK("https://example.com")' in text
    # Of a text of 100 kB, three lines.
    assert len(text) < 20_000
