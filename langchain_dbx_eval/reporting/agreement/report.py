"""`JudgeAgreement`: how well a judge agrees with people, and what that does to its share."""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.reporting.agreement.labels import Rating
from langchain_dbx_eval.reporting.agreement.rows import (
    LabeledRow,
    parse_row_rating,
    rows_of_result,
)
from langchain_dbx_eval.reporting.agreement.text import (
    agreement_html,
    agreement_text,
    estimate_text,
)
from langchain_dbx_eval.scoring.aggregates import RecordKey
from langchain_dbx_eval.scoring.judges.scales import Scale

if TYPE_CHECKING:
    from langchain_dbx_eval.scoring.statistics import Agreement, Interval
    from langchain_dbx_eval.scoring.statistics.agreement import Level

__all__ = ["CorrectedMean", "Estimate", "JudgeAgreement", "estimate_rows", "rating_number"]


@dataclass(frozen=True)
class Estimate:
    """A mean of rows.

    Attributes:
        value: The mean.
        interval: Its 95 % interval; None if it cannot be estimated.
        n: Number of rows.
    """

    value: float
    interval: Interval | None
    n: int

    def __str__(self) -> str:
        return estimate_text(self)


@dataclass(frozen=True)
class CorrectedMean:
    """The share (or mean) of a judge, corrected by labels of people for some of the rows.

    Attributes:
        name: Name of the judge.
        value: The corrected mean.
        interval: Its 95 % interval.
        judged: The mean of the judge on all rows: its errors are not corrected.
        labeled: The mean of the labels alone.
        others: Number of rows that only the judge rated.
        unrated: Number of rows without a label that the judge did not rate; they do not count.
    """

    name: str
    value: float
    interval: Interval
    judged: Estimate
    labeled: Estimate
    others: int
    unrated: int

    def __str__(self) -> str:
        corrected = estimate_text(Estimate(self.value, self.interval, self.labeled.n + self.others))
        lines = [
            f"{self.name}: {corrected}, corrected by {self.labeled.n} labels",
            f"  judge alone   {self.judged}, {self.judged.n} rows",
            f"  labels alone  {self.labeled}, {self.labeled.n} rows",
        ]
        if self.unrated:
            lines.append(f"  not included: {self.unrated} rows without label and rating")
        return "\n".join(lines)


@dataclass(frozen=True, repr=False)
class JudgeAgreement:
    """How well a judge agrees with people. It prints as a report.

    Attributes:
        judge: Name of the judge.
        rows: All rows, in the order of the data.
        agreement: Share of the compared rows whose rating is the label; None without such rows.
        kappa: Cohen's kappa of rating and label; None without rows, and for numbers.
        alpha: Krippendorff's alpha of the judge and all people; None without rows.
        human_alpha: Krippendorff's alpha of the people among each other, which a judge can hardly
            exceed; None if no row has two labels.
        bias: Mean of rating minus label, with "yes" as 1 and "no" as 0; None for categories. Above
            0, the judge is too lenient.
        level: Which differences count, see `krippendorffs_alpha`.
        unmatched_labels: Number of labels that belong to no row.
    """

    judge: str
    rows: tuple[LabeledRow, ...]
    agreement: Estimate | None
    kappa: Agreement | None
    alpha: Agreement | None
    human_alpha: Agreement | None
    bias: Estimate | None
    level: Level
    unmatched_labels: int = 0
    _scale: Scale | None = field(default=None, compare=False)
    _cluster: RecordKey | None = field(default=None, compare=False)

    @property
    def counts(self) -> dict[str, int]:
        """Number of rows by status (see `LabeledRow`), most frequent first."""
        return dict(Counter(row.status for row in self.rows).most_common())

    @property
    def reasons(self) -> dict[str, int]:
        """Number of labeled rows that are not compared, by reason, most frequent first."""
        reasons = (f"{row.status}: {row.reason}" for row in self.rows if row.reason is not None)
        return dict(Counter(reasons).most_common())

    @property
    def compared(self) -> list[LabeledRow]:
        """The rows with a label and a rating."""
        return [row for row in self.rows if row.status == "compared"]

    @property
    def disagreements(self) -> list[LabeledRow]:
        """The rows whose rating is not the label."""
        return [row for row in self.compared if row.rating != row.label]

    @property
    def confusion(self) -> dict[Rating, dict[Rating | None, int]]:
        """Number of rows by label, then by rating; None: the judge has no rating."""
        labeled = [row for row in self.rows if row.label is not None]
        labels = sorted({row.label for row in labeled if row.label is not None}, key=_rank)
        ratings = {row.rating for row in labeled if row.rating is not None} | set(labels)
        columns: list[Rating | None] = [*sorted(ratings, key=_rank), None]
        counts = Counter((row.label, row.rating) for row in labeled)
        return {label: {rating: counts[label, rating] for rating in columns} for label in labels}

    def correct(self, result: EvaluationResult | None = None) -> CorrectedMean:
        """Correct the share of "yes" (or the mean) of the judge by the labels.

        The labeled rows show how often the judge errs, and the other rows add the certainty of many
        ratings: the interval is that of `prediction_powered_mean` (A. Angelopoulos et al.,
        "Prediction-Powered Inference", arXiv 2301.09633, 2023). It is valid if the labeled rows are
        a random sample of all rows.

        Args:
            result: The evaluation whose rows the judge rated; rows with the request and the answer
                of a labeled row do not count twice. Default: the rows of this report without a
                label.

        Returns:
            The corrected mean, beside that of the judge and that of the labels alone.

        Raises:
            ConfigurationError: There are fewer than two labels or other rows, or the ratings are
                categories.
        """
        from langchain_dbx_eval.scoring.statistics import prediction_powered_mean

        labeled, rows = self.compared, list(self.rows)
        if result is not None and self._scale is not None:
            known = {(row.request_id, row.response) for row in labeled}
            rated = rows_of_result(result, self.judge, {}, self._cluster)
            parsed = [parse_row_rating(row, self._scale) for row in rated]
            rows = [row for row in parsed if (row.request_id, row.response) not in known]
        without_label = [row for row in rows if row.label is None and row.status != "invalid"]
        others = [row for row in without_label if row.rating is not None]
        if len(labeled) < 2 or len(others) < 2:
            msg = (
                f"The judge {self.judge!r} can be corrected with two labels and two other rated "
                f"rows or more, got: {len(labeled)} labels, {len(others)} other rows. Pass the "
                "evaluation whose rows it rated: correct(result)."
            )
            raise ConfigurationError(msg)
        ratings = [rating_number(row.rating) for row in (*labeled, *others)]
        numbers = [number for number in ratings if number is not None]
        labels = [number for row in labeled if (number := rating_number(row.label)) is not None]
        if len(numbers) < len(ratings) or len(labels) < len(labeled):
            msg = (
                f"The ratings of the judge {self.judge!r} are categories, which have no mean. Only "
                "yes or no and numbers can be corrected."
            )
            raise ConfigurationError(msg)
        clusters = [row.cluster for row in labeled], [row.cluster for row in others]
        split = len(labeled)
        value, interval = prediction_powered_mean(
            labels, numbers[:split], numbers[split:], clusters=clusters
        )
        return CorrectedMean(
            name=self.judge,
            value=value,
            interval=interval,
            judged=estimate_rows(numbers, [*clusters[0], *clusters[1]]),
            labeled=estimate_rows(labels, clusters[0]),
            others=len(others),
            unrated=len(without_label) - len(others),
        )

    def __str__(self) -> str:
        return agreement_text(self)

    def __repr__(self) -> str:
        return f"JudgeAgreement({self.judge!r}, agreement={self.agreement}, rows={self.counts})"

    def _repr_html_(self) -> str:
        return agreement_html(self)


def rating_number(rating: Rating | None) -> float | None:
    """Return a rating as a number: "yes" is 1, "no" is 0; None for any other text."""
    if isinstance(rating, int | float):
        return float(rating)
    return {"yes": 1.0, "no": 0.0}.get(str(rating))


def estimate_rows(values: Sequence[float], clusters: Sequence[Hashable]) -> Estimate:
    """Return the mean of the values of rows, of which there is at least one."""
    from langchain_dbx_eval.scoring.statistics import estimate_mean, interval_of

    estimate = estimate_mean(values, clusters)
    return Estimate(estimate.value, interval_of(estimate), estimate.n)


def _rank(rating: Rating) -> tuple[bool, float, str]:
    """Sort numbers by their value, and texts after them by the alphabet."""
    is_text = isinstance(rating, str)
    return is_text, 0.0 if is_text else float(rating), str(rating)
