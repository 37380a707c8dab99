"""The mean of independent or clustered values, and its standard error."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from langchain_dbx_eval.errors import ConfigurationError

__all__ = [
    "Clusters",
    "Floats",
    "MeanEstimate",
    "cluster_codes",
    "cluster_totals",
    "clustered_standard_error",
    "estimate_mean",
    "to_floats",
]

Floats: TypeAlias = NDArray[np.float64]
Clusters: TypeAlias = Sequence[Hashable] | NDArray[np.int64]
"""The cluster of each value: values with equal ids depend on each other."""


@dataclass(frozen=True)
class MeanEstimate:
    """The mean of a sample, and what its interval depends on.

    Attributes:
        value: The mean of all values.
        standard_error: Its standard error, clustered if a cluster has several values; NaN for a
            single cluster.
        n: Number of values.
        clusters: Number of clusters; `n` for independent values.
        degrees_of_freedom: Those of Student's t: one less than the number of clusters, and fewer
            for clusters of unequal sizes.
        skewness: Skewness of the clusters' contributions to the mean.
        is_share: Whether each value is 0 or 1, and no amount.
    """

    value: float
    standard_error: float
    n: int
    clusters: int
    degrees_of_freedom: float
    skewness: float
    is_share: bool

    @property
    def is_clustered(self) -> bool:
        """Whether a cluster has several values."""
        return self.clusters < self.n


def estimate_mean(
    values: ArrayLike, clusters: Clusters | None = None, *, are_amounts: bool = False
) -> MeanEstimate:
    """Estimate the mean of a population of clusters.

    With clusters of unequal sizes, Student's t has ``(Σ n_c)² / Σ n_c² - 1`` degrees of freedom
    (Kish's effective number of clusters, less one): a few large clusters carry the information of
    few. With equal sizes this is the usual G - 1. Together with the jackknife, the intervals of ten
    clusters of 1 to 40 values then cover 95 % instead of 85 %
    (``benchmarks/interval_coverage.py``).

    Args:
        values: At least one number.
        clusters: The cluster of each value; default: the values are independent.
        are_amounts: Whether they are amounts, such as numbers of tokens, of which 0 and 1 are no
            shares.

    Raises:
        ConfigurationError: There is no value, or not one cluster per value.
    """
    array = to_floats(values)
    sums, sizes = cluster_totals(array, clusters)
    n, count = len(array), len(sums)
    mean = float(array.mean())
    contributions = sums - sizes * mean
    # Rounding leaves contributions of 1e-17 for equal values.
    contributions[np.abs(contributions) <= 1e-12 * sizes * max(1.0, abs(mean))] = 0.0
    spread = float(np.mean(contributions**2)) ** 0.5
    return MeanEstimate(
        value=mean,
        standard_error=_standard_error(sums, sizes, is_constant=spread == 0),
        n=n,
        clusters=count,
        degrees_of_freedom=n * n / float((sizes**2).sum()) - 1,
        skewness=float(np.mean((contributions / spread) ** 3)) if spread > 0 else 0.0,
        is_share=not are_amounts and bool(np.isin(array, (0.0, 1.0)).all()),
    )


def clustered_standard_error(values: ArrayLike, clusters: Clusters | None = None) -> float:
    """Return the standard error of a mean whose values depend on each other within clusters.

    E. Miller, "Adding Error Bars to Evals: A Statistical Approach to Language Model Evaluations"
    (arXiv 2411.00640, 2024): with s_ic the i-th value of cluster c, and the mean s̄ of all values,

        ``SE² = 1/n² · Σ_c Σ_i Σ_j (s_ic - s̄)(s_jc - s̄)``

    That is biased toward 0 with few clusters, and more so if their sizes differ. This function
    deletes each of the G clusters in turn (the jackknife, "CV3" in J. MacKinnon, M. Nielsen,
    M. Webb, "Cluster-robust inference: A guide to empirical practice", Journal of Econometrics 232,
    2023): ``SE² = (G-1)/G · Σ_c (s̄₋c - s̄)²``. With equal sizes this is Miller's formula times
    G/(G-1). For independent values it is ``s/√n``.

    Args:
        values: At least one number.
        clusters: The cluster of each value; default: the values are independent.

    Returns:
        The standard error; NaN for a single cluster.
    """
    return estimate_mean(values, clusters).standard_error


def to_floats(values: ArrayLike) -> Floats:
    """Return values as an array.

    Raises:
        ConfigurationError: There is no value, or one is not a finite number.
    """
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
        msg = f"Expected a list of one or more finite numbers, got: {values!r:.80}"
        raise ConfigurationError(msg)
    return array


def cluster_codes(n: int, clusters: Clusters | None) -> NDArray[np.intp]:
    """Number the clusters from 0.

    Args:
        n: Number of values.
        clusters: The cluster of each value; None: each value is its own.

    Returns:
        The number of each value's cluster.

    Raises:
        ConfigurationError: There is not one cluster per value.
    """
    if clusters is None:
        return np.arange(n)
    if len(clusters) != n:
        msg = f"Expected one cluster per value, got: {len(clusters)} clusters for {n} values."
        raise ConfigurationError(msg)
    if isinstance(clusters, np.ndarray):
        return np.unique(clusters, return_inverse=True)[1]
    codes: dict[Hashable, int] = {}
    return np.array([codes.setdefault(cluster, len(codes)) for cluster in clusters])


def cluster_totals(values: Floats, clusters: Clusters | None) -> tuple[Floats, Floats]:
    """Return the sum and the number of the values of each cluster."""
    codes = cluster_codes(len(values), clusters)
    sums: Floats = np.bincount(codes, values).astype(np.float64)
    return sums, np.bincount(codes).astype(np.float64)


def _standard_error(sums: Floats, sizes: Floats, *, is_constant: bool) -> float:
    count, n = len(sums), float(sizes.sum())
    if count < 2:
        return float("nan")
    if is_constant:
        return 0.0
    total = float(sums.sum())
    without = (total - sums) / (n - sizes)
    return float(np.sqrt((count - 1) / count * ((without - total / n) ** 2).sum()))
