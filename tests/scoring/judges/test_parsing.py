"""Which answers of a judge model are parsed as a verdict, and which are not.

`test_quoted_verdicts` has the texts of judges that quote what they judge.
"""

from __future__ import annotations

import gc
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from langchain_dbx_eval import EvalRecord
from langchain_dbx_eval.scoring import (
    Assessment,
    Categorical,
    Numeric,
    Outcome,
    ScoringContext,
    YesNo,
    built_in_judges,
    score,
)
from langchain_dbx_eval.scoring.judges.parsing import ParsedVerdict, parse_object, parse_text
from tests.scoring.scripted_judge import ScriptedJudge, verdict

NONCE = "0f1e2d3c4b5a"


def block(content: str) -> str:
    return f"<verdict-{NONCE}>{content}</verdict-{NONCE}>"


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (verdict("yes"), "yes"),
        (verdict("no"), "no"),
        (verdict("YES"), "yes"),
        (verdict(True), "yes"),
        (f"```json\n{verdict('yes')}\n```", "yes"),
        (f"Sure! Here is my judgment:\n{block(verdict('no'))}\n", "no"),
        (f"Sure! Here is my judgment:\n{verdict('no')}", None),
        ("{'rationale': 'it\\'s fine', 'rating': 'yes'}", "yes"),
        ('{"rationale": "two\nlines", "rating": "no"}', "no"),
        ('{"rationale": "It says {\\"rating\\": \\"no\\"}.", "rating": "yes"}', "yes"),
        ('{"evaluation": {"rating": "yes"}}', None),
        ('[{"rating": "yes"}]', None),
        ('{"Rating": "Yes", "Rationale": "r"}', "yes"),
        ('{"result": "yes", "reason": "r"}', "yes"),
        ("**Rating**: Yes.\n**Rationale**: fine", None),
        ("Rating: no", None),
        ("Yes", None),
        ('"yes"', None),
        ('{\n"rationale": "it was cut off",\n"rating": "no"', None),
        ('{\n"rationale": "it was cut off",\n"rating": "no', None),
        ('{"rating": "yes", "rating": "no"}', None),
        ('{"rating": "yes"} {"rating": "maybe"}', None),
        ('{"rating": "yes", "result": "The answer fits."}', "yes"),
        ("{'rating': 'yes', 'rating': 'no'}", None),
        (f"{verdict('yes')} or rather {verdict('no')}", None),
        ('{"rationale": "...", "rating": "yes" or "no"}', None),
        ('{"rationale": "He says {"rating": "yes"}, which is wrong", "rating": "no"}', None),
        ("Yes and no, it depends.", None),
        ("Yes, but only in part.", None),
        ("I know nothing about it.", None),
        ("", None),
        ("{" * 5000, None),
        ("[" * 100_000 + '{"rating": "maybe"}', None),
        (verdict("partially"), None),
        (verdict(None), None),
        (verdict(["yes"]), None),
        (verdict(1), None),
    ],
)
def test_only_an_answer_that_states_one_rating_is_parsed(text: str, value: str | None) -> None:
    parsed = parse_text(text, YesNo(), NONCE)
    assert (parsed.value if parsed else None) == value


def test_the_rationale_is_parsed() -> None:
    texts = [
        verdict("yes", "it fits"),
        block('{"Rationale": "it fits", "Rating": "yes"}'),
        '{"rating": "yes", "reason": "it fits"}',
    ]
    for text in texts:
        parsed = parse_text(text, YesNo(), NONCE)
        assert parsed is not None
        assert parsed.rationale == "it fits"


def test_lone_surrogates_of_a_rationale_are_replaced() -> None:
    parsed = parse_text(
        '{"rating": "yes", "rationale": "half \\ud800 a character"}', YesNo(), NONCE
    )
    assert parsed == ("yes", "half ? a character")


@pytest.mark.parametrize(
    ("rating", "value"),
    [(3, 3.0), (0, 0.0), ("4.5", 4.5), (5.1, None), (-1, None), (True, None), ("NaN", None)],
)
def test_a_number_outside_of_its_range_is_not_a_rating(rating: Any, value: float | None) -> None:
    parsed = parse_text(verdict(rating), Numeric(0, 5), NONCE)
    assert (parsed.value if parsed else None) == value


def test_a_category_is_spelled_as_in_the_scale() -> None:
    scale = Categorical(("Formal", "Casual"))
    assert parse_text(verdict("casual"), scale, NONCE) == ("Casual", "because")
    assert parse_text(verdict("rude"), scale, NONCE) is None


def test_an_object_with_two_different_ratings_has_no_verdict() -> None:
    assert parse_object({"rating": "yes", "verdict": "no"}, YesNo()) is None
    assert parse_object([{"rating": "yes"}], YesNo()) is None


# Texts that state no rating in any combination.
_NEVER = st.sampled_from(
    ["maybe", "partially", "", "n/a", "y", "n", "yes/no", "YES or NO", "not yes"]
)
_JUNK = st.text(alphabet=' {}[]":,\n\\`*<>abcdefgh0123456789가나다', max_size=40)
_OBJECTS = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=8) | _NEVER,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)


@st.composite
def malformed_answers(draw: st.DrawFn) -> str:
    """Answers that state no rating: wrong values, contradictions, cut-off or broken JSON, junk."""
    kind = draw(st.integers(0, 5))
    junk, tail, never = draw(_JUNK), draw(_JUNK), draw(_NEVER)
    rating = draw(st.sampled_from(["yes", "no"]))
    other = {"yes": "no", "no": "yes"}[rating]
    if kind == 0:
        return junk + json.dumps({"rationale": tail, "rating": never})
    if kind == 1:
        return f"{verdict(rating)}\n{verdict(other)}"
    if kind == 2:
        whole = verdict(rating, "because of this and that")
        return whole[: draw(st.integers(0, len(whole) - 3))]
    if kind == 3:
        return f"Rating: {rating}\nRating: {other}\n{junk}"
    if kind == 4:
        return json.dumps({"rating": draw(_OBJECTS.filter(lambda o: not _is_yes_or_no(o)))})
    return junk


def _is_yes_or_no(value: Any) -> bool:
    return isinstance(value, bool) or str(value).strip().lower() in {"yes", "no"}


def judged(answer: str) -> Assessment:
    judge = ScriptedJudge(script=lambda _: answer)
    row = ScoringContext(EvalRecord(request="q"), Outcome(response="a"))
    return score(row, built_in_judges(judge, ["safety"])).assessments[0]


@settings(max_examples=1000)
@given(malformed_answers())
def test_of_a_thousand_malformed_answers_none_becomes_a_rating(answer: str) -> None:
    assessment = judged(answer)
    assert assessment.value is None
    assert assessment.error is not None
    assert assessment.error.startswith("No verdict could be parsed")


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_every_answer_is_either_a_rating_or_an_error(answer: str) -> None:
    assessment = judged(answer)
    assert (assessment.value is None) == (assessment.error is not None)


@settings(max_examples=300)
@given(_JUNK, st.sampled_from(["yes", "no"]), st.text())
def test_a_rating_in_the_final_block_is_parsed(junk: str, rating: str, rationale: str) -> None:
    parsed = parse_text(f"{junk}\n{block(verdict(rating, rationale))}", YesNo(), NONCE)
    assert parsed is not None
    assert parsed.value == rating


@settings(max_examples=300)
@given(_JUNK.filter(str.strip), st.sampled_from(["yes", "no"]), st.booleans())
def test_a_rating_within_prose_is_never_parsed(junk: str, rating: str, is_before: bool) -> None:
    text = f"{verdict(rating)}\n{junk}" if is_before else f"{junk}\n{verdict(rating)}"
    assert parse_text(text, YesNo(), NONCE) is None


@pytest.fixture
def threads_alternate_while_objects_are_created() -> Iterator[None]:
    """The garbage collection, which creating objects starts, gives way to other threads."""

    def give_way(*_: Any) -> None:
        time.sleep(0)

    threshold = gc.get_threshold()
    gc.set_threshold(7)
    gc.callbacks.append(give_way)
    yield
    gc.callbacks.remove(give_way)
    gc.set_threshold(*threshold)


@pytest.mark.usefixtures("threads_alternate_while_objects_are_created")
def test_python_dicts_are_parsed_by_threads_at_the_same_time() -> None:
    """Python 3.11 before 3.11.8 fails to parse code in threads at once (CPython, issue 106905)."""
    texts = [f"{{'rating': 'yes', 'rationale': '{number}'}}" for number in range(4000)]
    with ThreadPoolExecutor(8) as pool:
        parsed = list(pool.map(lambda text: parse_text(text, YesNo(), NONCE), texts))
    assert parsed == [ParsedVerdict("yes", str(number)) for number in range(4000)]
