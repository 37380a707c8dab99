"""Confidence intervals of a mean."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike
from scipy import special

from langchain_dbx_eval.scoring.statistics.estimates import (
    Clusters,
    MeanEstimate,
    cluster_totals,
    estimate_mean,
    to_floats,
)

__all__ = [
    "Interval",
    "Method",
    "bootstrap_interval",
    "corrected_t",
    "interval_of",
    "is_skewed",
    "mean_interval",
    "t_quantile",
    "wilson_interval",
]

Method = Literal["auto", "t", "bca"]

# Below this skewness, Student's t covers 95 % from 20 values on.
_SKEWED = 0.5
# Numbers in memory at a time while resampling.
_BATCH = 2_000_000


class Interval(NamedTuple):
    """A confidence interval.

    Attributes:
        low: Lower bound.
        high: Upper bound.
    """

    low: float
    high: float


def mean_interval(
    values: ArrayLike,
    clusters: Clusters | None = None,
    *,
    confidence: float = 0.95,
    method: Method = "auto",
) -> Interval | None:
    """Return the confidence interval of a mean.

    ``method="auto"`` selects by the values:

    - a share (each value is 0 or 1): Wilson's interval; with clusters, of the effective number of
      rows (see `interval_of`);
    - other values: Student's t, corrected for skewness if they are skewed.

    Args:
        values: At least one number.
        clusters: The cluster of each value, such as the record that it repeats; default: the values
            are independent.
        confidence: Confidence level, between 0 and 1.
        method: ``"t"``: Student's t, also for shares; ``"bca"``: the BCa bootstrap.

    Returns:
        The interval; None if the sample has only one cluster and is not a share. An interval
        without width states that all values are equal, not that the mean is certain.
    """
    if method == "bca":
        return bootstrap_interval(values, clusters, confidence=confidence)
    return interval_of(estimate_mean(values, clusters), confidence, method=method)


def interval_of(
    estimate: MeanEstimate, confidence: float = 0.95, *, method: Literal["auto", "t"] = "auto"
) -> Interval | None:
    """Return the confidence interval of an estimated mean (see `mean_interval`).

    Shares with clusters: the clustered standard error is that of ``p(1-p)/SE²`` independent rows.
    Wilson's interval is computed with this effective number, and with Student's t instead of the
    normal quantile, because the standard error is estimated from few clusters (as E. Korn and
    B. Graubard, "Confidence intervals for proportions with small expected number of positive counts
    estimated from survey data", Survey Methodology 24, 1998, do with the exact interval). If all
    rows agree, the effective number is that of the clusters.

    Skewed values: P. Hall, "On the removal of skewness by transformation", Journal of the Royal
    Statistical Society B 54 (1992). With the t statistic T of n values and their skewness g,
    ``T + gT²/3√n + g²T³/27n + g/6√n`` is compared with Student's t. It covers more than the BCa
    bootstrap, and needs no resampling (``benchmarks/interval_coverage.py``).

    Args:
        estimate: The mean.
        confidence: Confidence level, between 0 and 1.
        method: ``"t"``: Student's t without corrections.
    """
    if method == "auto" and estimate.is_share:
        return _share_interval(estimate, confidence)
    if estimate.clusters < 2:
        return None
    t = t_quantile((1 + confidence) / 2, estimate.degrees_of_freedom)
    error = estimate.standard_error
    if method == "t" or not is_skewed(estimate):
        return Interval(estimate.value - t * error, estimate.value + t * error)
    a, root = estimate.skewness / 3, (estimate.degrees_of_freedom + 1) ** 0.5

    def untransformed(quantile: float) -> float:
        shifted = quantile / root - a / (2 * root * root)
        return float(root * (np.cbrt(1 + 3 * a * shifted) - 1) / a)

    return Interval(
        estimate.value - untransformed(t) * error, estimate.value - untransformed(-t) * error
    )


def is_skewed(estimate: MeanEstimate) -> bool:
    """Return whether Student's t needs the correction of skewness.

    The contributions of clusters of very different sizes are skewed because of their sizes.
    """
    is_equal = estimate.degrees_of_freedom + 1 >= estimate.clusters / 2
    return is_equal and abs(estimate.skewness) > _SKEWED


def corrected_t(t: float, estimate: MeanEstimate) -> float:
    """Return a t statistic corrected for skewness (see `interval_of`)."""
    if not is_skewed(estimate):
        return t
    g, root = estimate.skewness, (estimate.degrees_of_freedom + 1) ** 0.5
    return float(t + g * t**2 / (3 * root) + g**2 * t**3 / (27 * root**2) + g / (6 * root))


def _share_interval(estimate: MeanEstimate, confidence: float) -> Interval:
    share, n = estimate.value, estimate.n
    if not estimate.is_clustered:
        return wilson_interval(share * n, n, confidence)
    if estimate.clusters < 2:
        return wilson_interval(share, 1, confidence)
    variance = share * (1 - share)
    effective = estimate.degrees_of_freedom + 1
    if variance > 0 and estimate.standard_error > 0:
        effective = min(max(variance / estimate.standard_error**2, 1.0), n)
    t = t_quantile((1 + confidence) / 2, estimate.degrees_of_freedom)
    return _wilson(share, effective, t)


def wilson_interval(successes: float, n: float, confidence: float = 0.95) -> Interval:
    """Return the Wilson score interval of a binomial proportion.

    E. B. Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", Journal of
    the American Statistical Association 22 (1927): center ``(p + z²/2n) / (1 + z²/n)``, half-width
    ``z/(1 + z²/n) · √(p(1-p)/n + z²/4n²)``.

    Args:
        successes: Number of rows with the value 1.
        n: Number of rows, more than 0.
        confidence: Confidence level, between 0 and 1.

    Returns:
        The interval, within 0 and 1.
    """
    return _wilson(successes / n, n, float(special.ndtri((1 + confidence) / 2)))


def bootstrap_interval(
    values: ArrayLike,
    clusters: Clusters | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 2_000,
    seed: int = 0,
) -> Interval | None:
    """Return the BCa bootstrap interval of a mean; whole clusters are resampled.

    B. Efron, "Better Bootstrap Confidence Intervals", Journal of the American Statistical
    Association 82 (1987), by `scipy.stats.bootstrap`. It needs some hundred values: with 20 it
    covers 91 % instead of 95 % (``benchmarks/interval_coverage.py``).

    Args:
        values: At least one number.
        clusters: The cluster of each value; default: the values are independent.
        confidence: Confidence level, between 0 and 1.
        resamples: Number of resamples.
        seed: Seed of the resampling.

    Returns:
        The interval; None for a single cluster.
    """
    from scipy import stats

    array = to_floats(values)
    sums, sizes = cluster_totals(array, clusters)
    if len(sums) < 2:
        return None
    if np.ptp(sums / sizes) == 0:
        return Interval(float(array.mean()), float(array.mean()))

    def mean(sums: Any, sizes: Any, axis: int = -1) -> Any:
        return sums.sum(axis=axis) / sizes.sum(axis=axis)

    interval = stats.bootstrap(
        (sums, sizes),
        mean,
        paired=True,
        vectorized=True,
        confidence_level=confidence,
        n_resamples=resamples,
        batch=max(1, _BATCH // len(sums)),
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(float(interval.low), float(interval.high))


def t_quantile(probability: float, degrees_of_freedom: float) -> float:
    """Return a quantile of Student's t distribution.

    Args:
        probability: Between 0 and 1.
        degrees_of_freedom: Below 1 counts as 1.
    """
    return float(special.stdtrit(max(degrees_of_freedom, 1.0), probability))


def _wilson(share: float, n: float, quantile: float) -> Interval:
    square = quantile * quantile / n
    center = (share + square / 2) / (1 + square)
    half = float(np.sqrt(square * share * (1 - share) + square * square / 4)) / (1 + square)
    return Interval(max(0.0, center - half), min(1.0, center + half))
