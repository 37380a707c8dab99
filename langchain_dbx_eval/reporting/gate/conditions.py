"""The grammar of the conditions of a check.

::

    condition = metric [statistic] operator target ["@" bound]
    statistic = "p" number | "coverage"
    operator  = ">=" | ">" | "<=" | "<"
    target    = number [unit] | "baseline" [("+" | "-") number [unit]]
    unit      = "%" | "ms" | "s" | "USD"
    bound     = "lower" | "upper"
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["Bound", "Condition", "parse_condition", "parse_conditions"]

Bound = Literal["lower", "upper"]
Operator = Literal[">=", ">", "<=", "<"]

_UNITS = {"": 1.0, "%": 0.01, "ms": 0.001, "s": 1.0, "USD": 1.0}
_SPLIT = re.compile(r"([^<>=@]+?)\s*(<=|>=|<|>)(?!=)\s*([^<>=@]+?)\s*(?:@\s*([^<>=@]*))?")
_STATISTIC = re.compile(r"(.+?)\s+(coverage|p[\d.]+)")
_AMOUNT = r"([-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?)\s*([^\d\s]*)"
_BASELINE = re.compile(r"baseline\s*(?:([-+])\s*(.+))?")
_EXAMPLES = (
    "'correctness >= 0.9', 'correctness >= 90 % @ lower', 'rows/failed <= 2 %', "
    "'latency p95 < 2 s', 'correctness >= baseline - 0.02 @ lower'"
)


@dataclass(frozen=True)
class Condition:
    """A condition on a metric.

    Attributes:
        text: The condition as it was written.
        metric: The name of the metric, as it was written.
        operator: The comparison that must hold.
        threshold: The number to compare with, in units of the metric; with `to_baseline`, the
            number to compare the difference from the baseline with.
        unit: The unit of the threshold as it was written; empty: none.
        quantile: The quantile of the rows to compare, between 0 and 1; None: the metric itself.
        is_coverage: Whether the share of the rows with a value is compared.
        to_baseline: Whether candidate minus baseline is compared.
        bound: The bound of the 95 % interval to compare; None: the value.
    """

    text: str
    metric: str
    operator: Operator
    threshold: float
    unit: str = ""
    quantile: float | None = None
    is_coverage: bool = False
    to_baseline: bool = False
    bound: Bound | None = None

    @property
    def is_floor(self) -> bool:
        """Whether the condition demands a high value."""
        return self.operator.startswith(">")

    def holds(self, number: float) -> bool:
        """Return whether a number meets the threshold; rounding errors of 1e-9 do not count."""
        if math.isclose(number, self.threshold, rel_tol=1e-9, abs_tol=1e-9):
            return self.operator.endswith("=")
        return (number > self.threshold) is self.is_floor

    def __str__(self) -> str:
        return self.text


def parse_condition(text: str) -> Condition:
    """Parse a condition.

    Args:
        text: The condition, such as ``"correctness >= 0.9 @ lower"``.

    Raises:
        ConfigurationError: The text is not a condition; the message names the part that is wrong.
    """
    if not isinstance(text, str):
        raise _error(text, f"it is a {type(text).__name__}, not a string")
    match = _SPLIT.fullmatch(text.strip())
    if match is None:
        raise _error(text, "it needs exactly one of the operators >=, >, <= and <")
    left, operator, right, bound = match.groups()
    if bound is not None and bound.strip() not in ("lower", "upper"):
        raise _error(text, f"the bound after '@' is {bound.strip()!r}; use 'lower' or 'upper'")
    metric, quantile, is_coverage = _parse_metric(text, left.strip())
    threshold, unit, to_baseline = _parse_target(text, right)
    if is_coverage and (bound is not None or to_baseline):
        raise _error(text, "the coverage is counted: it has neither an interval nor a baseline")
    return Condition(
        text=text.strip(),
        metric=metric,
        operator=operator,  # type: ignore[arg-type]  # the pattern contains no other
        threshold=threshold,
        unit=unit,
        quantile=quantile,
        is_coverage=is_coverage,
        to_baseline=to_baseline,
        bound=bound.strip() if bound else None,  # type: ignore[arg-type]  # checked above
    )


def parse_conditions(texts: Iterable[str | Condition]) -> list[Condition]:
    """Parse the conditions of a check, of which there is at least one.

    Raises:
        ConfigurationError: There is no condition, or one is invalid.
    """
    conditions = [c if isinstance(c, Condition) else parse_condition(c) for c in texts]
    if not conditions:
        msg = "A check needs at least one condition, such as 'correctness >= 0.9'."
        raise ConfigurationError(msg)
    return conditions


def _parse_metric(text: str, left: str) -> tuple[str, float | None, bool]:
    match = _STATISTIC.fullmatch(left)
    if match is None:
        return left, None, False
    metric, statistic = match.groups()
    if statistic == "coverage":
        return metric, None, True
    try:
        percent = float(statistic[1:])
    except ValueError:
        percent = math.nan
    if not 0 < percent < 100:
        raise _error(text, f"the quantile is {statistic!r}; use one between p0 and p100")
    return metric, round(percent / 100, 12), False


def _parse_target(text: str, right: str) -> tuple[float, str, bool]:
    baseline = _BASELINE.fullmatch(right)
    if baseline is None:
        return *_parse_amount(text, right), False
    sign, amount = baseline.groups()
    if amount is None:
        return 0.0, "", True
    number, unit = _parse_amount(text, amount)
    return (-number if sign == "-" else number), unit, True


def _parse_amount(text: str, amount: str) -> tuple[float, str]:
    match = re.fullmatch(_AMOUNT, amount.strip())
    if match is None:
        raise _error(text, f"{amount!r} is neither a number nor 'baseline'")
    number, unit = match.groups()
    if unit not in _UNITS:
        raise _error(text, f"the unit is {unit!r}; use one of %, ms, s and USD")
    return float(number) * _UNITS[unit], unit


def _error(text: object, reason: str) -> ConfigurationError:
    msg = f"The condition {text!r} is invalid: {reason}. Examples: {_EXAMPLES}."
    return ConfigurationError(msg)
