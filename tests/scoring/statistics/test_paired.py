"""Paired differences, tests, Holm's correction and power, with the numbers of other packages."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.statistics import (
    Interval,
    bootstrap_interval,
    clustered_standard_error,
    compare_pairs,
    holm,
    is_non_inferior,
    mcnemar,
    minimum_detectable_effect,
    quantile_differences,
    required_rows,
)

BEFORE = np.array([0.1, 0.4, 0.35, 0.8, 0.6, 0.2, 0.9, 0.5, 0.7, 0.3])
AFTER = np.array([0.3, 0.5, 0.3, 0.9, 0.75, 0.5, 0.88, 0.65, 0.95, 0.45])
EXACT = {"rel": 1e-9, "abs": 1e-9}


def pairs_of(both: int, higher: int, lower: int, neither: int) -> tuple[list[int], list[int]]:
    before = [1] * both + [0] * higher + [1] * lower + [0] * neither
    after = [1] * both + [1] * higher + [0] * lower + [0] * neither
    return before, after


@pytest.mark.parametrize(
    ("higher", "lower", "p_value"),
    # statsmodels 0.15, mcnemar(exact=True)
    [(2, 9, 0.0654296875), (0, 5, 0.0625), (1, 2, 1.0), (10, 25, 0.016673847800120715), (0, 0, 1)],
)
def test_pairs_of_pass_and_fail_have_the_exact_mcnemar_test(
    higher: int, lower: int, p_value: float
) -> None:
    assert mcnemar(higher, lower) == pytest.approx(p_value, **EXACT)
    found = compare_pairs(*pairs_of(30, higher, lower, 20))
    assert found.p_value == pytest.approx(p_value, **EXACT)
    assert (found.test, found.higher, found.lower) == ("exact McNemar", higher, lower)
    assert (found.equal, found.pairs) == (50, 50 + higher + lower)


def test_the_interval_of_shares_adds_one_pair_in_each_direction() -> None:
    # Bonett and Price (2012): Wald's interval with (10+1)/(60+2) and (4+1)/(60+2).
    higher, lower = 11 / 62, 5 / 62
    half = stats.norm.ppf(0.975) * np.sqrt((higher + lower - (higher - lower) ** 2) / 62)
    expected = higher - lower - half, higher - lower + half
    found = compare_pairs(*pairs_of(26, 10, 4, 20))
    assert found.interval == pytest.approx(expected, **EXACT)
    assert found.difference == pytest.approx(0.1)


def test_equal_answers_are_no_proof_of_equality() -> None:
    found = compare_pairs(*pairs_of(10, 0, 0, 10))
    assert found.p_value == 1
    assert found.interval.low < -0.05
    assert found.interval.high > 0.05


def test_numbers_have_the_paired_t_test() -> None:
    expected = stats.ttest_rel(AFTER, BEFORE)
    found = compare_pairs(BEFORE, AFTER)
    assert found.p_value == pytest.approx(expected.pvalue, **EXACT)
    assert found.interval == pytest.approx(tuple(expected.confidence_interval()), **EXACT)
    differences = AFTER - BEFORE
    assert found.effect_size == pytest.approx(differences.mean() / differences.std(ddof=1), **EXACT)
    assert found.test == "paired t"


def test_skewed_differences_have_a_corrected_test_that_agrees_with_the_interval() -> None:
    differences = np.array([-0.2, -0.1, -0.1, 0.0, 0.1, 0.1, 0.3, 0.5, 1.0, 3.7])
    found = compare_pairs(np.zeros(10), differences)
    assert found.test == "paired t, corrected for skewness"
    # The p-value of a difference of 0 is 5 % if 0 is a bound of the interval.
    for bound in found.interval:
        shifted = compare_pairs(np.full(10, bound), differences)
        assert shifted.p_value == pytest.approx(0.05, **EXACT)
    plain = stats.ttest_1samp(differences, 0).pvalue
    assert compare_pairs(np.zeros(10), differences, test="t").p_value == pytest.approx(plain)


def test_stars_that_rise_by_one_are_no_shares() -> None:
    found = compare_pairs([3, 3, 4, 4, 2, 3, 1, 4, 2, 3], [3, 3, 4, 4, 3, 3, 1, 4, 2, 3])
    assert found.test == "paired t, corrected for skewness"
    assert found.interval.low < 0


def test_amounts_of_0_and_1_are_no_shares() -> None:
    """An answer of one token in each row does not say how many rows have a token."""
    found = compare_pairs([1] * 8, [1] * 8, are_amounts=True)
    assert (found.interval, found.p_value) == (Interval(0, 0), 1.0)
    assert found.test == "paired t"
    found = compare_pairs([0] * 6 + [1] * 6, [0] * 5 + [1] * 7, are_amounts=True)
    assert found.test == "paired t, corrected for skewness"


def test_the_wilcoxon_test_is_scipys() -> None:
    found = compare_pairs(BEFORE, AFTER, test="wilcoxon")
    assert found.p_value == pytest.approx(stats.wilcoxon(AFTER - BEFORE).pvalue, **EXACT)
    assert compare_pairs(BEFORE, BEFORE, test="wilcoxon").p_value == 1


def test_the_bootstrap_test_agrees_with_the_t_test_on_many_pairs() -> None:
    rng = np.random.default_rng(1)
    before = rng.normal(size=200)
    after = before + rng.normal(0.1, 0.7, 200)
    found = compare_pairs(before, after, test="bootstrap")
    assert found.p_value == pytest.approx(stats.ttest_rel(after, before).pvalue, abs=0.01)
    assert found.interval == bootstrap_interval(after - before)


def test_clusters_are_compared_by_their_means() -> None:
    # Two equal rows per record carry no more information than one.
    clusters = [number // 2 for number in range(20)]
    before, after = np.repeat(BEFORE, 2), np.repeat(AFTER, 2)
    once, twice = compare_pairs(BEFORE, AFTER), compare_pairs(before, after, clusters)
    assert twice.p_value == pytest.approx(once.p_value, **EXACT)
    assert twice.interval == pytest.approx(once.interval, **EXACT)
    assert (twice.pairs, twice.clusters, twice.test) == (20, 10, "paired t, clustered")
    wilcoxon = compare_pairs(before, after, clusters, test="wilcoxon")
    assert wilcoxon.p_value == compare_pairs(BEFORE, AFTER, test="wilcoxon").p_value


def test_shares_with_clusters_have_the_clustered_t_test() -> None:
    before, after = pairs_of(10, 8, 2, 4)
    clusters = [number // 3 for number in range(24)]
    error = clustered_standard_error(np.subtract(after, before), clusters)
    found = compare_pairs(before, after, clusters)
    assert found.p_value == pytest.approx(2 * stats.t.sf(0.25 / error, 7), **EXACT)
    assert found.interval.low < 0.25 < found.interval.high


def test_one_cluster_has_no_test() -> None:
    found = compare_pairs([0.1, 0.2], [0.3, 0.5], ["a", "a"])
    assert (found.interval, found.p_value, found.required_pairs(0.1)) == (None, None, None)
    assert compare_pairs([0.1], [0.3], test="bootstrap").p_value is None
    assert compare_pairs([0.1], [0.3], test="wilcoxon").p_value is None


def test_equal_differences_are_not_infinitely_significant() -> None:
    found = compare_pairs([0.1, 0.2, 0.3], [0.2, 0.3, 0.4])
    assert found.p_value == 0.25
    assert found.effect_size is None
    assert compare_pairs([0.1, 0.2], [0.1, 0.2]).p_value == 1


def test_pairs_have_two_values() -> None:
    with pytest.raises(ConfigurationError, match="2 values before and 1 after"):
        compare_pairs([1, 2], [1])


def test_holms_correction_is_that_of_statsmodels() -> None:
    # statsmodels 0.15, multipletests(method="holm")
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02], **EXACT)
    assert holm([0.9, 0.8]) == [1.0, 1.0]
    assert holm([]) == []


def test_the_required_rows_are_those_of_a_z_test() -> None:
    # statsmodels 0.15, NormalIndPower(ddof=0).solve_power(0.2, alpha=0.05, power=0.8, ratio=0):
    # 196.22
    assert required_rows(0.2, 1.0) == 197
    assert required_rows(-0.1, 0.5) == 197
    with pytest.raises(ConfigurationError, match="effect"):
        required_rows(0, 1.0)


def test_the_minimum_detectable_effect_is_found_in_80_percent_of_all_cases() -> None:
    rng = np.random.default_rng(2)
    effect = minimum_detectable_effect(0.5 / 50**0.5, 49)
    samples = rng.normal(effect, 0.5, (4_000, 50))
    found = stats.ttest_1samp(samples, 0, axis=1).pvalue < 0.05
    assert found.mean() == pytest.approx(0.8, abs=0.02)


def test_the_minimum_detectable_effect_of_a_comparison_needs_its_own_number_of_pairs() -> None:
    found = compare_pairs(*pairs_of(300, 60, 50, 200))
    assert found.required_pairs(found.minimum_detectable_effect) == pytest.approx(610, abs=10)
    assert found.required_pairs(0.02) > 610


def test_a_candidate_is_non_inferior_if_the_whole_interval_is_above_the_margin() -> None:
    assert is_non_inferior(Interval(-0.01, 0.2), 0.02)
    assert not is_non_inferior(Interval(-0.03, 0.2), 0.02)
    assert is_non_inferior(Interval(-0.4, 0.1), 0.2, lower_is_better=True)
    with pytest.raises(ConfigurationError, match="margin"):
        is_non_inferior(Interval(0, 1), -0.1)


def test_a_quantile_is_compared_with_the_rows_of_both() -> None:
    before = np.arange(200.0)
    shifted = (99.5, 102.5, Interval(3.0, 3.0))
    assert quantile_differences(before, before + 3, [0.5]) == [shifted]
    [(*_, interval)] = quantile_differences(before, before[::-1] * 2, [0.9])
    assert interval.low < 0.9 * 199 < interval.high
    for clusters in (np.arange(200) // 4, np.arange(200) // 7):
        [(*_, interval)] = quantile_differences(before, before + 3, [0.5], clusters)
        assert interval == pytest.approx((3, 3))


def test_a_quantile_beyond_which_few_rows_are_has_no_interval() -> None:
    median, last = quantile_differences([1.0] * 20, [2.0] * 20, [0.5, 0.95])
    assert median == (1.0, 2.0, Interval(1.0, 1.0))
    assert last == (1.0, 2.0, None)
