"""Backends of endpoints: an engine of the driver server, or a plain function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Mapping
from typing import Any, Protocol

from langchain_dbx_eval.driver.engines.base import Engine, GenerationRequest
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.testing.errors import invalid_parameter, unknown_field
from langchain_dbx_eval.testing.serving.text import message_text

__all__ = ["Backend", "as_backend", "parse_stop"]


class Backend(Protocol):
    """The model behind an endpoint."""

    def invoke(
        self,
        inputs: Any,
        params: Mapping[str, Any],
        *,
        known: Container[str] | None = None,
        ignorable: Container[str] = (),
    ) -> Any:
        """Invoke the model once.

        Args:
            inputs: A prompt, a list of messages or a list of texts.
            params: Further request fields by name.
            known: The names that a function's ``**kwargs`` accept; None: all. A function also
                accepts the names in its signature, an engine its own parameters.
            ignorable: Names in `params` that are dropped if the model does not accept them.

        Raises:
            ApiError: The model does not accept another one of `params`.
        """
        ...


class _FunctionBackend:
    """A function that is called with the request fields in its signature."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._first, self._names, self._has_rest = _keywords(function)

    def invoke(
        self,
        inputs: Any,
        params: Mapping[str, Any],
        *,
        known: Container[str] | None = None,
        ignorable: Container[str] = (),
    ) -> Any:
        def accepts(name: str) -> bool:
            is_rest = self._has_rest and name != self._first
            return name in self._names or (is_rest and (known is None or name in known))

        return self._function(inputs, **_select(params, accepts, ignorable))


class _EngineBackend:
    """An engine that is called with its allowed parameters."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def invoke(
        self,
        inputs: Any,
        params: Mapping[str, Any],
        *,
        known: Container[str] | None = None,  # noqa: ARG002 - an engine has parameters of its own
        ignorable: Container[str] = (),
    ) -> Any:
        rest = {name: value for name, value in params.items() if name != "stop"}
        request = GenerationRequest(
            prompt=inputs if isinstance(inputs, str) else _last_user_text(inputs),
            stop=parse_stop(params.get("stop")),
            params=_select(rest, self._engine.parameters.__contains__, ignorable),
        )
        return self._engine.generate(request)


def as_backend(backend: Engine | Callable[..., Any], *, function_only: bool) -> Backend:
    """Return the backend for an argument of `LocalWorkspace.add_endpoint`.

    Args:
        backend: An engine or a function.
        function_only: Whether an engine is an error.

    Raises:
        ConfigurationError: `backend` is neither, or an engine where a function is required.
    """
    if isinstance(backend, Engine):
        if function_only:
            msg = "An embeddings endpoint requires a function fn(texts) -> vectors, not an engine."
            raise ConfigurationError(msg)
        return _EngineBackend(backend)
    if callable(backend):
        return _FunctionBackend(backend)
    msg = f"The backend must be an engine or a function, not {type(backend).__name__}."
    raise ConfigurationError(msg)


def parse_stop(value: Any) -> tuple[str, ...]:
    """Return the stop strings of a request: `stop` may be absent, a string or a list.

    Raises:
        ApiError: `value` has another type.
    """
    if value is None:
        return ()
    strings = [value] if isinstance(value, str) else value
    if isinstance(strings, list) and all(isinstance(one, str) and one for one in strings):
        return tuple(strings)
    raise invalid_parameter("'stop' must be a non-empty string or a list of them.")


def _select(
    params: Mapping[str, Any], accepts: Callable[[str], bool], ignorable: Container[str]
) -> dict[str, Any]:
    for name in params:
        if not accepts(name) and name not in ignorable:
            raise unknown_field(name)
    return {name: value for name, value in params.items() if accepts(name)}


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return message_text(message)
    raise invalid_parameter("The conversation has no message of the user.")


def _keywords(function: Callable[..., Any]) -> tuple[str, frozenset[str], bool]:
    """Return the first argument's name, those of the others, and whether it takes ``**kwargs``."""
    try:
        first, *rest = inspect.signature(function).parameters.values()
    except ValueError as error:
        msg = "An endpoint's function must accept at least one argument and have a signature."
        raise ConfigurationError(msg) from error
    has_rest = any(parameter.kind is parameter.VAR_KEYWORD for parameter in rest)
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = frozenset(parameter.name for parameter in rest if parameter.kind in by_name)
    return first.name, names, has_rest
