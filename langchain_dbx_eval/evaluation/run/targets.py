"""Whatever can be evaluated, as a Runnable with its input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.chat_models import ChatDatabricks
from langchain_dbx_eval.errors import ConfigurationError, NotFoundError

__all__ = ["as_runnable", "input_for", "resolve_model"]

_ENDPOINT = "endpoints:/"
_LOGGED = ("models:/", "runs:/")


def resolve_model(model: Any) -> Any:
    """Find what a model's URI names; anything else is returned as it is.

    Args:
        model: ``"models:/catalog.schema.model/1"`` or ``"runs:/<run>/<path>"`` (a logged model; a
            LangChain one is loaded as the chain that it is, so that its steps are seen), or
            ``"endpoints:/<name>"`` (a chat or agent endpoint); or a Runnable, a function, a loaded
            pyfunc model.

    Returns:
        A Runnable, a function or a pyfunc model.

    Raises:
        ConfigurationError: The URI is of no known kind.
        NotFoundError: MLflow has no such model.
    """
    if not isinstance(model, str):
        return model
    if model.startswith(_ENDPOINT) and len(model) > len(_ENDPOINT):
        return ChatDatabricks(model=model[len(_ENDPOINT) :])
    if model.startswith(_LOGGED):
        return _load(model)
    msg = (
        f"model={model!r} is not a model's URI. Give 'models:/name/version', "
        "'runs:/run_id/path' or 'endpoints:/name'."
    )
    raise ConfigurationError(msg)


def as_runnable(model: Any) -> Runnable[Any, Any]:
    """Make a Runnable of a model.

    Args:
        model: What `resolve_model` returns: a Runnable; a function of one argument, or of the keys
            of ``inputs``; or a loaded pyfunc model.

    Raises:
        ConfigurationError: It is none of these.
    """
    if isinstance(model, Runnable):
        return model
    if _is_pyfunc(model):
        return RunnableLambda(lambda request: _only(model.predict(request)), name="pyfunc")
    if not callable(model):
        msg = (
            f"model={model!r} cannot be evaluated. Give a LangChain Runnable (a chain, a model, a "
            "graph), a function, a pyfunc model, or a model's URI."
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


def _load(uri: str) -> Any:
    mlflow = require("mlflow", extra="eval")
    try:
        flavors = mlflow.models.get_model_info(uri).flavors
        if "langchain" in flavors:
            return mlflow.langchain.load_model(uri)
        return mlflow.pyfunc.load_model(uri)
    except mlflow.exceptions.MlflowException as error:
        where = mlflow.get_registry_uri() if uri.startswith("models:/") else None
        msg = f"MLflow at {where or mlflow.get_tracking_uri()} cannot load {uri!r}: {error}"
        raise NotFoundError(msg) from error


def _is_pyfunc(model: Any) -> bool:
    return type(model).__module__.startswith("mlflow.pyfunc") and hasattr(model, "predict")


def _only(predictions: Any) -> Any:
    """The prediction for one request: pyfunc models answer with a list of them."""
    if hasattr(predictions, "tolist"):
        predictions = predictions.tolist()
    if isinstance(predictions, list) and len(predictions) == 1:
        return predictions[0]
    return predictions


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
