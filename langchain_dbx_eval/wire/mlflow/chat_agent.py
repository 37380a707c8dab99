"""MLflow's ChatAgent.

Protocol: MLflow 3.17's `mlflow.types.agent` and `mlflow.pyfunc.ChatAgent`, as endpoints of task
``agent/v2/chat`` implement it. Endpoints of task ``agent/v1/chat`` (MLflow's ChatModel) answer with
chat completions; such responses are decoded here too.

An agent returns every message of its work: its texts, its tool calls and their results. The
generated message is the last message of the assistant that has text; all messages are in
``response_metadata["messages"]``. Calls whose results are among the messages were run by the agent;
only the others are `tool_calls`. The chunks of one message of a stream share its id; the protocol
has no last event, but Databricks and MLflow's agent server end a stream with ``[DONE]``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from typing import Any

from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    BaseMessage,
    InvalidToolCall,
    ToolCall,
    ToolMessage,
)
from langchain_core.messages.ai import UsageMetadata, add_usage
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from typing_extensions import override

from langchain_dbx_eval.errors import InvalidRequestError, ServerError
from langchain_dbx_eval.wire.content.blocks import blocks_of, is_not_content, plain_text
from langchain_dbx_eval.wire.metadata import (
    AGENT_FIELDS,
    PROVIDER,
    decode_usage,
    is_provider_id,
    llm_output,
    response_metadata,
)
from langchain_dbx_eval.wire.openai import chat
from langchain_dbx_eval.wire.tasks import ChatCodec
from langchain_dbx_eval.wire.tool_calls import (
    call_chunk,
    decode_call,
    encode_calls,
    encoded_calls,
    split_calls,
)
from langchain_dbx_eval.wire.validate import (
    error_text,
    expect_dict,
    expect_list,
    expect_text,
    parse_event,
    wrong_shape,
)

__all__ = ["CODEC", "Stream", "decode", "encode"]

# Parameters of other chat protocols that this one does not have.
_UNSUPPORTED = frozenset(
    {
        "frequency_penalty",
        "logit_bias",
        "logprobs",
        "max_completion_tokens",
        "max_output_tokens",
        "max_tokens",
        "parallel_tool_calls",
        "presence_penalty",
        "reasoning_effort",
        "response_format",
        "seed",
        "stop",
        "temperature",
        "tool_choice",
        "tools",
        "top_k",
        "top_logprobs",
        "top_p",
    }
)


def encode(messages: Sequence[BaseMessage], params: dict[str, Any]) -> dict[str, Any]:
    """Return the body of a ChatAgent request.

    Args:
        messages: The conversation; not changed. Reasoning is omitted.
        params: Everything else in the body: ``custom_inputs``, ``context`` (``conversation_id``,
            ``user_id``), ``stream``, and fields that the endpoint adds to the protocol.

    Returns:
        ``{"messages": [...], **params}``.

    Raises:
        InvalidRequestError: A message contains more than text or has no role, or the protocol does
            not support a parameter; the error names it, and an alternative.
    """
    body = {key: value for key, value in params.items() if key != "stream_options"}
    if body.get("n") in (None, 1):
        body.pop("n", None)
    unsupported = sorted(key for key in (*_UNSUPPORTED, "n") if body.get(key) not in (None, []))
    if unsupported:
        msg = (
            f"A ChatAgent endpoint has no parameter {', '.join(map(repr, unsupported))}: the agent "
            "decides this itself. Leave it out; if this agent supports it, pass it in "
            "'custom_inputs'."
        )
        raise InvalidRequestError(msg)
    names = {
        call["id"]: call["name"]
        for message in messages
        if isinstance(message, AIMessage)
        for call in (*message.tool_calls, *message.invalid_tool_calls)
    }
    encoded = [_encode_message(message, names) for message in messages]
    return {"messages": encoded, **{k: v for k, v in body.items() if k not in _UNSUPPORTED}}


def decode(payload: Any) -> ChatResult:
    """Decode the response of a ChatAgent.

    Args:
        payload: The decoded JSON: ``{"messages": [...]}``, or a chat completion.

    Returns:
        One generation (see the module for its message); its ``finish_reason`` is the response's,
        else ``tool_calls`` or ``stop``.

    Raises:
        ServerError: The agent reported an error.
        InvalidResponseError: The payload is of another shape, or has no message of the assistant.
    """
    response = expect_dict(payload)
    if response.get("choices") is not None:
        return chat.decode(response)
    if response.get("error") or "error_code" in response:
        msg = f"The agent failed to answer: {error_text(response)}"
        raise ServerError(msg)
    messages = [expect_dict(m, "objects in 'messages'") for m in expect_list(response, "messages")]
    message = _last_answer(messages)
    calls, invalid = split_calls(_pending_calls(messages))
    own = {"custom_outputs": message.get("custom_outputs")}  # some agents write them here
    metadata = response_metadata({**own, **response}, AGENT_FIELDS)
    metadata["messages"] = messages
    reason = _finish_reason(response.get("finish_reason"), has_calls=bool(calls or invalid))
    name, message_id, attachments = (message.get(key) for key in ("name", "id", "attachments"))
    generated = AIMessage(
        content=message.get("content") or "",
        name=name if isinstance(name, str) else None,
        tool_calls=calls,
        invalid_tool_calls=invalid,
        additional_kwargs={"attachments": attachments} if isinstance(attachments, dict) else {},
        usage_metadata=decode_usage(response.get("usage")),
        response_metadata={**metadata, "finish_reason": reason},
        id=message_id if isinstance(message_id, str) else None,
    )
    generation = ChatGeneration(message=generated, generation_info={"finish_reason": reason})
    return ChatResult(generations=[generation], llm_output=llm_output(metadata, response))


class Stream(chat.Stream):
    """Reader of the events of one streamed response.

    Every text of the assistant is returned as it arrives, because only the end shows which is the
    last: text before a tool call is part of the stream, with an empty line after it. All messages
    are in the last chunk's ``response_metadata["messages"]``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._has_choices = False  # whether the agent streams chat completions
        self._messages: list[dict[str, Any]] = []
        self._last_with_text: dict[str, Any] | None = None
        self._metadata: dict[str, Any] = {}
        self._usages: dict[str, UsageMetadata] = {}
        self._reason: Any = None

    @override
    def _decode(self, data: str) -> ChatGenerationChunk | None:
        event = parse_event(data)
        has_choices = event.get("choices") is not None
        if self._has_choices or (has_choices and not self._messages):
            self._has_choices = True
            return super()._decode(data)
        if event.get("error") or "error_code" in event:
            raise self.failed(error_text(event))
        self._metadata |= {key: event[key] for key in AGENT_FIELDS if event.get(key) is not None}
        if "delta" not in event:
            if not event.keys() & {*AGENT_FIELDS, "usage"}:
                raise wrong_shape("a 'delta' in its events", event)
            self._add_usage("", event)
            return None
        return self._decode_delta(expect_dict(event["delta"], "an object under 'delta'"), event)

    @override
    def _last_chunk(self) -> ChatGenerationChunk:
        if self._has_choices:
            return super()._last_chunk()
        calls = _pending_calls(self._messages)
        reason = _finish_reason(self._reason, has_calls=bool(calls))
        message = AIMessageChunk(
            content="",
            tool_call_chunks=[call_chunk(call, index) for index, call in enumerate(calls)],
            usage_metadata=reduce(add_usage, self._usages.values(), None),
            response_metadata={
                **response_metadata(self._metadata, AGENT_FIELDS),
                "messages": self._messages,
                "finish_reason": reason,
            },
            chunk_position="last",
        )
        return ChatGenerationChunk(message=message, generation_info={"finish_reason": reason})

    def _decode_delta(
        self, delta: dict[str, Any], event: dict[str, Any]
    ) -> ChatGenerationChunk | None:
        content = delta.get("content")
        if not isinstance(content, str | None):
            raise wrong_shape("text under 'content' in its deltas", event)
        reason = event.get("finish_reason")
        self._reason = reason or self._reason
        if delta.get("custom_outputs") is not None:
            self._metadata["custom_outputs"] = delta["custom_outputs"]
        # An agent may finish one message and start another.
        self.finished = bool(reason)
        message = self._add_delta(delta)
        self.started = True
        self._add_usage(str(message.get("id")), event)
        if delta.get("role", message.get("role")) != "assistant" or not content:
            return None
        # Compared with the last message that has text, not with the last delta: a delta without
        # text may separate two pieces of one message.
        is_new = self._last_with_text is not None and self._last_with_text is not message
        text = f"\n\n{content}" if is_new else content
        self._last_with_text = message
        self._texts.append(text)
        ids = (m.get("id") for m in self._messages if m.get("role") == "assistant")
        first_id = next(ids, None)
        return ChatGenerationChunk(
            message=AIMessageChunk(
                content=text,
                id=first_id if isinstance(first_id, str) else None,
                response_metadata={"model_provider": PROVIDER},
            )
        )

    def _add_delta(self, delta: dict[str, Any]) -> dict[str, Any]:
        """Return the message of a delta, with the delta added."""
        encoded_calls(delta)  # malformed calls raise now, not at the end
        last = self._messages[-1] if self._messages else {}
        same_role = delta.get("role", last.get("role")) == last.get("role")
        if not self._messages or delta.get("id") != last.get("id") or not same_role:
            self._messages.append(dict(delta))
            return self._messages[-1]
        if delta.get("content"):
            last["content"] = (last.get("content") or "") + delta["content"]
        if delta.get("tool_calls"):
            last["tool_calls"] = [*(last.get("tool_calls") or ()), *delta["tool_calls"]]
        for key, value in delta.items():
            if key not in ("content", "tool_calls") and value is not None:
                last[key] = value
        return last

    def _add_usage(self, message_id: str, event: dict[str, Any]) -> None:
        # Of one message, the last counts are kept: agents forward those of their model, which grow
        # from chunk to chunk. Different messages come from different calls of the model.
        if usage := decode_usage(event.get("usage")):
            self._usages[message_id] = usage


CODEC = ChatCodec(encode=encode, decode=decode, stream=Stream)


def _encode_message(message: BaseMessage, names: Mapping[Any, str | None]) -> dict[str, Any]:
    encoded: dict[str, Any] = {
        "role": chat.role_of(message, "a ChatAgent"),
        "content": _text(message),
    }
    if message.name:
        encoded["name"] = message.name
    if isinstance(message, ToolMessage):
        # MLflow rejects a tool message without a name, and LangChain seldom sets one.
        encoded.setdefault("name", names.get(message.tool_call_id) or "tool")
        encoded["tool_call_id"] = message.tool_call_id
    if isinstance(message, AIMessage):
        if is_provider_id(message.id):
            encoded["id"] = message.id
        if calls := encode_calls(message):
            encoded["tool_calls"] = calls
    if isinstance(attachments := message.additional_kwargs.get("attachments"), Mapping):
        encoded["attachments"] = dict(attachments)
    return encoded


def _text(message: BaseMessage) -> str:
    texts = []
    for block in blocks_of(message.content):
        if is_not_content(block) or block["type"] in ("reasoning", "thinking"):
            continue
        text = plain_text(block)
        if text is None:
            msg = (
                f"A ChatAgent accepts text only, so a content block of type {block['type']!r} "
                "cannot be sent. Remove it, or use a ResponsesAgent or a chat endpoint."
            )
            raise InvalidRequestError(msg)
        texts.append(text)
    return "\n".join(texts)


def _last_answer(messages: list[dict[str, Any]]) -> dict[str, Any]:
    """Return the assistant's last message that has text, else its last message."""
    answers = [message for message in messages if message.get("role") == "assistant"]
    if not answers:
        raise wrong_shape("a message of the assistant under 'messages'", messages)
    for message in answers:
        if not isinstance(message.get("content"), str | None):
            raise wrong_shape("text under 'content' in its messages", message)
    return next((m for m in reversed(answers) if m.get("content")), answers[-1])


def _pending_calls(messages: Iterable[Mapping[str, Any]]) -> list[ToolCall | InvalidToolCall]:
    """Return the calls among an agent's messages that have no result.

    Raises:
        InvalidResponseError: A call is malformed.
    """
    calls: dict[str, ToolCall | InvalidToolCall] = {}
    with_result = []
    for message in messages:
        with_result.append(message.get("tool_call_id"))
        for raw in encoded_calls(message):
            expect_text(raw["function"], "name")
            call_id = expect_text(raw, "id")
            calls[call_id] = decode_call(raw["function"], call_id)
    return [call for call in calls.values() if call["id"] not in with_result]


def _finish_reason(given: Any, *, has_calls: bool) -> str:
    """Return the finish reason of a response; default: ``tool_calls`` or ``stop``."""
    return given if isinstance(given, str) and given else "tool_calls" if has_calls else "stop"
