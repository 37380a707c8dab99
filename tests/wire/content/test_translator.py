"""`message.content_blocks` of our answers: text, reasoning and calls, each once."""

from __future__ import annotations

from langchain_core.messages import AIMessage

from langchain_dbx_eval.wire.content import translator
from langchain_dbx_eval.wire.openai import chat

translator.register()
CALL = {"id": "c1", "type": "function", "function": {"name": "add", "arguments": '{"a": 1}'}}


def decoded(**message: object) -> AIMessage:
    payload = {"choices": [{"message": {"role": "assistant", **message}}]}
    answer = chat.decode(payload).generations[0].message
    assert isinstance(answer, AIMessage)
    return answer


def test_text_and_calls_are_blocks() -> None:
    blocks = decoded(content="hi", tool_calls=[CALL]).content_blocks
    assert [block["type"] for block in blocks] == ["text", "tool_call"]
    assert blocks[1] == {"type": "tool_call", "name": "add", "args": {"a": 1}, "id": "c1"}


def test_invalid_calls_are_blocks_of_their_own() -> None:
    bad = {**CALL, "function": {"name": "add", "arguments": "{oops"}}
    [block] = decoded(content=None, tool_calls=[bad]).content_blocks
    assert (block["type"], block["args"]) == ("invalid_tool_call", "{oops")


def test_reasoning_precedes_the_text_in_both_of_its_formats() -> None:
    summary = [{"type": "summary_text", "text": "think", "signature": "s"}]
    parts = [{"type": "reasoning", "summary": summary}, {"type": "text", "text": "hi"}]
    for message in (decoded(content=parts), decoded(content="hi", reasoning_content="think")):
        blocks = message.content_blocks
        assert [block["type"] for block in blocks] == ["reasoning", "text"]
        assert blocks[0]["reasoning"] == "think"


def test_a_call_in_the_content_keeps_its_extra_fields() -> None:
    call = {"type": "tool_call", "name": "add", "args": {}, "id": "c1"}
    message = AIMessage(
        content=[{**call, "extras": {"item_id": "i1"}}],
        tool_calls=[call],
        response_metadata={"model_provider": "databricks"},
    )
    assert message.content_blocks == [{**call, "extras": {"item_id": "i1"}}]
