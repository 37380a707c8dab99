"""A check as JUnit XML."""

from __future__ import annotations

from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

from langchain_dbx_eval.reporting.gate.report import printable
from langchain_dbx_eval.reporting.gate.verdicts import Verdict

if TYPE_CHECKING:
    from langchain_dbx_eval.reporting.gate.report import CheckReport

__all__ = ["to_junit"]

# JUnit has no test that is inconclusive. An error is not a failed test, and does not pass either.
_ELEMENTS = {
    Verdict.REGRESSION: "failure",
    Verdict.INCONCLUSIVE: "error",
    Verdict.COULD_NOT_RUN: "error",
}


def to_junit(report: CheckReport) -> str:
    """Return a check as JUnit XML, in the form that Jenkins, GitLab and GitHub actions read.

    Args:
        report: The check. Each condition is a test case of the suite ``conditions``, each failing
            record one of the suite ``records``: skipped if the check passes, because the conditions
            tolerate it, otherwise failed.
    """
    suites = ET.Element("testsuites", name="langchain-dbx-eval check")
    conditions = ET.SubElement(suites, "testsuite", name="conditions")
    for checked in report.conditions:
        case = _case(conditions, report, "conditions", checked.condition.text)
        if checked.verdict is Verdict.PASS:
            ET.SubElement(case, "system-out").text = printable(checked.message)
        else:
            _outcome(case, _ELEMENTS[checked.verdict], checked.verdict.value, checked.message)
    records = ET.SubElement(suites, "testsuite", name="records")
    for record in report.records:
        case = _case(records, report, "records", record.name)
        first = record.reasons[0] if record.reasons else ""
        if report.passed:
            _outcome(case, "skipped", "tolerated", f"tolerated by the conditions: {first}")
            ET.SubElement(case, "system-out").text = str(record)
        else:
            _outcome(case, "failure", "record", first, str(record))
    for suite in (conditions, records):
        suite.set("tests", str(len(suite)))
        for plural, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            suite.set(plural, str(len(suite.findall(f"testcase/{tag}"))))
        suite.set("time", "0")
    for name in ("tests", "failures", "errors", "skipped"):
        suites.set(name, str(sum(int(suite.get(name, "0")) for suite in (conditions, records))))
    ET.indent(suites)
    # With `xml_declaration=True`, Python names the encoding of the locale.
    declaration = '<?xml version="1.0" encoding="utf-8"?>'
    return f"{declaration}\n{ET.tostring(suites, encoding='unicode')}\n"


def _case(suite: ET.Element, report: CheckReport, kind: str, name: str) -> ET.Element:
    classname = printable(f"{report.name}.{kind}")
    return ET.SubElement(suite, "testcase", classname=classname, name=printable(name), time="0")


def _outcome(case: ET.Element, tag: str, kind: str, message: str, text: str | None = None) -> None:
    outcome = ET.SubElement(case, tag, type=kind, message=printable(message))
    if tag != "skipped":
        outcome.text = printable(message if text is None else text)
