"""The report of a check: verdict, conditions, failing records."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from textwrap import fill
from typing import Any

from langchain_dbx_eval.reporting.gate.verdicts import CheckedCondition, Verdict, combine

__all__ = ["CheckReport", "FailingRecord", "printable"]

# Everything that XML 1.0 forbids (control characters, surrogates, U+FFFE, U+FFFF), and C1 controls.
_UNPRINTABLE = re.compile("[^\t\n\x20-\x7e\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_SHOWN_RECORDS = 3
_INDENT: dict[str, Any] = {
    "initial_indent": " " * 16,
    "subsequent_indent": " " * 16,
    # Names of metrics stay whole.
    "break_long_words": False,
    "break_on_hyphens": False,
}


def printable(text: str) -> str:
    """Replace the characters of a text that XML or a terminal cannot show by their escapes.

    The text may be an answer of a model: an escape sequence of ANSI would command the terminal.
    """
    unified = text.replace("\r\n", "\n")
    return _UNPRINTABLE.sub(lambda m: m[0].encode("unicode_escape").decode("ascii"), unified)


@dataclass(frozen=True)
class FailingRecord:
    """A row that failed.

    Attributes:
        request_id: The id of its record.
        repetition: Which invocation for that record it is, from 1.
        request: The request as text.
        response: The answer as text; empty: there is none.
        expected_response: The expected answer; None: there is none.
        reasons: Why it failed: the error, or each judge or score with its rationale.
    """

    request_id: str
    repetition: int
    request: str
    response: str
    expected_response: str | None
    reasons: tuple[str, ...]

    @property
    def name(self) -> str:
        """The id on one line, and which repetition it is if it is not the first one."""
        suffix = f" (repetition {self.repetition})" if self.repetition > 1 else ""
        return printable(f"{' '.join(self.request_id.split())}{suffix}")

    def __str__(self) -> str:
        lines = [*self.reasons, f"request:  {self.request}"]
        if self.expected_response is not None:
            lines.append(f"expected: {self.expected_response}")
        lines.append(f"response: {self.response or '(empty)'}")
        return printable("\n".join(lines))


@dataclass(frozen=True)
class CheckReport:
    """The result of checking an evaluation against conditions.

    Attributes:
        name: The evaluation: its dataset and its MLflow run.
        conditions: Each condition with its verdict.
        records: The failing records. If `passed`, the conditions tolerate them.
        rows: The number of rows of the evaluation.
        failures: The number of rows whose invocation failed, by the class of the error.
        warning: What the metrics do not cover; empty: nothing.
        run_id: The MLflow run; None: it has none yet.
    """

    name: str
    conditions: tuple[CheckedCondition, ...]
    records: tuple[FailingRecord, ...] = ()
    rows: int = 0
    failures: Mapping[str, int] = field(default_factory=dict)
    warning: str = ""
    run_id: str | None = None

    @property
    def verdict(self) -> Verdict:
        """The verdict: "regression" if a condition fails, else that of the least certain one."""
        return combine(checked.verdict for checked in self.conditions)

    @property
    def passed(self) -> bool:
        """Whether all conditions pass."""
        return self.verdict is Verdict.PASS

    @property
    def exit_code(self) -> int:
        """0: pass, 1: could not run, 3: regression, 4: inconclusive."""
        return self.verdict.exit_code

    @property
    def headline(self) -> str:
        """The verdict and the number of conditions that pass, after what they do not cover."""
        passed = sum(checked.verdict is Verdict.PASS for checked in self.conditions)
        text = f"{self.verdict}: {passed} of {len(self.conditions)} conditions pass"
        text = f"{self.warning}. {text}" if self.warning else text
        return printable(text)

    @property
    def records_headline(self) -> str:
        """The number of failing records; empty if there are none."""
        count = len(self.records)
        if not count:
            return ""
        tolerated = ", which the conditions tolerate" if self.passed else ""
        return f"{count} {'record fails' if count == 1 else 'records fail'}{tolerated}"

    def __str__(self) -> str:
        lines = [self.headline]
        for checked in self.conditions:
            lines.append(f"  {checked.verdict!s:<14}{checked.condition}")
            lines.append(fill(checked.message, 80, **_INDENT))
        if self.records:
            lines.append(f"{self.records_headline}:")
        shown = self.records[:_SHOWN_RECORDS]
        lines += [f"  {one.name}: {' '.join('; '.join(one.reasons).split())}" for one in shown]
        if (more := len(self.records) - _SHOWN_RECORDS) > 0:
            lines.append(f"  and {more} more")
        return printable("\n".join(lines))

    def to_dict(self) -> dict[str, Any]:
        """Return the report as plain JSON values."""
        return {
            "name": self.name,
            "run_id": self.run_id,
            "verdict": self.verdict.value,
            "exit_code": self.exit_code,
            "rows": self.rows,
            "failures": dict(self.failures),
            "warning": self.warning,
            "conditions": [_condition_values(checked) for checked in self.conditions],
            "records": [vars(record) for record in self.records],
        }

    def to_json(self) -> str:
        """Return the report as JSON in ASCII, which may contain escaped lone surrogates."""
        return json.dumps(self.to_dict(), indent=2)

    def to_junit(self) -> str:
        """Return the report as JUnit XML: one suite of the conditions, and one of the records."""
        from langchain_dbx_eval.reporting.gate.junit import to_junit

        return to_junit(self)

    def to_markdown(self) -> str:
        """Return the report as GitHub Markdown, for a job summary or a comment."""
        from langchain_dbx_eval.reporting.gate.markdown import to_markdown

        return to_markdown(self)


def _condition_values(checked: CheckedCondition) -> dict[str, Any]:
    measured = checked.measurement
    interval = measured.interval if measured else None
    return {
        "condition": checked.condition.text,
        "verdict": checked.verdict.value,
        "message": checked.message,
        "metric": measured.name if measured else None,
        "value": measured.value if measured else None,
        "interval": None if interval is None else list(interval),
        "n": measured.n if measured else None,
        "total": measured.total if measured else None,
        "required_rows": checked.required_rows,
    }
