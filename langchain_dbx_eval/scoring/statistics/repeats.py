"""Records that were answered several times: pass@k, pass^k, and where the variance comes from."""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

from numpy.typing import ArrayLike

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.statistics.estimates import (
    Clusters,
    MeanEstimate,
    cluster_codes,
    cluster_totals,
    estimate_mean,
    to_floats,
)

__all__ = [
    "VarianceComponents",
    "estimate_pass",
    "pass_at_k",
    "pass_hat_k",
    "variance_components",
]


@dataclass(frozen=True)
class VarianceComponents:
    """The variance of a score, split by its origin.

    Attributes:
        between: Variance of the records' expected scores: more records reduce its effect.
        within: Variance of the scores of one record: more repetitions reduce its effect.
    """

    between: float
    within: float

    @property
    def intraclass_correlation(self) -> float:
        """Share of the variance that is between records; 0 if there is no variance."""
        total = self.between + self.within
        return self.between / total if total > 0 else 0.0


def pass_at_k(n: int, passed: int, k: int) -> float:
    """Estimate the probability that at least one of k answers passes.

    M. Chen et al., "Evaluating Large Language Models Trained on Code" (arXiv 2107.03374, 2021),
    equation 1, unbiased: ``1 - C(n-c, k) / C(n, k)``.

    Args:
        n: Number of answers to the record.
        passed: Number of them that passed, c.
        k: From 1 to `n`.
    """
    _check_k(n, k)
    return 1 - comb(n - passed, k) / comb(n, k)


def pass_hat_k(n: int, passed: int, k: int) -> float:
    """Estimate the probability that k of k answers pass, written pass^k.

    S. Yao et al., "τ-bench: A Benchmark for Tool-Agent-User Interaction in Real-World Domains"
    (arXiv 2406.12045, 2024), unbiased: ``C(c, k) / C(n, k)``.

    Args:
        n: Number of answers to the record.
        passed: Number of them that passed, c.
        k: From 1 to `n`.
    """
    _check_k(n, k)
    return comb(passed, k) / comb(n, k)


def estimate_pass(
    values: ArrayLike, clusters: Clusters, k: int, *, every: bool = False
) -> MeanEstimate | None:
    """Estimate pass@k or pass^k over all records.

    Args:
        values: 1 for an answer that passed, else 0.
        clusters: The record of each value.
        k: Number of answers, 1 or more.
        every: Whether all k answers must pass (pass^k), or one of them (pass@k).

    Returns:
        The mean over the records with at least k answers; None if there is none.
    """
    formula = pass_hat_k if every else pass_at_k
    sums, sizes = cluster_totals(to_floats(values), clusters)
    per_record = [
        formula(int(n), round(passed), k) for n, passed in zip(sizes, sums, strict=True) if n >= k
    ]
    return estimate_mean(per_record) if per_record else None


def variance_components(values: ArrayLike, clusters: Clusters) -> VarianceComponents | None:
    """Split the variance of a score into that between and that within records.

    One-way analysis of variance with random effects (S. Searle, G. Casella, C. McCulloch, "Variance
    Components", 1992, section 3.6): within is the mean square within records; between is
    ``(MSB - MSW) / n0``, at least 0, with ``n0 = (N - Σ n_c²/N) / (G-1)``.

    Args:
        values: The scores.
        clusters: The record of each score.

    Returns:
        The components; None with fewer than two records, or without a repeated one.
    """
    array = to_floats(values)
    sums, sizes = cluster_totals(array, clusters)
    n, count = len(array), len(sums)
    if not 2 <= count < n:
        return None
    means = sums / sizes
    residuals = array - means[cluster_codes(n, clusters)]
    within = float((residuals**2).sum()) / (n - count)
    mean_square_between = float((sizes * (means - array.mean()) ** 2).sum()) / (count - 1)
    typical_size = (n - float((sizes**2).sum()) / n) / (count - 1)
    return VarianceComponents(max(0.0, (mean_square_between - within) / typical_size), within)


def _check_k(n: int, k: int) -> None:
    if not 1 <= k <= n:
        msg = f"'k' must be between 1 and the number of answers, {n}, got: {k}."
        raise ConfigurationError(msg)
