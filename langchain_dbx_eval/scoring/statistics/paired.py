"""Differences between paired values: interval, test, effect size; Holm's correction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.statistics.estimates import (
    Clusters,
    Floats,
    MeanEstimate,
    cluster_codes,
    cluster_totals,
    estimate_mean,
    to_floats,
)
from langchain_dbx_eval.scoring.statistics.intervals import (
    Interval,
    bootstrap_interval,
    corrected_t,
    interval_of,
    is_skewed,
    t_quantile,
)
from langchain_dbx_eval.scoring.statistics.power import minimum_detectable_effect, required_rows

__all__ = [
    "PairedDifference",
    "PairedTest",
    "compare_pairs",
    "holm",
    "mcnemar",
    "quantile_differences",
]

PairedTest = Literal["auto", "t", "wilcoxon", "bootstrap"]

_RESAMPLES = 9_999
_BATCH = 2_000_000


@dataclass(frozen=True)
class PairedDifference:
    """The difference between paired values, after minus before.

    Attributes:
        before: Mean of the values before.
        after: Mean of the values after.
        interval: Confidence interval of the mean difference; None for a single cluster.
        p_value: Two-sided p-value; None for a single cluster.
        test: Name of the test.
        pairs: Number of pairs.
        clusters: Number of clusters; `pairs` for independent pairs.
        higher: Pairs whose value is higher after.
        lower: Pairs whose value is lower after.
        effect_size: Mean difference divided by the standard deviation of the differences (Cohen's
            d_z), of the clusters' means with clusters; None if they are all equal.
        degrees_of_freedom: Those of the standard error.
    """

    before: float
    after: float
    interval: Interval | None
    p_value: float | None
    test: str
    pairs: int
    clusters: int
    higher: int
    lower: int
    effect_size: float | None
    degrees_of_freedom: float

    @property
    def difference(self) -> float:
        """Mean difference, after minus before."""
        return self.after - self.before

    @property
    def equal(self) -> int:
        """Pairs with equal values."""
        return self.pairs - self.higher - self.lower

    @property
    def standard_error(self) -> float | None:
        """Standard error that corresponds to the 95 % interval; None without an interval."""
        if self.interval is None:
            return None
        width = self.interval.high - self.interval.low
        return width / 2 / t_quantile(0.975, self.degrees_of_freedom)

    @property
    def minimum_detectable_effect(self) -> float | None:
        """Smallest true difference that this number of pairs finds in 80 % of all cases."""
        if self.standard_error is None:
            return None
        return minimum_detectable_effect(self.standard_error, self.degrees_of_freedom)

    def required_pairs(self, effect: float) -> int | None:
        """Return the number of pairs that finds a true difference in 80 % of all cases.

        Args:
            effect: The difference, in units of the metric, other than 0.

        Returns:
            The number, if each cluster keeps its number of pairs; None without an interval.
        """
        if self.standard_error is None:
            return None
        return required_rows(effect, self.standard_error * self.pairs**0.5)


def compare_pairs(
    before: ArrayLike,
    after: ArrayLike,
    clusters: Clusters | None = None,
    *,
    test: PairedTest = "auto",
    are_amounts: bool = False,
) -> PairedDifference:
    """Compare paired values, with a 95 % interval.

    Pairs of 0 and 1: exact McNemar test; the interval of D. Bonett and R. Price, "Adjusted Wald
    Confidence Interval for a Difference of Binomial Proportions Based on Paired Data", Journal of
    Educational and Behavioral Statistics 37 (2012), which adds one discordant pair of each
    direction. With clusters, both use the clustered standard error with Student's t; the interval
    then uses the effective number of pairs (as in `interval_of`).

    Other values: paired t test, with the clustered standard error if there are clusters, and with
    Hall's correction if the differences are skewed (as in `interval_of`). Selected with `test`, for
    any values: ``"t"``, without that correction; ``"wilcoxon"``, the signed-rank test of the
    clusters' mean differences, which outliers do not dominate; or ``"bootstrap"``, the BCa interval
    and a bootstrap test, for which whole clusters are resampled.

    Args:
        before: The values before, at least one.
        after: The values after, in the same order.
        clusters: The cluster of each pair; default: the pairs are independent.
        test: The test; default: by the values, as above.
        are_amounts: Whether the values are amounts, such as numbers of tokens, of which 0 and 1 are
            no shares.

    Raises:
        ConfigurationError: There is no pair, or the numbers of values differ.
    """
    old, new = to_floats(before), to_floats(after)
    if len(old) != len(new):
        msg = f"Expected pairs, got: {len(old)} values before and {len(new)} after."
        raise ConfigurationError(msg)
    differences = new - old
    # Differences of equal decimals, such as 0.3 - 0.1 and 0.2 - 0.0, differ in their last digit.
    differences[np.abs(differences) < 1e-12] = 0.0
    estimate = estimate_mean(differences, clusters, are_amounts=are_amounts)
    higher, lower = int((differences > 0).sum()), int((differences < 0).sum())
    are_shares = not are_amounts and bool(np.isin((old, new), (0.0, 1.0)).all())
    if test == "auto" and are_shares:
        interval, p_value, name = _share_inference(estimate, differences)
    else:
        interval, p_value, name = _inference(estimate, differences, clusters, test)
    return PairedDifference(
        before=float(old.mean()),
        after=float(new.mean()),
        interval=interval,
        p_value=p_value,
        test=name,
        pairs=estimate.n,
        clusters=estimate.clusters,
        higher=higher,
        lower=lower,
        effect_size=_effect_size(differences, clusters),
        degrees_of_freedom=estimate.degrees_of_freedom,
    )


def mcnemar(higher: int, lower: int) -> float:
    """Return the two-sided p-value of the exact McNemar test.

    Q. McNemar, "Note on the sampling error of the difference between correlated proportions or
    percentages", Psychometrika 12 (1947): without a difference, each discordant pair changes in
    either direction with probability 1/2.

    Args:
        higher: Number of pairs that changed from 0 to 1.
        lower: Number of pairs that changed from 1 to 0.
    """
    discordant = higher + lower
    if discordant == 0:
        return 1.0
    return min(1.0, 2 * float(special.bdtr(min(higher, lower), discordant, 0.5)))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for the number of tests.

    S. Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of
    Statistics 6 (1979): among metrics without any difference, one is significant at 5 % in at most
    5 % of all comparisons, however the metrics depend on each other.

    Args:
        p_values: The p-values of all tests.

    Returns:
        The adjusted p-values in the same order.
    """
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    adjusted = [1.0] * len(p_values)
    largest = 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, p_values[index] * (len(p_values) - rank)))
        adjusted[index] = largest
    return adjusted


def quantile_differences(
    before: ArrayLike,
    after: ArrayLike,
    quantiles: Sequence[float],
    clusters: Clusters | None = None,
    *,
    resamples: int = 1_000,
    seed: int = 0,
) -> list[tuple[float, float, Interval | None]]:
    """Compare quantiles of paired values, such as the 95th percentile of the latency.

    Args:
        before: The values before, at least one.
        after: The values after, in the same order.
        quantiles: Between 0 and 1.
        clusters: The cluster of each pair; default: the pairs are independent.
        resamples: Number of bootstrap resamples; fewer for more than 20,000 pairs.
        seed: Seed of the resampling.

    Returns:
        For each quantile its value before, its value after, and the 95 % interval of their
        difference: the percentile interval of a bootstrap that resamples whole clusters of pairs.
        It is None if fewer than five clusters are expected beyond the quantile, which then is a
        matter of chance.
    """
    old, new = to_floats(before), to_floats(after)
    codes = cluster_codes(len(old), clusters)
    order = np.argsort(codes, kind="stable")
    starts = np.flatnonzero(np.diff(codes[order], prepend=-1))
    members, count = np.split(order, starts[1:]), len(starts)
    # Rows of a matrix are selected faster than arrays of a list.
    matrix = np.array(members) if len({len(one) for one in members}) == 1 else None
    rng = np.random.default_rng(seed)
    resamples = max(100, min(resamples, _BATCH * 10 // len(old)))
    differences = np.zeros((resamples, len(quantiles)))
    has_interval = [count * min(quantile, 1 - quantile) >= 5 for quantile in quantiles]
    for number in range(resamples if any(has_interval) else 0):
        chosen = rng.integers(0, count, count)
        rows = np.concatenate([members[i] for i in chosen]) if matrix is None else matrix[chosen]
        differences[number] = np.quantile(new[rows], quantiles) - np.quantile(old[rows], quantiles)
    lows, highs = np.quantile(differences, (0.025, 0.975), axis=0)
    return [
        (float(first), float(second), Interval(float(low), float(high)) if is_known else None)
        for first, second, low, high, is_known in zip(
            np.quantile(old, quantiles),
            np.quantile(new, quantiles),
            lows,
            highs,
            has_interval,
            strict=True,
        )
    ]


def _share_inference(
    estimate: MeanEstimate, differences: Floats
) -> tuple[Interval | None, float | None, str]:
    """Return the interval, the p-value, and the name of the test, of pairs of 0 and 1."""
    interval = _share_difference_interval(estimate, differences)
    if estimate.is_clustered:
        return interval, _t_test(estimate, is_corrected=False), "paired t, clustered"
    higher, lower = int((differences > 0).sum()), int((differences < 0).sum())
    return interval, mcnemar(higher, lower), "exact McNemar"


def _inference(
    estimate: MeanEstimate,
    differences: Floats,
    clusters: Clusters | None,
    test: PairedTest,
) -> tuple[Interval | None, float | None, str]:
    """Return the interval, the p-value, and the name of the test, of other pairs."""
    suffix = ", clustered" if estimate.is_clustered else ""
    if test == "bootstrap":
        interval = bootstrap_interval(differences, clusters)
        return interval, _bootstrap_test(differences, clusters), "bootstrap" + suffix
    if test == "auto" and is_skewed(estimate):
        # Differences of 0 and 1 need not be those of shares.
        interval = interval_of(replace(estimate, is_share=False))
        name = "paired t, corrected for skewness" + suffix
        return interval, _t_test(estimate, is_corrected=True), name
    interval = interval_of(estimate, method="t")
    if test == "wilcoxon":
        return interval, _wilcoxon_test(differences, clusters), "Wilcoxon signed-rank" + suffix
    return interval, _t_test(estimate, is_corrected=False), "paired t" + suffix


def _share_difference_interval(estimate: MeanEstimate, differences: Floats) -> Interval | None:
    n = float(estimate.n)
    higher, lower = float((differences > 0).mean()), float((differences < 0).mean())
    quantile = float(special.ndtri(0.975))
    if estimate.is_clustered:
        if estimate.clusters < 2:
            return None
        variance = higher + lower - (higher - lower) ** 2
        n = estimate.degrees_of_freedom + 1
        if variance > 0 and estimate.standard_error > 0:
            n = min(max(variance / estimate.standard_error**2, 1.0), estimate.n)
        quantile = t_quantile(0.975, estimate.degrees_of_freedom)
    higher, lower = (higher * n + 1) / (n + 2), (lower * n + 1) / (n + 2)
    center = higher - lower
    half = quantile * float(np.sqrt((higher + lower - center**2) / (n + 2)))
    return Interval(max(-1.0, center - half), min(1.0, center + half))


def _t_test(estimate: MeanEstimate, *, is_corrected: bool) -> float | None:
    if estimate.clusters < 2:
        return None
    if estimate.standard_error == 0:
        # All differences are equal, so t is infinite. Their signs are still only G of them.
        return 1.0 if estimate.value == 0 else 2.0 ** (1 - estimate.clusters)
    t = estimate.value / estimate.standard_error
    if is_corrected:
        t = corrected_t(t, estimate)
    return min(1.0, 2 * float(special.stdtr(max(estimate.degrees_of_freedom, 1.0), -abs(t))))


def _wilcoxon_test(differences: Floats, clusters: Clusters | None) -> float | None:
    from scipy import stats

    means = _cluster_means(differences, clusters)
    if len(means) < 2:
        return None
    return 1.0 if not means.any() else float(stats.wilcoxon(means).pvalue)


def _bootstrap_test(differences: Floats, clusters: Clusters | None) -> float | None:
    """Return the share of resamples of the centered differences that are as far from 0."""
    sums, sizes = cluster_totals(differences, clusters)
    count = len(sums)
    if count < 2:
        return None
    observed = differences.mean()
    centered = sums - sizes * observed
    rng, extreme = np.random.default_rng(0), 0
    step = max(1, _BATCH // count)
    for start in range(0, _RESAMPLES, step):
        chosen = rng.integers(0, count, (min(step, _RESAMPLES - start), count))
        means = centered[chosen].sum(axis=1) / sizes[chosen].sum(axis=1)
        extreme += int((np.abs(means) >= abs(observed) - 1e-12).sum())
    return (1 + extreme) / (1 + _RESAMPLES)


def _effect_size(differences: Floats, clusters: Clusters | None) -> float | None:
    means = _cluster_means(differences, clusters)
    deviation = float(means.std(ddof=1)) if len(means) > 1 else 0.0
    return float(differences.mean()) / deviation if deviation > 1e-12 else None


def _cluster_means(values: Floats, clusters: Clusters | None) -> Floats:
    sums, sizes = cluster_totals(values, clusters)
    return sums / sizes
