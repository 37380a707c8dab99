"""What a chain and its scorers are, in a few hex digits: whether they are still the same.

Code, prompts and settings count; addresses, secrets, clients and caches do not. Of an object that
is none of the kinds known here only its class counts, so a change inside it goes unnoticed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType
from typing import Any

from langchain_core.runnables import Runnable
from pydantic import BaseModel, SecretBytes, SecretStr

__all__ = ["fingerprint"]

_DEEPEST = 12
_LENGTH = 16
# What a component is told for this process only: it has no part in what it answers.
_NOT_IDENTITY = {"callbacks", "callback_manager", "verbose", "metadata", "tags", "cache", "client"}


def fingerprint(*parts: Any) -> str:
    """A fingerprint of chains, functions, scorers or plain values.

    Args:
        parts: What together makes the identity.

    Returns:
        16 hexadecimal digits, the same in every process for the same code and settings.
    """
    described = [_described(part, 0, ()) for part in parts]
    text = json.dumps(described, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def _described(value: Any, depth: int, above: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, SecretStr | SecretBytes):
        return None
    if depth > _DEEPEST or id(value) in above:
        return _class_of(value)
    above = (*above, id(value))

    def inner(part: Any) -> Any:
        return _described(part, depth + 1, above)

    if isinstance(value, Mapping):
        return {str(key): inner(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [inner(item) for item in value]
    if isinstance(value, Set):
        return sorted(json.dumps(inner(item), sort_keys=True, default=str) for item in value)
    if isinstance(value, PurePath | Enum):
        return str(value)
    return [_class_of(value), {name: inner(part) for name, part in _parts_of(value).items()}]


def _parts_of(value: Any) -> dict[str, Any]:
    """What makes an object what it is, by name; nothing where only its class is known."""
    if isinstance(value, MethodType):
        return {"function": value.__func__, "self": value.__self__}
    if isinstance(value, FunctionType):
        return _parts_of_function(value)
    if isinstance(value, functools.partial):
        return {"function": value.func, "args": value.args, "keywords": value.keywords}
    if isinstance(value, type):
        return {"name": f"{value.__module__}.{value.__qualname__}"}
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {
            name: getattr(value, name, None)
            for name, field in fields.items()
            if name not in _NOT_IDENTITY and not field.exclude
        }
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return _parts_by_protocol(value)


def _parts_by_protocol(value: Any) -> dict[str, Any]:
    if isinstance(value, Runnable):
        if hasattr(value, "builder"):  # a compiled LangGraph graph
            builder = value.builder
            return {
                "nodes": {name: node.runnable for name, node in builder.nodes.items()},
                "edges": {str(edge) for edge in builder.edges},
                "branches": {n: sorted(of_node) for n, of_node in builder.branches.items()},
            }
        names = ("func", "afunc", "runnables", "mapper", "default")
        return {name: vars(value)[name] for name in names if name in vars(value)}
    if hasattr(value, "identity"):  # who judges: see `JudgeBackend.identity`
        return {"identity": value.identity}
    if hasattr(value, "model_uuid") or hasattr(value, "model_id"):
        return {"model": getattr(value, "model_id", None) or getattr(value, "model_uuid", None)}
    if type(value).__module__.startswith("mlflow.pyfunc"):
        return {"metadata": getattr(value, "metadata", None)}
    return {}


def _parts_of_function(function: FunctionType) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "name": function.__qualname__,
        "code": _code_of(function.__code__),
        "defaults": function.__defaults__,
    }
    # A function made by another one is that code with these values.
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            parts[name] = cell.cell_contents
        except ValueError:  # not yet filled
            continue
    return parts


def _code_of(code: CodeType) -> list[Any]:
    """What a function does, wherever its lines stand in the file."""
    constants = [
        _code_of(constant) if isinstance(constant, CodeType) else repr(constant)
        for constant in code.co_consts
        if not isinstance(constant, frozenset)
    ]
    return [code.co_code.hex(), constants, list(code.co_names)]


def _class_of(value: Any) -> str:
    kind = value if inspect.isclass(value) else type(value)
    return f"{kind.__module__}.{kind.__qualname__}"
