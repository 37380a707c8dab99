"""`judge_agreement`: measure how well a judge agrees with people."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal import event_loop
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation import EvaluationResult
from langchain_dbx_eval.reporting.agreement.labels import (
    Rating,
    infer_scale,
    labels_of_result,
    scale_of,
)
from langchain_dbx_eval.reporting.agreement.report import (
    Estimate,
    JudgeAgreement,
    estimate_rows,
    rating_number,
)
from langchain_dbx_eval.reporting.agreement.rows import (
    LabeledRow,
    conclude,
    judge_rows,
    parse_labels,
    parse_row_rating,
    read_data,
    rows_of_result,
)
from langchain_dbx_eval.scoring import Categorical, Numeric, PromptJudge, Scorer, select_scorers
from langchain_dbx_eval.scoring.aggregates import RecordKey
from langchain_dbx_eval.scoring.judges.backend import default_judge, repeat_backend
from langchain_dbx_eval.scoring.judges.builtin import BUILT_IN_JUDGES
from langchain_dbx_eval.scoring.judges.scales import Scale
from langchain_dbx_eval.scoring.judges.scorer import JudgeScorer
from langchain_dbx_eval.scoring.mlflow.scorers import as_scorer

if TYPE_CHECKING:
    from langchain_dbx_eval.scoring.statistics import Agreement
    from langchain_dbx_eval.scoring.statistics.agreement import Level

__all__ = ["judge_agreement"]


def judge_agreement(
    judge: str | Scorer,
    labeled: Any,
    *,
    label: str | Sequence[str] | None = None,
    labels: Any = None,
    model: Any = None,
    judge_cache: str | Path | None = None,
    judge_repeats: int = 1,
    level: Level | None = None,
    cluster: RecordKey | None = None,
    max_concurrency: int = 32,
) -> JudgeAgreement:
    """Measure how well a judge agrees with people.

    Rows that the judge failed on or did not rate, rows without a label and rows on which people are
    divided are not compared; `JudgeAgreement.counts` and the report show how many there are.

    Example:
        ```python
        report = judge_agreement("correctness", "labels.csv", model="endpoints:/my-judge")
        print(report)
        ```

    Args:
        judge: Name of a built-in judge (``"correctness"``), a `PromptJudge`, or any other scorer.
            Of a group of guidelines: ``"guideline_adherence/<group>"``.
        labeled: Answers with labels: anything that `EvalDataset.load` accepts, such as a list of
            dicts, a DataFrame, a file, or the frame of ``mlflow.search_traces()`` with human
            assessments. Only labeled rows are judged. Or an `EvaluationResult`, which the judge has
            rated already.
        label: The column of the labels, or the name of the human assessments; default: the name of
            the judge. Several columns are several people; a cell may be a list, or a dict by
            person.
        labels: For an `EvaluationResult`: labels by ``request_id`` (or by request id and
            repetition), or data with a column of labels. Default: the column `label` of the
            evaluated data, else the human assessments on the traces of the evaluation in MLflow.
        model: The judge model, as for ``evaluate(judge=…)``; default: that of the judge, or
            DBX_EVAL_JUDGE.
        judge_cache: A file that stores verdicts.
        judge_repeats: Number of times that the judge rates each row; the majority decides.
        level: ``"nominal"``: ratings differ or not; ``"ordinal"``: they are ordered, such as stars;
            ``"interval"``: numbers whose difference counts. Default: ``"interval"`` for numbers,
            else ``"nominal"``.
        cluster: Column of the records, or function of a record: rows with equal values depend on
            each other. Default: the rows with one ``request_id``.
        max_concurrency: Maximum number of rows that are judged at a time.

    Returns:
        The report.

    Raises:
        ConfigurationError: There are no rows or labels, a label is not on the scale of the judge,
            the judge is unknown or did not rate the evaluation, or an argument is invalid.
        NotFoundError: The data does not exist.
    """
    name = judge if isinstance(judge, str) else judge.name
    names = [label] if isinstance(label, str) else list(label or [name])
    scale, unmatched = scale_of(judge), 0
    if isinstance(labeled, EvaluationResult):
        repeats = None if judge_repeats == 1 else judge_repeats
        _reject(
            "an EvaluationResult is judged already",
            model=model,
            judge_cache=judge_cache,
            judge_repeats=repeats,
        )
        of_row, unmatched = labels_of_result(labeled, labels, names)
        rows = rows_of_result(labeled, name, of_row, cluster)
        _check_labeled(rows, names)
    else:
        _reject("add the labels to the data as a column", labels=labels)
        scorer = _select(judge, model, judge_cache, judge_repeats, max_concurrency)
        scale = scale_of(scorer)
        pairs = list(read_data(labeled, names, cluster))
        _check_labeled([row for row, _ in pairs], names)
        if scale is not None:
            # Before the judge costs anything.
            parse_labels([row for row, _ in pairs], scale, name)
        rows = event_loop.run(judge_rows(pairs, scorer, name, max_concurrency))
    if scale is None:
        ratings = [row.rating for row in rows if row.rating is not None]
        scale = infer_scale(ratings, (value for row in rows for value in row.labels.values()))
    rows = [conclude(parse_row_rating(row, scale)) for row in parse_labels(rows, scale, name)]
    level = level or ("interval" if isinstance(scale, Numeric) else "nominal")
    report = _measure(name, rows, level, scale)
    return replace(report, unmatched_labels=unmatched, _scale=scale, _cluster=cluster)


def _reject(reason: str, **arguments: Any) -> None:
    if given := [name for name, value in arguments.items() if value is not None]:
        msg = f"judge_agreement: {given[0]}= does not apply to this data: {reason}."
        raise ConfigurationError(msg)


def _check_labeled(rows: Sequence[LabeledRow], names: Sequence[str]) -> None:
    if not rows:
        msg = "judge_agreement: the labeled data has no rows."
        raise ConfigurationError(msg)
    if not any(row.labels for row in rows):
        columns = " or ".join(map(repr, names))
        invalid = next((f" {row.reason}" for row in rows if row.status == "invalid"), "")
        msg = (
            f"judge_agreement: none of the {len(rows)} rows has a label, neither in a column "
            f"{columns} nor as a human assessment of its MLflow trace. Name it with label=…."
        )
        raise ConfigurationError(msg + invalid)


def _select(
    judge: Any, model: Any, cache: str | Path | None, repeats: int, max_concurrency: int
) -> Scorer:
    """Return the judge as a scorer with a model."""
    if not isinstance(judge, str | PromptJudge):
        if cache is not None or (repeats != 1 and not isinstance(judge, JudgeScorer)):
            msg = "judge_cache= and judge_repeats= apply to built-in judges and PromptJudge only."
            raise ConfigurationError(msg)
        if isinstance(judge, JudgeScorer):
            return replace(judge, backend=repeat_backend(judge.backend, repeats))
        return as_scorer(judge)
    base = judge.split("/")[0] if isinstance(judge, str) else judge.name
    if isinstance(judge, str):
        spec = BUILT_IN_JUDGES.get(base)
        if spec is None or spec.unit == "global_guidelines":
            known = [n for n, s in BUILT_IN_JUDGES.items() if s.unit != "global_guidelines"]
            msg = (
                f"{judge!r} is not a built-in judge: {', '.join(known)}. Pass your own judge as an "
                "object, and global guidelines as built_in_judges(model, "
                "['global_guideline_adherence'], global_guidelines=[…])[0]."
            )
            raise ConfigurationError(msg)
    has_model = isinstance(judge, PromptJudge) and judge.backend is not None
    if not has_model and default_judge(model) is None:
        msg = (
            f"No judge model for {base!r}: pass model=, such as model='endpoints:/my-chat', or set "
            "the environment variable DBX_EVAL_JUDGE."
        )
        raise ConfigurationError(msg)
    selected = select_scorers(
        [judge] if isinstance(judge, PromptJudge) else [],
        judge=model,
        evaluator_config={
            "databricks-agent": {"metrics": [base] if isinstance(judge, str) else []}
        },
        judge_cache=cache,
        judge_repeats=repeats,
        max_concurrency=max_concurrency,
    )
    return next(scorer for scorer in selected if scorer.name == base)


def _measure(name: str, rows: Sequence[LabeledRow], level: Level, scale: Scale) -> JudgeAgreement:
    """Compute the statistics of the rows."""
    from langchain_dbx_eval.scoring.statistics import cohens_kappa, krippendorffs_alpha

    def alpha(rated: Sequence[LabeledRow], ratings: Sequence[Sequence[Rating]]) -> Agreement | None:
        if not ratings:
            return None
        positions = [[_position(rating, level, scale) for rating in row] for row in ratings]
        clusters = [row.cluster for row in rated]
        return krippendorffs_alpha(positions, level=level, clusters=clusters)

    compared = [row for row in rows if row.status == "compared"]
    rated = [row for row in rows if row.labels and row.rating is not None]
    several = [row for row in rows if len(row.labels) > 1]
    clusters = [row.cluster for row in compared]
    hits = [float(row.rating == row.label) for row in compared]
    labels, ratings = [str(row.label) for row in compared], [str(row.rating) for row in compared]
    return JudgeAgreement(
        judge=name,
        rows=tuple(rows),
        agreement=estimate_rows(hits, clusters) if hits else None,
        kappa=cohens_kappa(labels, ratings, clusters) if hits and level == "nominal" else None,
        alpha=alpha(rated, [[row.rating, *row.labels.values()] for row in rated]),  # type: ignore[list-item]
        human_alpha=alpha(several, [[*row.labels.values()] for row in several]),
        bias=_bias(compared, clusters),
        level=level,
    )


def _position(rating: Rating, level: Level, scale: Scale) -> Any:
    """Return a rating as `krippendorffs_alpha` compares it at a level."""
    if level == "ordinal" and isinstance(scale, Categorical):
        return scale.values.index(str(rating))
    if level == "interval" and (rating := rating_number(rating)) is None:  # type: ignore[assignment]
        msg = "level='interval' requires numbers. Use 'ordinal' for categories that are ordered."
        raise ConfigurationError(msg)
    return rating


def _bias(compared: Sequence[LabeledRow], clusters: Sequence[Hashable]) -> Estimate | None:
    """Return the mean difference of rating and label; None for categories."""
    from langchain_dbx_eval.scoring.statistics import compare_pairs

    labels = [n for row in compared if (n := rating_number(row.label)) is not None]
    ratings = [n for row in compared if (n := rating_number(row.rating)) is not None]
    if not compared or min(len(labels), len(ratings)) < len(compared):
        return None
    found = compare_pairs(labels, ratings, clusters)
    return Estimate(found.difference, found.interval, found.pairs)
