"""A short version of the simulations of `make bench-statistics`."""

from __future__ import annotations

import pytest

from benchmarks import interval_coverage

# With 400 simulations, 95 % have a standard error of 1.1 %.
SIMULATIONS = 400


@pytest.mark.parametrize("repeat", [1, 3, 5, 10])
@pytest.mark.parametrize("records", [20, 100])
def test_the_interval_of_a_share_covers_95_percent_at_any_repeat(records: int, repeat: int) -> None:
    covered, *_ = interval_coverage.share_coverage(records, repeat, SIMULATIONS)
    assert covered == pytest.approx(0.95, abs=0.035)


def test_an_interval_that_ignores_repetitions_does_not() -> None:
    *_, naive = interval_coverage.share_coverage(100, 10, SIMULATIONS)
    assert naive < 0.7


def test_the_interval_of_skewed_scores_covers_more_than_students_t() -> None:
    stars = "stars from 1 to 5, mostly 5"
    ours, students = (
        interval_coverage.score_coverage(stars, 20, method, SIMULATIONS) for method in ("auto", "t")
    )
    assert ours > 0.92 > students


@pytest.mark.parametrize("sizes", ["5 of 10", "30 of 1 to 30", "10 of 1 to 40"])
def test_few_or_unequal_clusters_are_covered(sizes: str) -> None:
    share, mean, _ = interval_coverage.cluster_size_coverage(
        interval_coverage.CLUSTER_SIZES[sizes], SIMULATIONS
    )
    assert min(share, mean) > 0.91


@pytest.mark.parametrize("repeat", [1, 5])
def test_the_interval_of_a_difference_covers_95_percent(repeat: int) -> None:
    shares, scores = interval_coverage.difference_coverage(100, repeat, SIMULATIONS)
    assert shares == pytest.approx(0.95, abs=0.035)
    assert scores == pytest.approx(0.95, abs=0.035)


@pytest.mark.parametrize("repeat", [1, 3])
def test_a_chain_does_not_differ_from_itself_in_95_percent_of_200_runs(repeat: int) -> None:
    adjusted, plain = interval_coverage.false_alarms(40, repeat, 200)
    assert adjusted <= 0.08
    assert plain > adjusted


def test_a_judge_is_corrected_by_labels() -> None:
    corrected, judge_alone, _, width, width_of_labels = interval_coverage.correction(100, 0.9, 300)
    assert corrected > 0.92
    assert judge_alone < 0.1
    assert width < width_of_labels
