"""The text of a response in each documented form."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.messages import AIMessage

from langchain_dbx_eval.scoring.answer_text import answer_text


@pytest.mark.parametrize(
    "answer",
    [
        "hi",
        AIMessage("hi"),
        {"content": "hi"},
        {"choices": [{"message": {"role": "assistant", "content": "hi"}}]},
        {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": "hi"}]},
        {"messages": [AIMessage("no"), AIMessage("hi")]},
        [AIMessage("no"), AIMessage("hi")],
        {"content": [{"type": "text", "text": "hi"}]},
        {"output": [{"type": "message", "content": [{"type": "output_text", "text": "hi"}]}]},
        {
            "output": [
                {"type": "message", "role": "assistant", "content": "let me see"},
                {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"},
                {"type": "function_call_output", "call_id": "1", "output": "3"},
                {"type": "message", "role": "assistant", "content": "hi"},
            ]
        },
        AIMessage(
            [
                {"type": "text", "text": "let me see", "id": "1"},
                {"type": "text", "text": "h", "id": "2"},
                {"type": "text", "text": "i", "id": "2"},
            ]
        ),
    ],
)
def test_the_text_of_every_documented_form_is_returned(answer: Any) -> None:
    assert answer_text(answer) == "hi"


def test_the_text_of_another_value_is_its_json() -> None:
    assert answer_text({"score": 1}) == '{"score": 1}'
    assert answer_text(None) is None
