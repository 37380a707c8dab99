"""`judge_agreement`: a judge is compared with people, and no row disappears."""

from __future__ import annotations

import html
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import BaseMessage
from scipy import stats

from langchain_dbx_eval import PromptJudge, judge_agreement, scorer
from langchain_dbx_eval.errors import ConfigurationError, NotFoundError
from langchain_dbx_eval.scoring import Categorical, Numeric, built_in_judges
from langchain_dbx_eval.testing import LocalWorkspace
from tests.scoring.scripted_judge import ScriptedJudge, block, verdict

EXACT = {"rel": 1e-9, "abs": 1e-9}


def rated_as_written() -> ScriptedJudge:
    """A judge whose rating is the response itself; "fails" and "odd" have none."""

    def script(messages: list[BaseMessage]) -> Any:
        response = block(messages, "response")
        if response == "fails":
            return ValueError("503 from the endpoint")
        return verdict(response, f"it is {response}")

    return ScriptedJudge(script=script)


def row(label: Any, rating: Any, number: int = 0, **more: Any) -> dict[str, Any]:
    request = {"request": f"Question {number}?", "response": str(rating)}
    return {**request, "expected_response": "x", "correctness": label, **more}


def table(cells: Sequence[tuple[Any, Any, int]]) -> list[dict[str, Any]]:
    """Rows from (label, rating, number of rows)."""
    pairs = [(label, rating) for label, rating, count in cells for _ in range(count)]
    return [row(label, rating, number) for number, (label, rating) in enumerate(pairs)]


# https://en.wikipedia.org/wiki/Cohen%27s_kappa, simple example: 0.4.
TEXTBOOK = table([("yes", "yes", 20), ("yes", "no", 5), ("no", "yes", 10), ("no", "no", 15)])

# Krippendorff (2011), section C: four observers, twelve units. The last one is the judge here.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, None, None, None],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, None, 3],
    [None, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, None],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, None],
]


def test_the_numbers_are_those_of_the_textbook_with_a_judge_behind_an_endpoint(
    workspace: LocalWorkspace,
) -> None:
    def answer(messages: list[dict[str, Any]], **_: Any) -> str:
        text = messages[-1]["content"]
        rating = text.split("<response>")[1].split("</response>")[0].strip()
        return verdict(rating, f"it is {rating}")

    workspace.add_endpoint("judge", answer, kind="chat")
    report = judge_agreement("correctness", TEXTBOOK, model="endpoints:/judge")
    assert report.kappa.value == pytest.approx(0.4, **EXACT)
    assert report.agreement.value == pytest.approx(0.7, **EXACT)
    wilson = stats.binomtest(35, 50).proportion_ci(method="wilson")
    assert report.agreement.interval == pytest.approx((wilson.low, wilson.high), **EXACT)
    # 55 of 100 ratings are "yes": D_e = 2 * 55 * 45 / (100 * 99), D_o = 15 / 50.
    assert report.alpha.value == pytest.approx(1 - 0.3 / (2 * 55 * 45 / 9900), **EXACT)
    assert report.human_alpha is None
    assert report.bias.value == pytest.approx((10 - 5) / 50, **EXACT)
    # Bonett and Price (2012): one pair of each direction is added, of 52.
    higher, lower = 11 / 52, 6 / 52
    half = stats.norm.ppf(0.975) * ((higher + lower - (higher - lower) ** 2) / 52) ** 0.5
    center = higher - lower
    assert report.bias.interval == pytest.approx((center - half, center + half), **EXACT)
    assert report.confusion == {
        "no": {"no": 15, "yes": 10, None: 0},
        "yes": {"no": 5, "yes": 20, None: 0},
    }
    assert report.counts == {"compared": 50}
    assert len(report.disagreements) == 15
    first = report.disagreements[0]
    assert (first.request, first.response) == ("Question 20?", "no")
    assert (first.label, first.rating, first.rationale) == ("yes", "no", "it is no")


@pytest.mark.parametrize(
    ("level", "alpha"),
    # Krippendorff: 0.743, 0.815, 0.849; the digits are those of the package krippendorff 0.9.
    [
        ("nominal", 0.743421052631579),
        ("ordinal", 0.8153875037548814),
        (None, 0.8491071428571428),
    ],
)
def test_several_people_have_the_alpha_of_krippendorffs_paper(level: Any, alpha: float) -> None:
    *people, judge = OBSERVERS
    names = ["anna", "bob", "cho"]
    rows = [
        {
            "request": f"Unit {n}?",
            "response": "fails" if rating is None else str(rating),
            **dict(zip(names, labels, strict=True)),
        }
        for n, (rating, *labels) in enumerate(zip(judge, *people, strict=True))
    ]
    stars = PromptJudge("stars", "Rate {response}.", scale=Numeric(1, 5))
    report = judge_agreement(stars, rows, label=names, model=rated_as_written(), level=level)
    assert report.alpha.value == pytest.approx(alpha, **EXACT)
    assert report.alpha.n == 11
    assert report.rows[0].labels == {"anna": 1, "bob": 1}
    assert report.human_alpha.n == 10
    assert report.level == (level or "interval")
    assert (report.kappa is None) == (level != "nominal")


def test_the_majority_of_people_is_the_label_and_divided_people_are_counted() -> None:
    rows = [
        row(["yes", "no", "yes"], "yes", 0),
        row({"anna": "no", "bob": "no"}, "yes", 1),
        row('["yes", "no"]', "no", 2),
        row("yes", "yes", 3),
    ]
    report = judge_agreement("correctness", rows, model=rated_as_written())
    assert [r.label for r in report.rows] == ["yes", "no", None, "yes"]
    assert [r.status for r in report.rows] == ["compared", "compared", "tied", "compared"]
    assert report.agreement.value == pytest.approx(2 / 3, **EXACT)
    assert report.disagreements[0].labels == {"anna": "no", "bob": "no"}
    # The divided row counts where each rating is compared with each other.
    assert (report.alpha.n, report.human_alpha.n) == (4, 3)
    assert "1 people are divided" in str(report)


def mixed() -> list[dict[str, Any]]:
    return [
        *TEXTBOOK,
        row("no", "fails", 60),
        row("yes", "fails", 61),
        row("no", "perhaps", 62),
        row("no", "yes", 63, expected_response=None),
        {"request": "No answer?", "correctness": "no"},
        row(["yes", "no"], "yes", 64),
        row("yes", "yes", 65, expected_facts=5),
        *(row(label, "yes", 70 + n) for n, label in enumerate((None, "", float("nan")))),
    ]


def test_no_row_is_dropped_in_silence() -> None:
    judge = rated_as_written()
    report = judge_agreement("correctness", mixed(), model=judge)
    assert report.counts == {
        "compared": 50,
        "error": 3,
        "unlabeled": 3,
        "skipped": 1,
        "failed": 1,
        "tied": 1,
        "invalid": 1,
    }
    assert len(report.rows) == len(mixed())
    assert report.kappa.value == pytest.approx(0.4, **EXACT)
    assert report.confusion["no"] == {"no": 15, "yes": 10, None: 4}
    reasons = report.reasons
    assert reasons["error: ValueError: 503 from the endpoint"] == 2
    assert "skipped: without expected_facts or expected_response" in reasons
    assert any(reason.startswith("error: No verdict could be parsed") for reason in reasons)
    assert any(reason.startswith("failed: This row has no response") for reason in reasons)
    assert any("expected_facts" in reason for reason in reasons if reason.startswith("invalid"))
    text = str(report)
    assert text.startswith("Judge 'correctness' and people: 50 of 56 labeled rows compared")
    for line in ("3 the judge failed", "3 without a label", "1 no answer", "1 invalid rows"):
        assert f"not compared: {line}" in text
    # Rows without a label cost nothing.
    assert not any(f"Question {n}?" in str(judge.requests) for n in (70, 71, 72))


def test_a_judge_that_always_fails_has_no_agreement_and_the_reason_is_shown() -> None:
    report = judge_agreement(
        "correctness", [row("no", "fails", n) for n in range(3)], model=rated_as_written()
    )
    assert (report.agreement, report.kappa, report.alpha, report.bias) == (None,) * 4
    assert "0 of 3 labeled rows compared" in str(report)
    assert "3 x error: ValueError: 503 from the endpoint" in str(report)


def test_a_judge_and_people_with_one_rating_only_have_no_kappa() -> None:
    report = judge_agreement("correctness", table([("yes", "yes", 5)]), model=rated_as_written())
    assert report.agreement.value == 1
    assert "Cohen's kappa         undefined" in str(report)


def test_repetitions_of_a_record_do_not_narrow_the_intervals() -> None:
    thrice = [{**r, "request_id": f"r{n}"} for n, r in enumerate(TEXTBOOK)] * 3
    once = judge_agreement("correctness", TEXTBOOK, model=rated_as_written())
    repeated = judge_agreement("correctness", thrice, model=rated_as_written())
    alone = judge_agreement(
        "correctness",
        [{**r, "document": n} for n, r in enumerate(thrice)],
        model=rated_as_written(),
        cluster="document",
    )
    assert repeated.kappa.interval == pytest.approx(once.kappa.interval, **EXACT)
    assert width(repeated.agreement) > 1.5 * width(alone.agreement)


def width(estimate: Any) -> float:
    low, high = estimate.interval
    return float(high - low)


@pytest.mark.parametrize(
    ("given", "parsed"),
    [(True, "yes"), (0, "no"), ("TRUE", "yes"), (" No ", "no"), ("1", "yes"), (1.0, "yes")],
)
def test_labels_of_files_are_yes_or_no(given: Any, parsed: str) -> None:
    report = judge_agreement("correctness", [row(given, "yes")], model=rated_as_written())
    assert report.rows[0].label == parsed


def test_labels_are_read_from_a_file_and_a_frame(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame(TEXTBOOK).rename(columns={"correctness": "by_anna"})
    frame.to_csv(tmp_path / "labels.csv", index=False)
    for data in (frame, tmp_path / "labels.csv"):
        report = judge_agreement("correctness", data, label="by_anna", model=rated_as_written())
        assert report.kappa.value == pytest.approx(0.4, **EXACT)


def test_a_label_that_is_not_on_the_scale_is_an_error_before_the_judge_is_called() -> None:
    judge = rated_as_written()
    rows = [row("yes", "yes", 0), row("maybe", "no", 1), row("unsure", "no", 2)]
    with pytest.raises(
        ConfigurationError,
        match=r"2 labels are not on the scale.*\"yes\" or \"no\".*'maybe'.*'Question 1\?'",
    ):
        judge_agreement("correctness", rows, model=judge)
    assert judge.requests == []


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: judge_agreement("correctness", [], model=rated_as_written()), "has no rows"),
        (
            lambda: judge_agreement(
                "correctness", TEXTBOOK, label="human", model=rated_as_written()
            ),
            "none of the 50 rows has a label, neither in a column 'human'.*label=",
        ),
        (
            lambda: judge_agreement("corectness", TEXTBOOK, model=rated_as_written()),
            "'corectness' is not a built-in judge: context_sufficiency,.*object",
        ),
        (
            lambda: judge_agreement("global_guideline_adherence", TEXTBOOK, model="endpoints:/x"),
            r"global guidelines as built_in_judges\(model",
        ),
        (
            lambda: judge_agreement("correctness", TEXTBOOK),
            "No judge model for 'correctness'.*model=",
        ),
        (
            lambda: judge_agreement("correctness", TEXTBOOK, model="?", labels={}),
            "labels= does not apply to this data: add the labels",
        ),
        (
            lambda: judge_agreement(
                "correctness", TEXTBOOK, model=rated_as_written(), cluster="documents"
            ),
            "No record has the column 'documents'",
        ),
        (
            lambda: judge_agreement(
                "correctness", TEXTBOOK, model=rated_as_written(), judge_repeats=0
            ),
            "judge_repeats must be at least 1, got 0",
        ),
    ],
)
def test_a_bad_argument_is_an_error_that_names_it(call: Callable[[], Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        call()


def test_a_missing_file_is_an_error() -> None:
    with pytest.raises(NotFoundError, match=r"labels\.csv"):
        judge_agreement("correctness", "labels.csv", model=rated_as_written())


def test_a_scorer_in_code_can_be_compared_with_people() -> None:
    @scorer
    def short(response: str) -> bool:
        return len(response) < 3

    rows = [
        {"request": "?", "response": text, "short": label}
        for text, label in [("no", "yes"), ("yes", "no"), ("maybe", "yes")]
    ]
    report = judge_agreement(short, rows)
    assert [r.rating for r in report.rows] == ["yes", "no", "no"]
    assert report.agreement.value == pytest.approx(2 / 3, **EXACT)


def test_a_judge_of_mlflow_can_be_compared_with_people() -> None:
    from mlflow.genai import scorer as mlflow_scorer

    @mlflow_scorer
    def is_short(outputs: Any) -> bool:
        return len(outputs) < 3

    rows = [{"request": "?", "response": text, "is_short": True} for text in ("no", "yes")]
    assert judge_agreement(is_short, rows).agreement.value == 0.5


def test_ordered_categories_are_compared_in_the_order_of_the_scale() -> None:
    rows = [
        {"request": f"{n}", "response": rating, "tone": label}
        for n, (label, rating) in enumerate(
            [("rude", "kind"), ("fair", "fair"), ("kind", "kind")] * 4
        )
    ]

    def alpha(scale: tuple[str, ...], level: Any) -> Any:
        judge = PromptJudge("tone", "Is {response} kind?", scale=Categorical(scale))
        return judge_agreement(judge, rows, model=rated_as_written(), level=level).alpha.value

    in_order, mixed_up = ("rude", "fair", "kind"), ("fair", "rude", "kind")
    assert alpha(in_order, "ordinal") != pytest.approx(alpha(mixed_up, "ordinal"), abs=0.01)
    assert alpha(in_order, None) == alpha(mixed_up, None)


def test_categories_have_no_bias_and_an_unknown_category_is_an_error() -> None:
    judge = PromptJudge("tone", "Is {response} kind?", scale=Categorical(("kind", "rude")))
    rows = [{"request": "?", "response": "kind", "tone": "KIND"}]
    report = judge_agreement(judge, rows, model=rated_as_written())
    assert (report.rows[0].label, report.bias) == ("kind", None)
    with pytest.raises(ConfigurationError, match="level='interval' requires numbers"):
        judge_agreement(judge, rows, model=rated_as_written(), level="interval")
    rows[0]["tone"] = "friendly"
    with pytest.raises(ConfigurationError, match="'friendly'"):
        judge_agreement(judge, rows, model=rated_as_written())


def test_a_group_of_guidelines_is_a_judge() -> None:
    chosen = built_in_judges(
        rated_as_written(),
        ["global_guideline_adherence"],
        global_guidelines={"tone": ["Be polite."], "style": ["Be short."]},
    )
    rows = [{"request": "?", "response": "yes", "polite": "no"}]
    report = judge_agreement(chosen[0], rows, label="polite")
    assert report.reasons == {
        "skipped: no rating, but of global_guideline_adherence/tone, "
        "global_guideline_adherence/style": 1
    }
    rows = [{**rows[0], "guidelines": {"tone": ["Be polite."]}}]
    report = judge_agreement(
        "guideline_adherence/tone", rows, label="polite", model=rated_as_written()
    )
    assert (report.rows[0].rating, report.rows[0].label) == ("yes", "no")
    only = judge_agreement("guideline_adherence", rows, label="polite", model=rated_as_written())
    assert only.rows[0].rating == "yes"


def test_a_judge_is_repeated_and_cached(tmp_path: Path) -> None:
    answers = iter(["no", "yes", "yes"])
    judge = ScriptedJudge(script=lambda _: verdict(next(answers)))
    options = {"judge_repeats": 3, "judge_cache": tmp_path / "verdicts.db"}
    for model in (judge, ScriptedJudge(script=lambda _: ValueError("cached"))):
        report = judge_agreement("correctness", [row("yes", "x")], model=model, **options)
        assert report.rows[0].rating == "yes"
    assert len(judge.requests) == 3


def test_the_report_fits_80_columns_and_its_html_shows_no_markup_of_answers() -> None:
    rows = [
        row("no", "yes", n, request=f"Is <b>{n}</b> a\nvery {'long ' * 40} question?")
        for n in range(8)
    ]
    report = judge_agreement("correctness", rows, model=rated_as_written())
    lines = str(report).splitlines()
    assert max(map(len, lines)) <= 80
    assert "Disagreements: 8, the first 5 (all: .disagreements)" in lines
    page = report._repr_html_()
    assert "<b>" not in page
    assert page.count(html.escape("<b>")) == 8
    assert repr(report).startswith("JudgeAgreement('correctness', agreement=0.00 [0.00, 0.")
