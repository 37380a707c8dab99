"""Resolves the argument `model` of `evaluate`: a Runnable, and the form of its input."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from langchain_core.messages import HumanMessage
from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.chat_models import ChatDatabricks
from langchain_dbx_eval.errors import ConfigurationError, NotFoundError

__all__ = ["resolve_model", "single_prediction"]

_ENDPOINT = "endpoints:/"
_LOGGED = ("models:/", "runs:/")


def resolve_model(model: Any) -> tuple[Runnable[Any, Any], Callable[[Any], Any]]:
    """Resolve the argument `model` of `evaluate`.

    Args:
        model: A Runnable; a function of one argument, or of the keys of ``inputs``; a loaded pyfunc
            model; or a URI: ``"models:/catalog.schema.model/1"`` or ``"runs:/<run>/<path>"`` (a
            logged model; a LangChain one is loaded as its chain, so that its steps are captured),
            ``"endpoints:/<name>"`` (a chat or agent endpoint).

    Returns:
        The model as a Runnable, and the function that converts a request to its input. A Runnable
        receives the request unchanged, or messages if its input schema has a field ``messages``. A
        function receives the documented ``{"messages": [...]}`` for a string, and any other request
        unchanged.

    Raises:
        ConfigurationError: It is none of these.
        NotFoundError: MLflow has no such model.
    """
    if isinstance(model, str):
        model = _load(model)
    if isinstance(model, Runnable):
        if _has_messages_input(model):
            return model, _to_langchain_messages
        return model, lambda request: request
    function: Callable[[Any], Any]
    if type(model).__module__.startswith("mlflow.pyfunc") and hasattr(model, "predict"):
        name, function = "pyfunc", lambda request: single_prediction(model.predict(request))
    elif callable(model):
        name, function = getattr(model, "__name__", "model"), _with_one_argument(model)
    else:
        msg = (
            f"model={model!r} cannot be evaluated. Pass a LangChain Runnable (a chain, a model, a "
            "graph), a function, a pyfunc model, or a model URI."
        )
        raise ConfigurationError(msg)
    # A RunnableLambda reports the call to the callbacks, and passes them to the Runnables inside.
    return RunnableLambda(function, name=name), _to_message_dicts


def single_prediction(predictions: Any) -> Any:
    """Return the prediction for one request: pyfunc models return a list of predictions."""
    if hasattr(predictions, "tolist"):
        predictions = predictions.tolist()
    if isinstance(predictions, list) and len(predictions) == 1:
        return predictions[0]
    return predictions


def _load(uri: str) -> Any:
    if uri.startswith(_ENDPOINT) and len(uri) > len(_ENDPOINT):
        return ChatDatabricks(model=uri[len(_ENDPOINT) :])
    if not uri.startswith(_LOGGED):
        msg = (
            f"model={uri!r} is not a model URI. Supported are 'models:/name/version', "
            "'runs:/run_id/path' and 'endpoints:/name'."
        )
        raise ConfigurationError(msg)
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


def _to_langchain_messages(request: Any) -> Any:
    return {"messages": [HumanMessage(request)]} if isinstance(request, str) else request


def _to_message_dicts(request: Any) -> Any:
    if not isinstance(request, str):
        return request
    return {"messages": [{"role": "user", "content": request}]}


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
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # builtins have no signature
        return function
    kinds = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
    names = {parameter.name for parameter in parameters if parameter.kind in kinds}

    def call(request: Any) -> Any:
        if isinstance(request, dict) and request and request.keys() == names:
            return function(**request)
        return function(request)

    if not inspect.iscoroutinefunction(function):
        return call

    async def call_async(request: Any) -> Any:
        return await call(request)

    return call_async
