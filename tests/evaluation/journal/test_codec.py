"""Values are read from a journal as they were saved."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import make_dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal
from uuid import uuid4

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from pydantic import BaseModel, ConfigDict, SecretStr

from langchain_dbx_eval import EvalRecord
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun, Span
from langchain_dbx_eval.evaluation.journal import codec
from langchain_dbx_eval.evaluation.journal.manifest import Destination, EvaluationManifest
from langchain_dbx_eval.evaluation.journal.rows import Answer, Row, RowKey
from langchain_dbx_eval.scoring import Assessment, JudgeUsage, Outcome, RowScores, Skip


class Weather(BaseModel):
    city: str
    key: SecretStr


class Holder(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)
    held: object


class Unprintable:
    def __str__(self):
        raise RuntimeError("no")


def users_outcome():
    """A user's dataclass with the name of one of ours."""
    return make_dataclass("Outcome", ["mine"])(3)


@pytest.mark.parametrize(
    "value",
    [
        None,
        "text 😀 \\ud83d \\\\u0000",
        10**30,
        [1, 2.5, {"a": [None, True]}],
        AIMessage(
            "hi",
            usage_metadata={"input_tokens": 1, "output_tokens": 1, "total_tokens": 2},
        ),
        AIMessage("", tool_calls=[{"name": "f", "args": {"x": 1}, "id": "1"}]),
        {"messages": [HumanMessage("q"), ToolMessage("r", tool_call_id="1")]},
        [Document("text", metadata={"source": "a.md"}, id="7")],
        datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=2))),
        date(2026, 1, 1),
        uuid4(),
        {"$dbx_eval": "unknown", "value": 1},
        {"$dbx_eval": 1},
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_is_read_as_it_was_saved(value):
    # In a list, as `round_trip` does not encode plain values.
    assert codec.round_trip([value]) == [value]


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Weather(city="Paris", key=SecretStr("hush")), {"city": "Paris", "key": "**********"}),
        (np.float64(0.5), 0.5),
        (np.array([1, 2]), [1, 2]),
        ({1: "a", (2, 3): "b"}, {"1": "a", "(2, 3)": "b"}),
        ({"b", "a"}, ["a", "b"]),
        (Decimal("1.5"), "1.5"),
        ((1, 2), [1, 2]),
        (Holder(held=Decimal("1.5")), {"held": "1.5"}),
        (Holder(held=ValueError("v")), {"held": "v"}),
        ([Unprintable()], [f"<{__name__}.Unprintable, which cannot be shown>"]),
        (
            Holder(held=Unprintable()),
            {"held": f"<{__name__}.Unprintable, which cannot be shown>"},
        ),
        (users_outcome(), {"mine": 3}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_json_form_is_saved_as_plain_json(value, plain):
    assert codec.round_trip(value) == plain


@pytest.mark.parametrize(
    ("text", "stored"),
    [
        ("cut \ud83d", "cut \ufffd<U+D83D>"),
        ("\udc80 low", "\ufffd<U+DC80> low"),
        ("\ud83d\ud83d\ude00\ude00", "\ufffd<U+D83D>😀\ufffd<U+DE00>"),
        ("\\\ud83d", "\\\ufffd<U+D83D>"),
        ("NUL \x00", "NUL \ufffd<U+0000>"),
    ],
)
def test_a_character_that_stores_refuse_is_saved_as_its_code(text, stored):
    assert codec.round_trip(text) == stored
    assert codec.round_trip({text: [text]}) == {stored: [stored]}
    assert codec.round_trip(AIMessage(text)) == AIMessage(stored)


def test_text_of_an_earlier_release_is_read_without_them():
    record = codec.encode_record(EvalRecord(request="cut here"))
    answer = '{"record": %s, "outcome": %s, "run": null, "matched": true}'
    outcome = json.dumps(vars(Outcome(response="\ud83d")))
    row = codec.decode_row(RowKey(0), answer % (record, outcome), RowScores(), None)
    assert row.outcome.response == "\ufffd<U+D83D>"


def test_a_value_that_contains_itself_is_cut_off():
    loop: list[object] = []
    loop.append(loop)

    assert isinstance(codec.round_trip(loop), list)


def full_row():
    """A row in which no field has its default."""
    span = Span(
        run_id=uuid4(),
        parent_id=uuid4(),
        kind="CHAIN",
        name="chain",
        inputs={"q": HumanMessage("q")},
        outputs=[Document("text")],
        error="ValueError: no",
        start_ns=5,
        end_ns=9,
        first_token_ns=7,
        input_tokens=1,
        output_tokens=2,
        cached_input_tokens=1,
        model="m",
    )
    return Row(
        key=RowKey(3, 2),
        record=EvalRecord(
            request={"question": "q"},
            request_id="r",
            response="a",
            expected_response="b",
            expected_facts=["fact"],
            guidelines={"tone": ["polite"]},
            expected_retrieved_context=[{"doc_uri": "a.md"}],
            retrieved_context=[{"doc_uri": "b.md", "content": "text"}],
            trace='{"info": {}}',
            metadata={"asked_on": date(2026, 1, 1)},
        ),
        outcome=Outcome(
            response=AIMessage("a"),
            retrieved_context=[{"doc_uri": "b.md"}],
            latency_seconds=0.5,
            time_to_first_token_seconds=0.1,
            input_tokens=1,
            output_tokens=2,
            error="ValueError: no",
            cached_input_tokens=1,
            cost_usd=0.25,
        ),
        run=CapturedRun((span,), {"ticket": "7"}, ("live",), "tr-1", "span-1"),
        matched=False,
        scores=RowScores(),
        trace_id="tr-2",
    )


OUTPUT = [
    Assessment(
        name="good",
        column="metric/good",
        leaf="rating",
        value="yes",
        rationale="because",
        error="in part",
        source="LLM_JUDGE",
        extra_columns={"metric/good/words": 3},
        metadata={"judge_model": "m"},
        usage=JudgeUsage(
            calls=1,
            cached=2,
            input_tokens=3,
            output_tokens=4,
            cost_usd=0.5,
            seconds=6.0,
            cached_input_tokens=1,
        ),
    ),
    Skip("a", "nothing to judge", "metric/a"),
]


def test_a_row_is_decoded_with_all_fields():
    row = full_row()
    answer = codec.encode_answer(row)

    assert codec.decode_row(row.key, answer, row.scores, row.trace_id) == row


def test_a_row_without_a_captured_run_is_decoded():
    answer = Answer(record=EvalRecord(request="q"), outcome=Outcome(response="a"))
    row = codec.decode_row(RowKey(0), codec.encode_answer(answer), RowScores(), None)

    assert (row.record, row.outcome, row.run) == (answer.record, answer.outcome, None)


def test_the_output_of_a_scorer_is_decoded_with_all_fields():
    assert codec.decode_scorer_output(codec.encode_scorer_output(OUTPUT)) == OUTPUT


def test_a_manifest_is_decoded_with_all_fields():
    manifest = EvaluationManifest(
        created_at="2026-01-01T00:00:00+00:00",
        dataset={"name": "d", "digest": "0"},
        model="m",
        repeat=2,
        from_callback=True,
        scorers={"metric/a": "1"},
        destination=Destination(tracking_uri="u", run_name="r"),
        run_id="run",
        experiment_id="experiment",
        complete=True,
        logged=True,
        replaced_traces={"tr-1": None, "tr-2": ["a"]},
    )

    assert codec.decode_manifest(codec.encode_manifest(manifest)) == manifest


@pytest.mark.parametrize("type_", codec._NAMES, ids=lambda type_: type_.__name__)
def test_every_field_of_a_stored_dataclass_is_stored(type_):
    # What is not compared exists only while the row is processed.
    stored = {field.name for field in dataclasses.fields(type_) if field.compare}
    assert set(codec._NAMES[type_]) == stored
