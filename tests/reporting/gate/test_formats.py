"""Reports of checks as JUnit XML and GitHub Markdown."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from junitparser import Error, Failure, JUnitXml, Skipped

from langchain_dbx_eval.reporting.gate.conditions import parse_condition
from langchain_dbx_eval.reporting.gate.report import CheckReport, FailingRecord, printable
from langchain_dbx_eval.reporting.gate.verdicts import CheckedCondition, Verdict

PASS, REGRESSION, INCONCLUSIVE, COULD_NOT_RUN = Verdict
HOSTILE = (
    "]]> </testcase> & \x00 \x1b[31mred \x9b \ud800 \ufffe `|` <b> @all [x](y) 가 😀\r\n::error::"
)


def report(*verdicts: Verdict, records: int = 0, text: str = "text") -> CheckReport:
    conditions = [
        CheckedCondition(parse_condition(f"m{number} >= 0.9"), verdict, f"message {text}")
        for number, verdict in enumerate(verdicts)
    ]
    failing = [
        FailingRecord(f"{text} {n}", n + 1, text, text, None, (f"reason {text}",))
        for n in range(records)
    ]
    return CheckReport(text, tuple(conditions), tuple(failing), rows=10, run_id=text)


def parsed(checked: CheckReport) -> JUnitXml:
    return JUnitXml.fromstring(checked.to_junit().encode())


def outcomes(suite: Any) -> list[list[type]]:
    return [[type(outcome) for outcome in case.result] for case in suite]


def test_conditions_and_failing_records_are_suites_of_test_cases() -> None:
    xml = parsed(report(PASS, REGRESSION, INCONCLUSIVE, COULD_NOT_RUN, records=2))
    conditions, records = xml
    assert (conditions.name, records.name) == ("conditions", "records")
    assert outcomes(conditions) == [[], [Failure], [Error], [Error]]
    assert [case.name for case in conditions][:2] == ["m0 >= 0.9", "m1 >= 0.9"]
    assert [o.type for case in conditions for o in case.result] == [
        *("regression", "inconclusive", "could not run"),
    ]
    assert outcomes(records) == [[Failure], [Failure]]
    [failure] = next(iter(records)).result
    assert failure.message == "reason text"
    assert failure.text == "reason text\nrequest:  text\nresponse: text"
    assert (xml.tests, xml.failures, xml.errors, xml.skipped) == (6, 3, 2, 0)


def test_records_that_the_conditions_tolerate_are_skipped() -> None:
    xml = parsed(report(PASS, records=2))
    assert outcomes(list(xml)[1]) == [[Skipped], [Skipped]]
    assert (xml.tests, xml.failures, xml.errors, xml.skipped) == (3, 0, 0, 2)


def test_the_names_do_not_change_from_run_to_run() -> None:
    xml = parsed(report(PASS, text="questions"))
    assert [case.classname for case in next(iter(xml))] == ["questions.conditions"]


@pytest.mark.parametrize("verdict", Verdict)
def test_any_text_is_valid_xml(verdict: Verdict) -> None:
    xml = parsed(report(verdict, records=1, text=HOSTILE))
    [record] = list(xml)[1]
    assert "]]> </testcase> & \\x00 \\x1b[31mred \\x9b \\ud800 \\ufffe" in record.name
    assert "가 😀" in record.name


@given(st.text(st.characters(codec=None, exclude_categories=()), max_size=30))
def test_every_character_is_valid_xml_and_utf_8(text: str) -> None:
    checked = report(REGRESSION, records=1, text=text)
    assert len(list(parsed(checked))) == 2
    assert checked.to_markdown().encode()
    assert str(checked).encode()
    assert printable(printable(text)) == printable(text)


def test_markdown_has_a_line_per_condition_and_the_failing_records_folded() -> None:
    lines = report(PASS, REGRESSION, records=25).to_markdown().splitlines()
    assert lines[0] == "### Evaluation: regression"
    assert "| pass | `m0 >= 0.9` | `message text` |" in lines
    assert "| regression | `m1 >= 0.9` | `message text` |" in lines
    assert "<details><summary>25 records fail</summary>" in lines
    assert "- and 5 more" in lines
    assert "  - `reason text`" in lines


def test_texts_in_markdown_are_code_and_stay_in_their_cell() -> None:
    text = report(REGRESSION, records=1, text=HOSTILE).to_markdown()
    [row] = [line for line in text.splitlines() if line.startswith("| regression")]
    assert len(re.findall(r"(?<!\\)\|", row)) == 4
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert [mark for mark in ("@all", "<b>", "[x]", "testcase") if mark in outside] == []
    assert not any(line.startswith("::") for line in text.splitlines())


def test_the_text_contains_no_escape_sequences_and_no_line_of_an_answer() -> None:
    hostile = report(REGRESSION, records=1, text=HOSTILE)
    text = str(replace(report(REGRESSION), records=hostile.records))
    assert "\\x1b[31mred" in text
    assert not any(line.strip().startswith("::") for line in text.splitlines())


def test_the_text_fits_80_columns() -> None:
    text = str(report(REGRESSION, INCONCLUSIVE, text="word " * 40))
    lines = text.splitlines()[1:]
    assert max(map(len, lines)) <= 80
