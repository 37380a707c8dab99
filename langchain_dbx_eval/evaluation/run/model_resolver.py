"""Resolves the argument `model` of `evaluate`: a Runnable, and the form of its input."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from langchain_core.runnables import Runnable, RunnableLambda

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.chat_models import ChatDatabricks
from langchain_dbx_eval.client import flow
from langchain_dbx_eval.errors import ConfigurationError, NotFoundError, PermissionDeniedError
from langchain_dbx_eval.evaluation.run.model_input import (
    ToInput,
    call_with,
    function_input,
    pyfunc_input,
    runnable_input,
    schema_input,
)
from langchain_dbx_eval.wire.tasks import chat_codec

__all__ = ["resolve_model", "single_prediction"]

_ENDPOINT = "endpoints:/"
_LOGGED = ("models:/", "runs:/")
_AGENT_TASKS = "agent/"
# Model serving then adds the agent's trace to the answer, as `databricks_output.trace`.
_RETURN_TRACE = {"databricks_options": {"return_trace": True}}


def resolve_model(model: Any) -> tuple[Runnable[Any, Any], ToInput]:
    """Resolve the argument `model` of `evaluate`.

    Args:
        model: A Runnable; a function of one argument, or of the keys of ``inputs``; a loaded pyfunc
            model; or a URI: ``"models:/catalog.schema.model/1"`` or ``"runs:/<run>/<path>"`` (a
            logged model; a LangChain one is loaded as its chain, so that its steps are captured),
            ``"endpoints:/<name>"`` (a chat or agent endpoint).

    Returns:
        The model as a Runnable, and the function that converts a request to its input; see
        `model_input`.

    Raises:
        ConfigurationError: It is none of these.
        NotFoundError: MLflow has no such model, or the workspace no such endpoint.
    """
    if isinstance(model, str):
        return _resolve_uri(model)
    if isinstance(model, Runnable):
        return model, runnable_input(model)
    function: Callable[[Any], Any]
    if type(model).__module__.startswith("mlflow.pyfunc") and hasattr(model, "predict"):
        name, function = "pyfunc", lambda value: single_prediction(model.predict(value))
        to_input = pyfunc_input(model)
    elif callable(model):
        name, function = getattr(model, "__name__", "model"), call_with(model)
        to_input = function_input
    else:
        msg = (
            f"model={model!r} cannot be evaluated. Pass a LangChain Runnable (a chain, a model, a "
            "graph), a function, a pyfunc model, or a model URI."
        )
        raise ConfigurationError(msg)
    # A RunnableLambda reports the call to the callbacks, and passes them to the Runnables inside.
    return RunnableLambda(function, name=name), to_input


def single_prediction(predictions: Any) -> Any:
    """Return the prediction for one request: pyfunc models return a list or a frame of them."""
    if hasattr(predictions, "to_dict") and hasattr(predictions, "columns"):
        predictions = predictions.to_dict("records")
        if len(predictions) == 1 and len(predictions[0]) == 1:
            return next(iter(predictions[0].values()))
    if hasattr(predictions, "tolist"):
        predictions = predictions.tolist()
    if isinstance(predictions, list) and len(predictions) == 1:
        return predictions[0]
    return predictions


def _resolve_uri(uri: str) -> tuple[Runnable[Any, Any], ToInput]:
    if uri.startswith(_ENDPOINT) and len(uri) > len(_ENDPOINT):
        return resolve_model(_endpoint(uri[len(_ENDPOINT) :]))
    if not uri.startswith(_LOGGED):
        msg = (
            f"model={uri!r} is not a model URI. Supported are 'models:/name/version', "
            "'runs:/run_id/path' and 'endpoints:/name'."
        )
        raise ConfigurationError(msg)
    mlflow = require("mlflow", extra="eval")
    try:
        info = mlflow.models.get_model_info(uri)
        if "langchain" not in info.flavors:
            return resolve_model(mlflow.pyfunc.load_model(uri))
        chain, to_input = resolve_model(mlflow.langchain.load_model(uri))
    except mlflow.exceptions.MlflowException as error:
        registry = mlflow.get_registry_uri() if uri.startswith("models:/") else None
        msg = f"MLflow at {registry or mlflow.get_tracking_uri()} cannot load {uri!r}: {error}"
        raise NotFoundError(msg) from error
    schema = info.signature.inputs if info.signature else None
    if schema is not None and schema.has_input_names():
        to_input = schema_input(schema)
    return chain, to_input


def _endpoint(name: str) -> ChatDatabricks:
    """Return the chat model of an endpoint, whose task is read from its description."""
    chat = ChatDatabricks(model=name)
    try:
        task = flow.run(chat._describe()).get("task")
    except PermissionDeniedError:
        # Who may query an endpoint may not be allowed to read its description.
        return chat
    if task is None:
        return chat
    try:
        chat_codec(task)
    except ConfigurationError as error:
        msg = (
            f"The endpoint {name!r} cannot be evaluated by its name: {error} "
            f"For a text model, pass Databricks(endpoint_name={name!r})."
        )
        raise ConfigurationError(msg) from None
    params = _RETURN_TRACE if task.startswith(_AGENT_TASKS) else {}
    return ChatDatabricks(model=name, task=task, extra_params=params)
