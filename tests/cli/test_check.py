"""``langchain-dbx-eval check``, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from junitparser import Error, Failure, JUnitXml, Skipped

from langchain_dbx_eval import EvaluationResult, evaluate
from langchain_dbx_eval.cli import main

pytestmark = pytest.mark.usefixtures("mlflow_store")


def answered(right: int, response: str = "wrong") -> EvaluationResult:
    """Evaluate 100 answers, of which the first ones are right."""
    rows = [
        {
            "request_id": f"r{n}",
            "request": str(n),
            "response": "right" if n < right else response,
            "expected_response": "right",
        }
        for n in range(100)
    ]
    return evaluate(data=rows)


def check(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "langchain_dbx_eval.cli", "check", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment},
    )


@pytest.mark.parametrize(
    ("condition", "exit_code", "verdict", "conditions", "records"),
    [
        ("exact_match >= 0.9", 0, "pass", [], {Skipped}),
        ("exact_match >= 0.98 @ lower", 3, "regression", [Failure], {Failure}),
        ("exact_match >= 0.9 @ lower", 4, "inconclusive", [Error], {Failure}),
        ("no_such_metric >= 0.9", 1, "could not run", [Error], set()),
    ],
)
def test_each_verdict_has_its_exit_status_and_junit_file(
    tmp_path: Path,
    condition: str,
    exit_code: int,
    verdict: str,
    conditions: list[type],
    records: set[type],
) -> None:
    result = answered(92, "wrong ]]> \x00 \x1b[31m")
    junit = tmp_path / "reports" / "junit.xml"
    done = check(result.run_id, condition, "--junit", junit)
    assert done.returncode == exit_code, done.stderr
    assert f"{verdict}: " in done.stdout
    first, second = JUnitXml.fromfile(str(junit))
    [case] = first
    assert case.name == condition
    assert [type(outcome) for outcome in case.result] == conditions
    assert {type(outcome) for case in second for outcome in case.result} == records


def test_a_baseline_and_all_formats(tmp_path: Path) -> None:
    baseline, result = answered(95), answered(70)
    summary = tmp_path / "summary.md"
    summary.write_text("before\n")
    done = check(
        result.journal,
        "exact_match >= baseline - 0.05 @ lower",
        *("--baseline", baseline.run_id, "--markdown", tmp_path / "check.md", "--json"),
        GITHUB_STEP_SUMMARY=str(summary),
    )
    assert done.returncode == 3, done.stderr
    values = json.loads(done.stdout)
    assert (values["verdict"], values["exit_code"], values["run_id"]) == (
        "regression",
        3,
        result.run_id,
    )
    assert values["conditions"][0]["value"] == pytest.approx(-0.25)
    assert len(values["records"]) == 25
    page = (tmp_path / "check.md").read_text()
    assert page.startswith("### Evaluation: regression")
    assert summary.read_text() == f"before\n{page}"


def test_an_error_is_not_mistaken_for_a_regression(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "no_such_run", "exact_match >= 0.9"]) == 1
    assert "There is no evaluation 'no_such_run'" in capsys.readouterr().err
    result = answered(50)
    assert main(["check", str(result.run_id), "exact_match => 0.9"]) == 1
    assert "exactly one of the operators" in capsys.readouterr().err
    assert main(["check", str(result.run_id)]) == 2


def test_a_verdict_is_printed_to_a_terminal_that_is_not_utf_8() -> None:
    result = answered(99, "틀림")
    done = check(result.run_id, "exact_match >= 1", PYTHONIOENCODING="ascii")
    assert done.returncode == 3, done.stderr
    assert "exact_match: 0" in done.stdout


def test_the_help_lists_the_exit_status_of_each_verdict(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["check", "--help"]) == 0
    printed = capsys.readouterr().out
    for line in ("0  all conditions pass", "3  regression: a condition", "4  inconclusive"):
        assert line in printed
