"""Request bodies, malformed and valid, and an engine that accepts all standard parameters."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from langchain_dbx_eval.driver import CallableEngine, EmbeddingResult, RequestContext

WRONG_TEXTS = [None, 5, 1.5, True, {}, {"a": 1}, [1], [None], [["a"]], [[1, 2]], [], [True], [{}]]
WRONG_STOPS = [5, True, {}, [5], [None], [""], ["a", ""], [["a"]], ["x" * 1001], ["a"] * 17, ""]
WRONG_PARAMS: list[dict[str, Any]] = [
    *({"temperature": value} for value in (-0.1, 2.1, "hot", True, [], {}, 10**400, -(10**30))),
    *({"max_tokens": value} for value in (0, -5, 1.5, "9", True, [], 10**7, 2**70)),
    *({"top_p": value} for value in (-1, 1.01, "a", False, [0.5])),
    *({"top_k": value} for value in (-2, 0.5, "a", True, 2**40)),
    *({"seed": value} for value in (2**63, 2**70, -(2**70), 1.5, "a", False)),
    *({"min_p": value} for value in (-1, 2, "a")),
    *({"repetition_penalty": value} for value in (0, -1, 11, "a")),
    *({"frequency_penalty": value} for value in (-3, 3, "a")),
    *({"presence_penalty": value} for value in (-3, 3, "a")),
    {"max_tokens": 5, "max_new_tokens": 5},
    *(
        {name: True}
        for name in (
            "trust_remote_code",
            "custom_generate",
            "stopping_criteria",
            "num_beams",
            "num_return_sequences",
            "__class__",
            "self",
            "tokenizer",
            "streamer",
            "x" * 5000,
        )
    ),
]
WRONG_MESSAGES: list[Any] = [
    None, 5, "hi", {}, [], ["hi"], [5], [None], [[]], [{}], [{"role": "user"}],
    [{"content": "hi"}], [{"role": "king", "content": "hi"}], [{"role": 5, "content": "hi"}],
    [{"role": ["user"], "content": "hi"}], [{"role": "user", "content": 5}],
    [{"role": "user", "content": {}}], [{"role": "user", "content": ["hi"]}],
    [{"role": "user", "content": [{"type": "image_url"}]}],
    [{"role": "user", "content": [{"type": "text"}]}],
    [{"role": "user", "content": [{"type": "text", "text": 5}]}],
    [{"role": "user", "content": [{"type": 5}]}],
    [{"role": "assistant", "content": None}],
    [{"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}],
    [{"role": "assistant", "tool_calls": 5}],
    [{"role": "assistant", "content": "hi", "tool_calls": ["call"]}],
    [{"role": "user", "content": [{"type": "text", "text": 5}]}],
    [{"role": "user", "content": "hi"}] * 1001,
]  # fmt: skip
WRONG_OPENAI: list[dict[str, Any]] = [
    {"n": 0}, {"n": -1}, {"n": 65}, {"n": 1.5}, {"n": True}, {"n": "2"}, {"n": 2**70},
    {"n": 2, "stream": True}, {"stream": "yes"}, {"stream": 1}, {"stream_options": 5},
    {"stream_options": {"include_usage": "yes"}}, {"model": 5}, {"model": []}, {"logprobs": True},
    {"logprobs": 5}, {"echo": True}, {"best_of": 2}, {"suffix": "x"}, {"logit_bias": {"5": 1}},
    {"tools": [{}]}, {"response_format": {"type": "json_object"}}, {"tool_choice": "required"},
]  # fmt: skip
WRONG_INVOCATIONS: list[Any] = [
    {}, {"inputs": []}, {"inputs": {}}, {"inputs": 5}, {"inputs": [5]}, {"inputs": [{}]},
    {"inputs": [None]}, {"inputs": [{"prompt": 5}]}, {"inputs": {"prompt": []}},
    {"inputs": {"prompt": ["a"], "stop": []}}, {"inputs": ["a"], "instances": ["a"]},
    {"inputs": ["a"], "other": 1}, {"inputs": ["a"], "params": 5},
    {"inputs": ["a"], "params": {"num_beams": 4}}, {"inputs": ["a"] * 65}, {"instances": "a"},
    {"instances": {"prompt": "a"}}, {"dataframe_records": {"prompt": "a"}},
    {"dataframe_records": [["a"]]}, {"dataframe_split": []}, {"dataframe_split": {}},
    {"dataframe_split": {"columns": ["prompt"]}}, {"dataframe_split": {"data": [["a"]]}},
    {"dataframe_split": {"columns": "prompt", "data": [["a"]]}},
    {"dataframe_split": {"columns": [5], "data": [["a"]]}},
    {"dataframe_split": {"columns": ["prompt", "prompt"], "data": [["a", "b"]]}},
    {"dataframe_split": {"columns": ["prompt"], "data": [["a", "b"]]}},
    {"dataframe_split": {"columns": ["prompt"], "data": ["a"]}},
    {"dataframe_split": {"columns": ["prompt"], "data": [["a"]], "more": 1}},
    {"dataframe_split": {"columns": ["text"], "data": [["a"]]}},
]  # fmt: skip
WRONG_RESPONSES: list[dict[str, Any]] = [
    *({"input": value} for value in (None, 5, {}, [], ["hi"], [{}], [{"role": "user"}])),
    {"input": [{"role": "user", "content": 5}]}, {"input": [{"type": "reasoning"}]},
    {"input": [{"type": {}, "role": "user", "content": "a"}]},
    {"input": "a", "tools": [{"type": {}}]},
    {"input": [{"role": "user", "content": [{"type": "input_file"}]}]},
    {"input": [{"role": "user", "content": [{"type": "input_image"}]}]},
    {"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]},
    {"input": [{"type": "function_call_output", "call_id": "1"}]},
    {}, {"input": "a", "max_output_tokens": 0}, {"input": "a", "stream": "yes"},
    {"input": "a", "background": True}, {"input": "a", "previous_response_id": "r"},
    {"input": "a", "include": ["x"]}, {"input": "a", "text": {"format": {"type": "xml"}}},
    {"input": "a", "tool_choice": {"type": "x"}}, {"input": "a", "tools": [{"type": "x"}]},
    {"input": "a", "tools": [{"type": "function"}]}, {"input": "a", "temperature": 9},
    {"input": "a", "nonsense": 1},
]  # fmt: skip
WRONG_BYTES = [
    b"", b" ", b"null", b"5", b'"text"', b"[]", b"[1]", b"{", b'{"prompt": ', b"{'prompt': 'a'}",
    b"\xff\xfe", b'{"prompt": "\xff"}', b"\x00", b'{"prompt": "\\ud800"}', b'{"\\udfff": 1}',
    b'{"prompt": "a", "stop": ["\\ud800"]}', b'{"prompt": "a", "prompt": "b"}',
    b'{"prompt": "a", "temperature": NaN}', b'{"prompt": "a", "temperature": Infinity}',
    b'{"prompt": "a", "temperature": 1e999}', b'{"prompt": "a", "seed": ' + b"9" * 9999 + b"}",
    b"[" * 200_000, b"[" * 900 + b"]" * 900, b'{"a":' * 200_000,
    b'{"a":' * 100 + b"1" + b"}" * 100, '{"prompt": "a"}'.encode("utf-16"), b"prompt=a",
    b'{"prompt": "a"} {"prompt": "b"}', b'{"prompt": "a",}', b'{"prompt": "\n"}',
]  # fmt: skip
ERROR_KEYS = {"error_code", "message", "error"}
PATHS = (
    "/",
    "/invocations",
    "/v1/chat/completions",
    "/v1/completions",
    "/v1/embeddings",
    "/v1/responses",
)
HI = [{"role": "user", "content": "hi"}]


def malformed_bytes() -> Iterator[tuple[str, bytes]]:
    """Paths and bodies, each with one error."""
    for path in PATHS:
        for body in WRONG_BYTES:
            yield path, body
    for path, value in malformed_objects():
        yield path, json.dumps(value).encode()


def malformed_objects() -> list[tuple[str, dict[str, Any]]]:
    """Paths and JSON objects, each with one error."""
    return [
        *(("/", {"prompt": text}) for text in WRONG_TEXTS),
        *(("/v1/completions", {"prompt": text}) for text in WRONG_TEXTS),
        *(("/v1/embeddings", {"input": text}) for text in WRONG_TEXTS),
        *(("/", {"prompt": "a", "stop": stop}) for stop in [*WRONG_STOPS, "ab"]),
        *(("/v1/completions", {"prompt": "a", "stop": stop}) for stop in WRONG_STOPS),
        *(("/", {"prompt": "a", **params}) for params in WRONG_PARAMS),
        *(("/v1/chat/completions", {"messages": HI, **params}) for params in WRONG_PARAMS),
        *(("/v1/chat/completions", {"messages": messages}) for messages in WRONG_MESSAGES),
        *(("/v1/chat/completions", {"messages": HI, **more}) for more in WRONG_OPENAI),
        *(("/v1/completions", {"prompt": "a", **more}) for more in WRONG_OPENAI),
        *(("/invocations", body) for body in WRONG_INVOCATIONS),
        *(("/v1/responses", body) for body in WRONG_RESPONSES),
        ("/v1/embeddings", {"input": "a", "encoding_format": "int8"}),
        ("/v1/embeddings", {"input": "a", "dimensions": 5}),
        ("/v1/embeddings", {"input": ["a"] * 2049}),
    ]


FUNCTION = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
WRONG_TOOLS: list[dict[str, Any]] = [
    {"tools": 5}, {"tools": {}}, {"tools": [5]}, {"tools": [{}]}, {"tools": [FUNCTION] * 129},
    {"tools": [{"type": 5}]}, {"tools": [{"type": "function", "function": {}}]},
    {"tools": [{"type": "function", "function": {"name": ""}}]}, {"tool_choice": "maybe"},
    {"tool_choice": 5}, {"parallel_tool_calls": "yes"}, {"response_format": "json"},
    {"response_format": {}}, {"response_format": {"type": 5}},
    {"response_format": {"type": "json_schema", "json_schema": []}},
    {"response_format": {"type": "json_schema", "json_schema": {"schema": 5}}},
]  # fmt: skip
VALID_TOOLS: list[dict[str, Any]] = [
    {"tools": None}, {"tools": []}, {"tools": [FUNCTION], "tool_choice": "required"},
    {"tools": [{"type": "custom", "custom": {"name": "f"}}]}, {"parallel_tool_calls": False},
    {"tools": [FUNCTION], "tool_choice": {"type": "function", "function": {"name": "f"}}},
    {"response_format": {"type": "json_object"}}, {"response_format": {"type": "structural_tag"}},
    {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}}}},
]  # fmt: skip

IMAGE = {"type": "image_url", "image_url": {"url": "data:,"}}
TOOL_CALL = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
VALID_OPENAI: list[dict[str, Any]] = [
    {}, {"model": "m"}, {"model": None}, {"user": "u"}, {"user": None}, {"metadata": {"a": 1}},
    {"store": True}, {"safety_identifier": "s"}, {"logprobs": None}, {"logprobs": False},
    {"logprobs": 0}, {"tools": []}, {"tool_choice": "none"}, {"logit_bias": {}}, {"echo": False},
    {"best_of": 1}, {"suffix": ""}, {"response_format": {"type": "text"}},
    {"service_tier": "auto"}, {"parallel_tool_calls": False},
]  # fmt: skip
VALID_GENERATION: list[dict[str, Any]] = [
    *VALID_OPENAI, {"n": 1}, {"n": None}, {"n": 64}, {"stop": "a"}, {"stop": ["a", "b"]},
    {"stop": []}, {"stop": None}, {"stream": False}, {"stream": None}, {"stream": True},
    {"stream_options": None}, {"stream_options": {"include_usage": True}},
    {"stream_options": {"include_obfuscation": False}}, {"temperature": 1}, {"temperature": 0.5},
    {"temperature": None}, {"max_tokens": 5}, {"max_new_tokens": 5},
    {"max_completion_tokens": 5}, {"seed": -1}, {"top_k": -1},
]  # fmt: skip
VALID_MESSAGES: list[Any] = [
    HI,
    [{"role": "developer", "content": "hi", "name": "n"}],
    [{"role": "user", "content": ""}],
    [{"role": "user", "content": []}],
    [{"role": "user", "content": [{"type": "text", "text": "hi", "cache_control": {}}]}],
    [{"role": "user", "content": [{"type": "input_text", "text": "hi"}, IMAGE]}],
    [{"role": "assistant", "content": None, "tool_calls": [TOOL_CALL]}],
    [{"role": "assistant", "tool_calls": [TOOL_CALL]}],
    [{"role": "assistant", "content": "hi", "tool_calls": None}],
    [{"role": "assistant", "content": "hi", "tool_calls": []}],
    [{"role": "tool", "content": "5", "tool_call_id": "1"}],
]


FUNCTION_CALL = {"type": "function_call", "call_id": "1", "name": "f", "arguments": "{}"}
VALID_RESPONSES: list[dict[str, Any]] = [
    {"input": "a"}, {"input": HI, "instructions": "b", "model": "m"}, {"input": [FUNCTION_CALL]},
    {"input": [{"type": "function_call_output", "call_id": "1", "output": "c"}]},
    {"input": [{"type": "message", "role": "user", "content": [
        {"type": "input_text", "text": "a"}, {"type": "input_image", "image_url": "data:,"}]}]},
    {"input": "a", "max_output_tokens": 5, "temperature": 0.5, "stream": True},
    {"input": "a", "tools": [], "tool_choice": "auto", "text": {"format": {"type": "text"}}},
    {"input": "a", "store": False, "metadata": {}, "include": [], "truncation": "disabled"},
]  # fmt: skip


def valid_objects() -> list[tuple[str, dict[str, Any]]]:
    """Paths and JSON objects that a chat model with all standard parameters accepts."""
    chats = [
        *({"messages": HI, **more} for more in VALID_GENERATION),
        *({"messages": messages} for messages in VALID_MESSAGES),
    ]
    completions = [
        *({"prompt": "a", **more} for more in VALID_GENERATION),
        {"prompt": ["a", "b"]},
    ]
    embeddings = [
        *({"input": "a", **more} for more in VALID_OPENAI),
        {"input": ["a", "b"]},
        {"input": "a", "encoding_format": "base64"},
        {"input": "a", "encoding_format": None},
    ]
    rows = ["a", {"prompt": "a"}, {"prompt": "a", "stop": None, "temperature": 0}]
    return [
        ("/", {"prompt": "a"}),
        ("/", {"prompt": "a", "stop": ["b"], "temperature": 1}),
        ("/", {"prompt": "a", "stop": None, "temperature": None}),
        *((path, body) for path in ("/", "/invocations", "/v1/chat/completions") for body in chats),
        *((path, body) for path in ("/invocations", "/v1/completions") for body in completions),
        *((path, body) for path in ("/", "/invocations", "/v1/embeddings") for body in embeddings),
        *(("/v1/responses", body) for body in VALID_RESPONSES),
        *(("/invocations", {form: rows}) for form in ("instances", "inputs", "dataframe_records")),
        ("/invocations", {"inputs": "a", "params": None}),
        ("/invocations", {"inputs": {"prompt": ["a", "b"]}, "params": {"stop": ["x"], "seed": 1}}),
        ("/invocations", {"dataframe_split": {"columns": ["prompt"], "data": [["a"]]}}),
    ]


class Everything:
    """An engine with all standard parameters: only the validation rejects requests."""

    def __init__(self) -> None:
        engine = CallableEngine(lambda prompt, **params: prompt)
        self.parameters, self.generate, self.stream = (
            engine.parameters,
            engine.generate,
            engine.stream,
        )

    def embed(self, texts: Sequence[str], context: RequestContext) -> EmbeddingResult:
        return EmbeddingResult([[1.0] for _ in texts])
