"""How an endpoint calls what the user gave it: an engine, or a plain function."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Container, Mapping
from typing import Any, Protocol

from langchain_dbx_eval.driver.engines.base import Engine, GenerationRequest
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.testing.errors import invalid_parameter, unknown_field

__all__ = ["EngineModel", "FunctionModel", "Model", "as_model", "message_text", "stop_strings"]


class Model(Protocol):
    """What stands behind an endpoint, called once per prompt."""

    def run(self, subject: Any, params: Mapping[str, Any], *, optional: Container[str] = ()) -> Any:
        """Answer one prompt, list of messages or list of texts.

        Args:
            subject: What to answer.
            params: Further request fields, by name.
            optional: Names among `params` that may be left out where the model takes none such.

        Raises:
            Refusal: The model knows no parameter of such a name.
        """
        ...


class FunctionModel:
    """A plain function, given the request fields that its signature names."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function
        self._accepts = _acceptance(function)

    def run(self, subject: Any, params: Mapping[str, Any], *, optional: Container[str] = ()) -> Any:
        """See `Model.run`."""
        taken = {name: value for name, value in params.items() if self._accepts(name)}
        for name in params:
            if name not in taken and name not in optional:
                raise unknown_field(name)
        return self._function(subject, **taken)


class EngineModel:
    """An engine of the driver server, given the parameters of its allow-list."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine

    def run(self, subject: Any, params: Mapping[str, Any], *, optional: Container[str] = ()) -> Any:
        """See `Model.run`; of a list of messages the last one from the user is the prompt."""
        allowed = self._engine.parameters
        rest = {name: value for name, value in params.items() if name != "stop"}
        for name in rest:
            if name not in allowed and name not in optional:
                raise unknown_field(name)
        request = GenerationRequest(
            prompt=subject if isinstance(subject, str) else _last_user_text(subject),
            stop=stop_strings(params.get("stop")),
            params={name: value for name, value in rest.items() if name in allowed},
        )
        return self._engine.generate(request)


def as_model(backend: Engine | Callable[..., Any], *, texts_only: bool) -> Model:
    """What `add_endpoint` was given, as something that an endpoint can call.

    Args:
        backend: An engine or a function.
        texts_only: Whether the endpoint embeds texts, which no engine can.

    Raises:
        ConfigurationError: It is neither, or an engine where a function is needed.
    """
    if isinstance(backend, Engine):
        if texts_only:
            msg = "An embeddings endpoint takes a function fn(texts) -> vectors, not an engine."
            raise ConfigurationError(msg)
        return EngineModel(backend)
    if callable(backend):
        return FunctionModel(backend)
    msg = f"An endpoint takes an engine or a function, not {type(backend).__name__}."
    raise ConfigurationError(msg)


def stop_strings(value: Any) -> tuple[str, ...]:
    """The `stop` of a request, which may be absent, one string or a list of them.

    Raises:
        Refusal: It is anything else.
    """
    if value is None:
        return ()
    strings = [value] if isinstance(value, str) else value
    if isinstance(strings, list) and all(isinstance(one, str) and one for one in strings):
        return tuple(strings)
    raise invalid_parameter("'stop' must be a non-empty string or a list of them.")


def message_text(message: Mapping[str, Any]) -> str:
    """The text of a message, whether its content is a string or a list of blocks."""
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(block.get("text", "")) for block in content)
    return content or ""


def _last_user_text(messages: list[dict[str, Any]]) -> str:
    for message in reversed(messages):
        if message.get("role") == "user":
            return message_text(message)
    raise invalid_parameter("The conversation has no message of the user.")


def _acceptance(function: Callable[..., Any]) -> Callable[[str], bool]:
    """Whether the function takes a keyword of this name beside its first argument."""
    try:
        first, *rest = inspect.signature(function).parameters.values()
    except ValueError as error:
        msg = "An endpoint's function takes at least one argument, and has a signature to read."
        raise ConfigurationError(msg) from error
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in rest):
        return lambda name: name != first.name
    by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = frozenset(parameter.name for parameter in rest if parameter.kind in by_name)
    return names.__contains__
