"""The pytest plugin: evaluations as tests, with ``pytest --dbx-eval``.

::

    @pytest.mark.dbx_eval(data="questions.jsonl", conditions=["exact_match >= 0.9"])
    def test_answers(dbx_eval):
        dbx_eval(answer)

Each failing record is a failed subtest. pytest imports this module in each of its runs, so this
module imports nothing but pytest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation import EvaluationResult
    from langchain_dbx_eval.reporting import CheckReport

__all__ = ["dbx_eval"]

_MARKER = (
    "dbx_eval(*, data, conditions, baseline=None, margin=None, **options): the dataset and the "
    "conditions of the fixture `dbx_eval`; the options are those of langchain_dbx_eval.evaluate. "
    "The test is skipped without --dbx-eval."
)
# The name of a property of a test report.
_REPORT = "dbx_eval"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--dbx-eval``."""
    parser.getgroup("dbx-eval", "langchain-dbx-eval").addoption(
        "--dbx-eval",
        action="store_true",
        help="run the tests that evaluate a model; without it they are skipped",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", _MARKER)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip the tests that evaluate a model, because models cost time and money."""
    if config.getoption("--dbx-eval"):
        return
    skip = pytest.mark.skip(reason="evaluates a model: needs --dbx-eval")
    for item in items:
        if item.get_closest_marker("dbx_eval") or "dbx_eval" in getattr(item, "fixturenames", ()):
            item.add_marker(skip)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the numbers of the checks that passed; those of the others are in their failures."""
    for report in terminalreporter.getreports("passed"):
        for text in (text for name, text in report.user_properties if name == _REPORT):
            terminalreporter.write_sep("-", f"dbx-eval: {report.nodeid}")
            terminalreporter.write_line(str(text))


@pytest.fixture
def dbx_eval(request: pytest.FixtureRequest) -> Callable[..., EvaluationResult]:
    """A function that evaluates a model as the marker ``dbx_eval`` says, and checks the result.

    Its arguments are those of `langchain_dbx_eval.evaluate`, and override those of the marker. It
    returns the result. The test fails unless all conditions pass; each failing record then is a
    failed subtest (an xfailed one if the conditions tolerate it).
    """

    def run(model: Any = None, **options: Any) -> EvaluationResult:
        __tracebackhide__ = True
        settings: dict[str, Any] = {}
        for marker in reversed(list(request.node.iter_markers("dbx_eval"))):
            if marker.args:
                pytest.fail("the marker dbx_eval has keyword arguments only", pytrace=False)
            settings |= marker.kwargs
        result, report = _evaluate(model, {**settings, **options}, request.path.parent)
        request.node.user_properties.append((_REPORT, str(report)))
        _report_records(request, report)
        if not report.passed:
            pytest.fail(str(report), pytrace=False)
        return result

    return run


def _evaluate(
    model: Any, settings: Mapping[str, Any], folder: Path
) -> tuple[EvaluationResult, CheckReport]:
    from langchain_dbx_eval import EvaluationResult, compare, evaluate
    from langchain_dbx_eval.errors import DatabricksError
    from langchain_dbx_eval.reporting.gate import parse_conditions

    __tracebackhide__ = True
    options = dict(settings)
    data, conditions = options.pop("data", None), options.pop("conditions", ())
    baseline, margin = options.pop("baseline", None), options.pop("margin", None)
    if isinstance(data, str | Path) and (folder / data).exists():
        data = folder / data
    try:
        # An invalid condition must not cost an evaluation.
        texts = [conditions] if isinstance(conditions, str) else conditions
        if texts or margin is None:
            parse_conditions(texts)
        if baseline is not None and not isinstance(baseline, EvaluationResult):
            baseline = EvaluationResult.load(baseline)
        result = evaluate(model, data, **options)
        if baseline is None:
            return result, result.check(*texts)
        return result, compare(result, baseline, margin=margin).check(*texts)
    except DatabricksError as error:
        reason = str(error)
    pytest.fail(f"could not run: {reason}", pytrace=False)


def _report_records(request: pytest.FixtureRequest, report: CheckReport) -> None:
    try:
        subtests = request.getfixturevalue("subtests")
    except pytest.FixtureLookupError:  # before pytest 9, without pytest-subtests
        if not report.passed:
            for record in report.records:
                request.node.add_report_section("call", record.name, str(record))
        return
    for record in report.records:
        with subtests.test(msg=record.name):
            if report.passed:
                pytest.xfail(f"tolerated by the conditions: {record}")
            pytest.fail(str(record), pytrace=False)
