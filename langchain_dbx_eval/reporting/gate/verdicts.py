"""The verdict of a condition, from a measurement."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from math import ceil
from typing import TYPE_CHECKING

from langchain_dbx_eval.reporting.gate.conditions import Condition

if TYPE_CHECKING:
    from langchain_dbx_eval.scoring.statistics import Interval

__all__ = ["CheckedCondition", "Measurement", "Verdict", "combine", "decide"]

# The half-width of a 95 % interval, in standard errors.
_Z = 1.959964


class Verdict(str, Enum):
    """The verdict of a condition, or of a whole check.

    `exit_code` is 1 for "could not run", as after any other error, so that a crash is not mistaken
    for a regression. 2 is the exit status of invalid command-line arguments.
    """

    PASS = "pass"  # noqa: S105 - not a password
    REGRESSION = "regression"
    INCONCLUSIVE = "inconclusive"
    COULD_NOT_RUN = "could not run"

    @property
    def exit_code(self) -> int:
        """The exit status of ``langchain-dbx-eval check``."""
        return {"pass": 0, "could not run": 1, "regression": 3, "inconclusive": 4}[self.value]

    def __str__(self) -> str:
        return self.value


@dataclass(frozen=True)
class Measurement:
    """What a condition is compared with.

    Attributes:
        name: The full name of the metric.
        value: Its value, or the difference from the baseline.
        interval: The 95 % interval of `value`; None: there is none.
        n: The number of rows, or pairs, that it covers; None if `value` is a number of rows.
        total: The number of rows, or pairs, that it should cover; None: unknown.
        least_rows: The number of rows below which the value is a matter of chance.
        label: What `value` is, if not the metric itself, such as ``"p95"``.
        failures_as_zero: The value if failed rows and empty answers count as 0; None: unknown.
    """

    name: str
    value: float
    interval: Interval | None = None
    n: int | None = None
    total: int | None = None
    least_rows: int = 1
    label: str = ""
    failures_as_zero: float | None = None

    def describe(self, condition: Condition) -> str:
        """Return its numbers as ``0.82 [0.74, 0.88], 96 of 100 rows``."""
        text = f"{self.label} {_number_text(self.value, condition)}".strip()
        if self.interval is not None:
            text += f" [{', '.join(_number_text(bound, condition) for bound in self.interval)}]"
        if self.total is not None:
            text += (
                f" of {self.total} rows" if self.n is None else f", {self.n} of {self.total} rows"
            )
        return text


@dataclass(frozen=True)
class CheckedCondition:
    """A condition and its verdict.

    Attributes:
        condition: The condition.
        verdict: Its verdict.
        message: The numbers that decide it, or why it could not be checked.
        measurement: The numbers; None if it could not be checked.
        required_rows: The number of rows that would decide an inconclusive condition; None if no
            number does, or for another verdict.
    """

    condition: Condition
    verdict: Verdict
    message: str
    measurement: Measurement | None = None
    required_rows: int | None = None


def combine(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the verdict of several conditions.

    A condition that fails decides, whatever else is unknown. Otherwise it is that of the condition
    about which the least is known.
    """
    found = set(verdicts)
    order = (Verdict.REGRESSION, Verdict.COULD_NOT_RUN, Verdict.INCONCLUSIVE)
    return next((verdict for verdict in order if verdict in found), Verdict.PASS)


def decide(condition: Condition, measured: Measurement) -> CheckedCondition:
    """Compare a measurement with the threshold of a condition.

    Without a bound, the value decides. With ``@ lower`` or ``@ upper`` that bound must hold; if it
    does not, but the other end of the interval does, the rows are too few to decide.
    """
    verdict, reason, required = _decide(condition, measured)
    notes = [measured.describe(condition)]
    if measured.n is not None and measured.total is not None and measured.n < measured.total:
        note = f"{measured.total - measured.n} rows have no value and do not count"
        if measured.failures_as_zero is not None:
            note += f" ({_number_text(measured.failures_as_zero, condition)} if they count as 0)"
        notes.append(note)
    notes += [reason] if reason else []
    return CheckedCondition(condition, verdict, "; ".join(notes), measured, required)


def _decide(condition: Condition, measured: Measurement) -> tuple[Verdict, str, int | None]:
    if measured.n is not None and measured.n < measured.least_rows:
        least = measured.least_rows
        return Verdict.INCONCLUSIVE, f"{measured.label} needs at least {least} rows", least
    if condition.bound is None:
        return (Verdict.PASS if condition.holds(measured.value) else Verdict.REGRESSION), "", None
    interval = measured.interval
    if interval is None:
        return Verdict.INCONCLUSIVE, "no interval: the rows are of too few records", None
    bounds = {"lower": interval.low, "upper": interval.high}
    if condition.holds(bounds[condition.bound]):
        return Verdict.PASS, "", None
    if not condition.holds(max(interval) if condition.is_floor else min(interval)):
        return Verdict.REGRESSION, "", None
    required = _required_rows(condition, measured, interval)
    if required is None:
        reason = "no number of rows decides a value that is equal to the threshold"
    else:
        value = _number_text(measured.value, condition)
        reason = f"about {required:,} rows decide it, if {value} is the true value"
    return Verdict.INCONCLUSIVE, reason, required


def _required_rows(condition: Condition, measured: Measurement, interval: Interval) -> int | None:
    """Return the rows with which the interval excludes the threshold in 80 % of all cases.

    The standard deviation of a row is that of the interval, so that it includes clusters.
    """
    from langchain_dbx_eval.scoring.statistics import required_rows

    effect = abs(measured.value - condition.threshold)
    if effect < 1e-9 or not measured.n:
        return None
    deviation = (interval.high - interval.low) / (2 * _Z) * measured.n**0.5
    required = required_rows(effect, deviation)
    # Few rows have an interval that is not symmetric: more rows than these are needed in any case.
    return max(required, ceil(measured.n * 1.1))


def _number_text(number: float, condition: Condition) -> str:
    """Return a number with as many digits as it takes to be on its side of the threshold."""
    digits = max(3, len(f"{abs(number):.0f}"))
    text = f"{number:.{digits}g}"
    while condition.holds(float(text)) != condition.holds(number) and digits < 12:
        digits += 1
        text = f"{number:.{digits}g}"
    return text
