"""The record to which a call belongs."""

from __future__ import annotations

import logging
from typing import Any
from uuid import uuid4

import pytest
from langchain_core.messages import HumanMessage, SystemMessage

from langchain_dbx_eval.datasets import EvalRecord
from langchain_dbx_eval.evaluation.capture.spans import CapturedRun, Span
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
NUMBER = {record.request_id: number for number, record in enumerate(RECORDS)}


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
        ("unknown", None),
        ({"messages": ["no message", 3]}, None),
        ([], None),
        (None, None),
    ],
)
def test_a_call_matches_the_record_with_the_same_request(request_: Any, found: str | None) -> None:
    expected = None if found is None else NUMBER[found]
    assert RecordIndex(RECORDS).find(call(request_)) == expected


@pytest.mark.parametrize(("request_id", "found"), [("alone", "alone"), (7, "7"), ("7", "7")])
def test_a_request_id_takes_precedence_over_the_request(request_id: Any, found: str) -> None:
    assert RecordIndex(RECORDS).find(call("in words", request_id=request_id)) == NUMBER[found]


@pytest.mark.parametrize("unknown", ["unknown", None, ["a", "list"], ""])
def test_with_an_unknown_request_id_the_request_decides(unknown: Any) -> None:
    assert RecordIndex(RECORDS).find(call("alone", request_id=unknown)) == NUMBER["alone"]


@pytest.mark.parametrize("same", ["request", "request_id"])
def test_several_records_of_one_request_are_found_in_order(same: str) -> None:
    rows = [{"request": "twice", "expected_response": text} for text in "ab"]
    if same == "request_id":
        rows = [{"request": text, "request_id": "same"} for text in "ab"]
    index = RecordIndex([EvalRecord.from_row(row) for row in rows])
    run = call("twice") if same == "request" else call("other", request_id="same")
    assert index.find(run) == 0
    assert index.find(run, {0: 1}) == 1
    assert index.find(run, {0: 1, 1: 1}) == 0
    assert index.find(run, {0: 2, 1: 1}) == 1


def test_match_fn_is_called_if_neither_id_nor_request_matches() -> None:
    requests = []

    def match_fn(run: CapturedRun) -> str | None:
        requests.append(run.request)
        return run.metadata.get("ticket")

    index = RecordIndex(RECORDS, match_fn=match_fn)
    assert index.find(call("in words", ticket="dict")) == NUMBER["words"]
    assert index.find(call("other words", ticket="dict")) == NUMBER["dict"]
    assert index.find(call("other words", ticket="unknown")) is None
    assert index.find(call("other words")) is None
    assert requests == ["other words"] * 3


def test_an_error_of_match_fn_is_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    index = RecordIndex(RECORDS, match_fn=lambda run: run.metadata["ticket"])
    with caplog.at_level(logging.ERROR):
        assert index.find(call("other words")) is None
    assert index.match_failures == 1
    assert "KeyError" in caplog.text


def test_without_records_no_call_matches() -> None:
    assert RecordIndex([]).find(call("in words", request_id="words")) is None
