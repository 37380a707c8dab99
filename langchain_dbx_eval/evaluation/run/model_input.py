"""The input of each kind of model, for the request of a record in any documented form.

A conversation may be written as a string, a list of messages, ``{"messages": [...]}``,
``{"input": [...]}`` (the Responses API), ``{"query": …, "history": [...]}`` or
``{"question": …}``. A model that takes another one of these forms receives the same conversation
in its own form; the other keys of the request are kept.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import (
    BaseMessage,
    HumanMessage,
    convert_to_messages,
    convert_to_openai_messages,
)
from langchain_core.runnables import Runnable

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.wire.tasks import RESPONSES, chat_codec

__all__ = [
    "ChatInput",
    "ToInput",
    "call_with",
    "function_input",
    "pyfunc_input",
    "runnable_input",
    "schema_input",
]

ToInput = Callable[[Any], Any]
"""Returns a model's input for the request of a record."""

_QUESTION_KEYS = ("question", "query", "input", "prompt", "request")


@dataclass(frozen=True)
class ChatInput:
    """The input of a LangChain chat model.

    Attributes:
        value: A string, or messages.
        params: The other keys of the request: keyword arguments of `invoke`, such as
            ``temperature`` or an agent's ``custom_inputs``.
    """

    value: str | list[BaseMessage]
    params: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class _Conversation:
    """A parsed request.

    Attributes:
        messages: The messages, as dicts or as LangChain's objects.
        others: The other keys of the request.
    """

    messages: list[Any]
    others: dict[str, Any] = field(default_factory=dict)

    @property
    def text(self) -> str | None:
        """The text of the only message, if it is one of the user."""
        if len(self.messages) != 1:
            return None
        message = self.messages[0]
        if isinstance(message, BaseMessage):
            return message.text if isinstance(message, HumanMessage) else None
        content = message.get("content") if message.get("role") == "user" else None
        return content if isinstance(content, str) else None

    def to_langchain(self) -> list[BaseMessage]:
        return [message for item in self.messages for message in _to_langchain(item)]

    def to_dicts(self) -> list[Any]:
        return [_to_openai(m) if isinstance(m, BaseMessage) else m for m in self.messages]


def runnable_input(model: Runnable[Any, Any]) -> ToInput:
    """Return how requests become the input of a Runnable.

    A chat model, or a chain that begins with one, receives the conversation. A Runnable with a
    field ``messages`` in its input schema receives it there, unless the keys of the request are
    fields of the schema. Any other Runnable receives the request unchanged.
    """
    if _input_type(model) == _CHAT_INPUT:
        return _chat_model_input
    fields = _schema_fields(model)

    def to_state(request: Any) -> Any:
        conversation = _parse(request)
        if conversation is None or (isinstance(request, dict) and request.keys() <= fields):
            return request
        return {"messages": conversation.to_langchain(), **conversation.others}

    return to_state if "messages" in fields else _unchanged


def function_input(request: Any) -> Any:
    """Return the input of a function: ``{"messages": [...]}`` for a string or a list of messages.

    Any other request is its own input.
    """
    if isinstance(request, dict):
        return request
    conversation = _parse(request)
    return request if conversation is None else {"messages": conversation.to_dicts()}


def pyfunc_input(model: Any) -> ToInput:
    """Return how requests become the input of a loaded pyfunc model, by its signature.

    Args:
        model: An `mlflow.pyfunc.PyFuncModel`. One without a signature receives what a function
            receives.
    """
    # MLflow's wrapper of a function, which an evaluator of MLflow receives, has no metadata.
    metadata = getattr(model, "metadata", None)
    schema = None if metadata is None else metadata.get_input_schema()
    return function_input if schema is None else schema_input(schema)


def schema_input(schema: Any) -> ToInput:
    """Return how requests become the input of a logged model.

    Args:
        schema: The `mlflow.types.Schema` of its inputs. Without column names, the model takes a
            list, and the schema is that of an item.
    """
    if schema.has_input_names():
        columns = schema.input_dict()
        types = {name: column.type for name, column in columns.items()}
        required = [name for name, column in columns.items() if column.required]
        return lambda request: _to_columns(request, types, required)
    if schema.is_tensor_spec():
        return _unchanged
    properties = getattr(schema.inputs[0].type, "properties", None)
    if properties is None:
        return lambda request: [_text_or_unchanged(request)]
    types = {item.name: item.dtype for item in properties}
    required = [item.name for item in properties if item.required]
    return lambda request: [_to_columns(request, types, required)]


def call_with(function: Callable[..., Any]) -> Callable[[Any], Any]:
    """Return a function of one argument, which it passes by keyword where it fits.

    A dict is passed as keyword arguments if its keys fit the signature, defaults and ``**kwargs``
    included; anything else, and a dict that does not fit, as one argument.
    """
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # builtins have no signature
        return function

    def fits(value: Mapping[str, Any]) -> bool:
        try:
            signature.bind(**value)
        except TypeError:
            return False
        return True

    def call(value: Any) -> Any:
        # Not within `except`: the exceptions of the function would have a second traceback.
        if isinstance(value, dict) and value and fits(value):
            return function(**value)
        return function(value)

    # An object's `__call__` may be a coroutine function too.
    if not any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None)))):  # noqa: B004
        return call

    async def call_async(value: Any) -> Any:
        return await call(value)

    return call_async


def _chat_model_input(request: Any) -> ChatInput:
    conversation = _parse(request)
    if conversation is None:
        msg = (
            f"The request {str(request)[:200]!r} cannot be sent to a chat model. Expected a "
            "string, messages (a list, or under 'messages' or 'input'), {'query', 'history'} or "
            "{'question'}; or pass input_fn=, which returns the model's input."
        )
        raise ConfigurationError(msg)
    # A text model would prefix the text of a message with its role.
    value = conversation.text or conversation.to_langchain()
    return ChatInput(value, conversation.others)


def _to_columns(request: Any, types: Mapping[str, Any], required: list[str]) -> Any:
    """Return a request as the named inputs of a logged model."""
    if isinstance(request, dict) and request.keys() >= set(required):
        return request
    conversation = _parse(request)
    if conversation is None:
        return request
    others, text = conversation.others, conversation.text
    if "messages" in types:
        return {"messages": conversation.to_dicts(), **others}
    if type(types.get("input")).__name__ == "Array":
        return chat_codec(RESPONSES).encode(conversation.to_langchain(), others)
    if {"query", "history"} <= types.keys():
        *history, last = conversation.to_dicts()
        return {"query": last["content"], "history": history, **others}
    if text is not None and len(required) == 1:
        return {required[0]: text, **others}
    return request


def _text_or_unchanged(request: Any) -> Any:
    conversation = _parse(request)
    if conversation is None or conversation.text is None or conversation.others:
        return request
    return conversation.text


def _parse(request: Any) -> _Conversation | None:
    """Parse a request; None if it is not a conversation."""
    if isinstance(request, str):
        return _Conversation([_user(request)])
    if _are_messages(request):
        return _Conversation(list(request))
    if not isinstance(request, dict):
        return None
    for key in ("messages", "input"):
        if _are_messages(request.get(key)):
            return _Conversation(list(request[key]), _without(request, key))
    query, history = request.get("query"), request.get("history")
    if isinstance(query, str) and (history == [] or _are_messages(history)):
        messages = [*history, _user(query)] if history else [_user(query)]
        return _Conversation(messages, _without(request, "query", "history"))
    only_key = [*request] if len(request) == 1 else []
    for key in (*_QUESTION_KEYS, *only_key):
        if isinstance(text := request.get(key), str):
            return _Conversation([_user(text)], _without(request, key))
    return None


def _are_messages(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 0 and all(map(_is_message, value))


def _is_message(value: Any) -> bool:
    """Whether a value is a message, or an item of the Responses API such as a function call."""
    if isinstance(value, BaseMessage):
        return True
    if not isinstance(value, dict):
        return False
    return ("role" in value and ("content" in value or "tool_calls" in value)) or (
        isinstance(value.get("type"), str) and bool(value.keys() & {"call_id", "id", "content"})
    )


def _user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def _without(request: dict[str, Any], *keys: str) -> dict[str, Any]:
    return {key: value for key, value in request.items() if key not in keys}


def _to_langchain(message: Any) -> list[BaseMessage]:
    if isinstance(message, dict):
        if "role" not in message and message.get("type") not in ("human", "ai", "system", "tool"):
            # An item of the Responses API, which its codec sends unchanged.
            return [HumanMessage([message])]
        message = {"content": "", **(_without(message, "type") if "role" in message else message)}
        if isinstance(message["content"], list):
            message["content"] = [_to_langchain_part(part) for part in message["content"]]
    return convert_to_messages([message])


def _to_langchain_part(part: Any) -> Any:
    """Return a content part of the Responses API as one of LangChain; others unchanged."""
    if isinstance(part, dict) and part.get("type") in ("input_text", "output_text"):
        return {"type": "text", "text": part.get("text")}
    return part


def _to_openai(message: BaseMessage) -> Any:
    return convert_to_openai_messages(message)


def _unchanged(request: Any) -> Any:
    return request


# All chat and text models declare this type, and all that wraps one or begins with one has it.
_CHAT_INPUT = BaseChatModel.InputType.fget(None)  # type: ignore[attr-defined]


def _input_type(model: Runnable[Any, Any]) -> Any:
    try:
        return model.InputType
    except Exception:  # a Runnable without a declared type
        return None


def _schema_fields(model: Runnable[Any, Any]) -> frozenset[str]:
    try:
        schema = model.get_input_jsonschema()
    except Exception:  # a custom type without a JSON schema
        return frozenset()
    # A named type is in the definitions, and the schema refers to it.
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return frozenset(schema.get("$defs", {}).get(name, schema).get("properties", {}))
