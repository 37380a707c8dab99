"""A hash of models and scorers, by which a change between two processes is noticed.

Code, prompts and settings are part of it; addresses, secrets, clients and caches are not. Of an
object of a class that is not handled here only the class is part of it, so a change inside such an
object goes unnoticed.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence, Set
from enum import Enum
from pathlib import PurePath
from types import CodeType, FunctionType, MethodType
from typing import Any

from langchain_core.runnables import Runnable
from pydantic import BaseModel, SecretBytes, SecretStr

__all__ = ["fingerprint"]

_MAX_DEPTH = 12
_LENGTH = 16
# Fields of LangChain components that do not affect their answers.
_EXCLUDED = {"callbacks", "callback_manager", "verbose", "metadata", "tags", "cache", "client"}


def fingerprint(*parts: Any) -> str:
    """Return the fingerprint of chains, functions, scorers or plain values.

    Args:
        parts: The objects that together are the identity.

    Returns:
        16 hexadecimal digits, the same in every process for the same code and settings.
    """
    described = [_describe(part, 0, ()) for part in parts]
    text = json.dumps(described, sort_keys=True, default=str)
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_LENGTH]


def _describe(value: Any, depth: int, ancestors: tuple[int, ...]) -> Any:
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, SecretStr | SecretBytes):
        return None
    if depth > _MAX_DEPTH or id(value) in ancestors:
        return _class_name(value)
    ancestors = (*ancestors, id(value))

    def inner(part: Any) -> Any:
        return _describe(part, depth + 1, ancestors)

    if isinstance(value, Mapping):
        return {str(key): inner(item) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray):
        return [inner(item) for item in value]
    if isinstance(value, Set):
        return sorted(json.dumps(inner(item), sort_keys=True, default=str) for item in value)
    if isinstance(value, PurePath | Enum):
        return str(value)
    return [_class_name(value), {name: inner(part) for name, part in _parts(value).items()}]


def _parts(value: Any) -> dict[str, Any]:
    """Return the parts of an object's identity by name; none if only its class is known."""
    if isinstance(value, MethodType):
        return {"function": value.__func__, "self": value.__self__}
    if isinstance(value, FunctionType):
        return _function_parts(value)
    if isinstance(value, functools.partial):
        return {"function": value.func, "args": value.args, "keywords": value.keywords}
    if isinstance(value, type):
        return {"name": f"{value.__module__}.{value.__qualname__}"}
    if isinstance(value, BaseModel):
        fields = type(value).model_fields
        return {
            name: getattr(value, name, None)
            for name, field in fields.items()
            if name not in _EXCLUDED and not field.exclude
        }
    if dataclasses.is_dataclass(value):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    return _duck_typed_parts(value)


def _duck_typed_parts(value: Any) -> dict[str, Any]:
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
    if hasattr(value, "identity"):  # see `JudgeBackend.identity`
        return {"identity": value.identity}
    if hasattr(value, "model_uuid") or hasattr(value, "model_id"):
        return {"model": getattr(value, "model_id", None) or getattr(value, "model_uuid", None)}
    if type(value).__module__.startswith("mlflow.pyfunc"):
        return {"metadata": getattr(value, "metadata", None)}
    return {}


def _function_parts(function: FunctionType) -> dict[str, Any]:
    parts: dict[str, Any] = {
        "name": function.__qualname__,
        "code": _code(function.__code__),
        "defaults": function.__defaults__,
    }
    # The values of a closure: a function that another function returns has the same code each time.
    for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=True):
        try:
            parts[name] = cell.cell_contents
        except ValueError:  # an empty cell
            continue
    return parts


def _code(code: CodeType) -> list[Any]:
    """Return the instructions of a function, without its position in the file."""
    constants = [
        _code(constant) if isinstance(constant, CodeType) else repr(constant)
        for constant in code.co_consts
        if not isinstance(constant, frozenset)
    ]
    return [code.co_code.hex(), constants, list(code.co_names)]


def _class_name(value: Any) -> str:
    cls = value if isinstance(value, type) else type(value)
    return f"{cls.__module__}.{cls.__qualname__}"
