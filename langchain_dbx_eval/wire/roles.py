"""The role of a message in chat formats."""

from __future__ import annotations

from langchain_core.messages import (
    AIMessage,
    BaseMessage,
    ChatMessage,
    FunctionMessage,
    HumanMessage,
    SystemMessage,
    ToolMessage,
)

from langchain_dbx_eval.errors import InvalidRequestError

__all__ = ["role_of"]

_ROLES = (
    (HumanMessage, "user"),
    (AIMessage, "assistant"),
    (SystemMessage, "system"),
    (ToolMessage, "tool"),
)


def role_of(message: BaseMessage, receiver: str) -> str:
    """Return the role of a message; of a `ChatMessage`, its own.

    Args:
        message: The message.
        receiver: Where it is sent, for messages, such as ``"a chat endpoint"``.

    Raises:
        InvalidRequestError: There is no role for this type of message.
    """
    if isinstance(message, ChatMessage):
        return message.role
    for message_type, role in _ROLES:
        if isinstance(message, message_type):
            return role
    hint = " Use a ToolMessage." if isinstance(message, FunctionMessage) else ""
    msg = f"A {type(message).__name__} cannot be sent to {receiver}, which has no role for it."
    raise InvalidRequestError(msg + hint)
