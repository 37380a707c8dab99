"""The model under evaluation: its URI, its form as a Runnable, and its input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.chat_models import ChatDatabricks
from langchain_dbx_eval.errors import ConfigurationError, NotFoundError

__all__ = ["as_runnable", "model_input", "resolve_model", "single_prediction"]

_ENDPOINT = "endpoints:/"
_LOGGED = ("models:/", "runs:/")


def resolve_model(model: Any) -> Any:
    """Load the model of a URI; anything else is returned unchanged.

    Args:
        model: ``"models:/catalog.schema.model/1"`` or ``"runs:/<run>/<path>"`` (a logged model; a
            LangChain one is loaded as its chain, so that its steps are captured), or
            ``"endpoints:/<name>"`` (a chat or agent endpoint); or a Runnable, a function, a loaded
            pyfunc model.

    Returns:
        A Runnable, a function or a pyfunc model.

    Raises:
        ConfigurationError: The string is not a supported URI.
        NotFoundError: MLflow has no such model.
    """
    if not isinstance(model, str):
        return model
    if model.startswith(_ENDPOINT) and len(model) > len(_ENDPOINT):
        return ChatDatabricks(model=model[len(_ENDPOINT) :])
    if model.startswith(_LOGGED):
        return _load(model)
    msg = (
        f"model={model!r} is not a model URI. Supported are 'models:/name/version', "
        "'runs:/run_id/path' and 'endpoints:/name'."
    )
    raise ConfigurationError(msg)


def as_runnable(model: Any) -> Runnable[Any, Any]:
    """Convert a model to a Runnable.

    Args:
        model: A Runnable; a function of one argument, or of the keys of ``inputs``; or a loaded
            pyfunc model.

    Raises:
        ConfigurationError: It is none of these.
    """
    if isinstance(model, Runnable):
        return model
    if _is_pyfunc(model):
        return RunnableLambda(
            lambda request: single_prediction(model.predict(request)), name="pyfunc"
        )
    if not callable(model):
        msg = (
            f"model={model!r} cannot be evaluated. Pass a LangChain Runnable (a chain, a model, a "
            "graph), a function, a pyfunc model, or a model URI."
        )
        raise ConfigurationError(msg)
    # A RunnableLambda reports the call to the callbacks, and passes them to the Runnables inside.
    return RunnableLambda(_with_one_argument(model), name=getattr(model, "__name__", "model"))


def model_input(model: Any, request: Any) -> Any:
    """Return the input of a model for a request.

    A Runnable receives the request unchanged, or messages if its input schema has a field
    ``messages``. A function receives the documented ``{"messages": [...]}`` for a string, and any
    other request unchanged.
    """
    if not isinstance(request, str):
        return request
    if not isinstance(model, Runnable):
        return {"messages": [{"role": "user", "content": request}]}
    return {"messages": [HumanMessage(request)]} if _has_messages_input(model) else request


def single_prediction(predictions: Any) -> Any:
    """Return the prediction for one request: pyfunc models return a list of predictions."""
    if hasattr(predictions, "tolist"):
        predictions = predictions.tolist()
    if isinstance(predictions, list) and len(predictions) == 1:
        return predictions[0]
    return predictions


def _load(uri: str) -> Any:
    mlflow = require("mlflow", extra="eval")
    try:
        flavors = mlflow.models.get_model_info(uri).flavors
        if "langchain" in flavors:
            return mlflow.langchain.load_model(uri)
        return mlflow.pyfunc.load_model(uri)
    except mlflow.exceptions.MlflowException as error:
        registry = mlflow.get_registry_uri() if uri.startswith("models:/") else None
        msg = f"MLflow at {registry or mlflow.get_tracking_uri()} cannot load {uri!r}: {error}"
        raise NotFoundError(msg) from error


def _is_pyfunc(model: Any) -> bool:
    return type(model).__module__.startswith("mlflow.pyfunc") and hasattr(model, "predict")


def _has_messages_input(model: Runnable[Any, Any]) -> bool:
    try:
        schema = model.get_input_jsonschema()
    except Exception:  # a custom type without a JSON schema
        return False
    # A named type is in the definitions, and the schema refers to it.
    name = str(schema.get("$ref", "")).rpartition("/")[2]
    return "messages" in schema.get("$defs", {}).get(name, schema).get("properties", {})


def _with_one_argument(function: Callable[..., Any]) -> Callable[[Any], Any]:
    try:
        names = set(_argument_names(function))
    except (TypeError, ValueError):  # builtins have no signature
        return function

    def has_keywords(request: Any) -> bool:
        return isinstance(request, dict) and bool(request) and request.keys() == names

    if inspect.iscoroutinefunction(function):

        async def call_async(request: Any) -> Any:
            return await (function(**request) if has_keywords(request) else function(request))

        return call_async
    return lambda request: function(**request) if has_keywords(request) else function(request)


def _argument_names(function: Callable[..., Any]) -> list[str]:
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    parameters = inspect.signature(function).parameters.values()
    return [parameter.name for parameter in parameters if parameter.kind in kinds]
