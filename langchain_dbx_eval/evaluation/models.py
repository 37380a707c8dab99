"""Whatever can be evaluated, as a Runnable with its input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["as_runnable", "input_for"]

InputFn = Callable[[Any], Any]


def as_runnable(model: Any) -> Runnable[Any, Any]:
    """Make a Runnable of a model.

    Args:
        model: A Runnable, or a function of one argument, or of the keys of ``inputs``.

    Raises:
        ConfigurationError: It is neither.
    """
    if isinstance(model, Runnable):
        return model
    if not callable(model):
        msg = (
            f"model={model!r} cannot be evaluated. Give a LangChain Runnable (a chain, a model, a "
            "graph) or a function."
        )
        raise ConfigurationError(msg)
    # A RunnableLambda tells the callback of the call, and hands the callback on to what it calls.
    return RunnableLambda(_of_one_argument(model), name=getattr(model, "__name__", "model"))


def input_for(model: Any, request: Any) -> Any:
    """What the model is given for a request.

    A Runnable gets the request as it stands, or messages where its input schema asks for them. A
    function gets the documented ``{"messages": [...]}`` for a text, and any other request as it
    stands.
    """
    if not isinstance(request, str):
        return request
    if not isinstance(model, Runnable):
        return {"messages": [{"role": "user", "content": request}]}
    return {"messages": [HumanMessage(request)]} if _wants_messages(model) else request


def _wants_messages(model: Runnable[Any, Any]) -> bool:
    try:
        schema = model.get_input_jsonschema()
    except Exception:  # a custom type without a JSON schema; such a model does not say
        return False
    # A type with a name stands among the definitions, and the schema refers to it.
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return "messages" in schema.get("$defs", {}).get(name, schema).get("properties", {})


def _of_one_argument(function: Callable[..., Any]) -> Callable[[Any], Any]:
    try:
        names = _argument_names(function)
    except (TypeError, ValueError):  # builtins tell no signature
        return function

    def spread(request: Any) -> bool:
        return isinstance(request, dict) and bool(request) and request.keys() == set(names)

    if inspect.iscoroutinefunction(function):

        async def call_async(request: Any) -> Any:
            return await (function(**request) if spread(request) else function(request))

        return call_async
    return lambda request: function(**request) if spread(request) else function(request)


def _argument_names(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]
