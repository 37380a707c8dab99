"""Standard errors and intervals of means, with the numbers of publications and other packages."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.statistics import (
    bootstrap_interval,
    clustered_standard_error,
    estimate_mean,
    interval_of,
    mean_interval,
    wilson_interval,
)

VALUES = [3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8]
EXACT = {"rel": 1e-9, "abs": 1e-9}


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # statsmodels 0.15, proportion_confint(method="wilson"). 81 of 263 is the first example of
        # R. Newcombe, Statistics in Medicine 17 (1998), 857-872: 0.2553 to 0.3662.
        (81, 263, 0.2552885198782742, 0.36620957698280004),
        (8, 10, 0.49016247153664183, 0.9433178485456247),
        (0, 20, 0.0, 0.1611251580528194),
    ],
)
def test_the_interval_of_a_share_is_wilsons(
    successes: int, n: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, n) == pytest.approx((low, high), **EXACT)
    values = [1.0] * successes + [0.0] * (n - successes)
    assert mean_interval(values) == pytest.approx((low, high), **EXACT)


def test_the_interval_of_a_mean_is_students_t() -> None:
    expected = stats.t.interval(0.95, 11, np.mean(VALUES), stats.sem(VALUES))
    assert mean_interval(VALUES, method="t") == pytest.approx(expected, **EXACT)
    # The skewness of these values is 0.26: no correction.
    assert mean_interval(VALUES) == pytest.approx(expected, **EXACT)


def test_clusters_of_equal_sizes_have_millers_standard_error() -> None:
    clusters = np.repeat(range(6), 2)
    deviations = np.array(VALUES) - np.mean(VALUES)
    same = clusters[:, None] == clusters[None, :]
    miller = np.sqrt((np.outer(deviations, deviations) * same).sum()) / 12
    error = clustered_standard_error(VALUES, list(clusters))
    assert error == pytest.approx(miller * (6 / 5) ** 0.5, **EXACT)
    # statsmodels 0.15, OLS(...).fit(cov_type="cluster").bse
    assert error == pytest.approx(0.8333333333333337, **EXACT)


def test_clusters_of_unequal_sizes_are_deleted_in_turn() -> None:
    clusters = list("aaaaaabbbccd")
    array = np.array(VALUES)
    without = [array[[c != name for c in clusters]].mean() for name in "abcd"]
    expected = np.sqrt(3 / 4 * ((np.array(without) - array.mean()) ** 2).sum())
    estimate = estimate_mean(VALUES, clusters)
    assert estimate.standard_error == pytest.approx(expected, **EXACT)
    assert estimate.degrees_of_freedom == pytest.approx(144 / (36 + 9 + 4 + 1) - 1, **EXACT)
    half = stats.t.ppf(0.975, estimate.degrees_of_freedom) * expected
    interval = mean_interval(VALUES, clusters, method="t")
    assert interval == pytest.approx((array.mean() - half, array.mean() + half), **EXACT)


def test_clusters_of_one_value_are_independent_values() -> None:
    assert mean_interval(VALUES, list(range(12))) == mean_interval(VALUES)
    assert mean_interval([1, 0, 1], ["a", "b", "c"]) == wilson_interval(2, 3)


def test_the_interval_of_a_clustered_share_has_the_effective_number_of_rows() -> None:
    values, clusters = [1, 1, 1, 0, 1, 1, 0, 0, 1, 1, 1, 1], list("aaabbbcccddd")
    error, share = clustered_standard_error(values, clusters), 0.75
    n = share * (1 - share) / error**2
    t = stats.t.ppf(0.975, 3)
    # Wilson's bounds are the solutions p of (share - p)² = t² p(1-p)/n.
    for bound in mean_interval(values, clusters):
        assert (share - bound) ** 2 == pytest.approx(t**2 * bound * (1 - bound) / n, **EXACT)


def test_a_unanimous_share_with_clusters_counts_clusters() -> None:
    interval = mean_interval([1.0] * 100, [number // 10 for number in range(100)])
    t = stats.t.ppf(0.975, 9)
    assert interval == pytest.approx((1 / (1 + t**2 / 10), 1.0), **EXACT)


def test_the_interval_of_skewed_values_solves_halls_equation() -> None:
    values = np.array([0.2, 0.3, 0.3, 0.4, 0.5, 0.5, 0.7, 0.9, 1.4, 4.1])
    g, n = stats.skew(values), 10
    for bound, quantile in zip(mean_interval(values), (0.975, 0.025), strict=True):
        t = (values.mean() - bound) / stats.sem(values)
        root = n**0.5
        transformed = t + g * t**2 / (3 * root) + g**2 * t**3 / (27 * n) + g / (6 * root)
        assert transformed == pytest.approx(stats.t.ppf(quantile, n - 1), **EXACT)


def test_the_bootstrap_interval_is_scipys() -> None:
    values = np.array([0.2, 0.3, 0.3, 0.4, 0.5, 0.5, 0.7, 0.9, 1.4, 4.1])
    expected = stats.bootstrap(
        (values,), np.mean, n_resamples=2_000, rng=np.random.default_rng(0)
    ).confidence_interval
    assert bootstrap_interval(values) == pytest.approx(tuple(expected), **EXACT)
    assert mean_interval(values, method="bca") == bootstrap_interval(values)


def test_whole_clusters_are_resampled() -> None:
    values, clusters = np.repeat([0.1, 0.9, 0.4, 0.8, 0.3], 4), np.repeat(range(5), 4)
    assert bootstrap_interval(values, list(clusters)) == pytest.approx(
        bootstrap_interval([0.1, 0.9, 0.4, 0.8, 0.3]), **EXACT
    )


def test_one_cluster_has_no_interval_unless_it_is_a_share() -> None:
    assert mean_interval([2.5]) is None
    assert mean_interval([2.5, 3.0], ["a", "a"]) is None
    assert bootstrap_interval([2.5]) is None
    assert mean_interval([1, 1, 1, 0], ["a"] * 4) == wilson_interval(0.75, 1)


def test_equal_values_have_an_interval_without_width() -> None:
    assert mean_interval([0.1] * 7) == pytest.approx((0.1, 0.1))
    assert bootstrap_interval([0.1] * 7) == pytest.approx((0.1, 0.1))
    assert interval_of(estimate_mean([0.3] * 6, list("aabbcc"))) == pytest.approx((0.3, 0.3))


@pytest.mark.parametrize("values", [[], [float("nan")], [1, float("inf")], [[1, 2]]])
def test_values_that_have_no_mean_are_rejected(values: list[float]) -> None:
    with pytest.raises(ConfigurationError, match="finite numbers"):
        mean_interval(values)


def test_each_value_needs_a_cluster() -> None:
    with pytest.raises(ConfigurationError, match="2 clusters for 3 values"):
        mean_interval([1, 2, 3], ["a", "b"])
