"""The pytest plugin, run by pytest in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from importlib.metadata import entry_points

import pytest
from junitparser import JUnitXml

from langchain_dbx_eval import evaluate

pytest_plugins = ["pytester"]

RECORDS = [
    {"request_id": f"q{n}", "request": f"{n} + {n}?", "expected_response": str(2 * n)}
    for n in range(10)
]
# What a user writes.
TEST_FILE = """
import pytest

def answer(model_input):
    number = int(model_input["messages"][-1]["content"].split()[0])
    return str(2 * number) if number != 7 else "I don't \\x00 know"

@pytest.mark.dbx_eval(data="questions.jsonl", conditions=["exact_match >= {threshold}"])
def test_answers(dbx_eval):
    dbx_eval(answer)
"""


@pytest.fixture
def project(
    pytester: pytest.Pytester, mlflow_store: str, monkeypatch: pytest.MonkeyPatch
) -> pytest.Pytester:
    """A project with a dataset and a configuration, in which every unknown marker is an error."""
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_store)
    lines = "\n".join(json.dumps(record) for record in RECORDS)
    (pytester.path / "tests").mkdir()
    (pytester.path / "tests" / "questions.jsonl").write_text(lines)
    pytester.makeini("[pytest]\naddopts = --strict-markers -p no:cacheprovider\n")
    return pytester


def run(project: pytest.Pytester, source: str, *arguments: str) -> pytest.RunResult:
    (project.path / "tests" / "test_chain.py").write_text(source)
    return project.runpytest_subprocess("tests", *arguments)


def test_the_plugin_is_an_entry_point() -> None:
    [point] = [one for one in entry_points(group="pytest11") if one.name == "dbx-eval"]
    assert point.value == "langchain_dbx_eval.pytest_plugin"


def test_the_plugin_loads_nothing_but_pytest() -> None:
    program = (
        "import sys, pytest, langchain_dbx_eval.pytest_plugin; "
        "print([m for m in ('langchain_core', 'mlflow', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_without_the_option_the_tests_are_skipped(project: pytest.Pytester) -> None:
    result = run(project, TEST_FILE.format(threshold=1), "-rs")
    result.assert_outcomes(skipped=1)
    result.stdout.fnmatch_lines(["*needs --dbx-eval*"])


def test_a_failing_record_is_a_readable_failure(project: pytest.Pytester) -> None:
    result = run(
        project,
        TEST_FILE.format(threshold=0.95),
        "--dbx-eval",
        "--junitxml=junit.xml",
    )
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            "*test_answers [[]q7[]]*",
            "exact_match: 0, which does not meet exact_match >= 0.95",
            "request:  7 + 7[?]",
            "expected: 14",
            "response: I don't *<U+0000> know",
            "*test_answers*",
            "regression: 0 of 1 conditions pass",
            "*regression*exact_match >= 0.95",
            "*0.9 [[]0.596, 0.982[]], 10 of 10 rows",
            "SUBFAILED*tests/test_chain.py::test_answers - *exact_match: 0*",
            "FAILED tests/test_chain.py::test_answers*",
        ]
    )
    assert "Traceback" not in result.stdout.str()
    assert JUnitXml.fromfile(str(project.path / "junit.xml")).failures >= 1


def test_a_check_that_passes_shows_its_numbers_and_tolerates_records(
    project: pytest.Pytester,
) -> None:
    result = run(project, TEST_FILE.format(threshold=0.9), "--dbx-eval", "-rx")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*dbx-eval: tests/test_chain.py::test_answers*",
            "pass: 1 of 1 conditions pass",
            "*0.9 [[]0.596, 0.982[]], 10 of 10 rows",
            "1 record fails, which the conditions tolerate:",
            "*1 passed*",
        ]
    )


def test_before_pytest_9_the_failing_records_are_sections_of_the_test(
    project: pytest.Pytester,
) -> None:
    result = run(project, TEST_FILE.format(threshold=0.95), "--dbx-eval", "-p", "no:subtests")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "regression: 0 of 1 conditions pass",
            "*q7 call*",
            "exact_match: 0, *",
            "request:  7 + 7[?]",
        ]
    )


def test_workers_of_xdist_report_the_records_too(project: pytest.Pytester) -> None:
    result = run(project, TEST_FILE.format(threshold=0.95), "--dbx-eval", "-n", "1")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*test_answers [[]q7[]]*", "exact_match: 0, *"])


def test_markers_of_a_module_and_a_test_are_merged_with_a_baseline(
    project: pytest.Pytester,
) -> None:
    right = [{**record, "response": record["expected_response"]} for record in RECORDS]
    baseline = evaluate(data=right)
    source = f"""
        import pytest

        pytestmark = pytest.mark.dbx_eval(data={right!r}, baseline={baseline.run_id!r})

        @pytest.mark.dbx_eval(conditions="exact_match >= baseline - 0.02", repeat=1)
        def test_equal(dbx_eval):
            assert len(dbx_eval().rows) == 10

        @pytest.mark.dbx_eval(conditions=[], margin=0.01)
        def test_too_few_rows(dbx_eval):
            dbx_eval()
    """
    result = run(project, textwrap.dedent(source), "--dbx-eval")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*inconclusive: 0 of 2 conditions pass*"])


def test_an_invalid_marker_is_one_clear_message(project: pytest.Pytester) -> None:
    markers = {
        "data='no_such_file.jsonl', conditions='a >= 1'": "could not run: *no_such_file*",
        "data=[{'request': 'q'}], conditions='a => 1'": "could not run: *operators*",
        "conditions='a >= 1'": "could not run: *needs a dataset*",
        "data=[{'request': 'q'}]": "could not run: *at least one condition*",
        "'questions.jsonl'": "the marker dbx_eval has keyword arguments only",
    }
    tests = [
        f"@pytest.mark.dbx_eval({marker})\n"
        f"def test_{number}(dbx_eval):\n    dbx_eval(lambda model_input: 'x')\n"
        for number, marker in enumerate(markers)
    ]
    result = run(project, "\n".join(["import pytest", *tests]), "--dbx-eval")
    assert result.ret == 1
    result.stdout.fnmatch_lines(list(markers.values()))
    assert "Traceback" not in result.stdout.str()
