"""`judge_agreement` of evaluations: labels in the data, in MLflow, in a file; corrected shares."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from mlflow.entities import AssessmentSource

from langchain_dbx_eval import EvaluationResult, PromptJudge, evaluate, judge_agreement
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring import Categorical
from langchain_dbx_eval.scoring.statistics import mean_interval, prediction_powered_mean
from tests.scoring.scripted_judge import ScriptedJudge, block, verdict

pytestmark = pytest.mark.usefixtures("mlflow_store")
EXACT = {"rel": 1e-9, "abs": 1e-9}
CORRECTNESS = {"databricks-agent": {"metrics": ["correctness"]}}


def rated_as_written() -> ScriptedJudge:
    """A judge whose rating is the last word of the response."""

    def script(messages: Any) -> Any:
        rating = block(messages, "response").split()[-1]
        return ValueError("503") if rating == "fails" else verdict(rating, f"it is {rating}")

    return ScriptedJudge(script=script)


def evaluated(ratings: list[str], labels: list[Any] | None = None, **options: Any) -> Any:
    rows = [
        {"request_id": f"r{n}", "request": f"Question {n}?", "response": f"{n} {rating}"}
        for n, rating in enumerate(ratings)
    ]
    for row, label in zip(rows, labels or [], strict=bool(labels)):
        row["by_people"] = label
    rows = [{**row, "expected_response": "x"} for row in rows]
    chosen = {"judge": rated_as_written(), "evaluator_config": CORRECTNESS, **options}
    return evaluate(data=rows, **chosen)


def log_label(trace_id: str, value: Any, who: str = "anna", kind: str = "HUMAN") -> Any:
    source = AssessmentSource(source_type=kind, source_id=who)
    return mlflow.log_feedback(trace_id=trace_id, name="correctness", value=value, source=source)


RATINGS = ["yes", "yes", "no", "yes", "no", "yes", "fails", "yes", "no", "yes"]
LABELS = ["yes", "no", "no", "yes", None, "yes", "no", None, "yes", None]


def statuses(report: Any) -> list[str]:
    return [row.status for row in report.rows]


EXPECTED = ["compared"] * 4 + [
    "unlabeled",
    "compared",
    "error",
    "unlabeled",
    "compared",
    "unlabeled",
]


def test_labels_in_the_evaluated_data() -> None:
    report = judge_agreement("correctness", evaluated(RATINGS, LABELS), label="by_people")
    assert statuses(report) == EXPECTED
    assert report.agreement.value == pytest.approx(4 / 6, **EXACT)
    [too_kind, too_strict] = report.disagreements
    assert (too_kind.label, too_kind.rating, too_kind.rationale) == ("no", "yes", "it is yes")
    assert (too_strict.request_id, too_strict.response) == ("r8", "8 no")


def test_labels_that_people_logged_in_mlflow_on_the_traces_of_an_evaluation() -> None:
    result = evaluated(RATINGS)
    for trace_id, label in zip(result.trace_ids, LABELS, strict=True):
        if label is not None:
            log_label(trace_id, label)
    log_label(result.trace_ids[0], True, who="bob")
    # Neither another judge nor a label that was replaced is a label of a person.
    log_label(result.trace_ids[4], "yes", kind="LLM_JUDGE")
    first = log_label(result.trace_ids[9], "no")
    mlflow.override_feedback(
        trace_id=result.trace_ids[9],
        assessment_id=first.assessment_id,
        value="yes",
        source=AssessmentSource(source_type="HUMAN", source_id="anna"),
    )
    report = judge_agreement("correctness", EvaluationResult.load(result.run_id))
    assert statuses(report) == [*EXPECTED[:-1], "compared"]
    assert report.rows[0].labels == {"anna": "yes", "bob": "yes"}
    assert report.rows[9].labels == {"anna": "yes"}
    assert report.agreement.value == pytest.approx(5 / 7, **EXACT)


def test_traces_with_human_assessments_are_judged() -> None:
    result = evaluated(RATINGS)
    for trace_id, label in zip(result.trace_ids, LABELS, strict=True):
        if label is not None:
            # MLflow calls everybody "default" who does not state an id.
            for _ in range(2):
                log_label(trace_id, label == "yes", who="default")
    judge = rated_as_written()
    traces = mlflow.search_traces(locations=[result.experiment_id])
    report = judge_agreement("correctness", traces, model=judge)
    assert report.counts == {"compared": 6, "unlabeled": 3, "error": 1}
    assert report.agreement.value == pytest.approx(4 / 6, **EXACT)
    assert report.human_alpha.value == 1
    assert report.disagreements[0].labels.keys() == {"default", "default #2"}
    assert len(judge.requests) == 7
    # The list of traces, too.
    listed = mlflow.search_traces(locations=[result.experiment_id], return_type="list")
    again = judge_agreement("correctness", listed, model=rated_as_written())
    assert again.kappa == report.kappa


def test_labels_by_request_id() -> None:
    labels = {f"r{n}": label for n, label in enumerate(LABELS)}
    report = judge_agreement("correctness", evaluated(RATINGS), labels={**labels, "r99": "yes"})
    assert statuses(report) == EXPECTED
    assert report.unmatched_labels == 1
    assert "not compared: 1 labels of no row" in str(report)


def test_a_labeled_copy_of_the_table_of_an_evaluation(tmp_path: Path) -> None:
    result = evaluated(RATINGS)
    table = result.tables["eval_results"].assign(human=LABELS)
    table.to_csv(tmp_path / "labels.csv", index=False)
    for labels in (table, tmp_path / "labels.csv", str(tmp_path / "labels.csv")):
        report = judge_agreement("correctness", result, labels=labels, label="human")
        assert statuses(report) == EXPECTED


def test_a_file_with_one_line_per_person() -> None:
    lines = [{"request_id": f"r{n}", "human": label} for label in ("yes", "no") for n in range(3)]
    lines.append({"request_id": "r0", "human": "yes"})
    report = judge_agreement("correctness", evaluated(RATINGS), labels=lines, label="human")
    assert [row.label for row in report.rows[:3]] == ["yes", None, None]
    assert report.rows[0].labels == {"human": "yes", "human #2": "no", "human #3": "yes"}


def test_the_label_of_a_repeated_record_needs_its_repetition() -> None:
    def model(model_input: Any) -> str:
        return "right"

    config = {"judge": ScriptedJudge(), "evaluator_config": CORRECTNESS}
    records = [{"request_id": "a", "request": "?", "expected_response": "x"}]
    result = evaluate(model, records, repeat=2, **config)
    with pytest.raises(ConfigurationError, match=r"request_id 'a' belongs to 2 rows.*'repetition'"):
        judge_agreement("correctness", result, labels={"a": "no"})
    for labels in (
        {("a", 2): "no"},
        [{"request_id": "a", "repetition": "2", "correctness": "no"}],
    ):
        report = judge_agreement("correctness", result, labels=labels)
        assert statuses(report) == ["unlabeled", "compared"]


def test_different_answers_to_one_question_are_identified_by_the_response() -> None:
    rows = [{"request": "?", "response": text, "expected_response": "x"} for text in ("yes", "no")]
    result = evaluate(data=rows, judge=rated_as_written(), evaluator_config=CORRECTNESS)
    labels = [{"request": "?", "response": "no", "correctness": "no"}]
    report = judge_agreement("correctness", result, labels=labels)
    assert statuses(report) == ["unlabeled", "compared"]


def test_a_group_of_guidelines_of_an_evaluation() -> None:
    data = [{"request": "?", "response": "no", "guidelines": {"tone": ["Be polite."]}, "ok": "no"}]
    config = {"databricks-agent": {"metrics": ["guideline_adherence"]}}
    result = evaluate(data=data, judge=rated_as_written(), evaluator_config=config)
    for judge in ("guideline_adherence", "guideline_adherence/tone"):
        assert judge_agreement(judge, result, label="ok").agreement.value == 1


def test_failed_rows_of_the_chain_are_counted() -> None:
    def model(model_input: Any) -> str:
        raise ValueError("out of memory")

    records = [{"request": "?", "expected_response": "x", "correctness": "no"}]
    config = {"judge": ScriptedJudge(), "evaluator_config": CORRECTNESS}
    data = [*records, {"request": "!", "response": "yes", "expected_response": "x"}]
    with pytest.raises(ConfigurationError, match="was rated by a judge 'correctness'"):
        judge_agreement("correctness", evaluate(model, records, **config))
    result = evaluate(data=data, **config)
    report = judge_agreement("correctness", result)
    assert report.counts == {"failed": 1, "unlabeled": 1}
    assert report.agreement is None


@pytest.mark.parametrize(
    ("judge", "arguments", "message"),
    [
        ("safety", {"label": "by_people"}, "rated by a judge 'safety'. It has: correctness"),
        ("correctness", {}, "none of the 10 rows has a label"),
        (
            "correctness",
            {"model": "endpoints:/x"},
            "model= does not apply to this data: .* already",
        ),
        ("correctness", {"judge_repeats": 3}, "judge_repeats= does not apply"),
        ("correctness", {"labels": {"x": "yes"}}, "none of the 1 labels belongs to a row"),
        ("correctness", {"labels": [{"request_id": "r0"}]}, "labels: no row has a label"),
        ("correctness", {"labels": {"r0": "perhaps"}}, "1 labels are not on the scale.*'perhaps'"),
        ("correctness", {"labels": [{"request": 5, "guidelines": 1}]}, "labels: Row 0.*guidelines"),
    ],
)
def test_labels_that_do_not_fit_the_evaluation_are_an_error(
    judge: str, arguments: dict[str, Any], message: str
) -> None:
    result = evaluated(RATINGS, LABELS)
    with pytest.raises(ConfigurationError, match=message):
        judge_agreement(judge, result, **arguments)


# 40 labeled rows, 160 others; the judge says "yes" too often.
TRUTH = [1, 1, 1, 0, 0] * 8
JUDGED = [1, 1, 1, 1, 0] * 8
OTHERS = [1, 1, 1, 1, 0] * 30 + [0] * 10


def words(values: list[int]) -> list[str]:
    return ["yes" if value else "no" for value in values]


def test_the_share_of_a_judge_is_corrected_by_labels() -> None:
    labels = [*words(TRUTH), *[None] * 161]
    result = evaluated([*words(JUDGED), *words(OTHERS), "fails"], labels)
    report = judge_agreement("correctness", result, label="by_people")
    found = report.correct()
    value, interval = prediction_powered_mean(TRUTH, JUDGED, OTHERS)
    assert found.value == pytest.approx(value, **EXACT)
    assert found.interval == pytest.approx(interval, **EXACT)
    assert found.judged.value == pytest.approx(np.mean(JUDGED + OTHERS), **EXACT)
    assert found.labeled.value == pytest.approx(0.6, **EXACT)
    assert found.labeled.interval == mean_interval(TRUTH)
    assert (found.labeled.n, found.others, found.unrated) == (40, 160, 1)
    # The judge alone excludes the truth; the correction is narrower than the labels alone.
    assert found.judged.interval.low > 0.6 > found.interval.low
    assert np.ptp(found.interval) < np.ptp(found.labeled.interval)
    text = str(found)
    assert text.startswith(
        f"correctness: {value:.2f} [{interval.low:.2f}, {interval.high:.2f}], co"
    )
    assert "1 rows without label and rating" in text
    assert max(map(len, text.splitlines())) <= 80


def test_labels_that_were_judged_apart_correct_an_evaluation() -> None:
    result = evaluated([*words(JUDGED), *words(OTHERS)])
    rows = [row.record.to_row() for row in result.rows[:40]]
    data = [{**row, "correctness": label} for row, label in zip(rows, words(TRUTH), strict=True)]
    report = judge_agreement("correctness", data, model=rated_as_written())
    with pytest.raises(ConfigurationError, match=r"40 labels, 0 other rows.*correct\(result\)"):
        report.correct()
    # The labeled rows, which the evaluation has too, do not count twice.
    found = report.correct(result)
    value, interval = prediction_powered_mean(TRUTH, JUDGED, OTHERS)
    assert (found.value, found.others) == (pytest.approx(value, **EXACT), 160)
    assert found.interval == pytest.approx(interval, **EXACT)


def test_repetitions_do_not_narrow_the_corrected_interval() -> None:
    records = [
        {"request_id": f"r{n}", "request": str(n), "expected_response": "x"} for n in range(60)
    ]
    judged = words((JUDGED + OTHERS)[:60])
    config = {"judge": rated_as_written(), "evaluator_config": CORRECTNESS}

    def model(model_input: Any) -> str:
        return judged[int(model_input["messages"][0]["content"])]

    def corrected(repeat: int) -> Any:
        result = evaluate(model, records, repeat=repeat, **config)
        labels = {
            (f"r{n}", repetition): words(TRUTH)[n]
            for n in range(40)
            for repetition in range(1, repeat + 1)
        }
        return judge_agreement("correctness", result, labels=labels).correct()

    once, thrice = corrected(1), corrected(3)
    assert (once.labeled.n, thrice.labeled.n) == (40, 120)
    assert np.ptp(thrice.interval) > 0.85 * np.ptp(once.interval)


def test_categories_cannot_be_corrected() -> None:
    judge = PromptJudge("tone", "Is {response} kind?", scale=Categorical(("kind", "rude")))
    data = [
        {"request": str(n), "response": f"{n} kind", "tone": "rude" if n < 3 else None}
        for n in range(6)
    ]
    result = evaluate(
        data=data,
        judge=rated_as_written(),
        scorers=[judge],
        evaluator_config={"databricks-agent": {"metrics": []}},
    )
    with pytest.raises(ConfigurationError, match="'tone' are categories"):
        judge_agreement(judge, result).correct()
    # By its name, the scale is that of the ratings.
    assert judge_agreement("tone", result).agreement.value == 0
