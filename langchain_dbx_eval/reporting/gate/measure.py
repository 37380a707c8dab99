"""The numbers of an evaluation, or of a comparison, that a condition is compared with."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from functools import cached_property
from math import ceil
from typing import TYPE_CHECKING

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.reporting.gate.conditions import Condition
from langchain_dbx_eval.reporting.gate.verdicts import Measurement
from langchain_dbx_eval.reporting.pairing import FAILED, JUDGE_COST, ScoredRow, read_rows
from langchain_dbx_eval.scoring.aggregates import AMOUNTS, Metrics, RecordKey, Summary
from langchain_dbx_eval.scoring.contract import OVERALL_ASSESSMENT

if TYPE_CHECKING:
    from langchain_dbx_eval.reporting.comparison import Comparison

__all__ = ["Measurements", "MetricUnavailableError"]

_SHORT_NAMES = {
    "latency": "agent/latency_seconds/average",
    "time_to_first_token": "agent/time_to_first_token_seconds/average",
    "tokens": "agent/total_token_count/average",
    "input_tokens": "agent/total_input_token_count/average",
    "output_tokens": "agent/total_output_token_count/average",
    "cost": "agent/cost_usd/average",
    "judge_cost": JUDGE_COST,
}
# The clusters that a bootstrap needs beyond a quantile (`statistics.quantile_differences`).
_BEYOND = 5


class MetricUnavailableError(Exception):
    """An evaluation has no number for a condition; the message explains why."""


class Measurements:
    """The numbers of one evaluation.

    Args:
        rows: Its rows.
        summary: Its summary.
        cluster: See `EvaluationResult.summarize`.
        comparison: Its comparison with a baseline; None: there is none.
    """

    def __init__(
        self,
        rows: Iterable[Row],
        summary: Summary,
        *,
        cluster: RecordKey | None = None,
        comparison: Comparison | None = None,
    ) -> None:
        self.summary = summary
        self._rows = rows
        self._cluster = cluster
        self._comparison = comparison

    def measure(self, condition: Condition) -> Measurement:
        """Return the numbers for a condition.

        Raises:
            ConfigurationError: The condition makes no sense for this metric.
            MetricUnavailableError: The evaluation has no such number.
        """
        if condition.to_baseline:
            return self._difference(condition)
        name = self.resolve(condition)
        if condition.is_coverage:
            return self._coverage(name)
        if condition.quantile is not None:
            return self._quantile(name, condition, condition.quantile)
        if name.startswith("rows/"):
            return self._rows_with(name, condition)
        return self._value(name, condition)

    def resolve(self, condition: Condition) -> str:
        """Return the full name of the metric of a condition.

        Raises:
            ConfigurationError: The name is ambiguous, or the unit is not that of the metric.
            MetricUnavailableError: The evaluation, or the comparison, has no such metric.
        """
        known = list(self.summary.metrics)
        if condition.to_baseline and self._comparison is not None:
            known = [metric.name for metric in self._comparison.metrics]
        elif any(JUDGE_COST in row.values for row in self._scored):
            known.append(JUDGE_COST)
        name = _find(condition, known)
        if name is None:
            raise MetricUnavailableError(self._reason(condition.metric, known))
        _check_unit(condition, name)
        return name

    @cached_property
    def _scored(self) -> list[ScoredRow]:
        return read_rows(self._rows, self._cluster)

    def _reason(self, metric: str, known: Iterable[str]) -> str:
        """Return why there is no such metric."""
        parts = [part for part in metric.split("/") if part]
        for scorer in parts:
            if failed := self.summary.errors.get(scorer):
                return f"the scorer {scorer!r} failed on all {failed} rows that it was called for"
            for reason, skipped in self.summary.skip_reasons.items():
                if scorer in skipped:
                    return (
                        f"the scorer {scorer!r} did not run on {skipped[scorer]} rows: no {reason}"
                    )
        rows = self.summary.rows
        if rows.failed == rows.total:
            return f"all {rows.total} rows failed"
        if metric in _SHORT_NAMES:
            return f"no row has {_SHORT_NAMES[metric].rpartition('/')[0]}"
        # Parts of names are compared too: 'correctnes' resembles 'correctness', not the full name.
        by_part = {part: name for name in known for part in (name, *name.split("/"))}
        by_part |= {short: short for short, name in _SHORT_NAMES.items() if name in known}
        scorers = [*self.summary.errors, *self.summary.skipped]
        by_part |= {scorer: by_part.get(scorer, scorer) for scorer in scorers}
        close = get_close_matches(metric, by_part, n=5, cutoff=0.6)
        names = dict.fromkeys(by_part[part] for part in close)
        hint = f"similar: {', '.join(names)}" if names else f"it has: {', '.join(sorted(known))}"
        return f"this evaluation has no metric {metric!r}; {hint}"

    def _value(self, name: str, condition: Condition) -> Measurement:
        if name == JUDGE_COST:
            return self._mean_of_rows(name)
        detail = self.summary[name]
        if detail.interval is None and condition.bound is not None and not _is_mean(name):
            msg = (
                f"The condition {condition.text!r} is invalid: {name} has no interval. Remove "
                f"'@ {condition.bound}'."
            )
            raise ConfigurationError(msg)
        zeros = detail.failures_as_zero
        return Measurement(
            name, detail.value, detail.interval, detail.n, detail.total, failures_as_zero=zeros
        )

    def _mean_of_rows(self, name: str) -> Measurement:
        from langchain_dbx_eval.scoring.statistics import estimate_mean, interval_of

        rows = [row for row in self._scored if name in row.values]
        estimate = estimate_mean(
            [row.values[name] for row in rows],
            [row.cluster for row in rows],
            are_amounts=name.startswith(AMOUNTS),
        )
        interval = interval_of(estimate)
        return Measurement(name, estimate.value, interval, len(rows), self.summary.rows.total)

    def _coverage(self, name: str) -> Measurement:
        detail = self.summary[name]
        share = detail.n / detail.total if detail.total else 0.0
        return Measurement(name, share, None, detail.n, detail.total, label="coverage")

    def _quantile(self, name: str, condition: Condition, quantile: float) -> Measurement:
        from langchain_dbx_eval.scoring.statistics import quantile_differences

        rows = [row for row in self._scored if name in row.values]
        if not rows:
            msg = f"{name} has no value per row, of which a quantile could be taken"
            raise MetricUnavailableError(msg)
        values = [row.values[name] for row in rows]
        zeros = [0.0] * len(values)
        clusters = [row.cluster for row in rows]
        [(_, value, interval)] = quantile_differences(zeros, values, [quantile], clusters)
        return Measurement(
            name,
            value,
            interval,
            len(rows),
            self.summary[name].total if name in self.summary.metrics else self.summary.rows.total,
            least_rows=_least_rows(quantile, condition),
            label=f"p{100 * quantile:g}",
        )

    def _rows_with(self, name: str, condition: Condition) -> Measurement:
        """Return a number of rows; with the unit ``%``, their share and its interval."""
        from langchain_dbx_eval.scoring.statistics import estimate_mean, interval_of

        count = self.summary.metrics[name]
        if condition.unit != "%":
            if condition.bound is None:
                return Measurement(name, count, total=self.summary.rows.total)
            msg = (
                f"The condition {condition.text!r} is invalid: the number of rows has no interval. "
                "Write a share of the rows in %, or remove the bound."
            )
            raise ConfigurationError(msg)
        kind = name.removeprefix("rows/")
        indicators = [kind in _kinds(row) for row in self._rows]
        estimate = estimate_mean(indicators, [row.cluster for row in self._scored])
        interval = interval_of(estimate)
        return Measurement(name, estimate.value, interval, estimate.n, estimate.n)

    def _difference(self, condition: Condition) -> Measurement:
        comparison = self._comparison
        if comparison is None:
            msg = (
                f"The condition {condition.text!r} needs a baseline: "
                "compare(result, baseline).check(…), or --baseline RUN."
            )
            raise ConfigurationError(msg)
        name = self.resolve(condition)
        unmatched = len(comparison.only_baseline) + len(comparison.only_candidate)
        metric, least_rows, label = comparison[name], 1, "difference"
        if condition.quantile is not None:
            least_rows = _least_rows(condition.quantile, condition)
            label = f"difference of p{100 * condition.quantile:g}"
            column = name.rpartition("/")[0]
            for one in comparison.latency:
                if (one.column, one.quantile) == (column, condition.quantile):
                    difference, interval = one.difference, one.interval
                    break
            else:
                shown = ", ".join(f"p{100 * q.quantile:g}" for q in comparison.latency)
                msg = f"a comparison has quantiles of the latency only: {shown or 'none'}"
                raise MetricUnavailableError(msg)
        elif metric.paired is None:
            msg = f"no pair of rows has {name} in both evaluations"
            raise MetricUnavailableError(msg)
        else:
            difference, interval = metric.paired.difference, metric.interval
        total = metric.pairs + metric.only_baseline + metric.only_candidate + unmatched
        return Measurement(
            name, difference, interval, metric.pairs, total, least_rows=least_rows, label=label
        )


def _find(condition: Condition, known: Sequence[str]) -> str | None:
    """Return the full name of a metric.

    Raises:
        ConfigurationError: The name is ambiguous.
    """
    # A count of rows, in the names of a comparison.
    name = _SHORT_NAMES.get(condition.metric, condition.metric)
    if condition.to_baseline and name == "rows/failed":
        name = FAILED
    candidates = Metrics(dict.fromkeys(known, 0.0)).candidates(name)
    if len(candidates) > 1:
        msg = (
            f"The condition {condition.text!r} is ambiguous: {name!r} may be "
            f"{' or '.join(candidates)}. Write the full name."
        )
        raise ConfigurationError(msg)
    return candidates[0] if candidates else None


def _check_unit(condition: Condition, name: str) -> None:
    is_time, is_cost = "seconds" in name, "usd" in name
    if condition.unit in ("ms", "s"):
        is_right = is_time
    elif condition.unit == "USD":
        is_right = is_cost
    elif condition.unit == "%":
        is_right = not is_time and not is_cost
    else:
        is_right = True
    if not is_right:
        msg = (
            f"The condition {condition.text!r} is invalid: {name} is not measured in "
            f"{condition.unit}."
        )
        raise ConfigurationError(msg)


def _least_rows(quantile: float, condition: Condition) -> int:
    """Return how many rows a quantile needs: one beyond it, or enough for an interval."""
    beyond = 1 if condition.bound is None else _BEYOND
    return ceil(round(beyond / min(quantile, 1 - quantile), 9))


def _is_mean(name: str) -> bool:
    return name.endswith(("/average", "/percentage"))


def _kinds(row: Row) -> set[str]:
    """Return the names of the counts of `RowCounts` that contain a row."""
    kinds = {"total"}
    if row.outcome.error is not None:
        kinds.add("failed")
    else:
        kinds.add("empty" if row.outcome.is_empty else "answered")
    overall = [a.value for a in row.assessments if a.column == OVERALL_ASSESSMENT]
    return kinds | {"unknown"} if "unknown" in overall else kinds
