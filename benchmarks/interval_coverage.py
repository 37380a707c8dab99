"""How often intervals cover the truth, and how often comparisons find what is not there.

Each number is the share of simulated evaluations in percent, with a fixed seed. Nominal: 95 % of
the intervals cover the true value, and at most 5 % of the comparisons of a chain with itself are
significant. docs/statistics.md contains the tables.

    python -m benchmarks.interval_coverage
    python -m benchmarks.interval_coverage --simulations 200
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from langchain_dbx_eval.reporting.comparison import conclude_metrics
from langchain_dbx_eval.reporting.differences import metric_differences
from langchain_dbx_eval.reporting.pairing import RowId, ScoredRow
from langchain_dbx_eval.scoring.statistics import (
    Interval,
    cohens_kappa,
    compare_pairs,
    krippendorffs_alpha,
    mean_interval,
    prediction_powered_mean,
    wilson_interval,
)

Generator = np.random.Generator
RECORDS = (20, 100, 1_000)
REPEATS = (1, 3, 5, 10)

# Share of correct answers per record: Beta(a, b).
SHARES = {
    "mixed: Beta(0.8, 0.4), mean 0.67": (0.8, 0.4),
    "similar records: Beta(8, 4), mean 0.67": (8.0, 4.0),
    "almost all right: Beta(1.9, 0.1), mean 0.95": (1.9, 0.1),
}

# Scores, and their mean.
SCORES: dict[str, tuple[Callable[[Generator, int], Any], float]] = {
    "normal": (lambda rng, n: rng.normal(size=n), 0.0),
    "score from 0 to 1: Beta(0.8, 0.4)": (lambda rng, n: rng.beta(0.8, 0.4, n), 2 / 3),
    "stars from 1 to 5, mostly 5": (
        lambda rng, n: rng.choice(5, n, p=[0.03, 0.02, 0.05, 0.2, 0.7]) + 1.0,
        4.52,
    ),
    "90 % equal to 1, others Beta(2, 2)": (
        lambda rng, n: np.where(rng.random(n) < 0.9, 1.0, rng.beta(2, 2, n)),
        0.95,
    ),
    "latency: log-normal(0.5)": (lambda rng, n: rng.lognormal(0, 0.5, n), float(np.exp(0.125))),
    "latency, long tail: log-normal(1)": (
        lambda rng, n: rng.lognormal(0, 1, n),
        float(np.exp(0.5)),
    ),
}

CLUSTER_SIZES = {
    "5 of 10": [10] * 5,
    "10 of 5": [5] * 10,
    "30 of 5": [5] * 30,
    "30 of 1 to 30": list(range(1, 31)),
    "10 of 1 to 40": [1, 1, 2, 3, 4, 6, 9, 14, 20, 40],
    "5 of 1 to 50": [1, 2, 5, 20, 50],
}


def covers(interval: Interval | None, truth: float) -> bool:
    """Return whether an interval contains the true value."""
    return interval is not None and interval.low <= truth <= interval.high


def covered(simulations: int, seed: int, simulate: Callable[[Generator], Sequence[bool]]) -> Any:
    """Return the share of simulations with True, for each element that they return."""
    rng = np.random.default_rng(seed)
    return np.mean([simulate(rng) for _ in range(simulations)], axis=0)


def record_ids(records: int, repeat: int) -> Any:
    """Return the record of each row."""
    return np.repeat(np.arange(records), repeat)


def share_coverage(
    records: int, repeat: int, simulations: int, population: tuple[float, float] = (0.8, 0.4)
) -> Any:
    """Return the coverage of a share: ours, Student's t, and Wilson's without clusters."""
    a, b = population
    ids = record_ids(records, repeat)

    def simulate(rng: Generator) -> Sequence[bool]:
        passed = (rng.random(records * repeat) < rng.beta(a, b, records)[ids]).astype(float)
        intervals = (
            mean_interval(passed, ids),
            mean_interval(passed, ids, method="t"),
            wilson_interval(passed.sum(), len(passed)),
        )
        return [covers(interval, a / (a + b)) for interval in intervals]

    return covered(simulations, 1_000 * records + repeat, simulate)


def score_coverage(name: str, records: int, method: Any, simulations: int) -> float:
    """Return the coverage of a mean by a method."""
    draw, mean = SCORES[name]

    def simulate(rng: Generator) -> Sequence[bool]:
        return [covers(mean_interval(draw(rng, records), method=method), mean)]

    return float(covered(simulations, records, simulate)[0])


def repeated_score_coverage(records: int, repeat: int, simulations: int) -> Any:
    """Return the coverage of the mean of repeated scores: ours, and t without clusters."""
    ids = record_ids(records, repeat)

    def simulate(rng: Generator) -> Sequence[bool]:
        noise = rng.normal(0, 0.3, records * repeat)
        values = rng.gamma(2.0, 0.5, records)[ids] + noise
        return [
            covers(mean_interval(values, clusters, method=method), 1.0)
            for clusters, method in ((ids, "auto"), (None, "t"))
        ]

    return covered(simulations, 1_000 * records + repeat, simulate)


def cluster_size_coverage(sizes: Sequence[int], simulations: int) -> Any:
    """Return the coverage with few or unequal clusters: shares, and normal scores."""
    ids, count = np.repeat(np.arange(len(sizes)), sizes), len(sizes)

    def simulate(rng: Generator) -> Sequence[bool]:
        passed = (rng.random(len(ids)) < rng.beta(0.8, 0.4, count)[ids]).astype(float)
        scores = rng.normal(0, 0.55, count)[ids] + rng.normal(0, 0.84, len(ids))
        return [
            covers(mean_interval(passed, ids), 2 / 3),
            covers(mean_interval(scores, ids), 0.0),
            covers(wilson_interval(passed.sum(), len(passed)), 2 / 3),
        ]

    return covered(simulations, sum(sizes), simulate)


def difference_coverage(records: int, repeat: int, simulations: int) -> Any:
    """Return the coverage of a difference of 0.1: of shares, and of scores."""
    ids = record_ids(records, repeat)

    def simulate(rng: Generator) -> Sequence[bool]:
        chance = rng.beta(1.6, 0.8, records)
        before, after = (
            (rng.random(len(ids)) < p[ids]).astype(float) for p in (0.85 * chance, chance)
        )
        skill, change = rng.normal(0, 0.2, records), rng.exponential(0.1, records)
        scores, changed = (
            mean[ids] + rng.normal(0, 0.1, len(ids)) for mean in (skill, skill + change)
        )
        return [
            covers(compare_pairs(before, after, ids).interval, 0.1),
            covers(compare_pairs(scores, changed, ids).interval, 0.1),
        ]

    return covered(simulations, 1_000 * records + repeat, simulate)


def false_alarms(records: int, repeat: int, simulations: int) -> Any:
    """Compare a chain with itself, by five metrics.

    Returns:
        The share of comparisons with a significant metric: with Holm's correction, and without it.
    """
    ids = record_ids(records, repeat)
    names = [f"metric_{number}/average" for number in range(5)]

    def simulate(rng: Generator) -> Sequence[bool]:
        chance = rng.beta(0.8, 0.4, records)
        shares = (rng.random((2, 4, len(ids))) < chance[ids]).astype(float)
        scores = rng.beta(2, 2, records)[ids] + rng.normal(0, 0.1, (2, 1, len(ids)))
        values = np.concatenate((shares, scores), axis=1)
        sides = [
            [
                ScoredRow(RowId(str(i), n, i), 0, dict(zip(names, row, strict=True)), {}, None, i)
                for n, (i, row) in enumerate(zip(ids.tolist(), side.T.tolist(), strict=True))
            ]
            for side in values
        ]
        pairs = list(zip(*sides, strict=True))
        metrics = tuple(metric for _, metric in metric_differences(pairs, "auto"))
        [metrics] = conclude_metrics([metrics], None, {})
        return [
            any(metric.is_significant for metric in metrics),
            any(metric.p_value < 0.05 for metric in metrics),
        ]

    return covered(simulations, 1_000 * records + repeat, simulate)


def agreement_coverage(rows: int, accuracy: float, simulations: int) -> Any:
    """Return the coverage of kappa and alpha, for raters who agree with a true label by chance."""
    same = accuracy**2 + (1 - accuracy) ** 2
    prevalence = 0.7
    positive = prevalence * accuracy + (1 - prevalence) * (1 - accuracy)
    expected = positive**2 + (1 - positive) ** 2
    truth = (same - expected) / (1 - expected)

    def simulate(rng: Generator) -> Sequence[bool]:
        label = rng.random(rows) < prevalence
        first, second = (label ^ (rng.random(rows) > accuracy) for _ in range(2))
        alpha = krippendorffs_alpha(list(zip(first.tolist(), second.tolist(), strict=True)))
        kappa = cohens_kappa(first.tolist(), second.tolist())
        return [covers(kappa.interval, truth), covers(alpha.interval, truth)]

    return covered(simulations, rows, simulate)


def correction(labeled: int, accuracy: float, simulations: int) -> Any:
    """Correct 1,000 judged rows by a labeled sample.

    Returns:
        The coverage of the corrected share, of the judge's share, and of the labels alone; then the
        mean widths of the corrected interval and of that of the labels.
    """
    rng, found = np.random.default_rng(labeled), []
    for _ in range(simulations):
        truth = (rng.random(1_000 + labeled) < 0.8).astype(float)
        judged = np.abs(truth - (rng.random(len(truth)) > accuracy))
        _, corrected = prediction_powered_mean(truth[:labeled], judged[:labeled], judged[labeled:])
        raw = wilson_interval(judged.sum(), len(judged))
        alone = wilson_interval(truth[:labeled].sum(), labeled)
        hits = [covers(interval, 0.8) for interval in (corrected, raw, alone)]
        found.append([*hits, *(high - low for low, high in (corrected, alone))])
    return np.mean(found, axis=0)


def tables(simulations: int) -> Iterator[tuple[str, list[str], list[list[str]]]]:
    """Yield the title, the columns and the lines of each table."""
    few = max(simulations // 4, 20)
    for name, population in SHARES.items():
        lines = [
            [str(n), str(repeat), *_percent(share_coverage(n, repeat, simulations, population))]
            for n in RECORDS
            for repeat in REPEATS
        ]
        columns = ["records", "repeat", "interval", "Student's t", "Wilson of all rows"]
        yield f"Coverage of a share, {name}", columns, lines
    lines = []
    for name in SCORES:
        for n in RECORDS:
            shares = [score_coverage(name, n, method, simulations) for method in ("auto", "t")]
            # The bootstrap is slow.
            bca = _percent([score_coverage(name, n, "bca", few)]) if n <= 100 else ["-"]
            lines.append([name, str(n), *_percent(shares), *bca])
    columns = ["scores", "records", "interval", "Student's t", "BCa"]
    yield "Coverage of a mean", columns, lines
    lines = [
        [str(n), str(repeat), *_percent(repeated_score_coverage(n, repeat, simulations))]
        for n in RECORDS
        for repeat in REPEATS
    ]
    columns = ["records", "repeat", "interval", "t of all rows"]
    yield "Coverage of a mean of repeated scores", columns, lines
    lines = [
        [name, *_percent(cluster_size_coverage(sizes, simulations))]
        for name, sizes in CLUSTER_SIZES.items()
    ]
    yield "Few or unequal clusters", ["clusters", "share", "mean", "Wilson of all rows"], lines
    lines = [
        [str(n), str(repeat), *_percent(difference_coverage(n, repeat, simulations))]
        for n in RECORDS
        for repeat in REPEATS
    ]
    yield "Coverage of a difference", ["records", "repeat", "of shares", "of scores"], lines
    lines = [
        [str(n), str(repeat), *_percent(false_alarms(n, repeat, few))]
        for n in (20, 100)
        for repeat in REPEATS
    ]
    columns = ["records", "repeat", "Holm's correction", "not adjusted"]
    yield "A chain compared with itself: comparisons with a significant metric", columns, lines
    lines = [
        [str(n), f"{accuracy:.0%}", *_percent(agreement_coverage(n, accuracy, few))]
        for n in (50, 200)
        for accuracy in (0.8, 0.9, 0.97)
    ]
    columns = ["rows", "accuracy of each rater", "Cohen's kappa", "Krippendorff's alpha"]
    yield "Coverage of the agreement", columns, lines
    lines = []
    for n in (30, 100, 300):
        for accuracy in (0.6, 0.8, 0.9, 0.97):
            *hits, ours, labels = correction(n, accuracy, simulations)
            widths = [f"{ours:.3f}", f"{labels:.3f}"]
            lines.append([str(n), f"{accuracy:.0%}", *_percent(hits), *widths])
    columns = ["labels", "judge's accuracy", "corrected", "judge alone", "labels alone"]
    yield "Correction of 1,000 judged rows", [*columns, "width", "width of labels alone"], lines


def _percent(shares: Sequence[float]) -> list[str]:
    return [f"{100 * share:.1f}" for share in shares]


def main() -> None:
    """Print the tables as Markdown."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--simulations", type=int, default=1_000, metavar="N")
    options = parser.parse_args()
    started = time.perf_counter()
    for title, columns, lines in tables(options.simulations):
        print(f"\n### {title}\n")
        for line in (columns, ["---"] * len(columns), *lines):
            print(f"| {' | '.join(line)} |")
    seconds = time.perf_counter() - started
    print(f"\n{options.simulations} simulations per line, {seconds:.0f} s.")


if __name__ == "__main__":
    main()
