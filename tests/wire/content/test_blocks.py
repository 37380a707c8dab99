"""Content blocks to the parts of Chat Completions and back."""

from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.messages import AIMessage, AIMessageChunk, HumanMessage

from langchain_dbx_eval.errors import InvalidRequestError, InvalidResponseError
from langchain_dbx_eval.wire.content.blocks import BlockStream, from_openai_parts, to_openai_parts

PNG, PDF, WAV = "iVBORw0KGgo=", "JVBERi0xLjQ=", "UklGRg=="
PNG_PART = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
PDF_PART = {
    "type": "file",
    "file": {"filename": "a.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
}
WAV_PART = {"type": "input_audio", "input_audio": {"data": WAV, "format": "wav"}}

TRANSLATIONS = {
    "v1 image": ({"type": "image", "base64": PNG, "mime_type": "image/png"}, PNG_PART),
    "v0 image": (
        {"type": "image", "source_type": "base64", "data": PNG, "mime_type": "image/png"},
        PNG_PART,
    ),
    "OpenAI image": (PNG_PART, PNG_PART),
    "OpenAI Responses image": (
        {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}"},
        PNG_PART,
    ),
    "Anthropic image": (
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PNG}},
        PNG_PART,
    ),
    "v1 image by URL": (
        {"type": "image", "url": "https://a/b.png"},
        {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
    ),
    "Anthropic image by URL": (
        {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
        {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
    ),
    "image with detail": (
        {"type": "image", "url": "https://a/b.png", "extras": {"detail": "low"}},
        {"type": "image_url", "image_url": {"url": "https://a/b.png", "detail": "low"}},
    ),
    "image_url written short": (
        {"type": "image_url", "image_url": "https://a/b.png"},
        {"type": "image_url", "image_url": {"url": "https://a/b.png"}},
    ),
    "v1 audio": ({"type": "audio", "base64": WAV, "mime_type": "audio/wav"}, WAV_PART),
    "OpenAI audio": (WAV_PART, WAV_PART),
    "audio by its MIME name": (
        {"type": "audio", "base64": WAV, "mime_type": "audio/mpeg"},
        {"type": "input_audio", "input_audio": {"data": WAV, "format": "mp3"}},
    ),
    "v1 file": (
        {
            "type": "file",
            "base64": PDF,
            "mime_type": "application/pdf",
            "extras": {"filename": "a.pdf"},
        },
        PDF_PART,
    ),
    "v0 file": (
        {
            "type": "file",
            "source_type": "base64",
            "data": PDF,
            "mime_type": "application/pdf",
            "metadata": {"filename": "a.pdf"},
        },
        PDF_PART,
    ),
    "OpenAI file": (PDF_PART, PDF_PART),
    "Anthropic document": (
        {
            "type": "document",
            "title": "a.pdf",
            "source": {"type": "base64", "media_type": "application/pdf", "data": PDF},
        },
        PDF_PART,
    ),
    "file without a name": (
        {"type": "file", "base64": PDF, "mime_type": "application/pdf"},
        {
            "type": "file",
            "file": {"filename": "file.pdf", "file_data": f"data:application/pdf;base64,{PDF}"},
        },
    ),
    "uploaded file": (
        {"type": "file", "file_id": "file-1"},
        {"type": "file", "file": {"file_id": "file-1"}},
    ),
    "v0 uploaded file": (
        {"type": "file", "source_type": "id", "id": "file-1"},
        {"type": "file", "file": {"file_id": "file-1"}},
    ),
    "plain-text document": (
        {"type": "text-plain", "text": "All men are mortal.", "title": "Logic"},
        {"type": "text", "text": "Logic\n\nAll men are mortal."},
    ),
    "Anthropic text document": (
        {
            "type": "document",
            "source": {"type": "text", "media_type": "text/plain", "data": "All men are mortal."},
        },
        {"type": "text", "text": "All men are mortal."},
    ),
    "wrapped block": (
        {"type": "non_standard", "value": {"type": "video_url", "video_url": {"url": "x"}}},
        {"type": "video_url", "video_url": {"url": "x"}},
    ),
    "signed reasoning": (
        {"type": "reasoning", "reasoning": "Hm.", "extras": {"signature": "c2ln"}},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Hm.", "signature": "c2ln"}],
        },
    ),
    "Anthropic thinking": (
        {"type": "thinking", "thinking": "Hm.", "signature": "c2ln"},
        {
            "type": "reasoning",
            "summary": [{"type": "summary_text", "text": "Hm.", "signature": "c2ln"}],
        },
    ),
    "Databricks reasoning": (
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}], "index": 0},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "Hm."}]},
    ),
}

WHAT = {"type": "text", "text": "What is this?"}


@pytest.mark.parametrize(("block", "part"), TRANSLATIONS.values(), ids=TRANSLATIONS.keys())
def test_a_block_is_encoded_as_a_part_of_chat_completions(block, part):
    content = [WHAT, block]
    before = deepcopy(content)
    assert to_openai_parts(content) == [WHAT, part]
    assert content == before


@pytest.mark.parametrize(
    "block",
    [
        {"type": "tool_use", "id": "1", "name": "add", "input": {}},
        {"type": "tool_call", "id": "1", "name": "add", "args": {}},
        {"type": "invalid_tool_call", "id": "1", "name": "add", "args": "{", "error": None},
        {"type": "function_call", "call_id": "1", "name": "add", "arguments": "{}"},
        {"type": "reasoning", "reasoning": "An unsigned thought."},
        {"type": "redacted_thinking", "data": "c2VjcmV0"},
        {"type": "text", "text": ""},
    ],
    ids=lambda block: block["type"],
)
def test_blocks_that_are_not_content_are_omitted(block):
    assert to_openai_parts([block, WHAT]) == "What is this?"


@pytest.mark.parametrize("block", [WHAT, PNG_PART, TRANSLATIONS["v1 file"][0]])
@pytest.mark.parametrize("location", ["block", "extras"])
def test_marks_for_prompt_caching_are_kept(block, location):
    mark = {"cache_control": {"type": "ephemeral"}}
    marked = (
        {**block, **mark} if location == "block" else {**block, "extras": {"filename": "a", **mark}}
    )
    (part,) = to_openai_parts([marked])
    assert part["cache_control"] == {"type": "ephemeral"}


def test_text_alone_is_sent_as_a_string_and_several_texts_as_parts():
    assert (
        to_openai_parts("hi")
        == to_openai_parts(["hi"])
        == to_openai_parts([{**WHAT, "text": "hi"}])
    )
    assert to_openai_parts([]) == ""
    assert to_openai_parts(["a", {"type": "text", "text": "b", "annotations": [], "index": 1}]) == [
        {"type": "text", "text": "a"},
        {"type": "text", "text": "b"},
    ]


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"type": "image", "base64": PNG}, "'mime_type'"),
        ({"type": "image", "file_id": "file-1"}, "uploaded file"),
        ({"type": "image"}, "'base64'"),
        ({"type": "image_url", "image_url": {}}, "'url'"),
        ({"type": "audio", "url": "https://a/b.wav"}, "by a URL"),
        ({"type": "file", "url": "https://a/b.pdf"}, "by a URL"),
        ({"type": "video", "base64": "AAAA", "mime_type": "video/mp4"}, "video"),
        ({"type": "tool_result", "tool_use_id": "1", "content": "4"}, "ToolMessage"),
        ({"type": "text"}, "has no text"),
        ({"text": "no type"}, "with a 'type'"),
        (7, "with a 'type'"),
    ],
    ids=str,
)
def test_the_error_for_an_unsupported_block_names_what_is_missing_or_an_alternative(block, message):
    with pytest.raises(InvalidRequestError, match=message):
        to_openai_parts([WHAT, block])


def test_changing_the_parts_does_not_change_the_message():
    message = HumanMessage([{"type": "video_url", "video_url": {"url": "x"}}])
    to_openai_parts(message.content)[0]["video_url"]["url"] = "changed"
    assert message.content == [{"type": "video_url", "video_url": {"url": "x"}}]


def test_a_message_with_standard_blocks_is_encoded():
    message = AIMessage(
        content_blocks=[
            {"type": "text", "text": "I shall add."},
            {"type": "tool_call", "id": "1", "name": "add", "args": {"a": 1}},
        ],
        response_metadata={"output_version": "v1"},
    )
    assert to_openai_parts(message.content) == "I shall add."


ANSWER = [
    {
        "type": "reasoning",
        "summary": [
            {"type": "summary_text", "text": "First.", "signature": "czE="},
            {"type": "summary_text", "text": "Second.", "signature": "czI="},
        ],
    },
    {"type": "text", "text": "Four."},
]


def test_reasoning_is_decoded_as_standard_blocks_and_sent_back_with_its_signatures():
    blocks = from_openai_parts(ANSWER)
    assert blocks == [
        {"type": "reasoning", "reasoning": "First.", "extras": {"signature": "czE="}},
        {"type": "reasoning", "reasoning": "Second.", "extras": {"signature": "czI="}},
        {"type": "text", "text": "Four."},
    ]
    message = AIMessage(blocks)
    assert message.text == "Four."
    assert [block["type"] for block in message.content_blocks] == ["reasoning", "reasoning", "text"]
    sent = to_openai_parts(blocks)
    assert [s for part in sent[:-1] for s in part["summary"]] == ANSWER[0]["summary"]
    assert sent[-1] == ANSWER[-1]


def test_a_part_of_an_unknown_type_is_not_taken_for_text():
    part = {"type": "citation", "text": "Lakehouse"}
    assert to_openai_parts([part]) == [part]
    assert to_openai_parts([{"type": "message", "text": None}]) == [
        {"type": "message", "text": None}
    ]


def test_encrypted_reasoning_is_sent_back_unchanged():
    part = {"type": "reasoning", "summary": [{"type": "summary_encrypted_text", "data": "eHg="}]}
    (block, _) = blocks = from_openai_parts([part, {"type": "text", "text": "Hi", "citation": 1}])
    assert block["type"] == "non_standard"
    assert to_openai_parts(blocks) == [part, {"type": "text", "text": "Hi"}]


@pytest.mark.parametrize(
    ("content", "decoded"),
    [
        (None, ""),
        ("Hi", "Hi"),
        ([], ""),
        (["Hi"], "Hi"),
        ([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "ab"),
        ([PNG_PART], [{"type": "image", "base64": PNG, "mime_type": "image/png"}]),
        (
            [PDF_PART],
            [
                {
                    "type": "file",
                    "base64": PDF,
                    "mime_type": "application/pdf",
                    "extras": {"filename": "a.pdf"},
                }
            ],
        ),
        ([{"type": "file"}], [{"type": "non_standard", "value": {"type": "file"}}]),
        ([{"type": 3}], [{"type": "non_standard", "value": {"type": 3}}]),
        (
            [{"type": "text", "text": "a", "citations": [1]}],
            [{"type": "text", "text": "a", "extras": {"citations": [1]}}],
        ),
    ],
    ids=str,
)
def test_parts_are_decoded_as_standard_blocks(content, decoded):
    assert from_openai_parts(content) == decoded


@pytest.mark.parametrize("content", [7, {"type": "text"}, [3], [None]], ids=str)
def test_content_of_another_type_is_rejected(content):
    with pytest.raises(InvalidResponseError, match="Expected "):
        from_openai_parts(content)


def _summary(text: str, **more: str) -> list[dict[str, Any]]:
    return [{"type": "reasoning", "summary": [{"type": "summary_text", "text": text, **more}]}]


def _sum_of_deltas(*deltas: Any) -> Any:
    stream = BlockStream()
    contents = [content for delta in deltas if (content := stream.feed(delta))]
    chunks = [AIMessageChunk(content=content) for content in contents]
    whole = chunks[0]
    for chunk in chunks[1:]:
        whole += chunk
    return whole.content


def test_a_streamed_answer_adds_up_to_the_complete_one():
    content = _sum_of_deltas(
        None,
        _summary("I th"),
        _summary("ink."),
        _summary("", signature="c2ln"),
        _summary("Again.", signature="c2k="),
        [{"type": "text", "text": "Fo"}],
        "ur",
        "",
        ".",
    )
    without_index = [{k: v for k, v in block.items() if k != "index"} for block in content]
    assert without_index == [
        {"type": "reasoning", "reasoning": "I think.", "extras": {"signature": "c2ln"}},
        {"type": "reasoning", "reasoning": "Again.", "extras": {"signature": "c2k="}},
        {"type": "text", "text": "Four."},
    ]
    assert to_openai_parts(content) == [
        *_summary("I think.", signature="c2ln"),
        *_summary("Again.", signature="c2k="),
        {"type": "text", "text": "Four."},
    ]


def test_two_blocks_in_one_delta_stay_separate():
    content = _sum_of_deltas([*_summary("a"), *_summary("b")], _summary("c"))
    assert [block["reasoning"] for block in content] == ["a", "bc"]


def test_a_stream_of_text_alone_stays_text():
    assert _sum_of_deltas("Fo", "ur", None, ".") == "Four."


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                [
                    "type",
                    "text",
                    "summary",
                    "reasoning",
                    "image_url",
                    "input_audio",
                    "file",
                    "url",
                    "data",
                    "source",
                    "value",
                    "source_type",
                    "base64",
                    "mime_type",
                    "extras",
                    "index",
                    "signature",
                    "file_data",
                    "title",
                ]
            ),
            inner
            | st.sampled_from(
                [
                    "text",
                    "reasoning",
                    "image",
                    "image_url",
                    "input_audio",
                    "file",
                    "document",
                    "thinking",
                    "audio",
                    "video",
                    "base64",
                    "non_standard",
                    "tool_use",
                    "text-plain",
                    "summary_text",
                ]
            ),
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_as_the_content_of_an_answer_gives_content_or_our_error(content):
    try:
        decoded = from_openai_parts(content)
    except InvalidResponseError:
        return
    AIMessage(decoded)
    with suppress(InvalidRequestError):
        to_openai_parts(decoded)


@given(JSON)
def test_any_json_in_a_message_gives_parts_or_our_error(block):
    before = deepcopy(block)
    with suppress(InvalidRequestError):
        to_openai_parts([block])
    assert block == before


@given(JSON)
def test_any_json_in_a_delta_gives_content_or_our_error(content):
    with suppress(InvalidResponseError):
        AIMessageChunk(content=BlockStream().feed(content))
