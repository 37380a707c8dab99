"""`transform_input_fn` and `transform_output_fn`: found by name, called, and blamed by name."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError, TransformError

__all__ = [
    "Hook",
    "apply_input_hook",
    "apply_output_hook",
    "load_hook",
    "name_of_hook",
    "show_hook",
]

Hook = Callable[..., Any] | str
"""A function, or where to import it from: ``"package.module:function"``."""


def load_hook(hook: Hook) -> Callable[..., Any]:
    """Find a hook.

    Args:
        hook: The function itself, or its import string.

    Raises:
        ConfigurationError: There is no such function.
    """
    if not isinstance(hook, str):
        return hook
    module_name, colon, attribute = hook.partition(":")
    if not (module_name and colon and attribute):
        msg = f"The hook {hook!r} is not an import string. Give 'package.module:function'."
        raise ConfigurationError(msg)
    try:
        found: object = importlib.import_module(module_name)
        for part in attribute.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        msg = f"The hook {hook!r} cannot be imported: {error}."
        raise ConfigurationError(msg) from error
    if not callable(found):
        msg = f"The hook {hook!r} is not a function but a {type(found).__name__}."
        raise ConfigurationError(msg)
    return found


def apply_input_hook(hook: Hook | None, request: dict[str, Any]) -> dict[str, Any]:
    """Let a `transform_input_fn` change a request.

    Args:
        hook: Called as ``hook(**request)``; None changes nothing.
        request: The JSON body that is about to be sent.

    Returns:
        What is sent instead.

    Raises:
        TransformError: The hook raised, or returned something else than a dict.
    """
    if hook is None:
        return request
    changed = _call("transform_input_fn", load_hook(hook), **request)
    if not isinstance(changed, dict):
        msg = (
            f"transform_input_fn {show_hook(hook)} returned {type(changed).__name__}, not a dict. "
            "It must return the request to send."
        )
        raise TransformError(msg)
    return changed


def apply_output_hook(hook: Hook | None, response: Any) -> Any:
    """Let a `transform_output_fn` read an answer.

    Args:
        hook: Called as ``hook(response)``; None changes nothing.
        response: The decoded JSON of the answer, or one prediction of an MLflow model.

    Raises:
        TransformError: The hook raised.
    """
    return response if hook is None else _call("transform_output_fn", load_hook(hook), response)


def _call(role: str, hook: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
    try:
        return hook(*args, **kwargs)
    except Exception as error:
        msg = f"{role} {show_hook(hook)} raised {type(error).__name__}: {error}"
        raise TransformError(msg) from error


def name_of_hook(hook: Hook | None) -> str | None:
    """A name by which a hook can be told from another: its import string, or its own."""
    if hook is None or isinstance(hook, str):
        return hook
    name = getattr(hook, "__qualname__", type(hook).__qualname__)
    # Functions defined in a function, lambdas above all, share their names with others.
    unique = f"#{id(hook):x}" if "<" in name or not hasattr(hook, "__qualname__") else ""
    return f"{getattr(hook, '__module__', '')}:{name}{unique}"


def show_hook(hook: Hook | None) -> str:
    """A hook's name as messages show it."""
    return repr(hook if isinstance(hook, str) else getattr(hook, "__qualname__", hook))
