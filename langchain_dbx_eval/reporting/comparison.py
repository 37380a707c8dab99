"""Comparison of an evaluation with a baseline."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.evaluation.journal.rows import Row
from langchain_dbx_eval.evaluation.result import compute_on_rows
from langchain_dbx_eval.reporting.differences import (
    OPERATIONAL,
    Flip,
    MetricDifference,
    QuantileDifference,
    RowChanges,
    Slice,
    flips,
    latency_differences,
    metric_differences,
    row_changes,
    slice_differences,
)
from langchain_dbx_eval.reporting.pairing import (
    PairedRows,
    RecordKey,
    RowId,
    pair_rows,
    read_rows,
)
from langchain_dbx_eval.scoring.aggregates import Metrics

if TYPE_CHECKING:
    from langchain_dbx_eval.reporting.gate import CheckReport
    from langchain_dbx_eval.scoring.statistics import PairedTest

__all__ = [
    "Comparison",
    "Flip",
    "MetricDifference",
    "QuantileDifference",
    "RowChanges",
    "Slice",
    "compare",
]


@dataclass(frozen=True)
class Comparison:
    """The differences between a baseline and a candidate.

    ``comparison["<metric>"]`` returns the difference of one metric.

    Attributes:
        metrics: The metrics of both evaluations, sorted by name.
        rows: The changes per score column.
        paired: The number of rows that both evaluations have.
        clusters: The number of clusters of these rows.
        only_baseline: The rows that the candidate lacks.
        only_candidate: The rows that the baseline lacks.
        duplicates: The number of pairs of records that share their id with another record.
        primary: The name of the primary metric.
        latency: Quantiles of the latency.
        flips: The rows whose pass or fail changed.
        slices: The differences per slice.
        others: The comparisons with further baselines.
        margins: The largest acceptable losses by the name of the metric, from ``margin=``.
        result: The candidate.
        baseline: The earlier evaluation.
    """

    metrics: tuple[MetricDifference, ...]
    rows: tuple[RowChanges, ...]
    paired: int
    clusters: int = 0
    only_baseline: tuple[RowId, ...] = ()
    only_candidate: tuple[RowId, ...] = ()
    duplicates: int = 0
    primary: str | None = None
    latency: tuple[QuantileDifference, ...] = ()
    flips: tuple[Flip, ...] = ()
    slices: tuple[Slice, ...] = ()
    others: tuple[Comparison, ...] = ()
    margins: Mapping[str, float] = field(default_factory=dict)
    result: EvaluationResult | None = field(default=None, repr=False, compare=False)
    baseline: EvaluationResult | None = field(default=None, repr=False, compare=False)

    def __getitem__(self, name: str) -> MetricDifference:
        return self.metrics[_resolve(name, self.metrics)]

    def show(self, path: str | Path | None = None) -> Path:
        """Write the HTML report with all compared evaluations, and open it.

        In a notebook, it is shown inline, else in the browser.

        Args:
            path: The file; default: a file of this evaluation in ``reports`` of ``DBX_EVAL_HOME``.

        Returns:
            The file. Its path is printed.
        """
        from langchain_dbx_eval.reporting.notebook import show_comparison

        return show_comparison(self, path)

    def __str__(self) -> str:
        """Return what `print_comparison` prints."""
        from langchain_dbx_eval.reporting.terminal import comparison_text

        return comparison_text(self)

    def __repr__(self) -> str:
        from langchain_dbx_eval.reporting.overview import significant_differences

        better, worse = significant_differences(self.metrics)
        return (
            f"Comparison({self.paired} rows in common, metrics significantly worse: {worse}, "
            f"better: {better}; print() shows all)"
        )

    def _repr_html_(self) -> str:
        from langchain_dbx_eval.reporting.notebook import comparison_html

        return comparison_html(self)

    def check(
        self, *conditions: str, margin: float | Mapping[str, float] | None = None
    ) -> CheckReport:
        """Check the candidate, and that it is not worse than the baseline.

        Args:
            *conditions: Conditions on the candidate (``"correctness >= 0.9"``), or on its
                difference from the baseline (``"correctness >= baseline - 0.02 @ lower"``); see
                ``docs/gate.md``.
            margin: The largest acceptable loss, as in `compare`: each of these metrics must be
                non-inferior. Default: the ``margin`` of the comparison.

        Returns:
            The report: its ``verdict`` is "pass", "regression", "inconclusive" or "could not run".

        Raises:
            ConfigurationError: A condition is invalid, or there is neither a condition nor a
                margin.
        """
        from langchain_dbx_eval.reporting.gate.check import check_result, non_inferiority_condition

        if self.result is None:
            msg = "This comparison has no candidate to check. Create it with compare()."
            raise ConfigurationError(msg)
        margins = self.margins if margin is None else _margins(margin, self.primary, self.metrics)
        non_inferior = [non_inferiority_condition(*one) for one in sorted(margins.items())]
        return check_result(self.result, [*conditions, *non_inferior], comparison=self)


def compare(
    result: EvaluationResult,
    baseline: EvaluationResult,
    *more: EvaluationResult,
    primary: str | None = None,
    margin: float | Mapping[str, float] | None = None,
    cluster: RecordKey | None = None,
    by: RecordKey | None = None,
    test: PairedTest = "auto",
) -> Comparison:
    """Compare an evaluation with an earlier one, row by row.

    Rows are paired by the id of their record and their repetition, and every difference is that of
    the pairs. ``docs/statistics.md`` explains the numbers.

    Args:
        result: The candidate.
        baseline: The earlier evaluation.
        *more: Further evaluations to compare the candidate with; see ``others``.
        primary: The metric that decides, chosen before the evaluation. Its p-value is not adjusted
            for the number of the other metrics.
        margin: The largest acceptable loss, in units of the metric: of the primary metric (without
            one: of each score), or by the name of the metric. See ``non_inferior``.
        cluster: Column of the records, or function of a record: rows with equal values depend on
            each other, such as questions about one document. Default: the rows with one
            ``request_id``.
        by: Column of the records, or function of a record: its values are the slices.
        test: The test; default: exact McNemar for scores of 0 and 1 of independent rows, else the
            paired t test, with clustered standard errors if there are clusters.

    Returns:
        The differences per metric and per row.

    Raises:
        ConfigurationError: Two evaluations have no row in common, or there is no such metric or
            column.
        MissingDependencyError: The extra ``eval`` is not installed.
    """
    compared = compute_on_rows(
        partial(_compare_rows, test=test), result, baseline, *more, cluster=cluster, by=by
    )
    comparisons = [
        _with_unpaired(comparison, result, other)
        for comparison, other in zip(compared, (baseline, *more), strict=True)
    ]
    if primary is not None:
        metrics = comparisons[0].metrics
        name = metrics[_resolve(primary, metrics, argument="primary")].name
        primary = _share_of(name, {metric.name for metric in metrics})
    margins = _margins(margin, primary, comparisons[0].metrics)
    metrics_of = iter(conclude_metrics([c.metrics for c in comparisons], primary, margins))
    slices_of = iter(
        conclude_metrics([s.metrics for c in comparisons for s in c.slices], primary, margins)
    )
    first, *others = (
        replace(
            comparison,
            metrics=next(metrics_of),
            slices=tuple(replace(one, metrics=next(slices_of)) for one in comparison.slices),
            primary=primary,
            margins=margins,
        )
        for comparison in comparisons
    )
    return replace(first, others=tuple(others))


def _compare_rows(
    rows: Iterable[Row],
    *baselines: Iterable[Row],
    cluster: RecordKey | None,
    by: RecordKey | None,
    test: PairedTest,
) -> list[Comparison]:
    """Return the comparisons of rows with those of each baseline, by their pairs alone."""
    after = read_rows(rows, cluster, by)
    found = []
    for baseline in baselines:
        paired = pair_rows(read_rows(baseline), after)
        if not paired.pairs:
            msg = (
                "The two results have no request_id in common. Compare evaluations of the same "
                "dataset, or set request_id in your records."
            )
            raise ConfigurationError(msg)
        found.append(_compare(paired, test, has_slices=by is not None))
    return found


def _compare(paired: PairedRows, test: PairedTest, *, has_slices: bool) -> Comparison:
    slices = slice_differences(paired.pairs, test) if has_slices else ()
    return Comparison(
        metrics=tuple(difference for _, difference in metric_differences(paired.pairs, test)),
        rows=(),
        paired=len(paired.pairs),
        clusters=len({after.cluster for _, after in paired.pairs}),
        only_baseline=tuple(paired.only_baseline),
        only_candidate=tuple(paired.only_candidate),
        duplicates=paired.duplicates,
        latency=tuple(latency_differences(paired.pairs)),
        flips=tuple(flips(paired.pairs)),
        slices=tuple(slices),
    )


def _with_unpaired(
    comparison: Comparison, result: EvaluationResult, baseline: EvaluationResult
) -> Comparison:
    """Return a comparison with the metrics of the whole evaluations that have no pairs."""
    differences = {difference.name: difference for difference in comparison.metrics}
    for name in {*result.metrics, *baseline.metrics}:
        known = differences.get(name, MetricDifference(name, None, None))
        if known.paired is None:
            values = {"baseline": baseline.metrics.get(name), "candidate": result.metrics.get(name)}
            differences[name] = replace(known, **values)
    metrics = tuple(difference for _, difference in sorted(differences.items()))
    rows = tuple(row_changes(metrics))
    return replace(comparison, metrics=metrics, rows=rows, result=result, baseline=baseline)


def _resolve(name: str, metrics: Sequence[MetricDifference], *, argument: str | None = None) -> int:
    """Return the index of a metric by its name, its alias, or the name of its scorer alone."""
    indexes = Metrics({metric.name: index for index, metric in enumerate(metrics)})
    candidates = indexes.candidates(name)
    if len(candidates) != 1:
        known = ", ".join(indexes)
        if argument is None:
            raise KeyError(f"{name} (this comparison has: {known})")
        msg = f"'{argument}' names the metric {name!r}, which the results lack. They have: {known}."
        raise ConfigurationError(msg)
    return int(indexes[candidates[0]])


def _margins(
    margin: float | Mapping[str, float] | None,
    primary: str | None,
    metrics: Sequence[MetricDifference],
) -> dict[str, float]:
    if margin is None:
        return {}
    if isinstance(margin, Mapping):
        return {
            metrics[_resolve(name, metrics, argument="margin")].name: value
            for name, value in margin.items()
        }
    if primary is not None:
        return {primary: margin}
    return {m.name: margin for m in metrics if not m.name.startswith(OPERATIONAL)}


def conclude_metrics(
    groups: Sequence[tuple[MetricDifference, ...]],
    primary: str | None,
    margins: Mapping[str, float],
) -> list[tuple[MetricDifference, ...]]:
    """Add the adjusted p-values, and the conclusions about the margins.

    Holm's correction counts the primary metric, the other scores, and the operational metrics
    (latency, tokens, cost, failures) apart.
    """
    from langchain_dbx_eval.scoring.statistics import holm, is_non_inferior

    families: dict[str, list[tuple[int, str, float]]] = {}
    for number, metrics in enumerate(groups):
        names = {metric.name for metric in metrics}
        for metric in metrics:
            if metric.p_value is not None and _share_of(metric.name, names) == metric.name:
                is_operational = metric.name.startswith(OPERATIONAL)
                family = "operational" if is_operational else "scores"
                family = "primary" if metric.name == primary else family
                families.setdefault(family, []).append((number, metric.name, metric.p_value))
    adjusted = {}
    for tests in families.values():
        for (number, name, _), p in zip(tests, holm([p for *_, p in tests]), strict=True):
            adjusted[number, name] = p

    def conclude(number: int, metric: MetricDifference, names: set[str]) -> MetricDifference:
        verdict = None
        if metric.name in margins and metric.interval is not None:
            lower_is_better = metric.name.startswith(OPERATIONAL)
            verdict = is_non_inferior(
                metric.interval, margins[metric.name], lower_is_better=lower_is_better
            )
        p_adjusted = adjusted.get((number, _share_of(metric.name, names)))
        return replace(metric, p_adjusted=p_adjusted, non_inferior=verdict)

    return [
        tuple(conclude(number, metric, {one.name for one in metrics}) for metric in metrics)
        for number, metrics in enumerate(groups)
    ]


def _share_of(name: str, names: set[str]) -> str:
    """Return the name of the share if a boolean also has an average, which is the same number."""
    share = f"{name.removesuffix('/average')}/percentage"
    return share if name.endswith("/average") and share in names else name
