"""A call finds the record that it is about."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.recorder import CapturedRun, Span
from langchain_dbx_eval.evaluation.online.matching import RecordIndex

MESSAGES = {"messages": [{"role": "user", "content": "in messages"}]}
DIALOGUE = {
    "messages": [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "why?"},
    ]
}
RECORDS = [
    EvalRecord(request="in words", request_id="words"),
    EvalRecord(request={"question": "in a dict", "k": 3}, request_id="dict"),
    EvalRecord(request=MESSAGES, request_id="messages"),
    EvalRecord(request=DIALOGUE, request_id="dialogue"),
    EvalRecord(request={"question": "alone"}, request_id="alone"),
    EvalRecord(request="in words", request_id="7"),
]
PLACE = {record.request_id: place for place, record in enumerate(RECORDS)}


def call(request: Any, **metadata: Any) -> CapturedRun:
    span = Span(run_id=uuid4(), parent_id=None, kind="CHAIN", name="x", inputs=request, start_ns=0)
    return CapturedRun((span,), metadata)


@pytest.mark.parametrize(
    ("request_", "found"),
    [
        ("in words", "words"),
        ({"question": "in words"}, "words"),
        ({"messages": [HumanMessage("in words")]}, "words"),
        ([HumanMessage("in words")], "words"),
        ({"k": 3, "question": "in a dict"}, "dict"),
        ({"question": "in a dict", "k": 4}, None),
        (MESSAGES, "messages"),
        ({"messages": [("user", "in messages")]}, "messages"),
        ({"messages": [HumanMessage("in messages", id="some-id")]}, "messages"),
        ("in messages", "messages"),
        ({"messages": [SystemMessage("be brief"), HumanMessage("why?")]}, "dialogue"),
        ([HumanMessage("why?")], None),
        ({"question": "alone"}, "alone"),
        ("alone", "alone"),
        ("never asked", None),
        ({"messages": ["no message", 3]}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_call_finds_its_record_by_what_is_asked(request_: Any, found: str | None) -> None:
    expected = None if found is None else PLACE[found]
    assert RecordIndex(RECORDS).find(call(request_)) == expected


@pytest.mark.parametrize(("given", "found"), [("alone", "alone"), (7, "7"), ("7", "7")])
def test_a_request_id_wins_over_what_is_asked(given: Any, found: str) -> None:
    assert RecordIndex(RECORDS).find(call("in words", request_id=given)) == PLACE[found]


@pytest.mark.parametrize("unknown", ["nobody", None, ["a", "list"], ""])
def test_a_request_id_of_no_record_leaves_it_to_what_is_asked(unknown: Any) -> None:
    assert RecordIndex(RECORDS).find(call("alone", request_id=unknown)) == PLACE["alone"]


def test_a_function_is_asked_where_neither_says_anything() -> None:
    asked = []

    def match_fn(run: CapturedRun) -> str | None:
        asked.append(run.request)
        return run.metadata.get("ticket")

    index = RecordIndex(RECORDS, match_fn=match_fn)
    assert index.find(call("in words", ticket="dict")) == PLACE["words"]
    assert index.find(call("other words", ticket="dict")) == PLACE["dict"]
    assert index.find(call("other words", ticket="nobody")) is None
    assert index.find(call("other words")) is None
    assert asked == ["other words"] * 3


def test_a_function_that_fails_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    index = RecordIndex(RECORDS, match_fn=lambda run: run.metadata["ticket"])
    with caplog.at_level(logging.ERROR):
        assert index.find(call("other words")) is None
    assert index.match_failures == 1
    assert "KeyError" in caplog.text


def test_without_records_nothing_is_found() -> None:
    assert RecordIndex([]).find(call("in words", request_id="words")) is None
