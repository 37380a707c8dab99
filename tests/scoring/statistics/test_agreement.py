"""Agreement of raters and prediction-powered means, with the numbers of other packages."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.statistics import (
    cohens_kappa,
    krippendorffs_alpha,
    prediction_powered_mean,
)

EXACT = {"rel": 1e-9, "abs": 1e-9}

# The example of Krippendorff (2011), section C: four observers, twelve units.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]
UNITS = list(zip(*OBSERVERS, strict=True))

LABELS = [0.9, 0.2, 0.7, 0.4, 0.8, 0.1, 0.6, 0.5]
JUDGED = [0.8, 0.3, 0.6, 0.5, 0.9, 0.2, 0.4, 0.5]
OTHERS = [0.7, 0.6, 0.5, 0.9, 0.3, 0.8, 0.4, 0.6, 0.2, 0.75, 0.65, 0.55]


def raters(table: list[list[int]]) -> tuple[list[str], list[str]]:
    cells = [(a, b) for a, row in enumerate(table) for b, n in enumerate(row) for _ in range(n)]
    first, second = zip(*cells, strict=True)
    return ["yes no"[3 * a :][:3].strip() for a in first], [
        "yes no"[3 * b :][:3].strip() for b in second
    ]


def test_cohens_kappa_is_that_of_the_textbook() -> None:
    # https://en.wikipedia.org/wiki/Cohen%27s_kappa, simple example: 0.4; statsmodels 0.15 too.
    found = cohens_kappa(*raters([[20, 5], [10, 15]]))
    assert found.value == pytest.approx(0.4, **EXACT)
    assert (found.observed, found.n) == (0.7, 50)
    # statsmodels: standard error 0.12699606, so 0.151 to 0.649 with the normal quantile. Wilson's
    # interval is shifted toward 0.
    assert found.interval == pytest.approx((0.12, 0.62), abs=0.01)


def test_raters_who_always_agree_may_still_differ() -> None:
    first, _ = raters([[25, 0], [0, 25]])
    found = cohens_kappa(first, first)
    assert found.value == 1
    assert found.interval.high == 1
    assert 0.8 < found.interval.low < 0.9


def test_repeated_rows_do_not_narrow_the_interval_of_kappa() -> None:
    first, second = raters([[20, 5], [10, 15]])
    once = cohens_kappa(first, second)
    thrice = cohens_kappa(first * 3, second * 3, list(range(50)) * 3)
    assert thrice.interval == pytest.approx(once.interval, **EXACT)


def test_one_label_only_has_no_kappa() -> None:
    found = cohens_kappa(["yes"] * 3, ["yes"] * 3)
    assert np.isnan(found.value)
    assert (found.interval, found.observed) == (None, 1)


@pytest.mark.parametrize(
    ("level", "alpha"),
    # Krippendorff: 0.743, 0.815, 0.849; the digits are those of the package krippendorff 0.9.
    [
        ("nominal", 0.743421052631579),
        ("ordinal", 0.8153875037548814),
        ("interval", 0.8491071428571428),
    ],
)
def test_krippendorffs_alpha_is_that_of_its_paper(level: str, alpha: float) -> None:
    found = krippendorffs_alpha(UNITS, level=level)
    assert found.value == pytest.approx(alpha, **EXACT)
    assert found.n == 11
    assert found.interval.low < alpha < found.interval.high <= 1


def test_repeated_rows_do_not_narrow_the_interval_of_alpha() -> None:
    rows = [("a", "a"), ("b", "b"), ("a", "b"), ("b", "b"), ("a", "a"), ("b", "a")] * 3
    once = krippendorffs_alpha(rows).interval
    thrice = krippendorffs_alpha(rows * 3, clusters=list(range(18)) * 3).interval
    assert thrice.high - thrice.low == pytest.approx(once.high - once.low, rel=0.05)


def test_ratings_without_a_pair_have_no_alpha() -> None:
    with pytest.raises(ConfigurationError, match="two ratings"):
        krippendorffs_alpha([["a", None], [None, "b"]])
    assert np.isnan(krippendorffs_alpha([["a", "a"], ["a", "a"]]).value)


def test_a_judged_mean_is_corrected_by_its_errors() -> None:
    mean, interval = prediction_powered_mean(LABELS, JUDGED, OTHERS, weight=1)
    # ppi-python 0.2.3, ppi_mean_pointestimate(lam=1)
    assert mean == pytest.approx(0.579166666666667, **EXACT)
    parts = np.var(np.subtract(LABELS, JUDGED), ddof=1) / 8, np.var(OTHERS, ddof=1) / 12
    freedom = sum(parts) ** 2 / (parts[0] ** 2 / 7 + parts[1] ** 2 / 11)
    half = stats.t.ppf(0.975, freedom) * sum(parts) ** 0.5
    assert interval == pytest.approx((mean - half, mean + half), **EXACT)


def test_the_weight_of_the_judge_narrows_the_interval() -> None:
    _, weighted = prediction_powered_mean(LABELS, JUDGED, OTHERS)
    _, full = prediction_powered_mean(LABELS, JUDGED, OTHERS, weight=1)
    assert weighted.high - weighted.low < full.high - full.low


def test_a_useless_judge_leaves_the_mean_of_the_labels() -> None:
    mean, interval = prediction_powered_mean(LABELS, [0.5] * 8, [0.5] * 12)
    expected = stats.t.interval(0.95, 7, np.mean(LABELS), stats.sem(LABELS))
    assert mean == pytest.approx(np.mean(LABELS), **EXACT)
    assert interval == pytest.approx(expected, **EXACT)


def test_a_judge_without_errors_in_a_small_sample_may_still_make_some() -> None:
    labels, others = [1] * 15 + [0] * 5, [1] * 750 + [0] * 250
    mean, interval = prediction_powered_mean(labels, labels, others)
    assert mean == pytest.approx(0.75, abs=0.02)
    assert interval.high - interval.low > 0.1


def test_repeated_rows_do_not_narrow_the_interval_of_a_corrected_mean() -> None:
    records = (range(8), range(8, 20))
    once = prediction_powered_mean(LABELS, JUDGED, OTHERS, weight=0.5, clusters=records)
    assert once[0] == prediction_powered_mean(LABELS, JUDGED, OTHERS, weight=0.5)[0]
    assert once[1] == pytest.approx(
        prediction_powered_mean(LABELS, JUDGED, OTHERS, weight=0.5)[1], **EXACT
    )
    thrice = prediction_powered_mean(
        LABELS * 3,
        JUDGED * 3,
        OTHERS * 3,
        weight=0.5,
        clusters=tuple(list(of_rows) * 3 for of_rows in records),
    )
    assert thrice[0] == pytest.approx(once[0], **EXACT)
    assert thrice[1] == pytest.approx(once[1], **EXACT)


def test_a_cluster_of_labeled_and_other_rows_is_one_cluster() -> None:
    # What the records of labels and others share adds up instead of averaging out.
    records = [0, 0, 1, 1, 2, 2, 3, 3]
    others = [0.7, 0.7, 0.3, 0.3, 0.8, 0.8, 0.4, 0.4]
    labels, judged = [0.9, 0.9, 0.2, 0.2, 0.9, 0.9, 0.1, 0.1], [0.5] * 8

    def width(of_others: list[int]) -> float:
        interval = prediction_powered_mean(
            labels, judged, others, weight=1, clusters=(records, of_others)
        )[1]
        return interval.high - interval.low

    # s = sqrt(G / (G - 1)) times the sums of the deviations of each record, divided by n.
    apart = [r + 10 for r in records]
    deviations = [np.subtract(values, np.mean(values)) for values in (labels, others)]
    parts = [np.bincount(records, d) / 8 * (4 / 3) ** 0.5 for d in deviations]
    freedom = sum((p**2).sum() for p in parts) ** 2 / sum((p**2).sum() ** 2 / 3 for p in parts)
    quantile = stats.t.ppf(0.975, freedom)
    assert width(records) == pytest.approx(2 * quantile * (sum(parts) ** 2).sum() ** 0.5, **EXACT)
    assert width(apart) == pytest.approx(
        2 * quantile * sum((p**2).sum() for p in parts) ** 0.5, **EXACT
    )
    assert width(records) > 1.2 * width(apart)


def test_labels_need_one_rating_each() -> None:
    with pytest.raises(ConfigurationError, match="2 labels, 1 ratings"):
        prediction_powered_mean([1, 0], [1], [1, 0])
    with pytest.raises(ConfigurationError, match="two labels"):
        cohens_kappa(["a"], [])
    with pytest.raises(ConfigurationError, match=r"each of the 2 labels.*got: 2, 1 different"):
        prediction_powered_mean([1, 0], [1, 0], [1, 0], clusters=([5, 5], [1, 2]))
