"""The hooks `transform_input_fn` and `transform_output_fn`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_dbx_eval._internal.imports import load_object
from langchain_dbx_eval.errors import ConfigurationError, TransformError

__all__ = ["Hook", "apply_input_hook", "call_hook", "display_name", "hook_id"]

Hook = Callable[..., Any] | str
"""A function, or its import string ``"package.module:function"``."""


def apply_input_hook(hook: Hook, request: dict[str, Any]) -> dict[str, Any]:
    """Apply a `transform_input_fn` to a request body.

    Args:
        hook: Called as ``hook(**request)``.
        request: The JSON body that is about to be sent.

    Returns:
        The body to send instead.

    Raises:
        ConfigurationError: The hook cannot be imported.
        TransformError: The hook raised, or did not return a dict.
    """
    transformed = call_hook("transform_input_fn", hook, **request)
    if not isinstance(transformed, dict):
        msg = (
            f"transform_input_fn {display_name(hook)} returned {type(transformed).__name__}, not a "
            "dict. It must return the request to send."
        )
        raise TransformError(msg)
    return transformed


def call_hook(parameter: str, hook: Hook, /, *args: Any, **kwargs: Any) -> Any:
    """Call a hook and return its result.

    Args:
        parameter: ``transform_input_fn`` or ``transform_output_fn``, for messages.
        hook: The hook.
        *args: Its arguments.
        **kwargs: Its keyword arguments.

    Raises:
        ConfigurationError: The hook cannot be imported, or is not a function.
        TransformError: The hook raised.
    """
    function = load_object(hook) if isinstance(hook, str) else hook
    if not callable(function):
        msg = f"{parameter} {hook!r} is not a function but a {type(function).__name__}."
        raise ConfigurationError(msg)
    try:
        return function(*args, **kwargs)
    except Exception as error:
        msg = f"{parameter} {display_name(hook)} raised {type(error).__name__}: {error}"
        raise TransformError(msg) from error


def hook_id(hook: Hook) -> str:
    """Return an identifier of a hook for cache keys: its import string or qualified name."""
    if isinstance(hook, str):
        return hook
    name = getattr(hook, "__qualname__", type(hook).__qualname__)
    # Lambdas and functions defined in a function share their qualified names.
    suffix = f"#{id(hook):x}" if "<" in name or not hasattr(hook, "__qualname__") else ""
    return f"{getattr(hook, '__module__', '')}:{name}{suffix}"


def display_name(hook: Hook) -> str:
    """Return the name of a hook for error messages."""
    return repr(hook if isinstance(hook, str) else getattr(hook, "__qualname__", hook))
