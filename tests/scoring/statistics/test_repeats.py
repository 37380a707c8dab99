"""pass@k, pass^k, and the variance between and within records."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.statistics import (
    estimate_pass,
    pass_at_k,
    pass_hat_k,
    variance_components,
)

EXACT = {"rel": 1e-9, "abs": 1e-9}


@pytest.mark.parametrize("k", [1, 2, 3, 5])
def test_pass_at_k_and_pass_hat_k_are_the_shares_of_all_choices(k: int) -> None:
    answers = [True, False, True, False, False]
    choices = list(combinations(answers, k))
    assert pass_at_k(5, 2, k) == pytest.approx(sum(map(any, choices)) / len(choices), **EXACT)
    assert pass_hat_k(5, 2, k) == pytest.approx(sum(map(all, choices)) / len(choices), **EXACT)


def test_pass_at_k_is_the_product_of_its_paper() -> None:
    # Chen et al. (2021), figure 3: 1 - prod(1 - k / arange(n - c + 1, n + 1))
    expected = 1 - np.prod(1.0 - 10 / np.arange(200 - 13 + 1, 200 + 1))
    assert pass_at_k(200, 13, 10) == pytest.approx(expected, **EXACT)


def test_more_answers_than_there_are_cannot_be_chosen() -> None:
    with pytest.raises(ConfigurationError, match="'k'"):
        pass_at_k(3, 1, 4)


def test_pass_at_k_of_all_records_counts_those_with_enough_answers() -> None:
    values, clusters = [1, 0, 0, 0, 1, 1, 1], list("aabbccd")
    any_of_two = estimate_pass(values, clusters, 2)
    assert (any_of_two.value, any_of_two.n) == (pytest.approx(2 / 3), 3)
    assert estimate_pass(values, clusters, 2, every=True).value == pytest.approx(1 / 3)
    assert estimate_pass(values, clusters, 3) is None


def test_the_variance_is_split_as_in_the_textbook() -> None:
    # P. Shrout, J. Fleiss, "Intraclass Correlations", Psychological Bulletin 86 (1979), tables 2-4:
    # BMS 11.24, WMS 6.26, ICC(1,1) 0.17.
    ratings = [[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]]
    values = [rating for row in ratings for rating in row]
    found = variance_components(values, [number // 4 for number in range(24)])
    assert found.within == pytest.approx(6.2638888888888, rel=1e-9)
    assert found.between == pytest.approx((11.2416666666667 - 6.2638888888889) / 4, rel=1e-9)
    assert found.intraclass_correlation == pytest.approx(0.17, abs=0.005)


def test_answers_that_never_vary_have_no_variance_within() -> None:
    found = variance_components([1, 1, 0, 0], list("aabb"))
    assert (found.within, found.intraclass_correlation) == (0, 1)
    assert variance_components([1, 1, 1, 1], list("aabb")).intraclass_correlation == 0


def test_without_repetitions_the_variance_cannot_be_split() -> None:
    assert variance_components([1, 0], ["a", "b"]) is None
    assert variance_components([1, 0], ["a", "a"]) is None
