"""Agreement of raters, and means that a few labels correct."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.statistics.estimates import (
    Clusters,
    Floats,
    cluster_codes,
    to_floats,
)
from langchain_dbx_eval.scoring.statistics.intervals import Interval, t_quantile

__all__ = ["Agreement", "cohens_kappa", "krippendorffs_alpha", "prediction_powered_mean"]

Level = Literal["nominal", "ordinal", "interval"]

# Numbers in memory: one for each cluster and two ratings.
_LARGEST = 50_000_000


@dataclass(frozen=True)
class Agreement:
    """A chance-corrected agreement: 1 is perfect, 0 is that of random ratings.

    Attributes:
        value: The coefficient; NaN if all ratings are equal, since chance then agrees too.
        interval: Its 95 % interval; None if it cannot be estimated.
        observed: Share of the pairs of ratings that agree.
        n: Number of units with two ratings or more.
    """

    value: float
    interval: Interval | None
    observed: float
    n: int


def cohens_kappa(
    first: Sequence[Hashable], second: Sequence[Hashable], clusters: Clusters | None = None
) -> Agreement:
    """Compute the agreement of two raters who rated the same rows.

    J. Cohen, "A Coefficient of Agreement for Nominal Scales", Educational and Psychological
    Measurement 20 (1960): ``κ = (p_o - p_e) / (1 - p_e)``, with the observed agreement p_o and that
    of independent raters p_e. The interval is Wilson's for p_o, with the number of rows whose
    binomial standard error is the jackknife's of κ: unlike ``κ ± 1.96 SE`` it has a width if the
    raters agree on all rows.

    Args:
        first: The labels of the first rater.
        second: The labels of the second rater, in the same order.
        clusters: The cluster of each row; default: the rows are independent.

    Raises:
        ConfigurationError: There is no row, or the numbers of labels differ.
    """
    if len(first) != len(second) or not first:
        msg = f"Expected two labels per row, got: {len(first)} and {len(second)} labels."
        raise ConfigurationError(msg)
    codes = _label_codes([*first, *second], ordered=False)[0]
    a, b = codes[: len(first)], codes[len(first) :]
    size = int(codes.max()) + 1
    cells = np.zeros((len(_cluster_sizes(len(first), clusters)), size, size))
    np.add.at(cells, (cluster_codes(len(first), clusters), a, b), 1.0)
    table = cells.sum(axis=0)
    observed = float(np.trace(table)) / len(first)
    value, expected = float(_kappas(table[None])[0]), _chance_agreement(table[None])[0]
    interval = None
    if expected < 1:
        # Without the only cluster, no row is left.
        with np.errstate(divide="ignore", invalid="ignore"):
            without = _kappas(table - cells)
        error, freedom = _jackknife(without, _cluster_sizes(len(first), clusters))
        interval = _chance_corrected_interval(observed, float(expected), error, freedom)
    return Agreement(value, interval, observed, len(first))


def krippendorffs_alpha(
    ratings: Sequence[Sequence[Any]],
    *,
    level: Level = "nominal",
    clusters: Clusters | None = None,
) -> Agreement:
    """Compute the agreement of any number of raters, some of whom may have skipped rows.

    K. Krippendorff, "Computing Krippendorff's Alpha-Reliability" (2011): ``1 - D_o / D_e``,
    the observed disagreement divided by that of randomly paired ratings. The interval is
    computed as that of `cohens_kappa`.

    Args:
        ratings: The ratings of each row; None: the rater skipped it. Rows with fewer than two
            ratings do not count.
        level: ``"nominal"``: labels differ or not; ``"ordinal"``: they are ordered, such as stars;
            ``"interval"``: they are numbers, and their squared difference counts.
        clusters: The cluster of each row; default: the rows are independent.

    Raises:
        ConfigurationError: No row has two ratings, or there are thousands of different ones.
    """
    kept = [index for index, row in enumerate(ratings) if sum(r is not None for r in row) > 1]
    if not kept:
        msg = "Expected rows with two ratings or more, got none."
        raise ConfigurationError(msg)
    rows = [[rating for rating in ratings[index] if rating is not None] for index in kept]
    codes, labels = _label_codes([r for row in rows for r in row], ordered=level != "nominal")
    counts = np.zeros((len(rows), len(labels)))
    sizes = np.array([len(row) for row in rows])
    np.add.at(counts, (np.repeat(np.arange(len(rows)), sizes), codes), 1.0)
    kept_clusters = None if clusters is None else [clusters[index] for index in kept]
    members = cluster_codes(len(rows), kept_clusters)
    # Coincidences (Krippendorff, step 2) of each cluster, from which the jackknife deletes one.
    cluster_sizes = _cluster_sizes(len(rows), kept_clusters)
    if len(cluster_sizes) * len(labels) ** 2 > _LARGEST:
        msg = f"Expected few different ratings, got: {len(labels)}. Round them."
        raise ConfigurationError(msg)
    coincidences = np.zeros((len(cluster_sizes), len(labels), len(labels)))
    for member, count in zip(members, counts, strict=True):
        coincidences[member] += (np.outer(count, count) - np.diag(count)) / (count.sum() - 1)
    total = coincidences.sum(axis=0)
    # Without one cluster, all other ratings may be equal.
    with np.errstate(divide="ignore", invalid="ignore"):
        [disagreement], [by_chance], largest = _disagreements(total[None], labels, level)
        without, by_chance_without, _ = _disagreements(total - coincidences, labels, level)
        alphas = 1 - without / by_chance_without
        value = float(1 - disagreement / by_chance)
    interval = None
    if np.isfinite(value):
        error, freedom = _jackknife(alphas, cluster_sizes)
        interval = _chance_corrected_interval(
            1 - disagreement / largest, 1 - by_chance / largest, error, freedom
        )
    observed = float(np.trace(total) / total.sum())
    return Agreement(value, interval, observed, len(rows))


def prediction_powered_mean(
    labels: ArrayLike,
    judged: ArrayLike,
    others: ArrayLike,
    *,
    weight: float | None = None,
    confidence: float = 0.95,
    clusters: tuple[Clusters, Clusters] | None = None,
) -> tuple[float, Interval]:
    """Correct the mean of a judge's ratings by a small sample with human labels.

    A. Angelopoulos et al., "Prediction-Powered Inference" (arXiv 2301.09633, 2023), algorithm 1:
    the mean of the judge on the rows without labels, plus the mean of label minus judge on the rows
    with labels. As in "PPI++" (arXiv 2311.01453), the judge's ratings are multiplied by a weight
    from 0 to 1, by default the one with the narrowest interval: a useless judge leaves the mean of
    the labels.

    For shares, one error of the judge in each direction is added to the labeled sample (as
    `compare_pairs` does), because a small sample without any error does not prove that there are
    none. The quantile is that of Student's t with Satterthwaite's degrees of freedom. The standard
    error is that of the sums per cluster (see `clustered_standard_error`).

    Args:
        labels: The human labels, as numbers; at least two.
        judged: The judge's ratings of the same rows.
        others: The judge's ratings of the rows without labels; at least two.
        weight: The weight of the judge; 1 is the method of the first paper.
        confidence: Confidence level, between 0 and 1.
        clusters: The clusters of the rows with labels, and of the others; a cluster may have rows
            of both kinds. Default: the rows are independent.

    Returns:
        The corrected mean, and its interval.

    Raises:
        ConfigurationError: There are fewer than two labels or other rows, or fewer than two
            clusters of either, or the labels and ratings have different numbers.
    """
    truth, rated, rest = to_floats(labels), to_floats(judged), to_floats(others)
    if len(truth) != len(rated) or min(len(truth), len(rest)) < 2:
        msg = (
            "Expected at least two labels with one rating each, and two other ratings, got: "
            f"{len(truth)} labels, {len(rated)} ratings, {len(rest)} others."
        )
        raise ConfigurationError(msg)
    is_share = all(np.isin(values, (0.0, 1.0)).all() for values in (truth, rated, rest))
    of_labels, of_others = clusters or (range(len(truth)), range(-len(rest), 0))
    _check_clusters(of_labels, of_others, len(truth), len(rest))
    if is_share:
        truth, rated = np.append(truth, (1.0, 0.0)), np.append(rated, (0.0, 1.0))
        of_labels = [*of_labels, object(), object()]
    n, rest_n = len(truth), len(rest)
    codes = cluster_codes(n + rest_n, [*of_labels, *of_others])
    spread = float(np.var(np.concatenate((rated, rest)), ddof=1))
    if weight is None:
        slope = float(np.cov(truth, rated)[0, 1]) / spread if spread > 0 else 0.0
        weight = min(max(slope / (1 + n / rest_n), 0.0), 1.0)
    errors = truth - weight * rated
    mean = weight * float(rest.mean()) + float(errors.mean())
    size = int(codes.max()) + 1
    labeled, labeled_freedom = _cluster_deviations(errors, codes[:n], size)
    judge, judge_freedom = _cluster_deviations(weight * rest, codes[n:], size)
    variance = float(((labeled + judge) ** 2).sum())
    if variance == 0:
        return mean, Interval(mean, mean)
    parts = np.array(((labeled**2).sum(), (judge**2).sum()))
    freedom = float(parts.sum() ** 2 / (parts**2 / (labeled_freedom, judge_freedom)).sum())
    half = t_quantile((1 + confidence) / 2, freedom) * variance**0.5
    low, high = mean - half, mean + half
    return mean, Interval(max(0.0, low), min(1.0, high)) if is_share else Interval(low, high)


def _check_clusters(of_labels: Clusters, of_others: Clusters, n: int, rest_n: int) -> None:
    for name, given, count in (("labels", of_labels, n), ("others", of_others, rest_n)):
        if len(given) != count or len(set(given)) < 2:
            msg = (
                f"Expected the cluster of each of the {count} {name}, two different ones or more, "
                f"got: {len(given)}, {len(set(given))} different ones."
            )
            raise ConfigurationError(msg)


def _cluster_deviations(values: Floats, codes: Any, size: int) -> tuple[Floats, int]:
    """Return what each cluster adds to the deviation of the mean of `values` from the true one.

    The sum of their squares estimates the variance of the mean. The second value is the degrees of
    freedom: the number of clusters, less one.
    """
    freedom = len(np.unique(codes)) - 1
    sums = np.bincount(codes, values - values.mean(), minlength=size) / len(values)
    return sums * ((freedom + 1) / freedom) ** 0.5, freedom


def _label_codes(labels: Sequence[Any], *, ordered: bool) -> tuple[Any, list[Any]]:
    """Number labels by their order, or by their first occurrence; return also the labels."""
    distinct = sorted(set(labels)) if ordered else list(dict.fromkeys(labels))
    numbers = {label: number for number, label in enumerate(distinct)}
    return np.array([numbers[label] for label in labels]), distinct


def _cluster_sizes(n: int, clusters: Clusters | None) -> Floats:
    return np.bincount(cluster_codes(n, clusters)).astype(np.float64)


def _chance_agreement(tables: Floats) -> Floats:
    totals = tables.sum(axis=(1, 2))
    agreement: Floats = (tables.sum(axis=1) * tables.sum(axis=2)).sum(axis=1) / totals**2
    return agreement


def _kappas(tables: Floats) -> Floats:
    """Return κ of each table of two raters' labels; NaN if both use one label only."""
    observed = np.trace(tables, axis1=1, axis2=2) / tables.sum(axis=(1, 2))
    expected = _chance_agreement(tables)
    kappas: Floats = np.where(
        expected < 1, (observed - expected) / np.where(expected < 1, 1 - expected, 1.0), np.nan
    )
    return kappas


def _jackknife(without: Floats, sizes: Floats) -> tuple[float, float]:
    """Return the standard error of a statistic from its values without each cluster.

    The second value is the degrees of freedom (see `estimate_mean`).
    """
    count = len(without)
    if count < 2:
        return float("nan"), 0.0
    error = float(np.sqrt((count - 1) / count * ((without - without.mean()) ** 2).sum()))
    return error, float(sizes.sum() ** 2 / (sizes**2).sum()) - 1


def _chance_corrected_interval(
    observed: float, expected: float, error: float, freedom: float
) -> Interval | None:
    """Return the interval of (observed - expected) / (1 - expected), by that of `observed`."""
    if not np.isfinite(error):
        return None
    variance = observed * (1 - observed)
    error *= 1 - expected
    n = variance / error**2 if variance > 0 and error > 0 else freedom + 1
    square = t_quantile(0.975, freedom) ** 2 / n
    center = (observed + square / 2) / (1 + square)
    half = float(np.sqrt(square * variance + square**2 / 4)) / (1 + square)
    low, high = ((bound - expected) / (1 - expected) for bound in (center - half, center + half))
    return Interval(low, min(1.0, high))


def _disagreements(
    coincidences: Floats, labels: list[Any], level: Level
) -> tuple[Floats, Floats, float]:
    """Return the observed disagreement of each table of coincidences, and that by chance.

    The third value is the largest possible one.
    """
    totals = coincidences.sum(axis=1)
    n = totals.sum(axis=1)
    if level == "nominal":
        distances = 1.0 - np.eye(len(labels))[None]
    else:
        # Ordinal: the number of ratings between two labels, both ends counting half (step 4).
        positions = np.cumsum(totals, axis=1) - totals / 2
        if level == "interval":
            positions = np.array([labels], dtype=np.float64)
        distances = (positions[:, :, None] - positions[:, None, :]) ** 2
    observed: Floats = (coincidences * distances).sum(axis=(1, 2)) / n
    weighted = (totals[:, :, None] * distances * totals[:, None, :]).sum(axis=(1, 2))
    return observed, weighted / (n * (n - 1)), float(distances.max())
