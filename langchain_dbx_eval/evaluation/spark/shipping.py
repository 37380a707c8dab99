"""What the tasks need, in a form that another machine can load, and that contains no secret.

A chain holds locks and credentials: the model is named, and each process of a task loads it once.
Functions and classes are named too. Scorers are configuration: the name of their class and its
arguments, as JSON, in which no model and no secret can be. Nothing of the user is pickled.
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType
from typing import Any

from langchain_core.runnables import Runnable

from langchain_dbx_eval._internal.imports import load_object, require
from langchain_dbx_eval._internal.paths import expand_user
from langchain_dbx_eval._redaction import redact
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError
from langchain_dbx_eval.evaluation.run.model_input import ToInput
from langchain_dbx_eval.evaluation.run.model_resolver import resolve_model
from langchain_dbx_eval.scoring import PromptJudge
from langchain_dbx_eval.scoring.mlflow.scorers import MlflowScorer

__all__ = ["ShippedModel", "decode", "encode", "load_scorers", "ship_model", "ship_scorers"]

_IMPORT_STRING = re.compile(r"[\w.]+:[A-Za-z_][\w.]*")
_SECRET_PARAMETER = re.compile("key|header|auth|secret|password|base", re.IGNORECASE)
_URI = ("endpoints:/", "models:/", "runs:/")
_MLFLOW_SCORER = "mlflow.genai.scorers.base.Scorer"
_MLFLOW_JUDGES = ("builtin_scorer_pydantic", "instructions_judge_pydantic")
_WAYS = (
    "Pass what each machine of the cluster can load by itself: an import string "
    "('my_package.chains:chain', or a function without parameters that returns the chain), the "
    "path of a models-from-code file ('chain.py', which calls mlflow.models.set_model), a logged "
    "model ('models:/main.default.my_chain/1', 'runs:/…') or an endpoint ('endpoints:/my-chat')."
)
_FUNCTION_WAYS = (
    "Define it in a module (not a notebook) that each machine of the cluster can import, and pass "
    "it from there"
)
_SCORER_WAYS = (
    f"{_FUNCTION_WAYS}, or its import string: scorers=['my_package.scorers:is_polite']. A judge "
    "model is named: judge='endpoints:/my-chat'."
)


@dataclass(frozen=True)
class ShippedModel:
    """A model by name.

    Attributes:
        reference: An import string, a model URI, or the name of a models-from-code file.
        code: The content of the file; None for the others.
    """

    reference: str
    code: str | None = None

    def load(self) -> Any:
        """Return the model, as `resolve_model` accepts it.

        Raises:
            ConfigurationError: It cannot be loaded.
        """
        if self.code is not None:
            return _load_code(self.reference, self.code)
        if self.reference.startswith(_URI):
            return self.reference
        model = load_object(self.reference)
        # A function without parameters is no model: it has no place for a request.
        if isinstance(model, FunctionType) and not inspect.signature(model).parameters:
            try:
                return model()
            except DatabricksError:
                raise
            except Exception as error:  # the user's code
                msg = f"{self.reference}() raised {type(error).__name__}: {error}"
                raise ConfigurationError(msg) from error
        return model

    def resolve(self) -> tuple[Runnable[Any, Any], ToInput]:
        """Return the model as a Runnable, and the function that converts requests to its input."""
        return resolve_model(self.load())


def ship_model(model: Any) -> ShippedModel:
    """Return a model in the form in which it is shipped.

    Args:
        model: An import string, a model URI, the path of a models-from-code file, or a function or
            class of a module.

    Raises:
        ConfigurationError: It cannot be shipped, or the file cannot be read.
    """
    if isinstance(model, str | Path) and str(model).endswith(".py"):
        try:
            return ShippedModel(Path(model).name, expand_user(model).read_text("utf-8"))
        except OSError as error:
            msg = f"model={str(model)!r} cannot be read: {error}."
            raise ConfigurationError(msg) from error
    if isinstance(model, str):
        if model.startswith(_URI) or _IMPORT_STRING.fullmatch(model):
            return ShippedModel(model)
        msg = f"model={model!r} is not supported by engine='spark'. {_WAYS}"
        raise ConfigurationError(msg)
    if (reference := _import_string_of(model)) is not None:
        return ShippedModel(reference)
    name = getattr(model, "__qualname__", None) or type(model).__name__
    msg = f"The model {name} cannot be sent to the tasks of engine='spark'. {_WAYS}"
    raise ConfigurationError(msg)


def ship_scorers(arguments: Mapping[str, Any]) -> str:
    """Return the arguments of `select_scorers` as text.

    Args:
        arguments: The arguments.

    Raises:
        ConfigurationError: One of them cannot be shipped.
    """
    judge = arguments["judge"]
    if not isinstance(judge, str | None):
        msg = (
            f"judge={type(judge).__name__}(…) cannot be sent to the tasks of engine='spark'. Pass "
            "an endpoint (judge='endpoints:/my-chat'), an MLflow model URI ('openai:/gpt-4.1'), or "
            "an import string ('my_package.judges:model')."
        )
        raise ConfigurationError(msg)
    shipped = {**arguments, "judge": judge or os.environ.get("DBX_EVAL_JUDGE") or None}
    for name in ("scorers", "extra_metrics"):
        if isinstance(shipped[name], Iterable) and not isinstance(shipped[name], str):
            shipped[name] = tuple(shipped[name])
    return json.dumps({name: encode(name, value) for name, value in shipped.items()})


def load_scorers(shipped: str) -> dict[str, Any]:
    """Return the arguments of `select_scorers` that were shipped; import strings are imported."""
    arguments = {name: decode(text) for name, text in json.loads(shipped).items()}
    for name in ("scorers", "extra_metrics"):
        if isinstance(arguments[name], tuple):
            arguments[name] = tuple(map(_imported, arguments[name]))
    arguments["judge"] = _imported(arguments["judge"])
    return arguments


def encode(name: str, value: Any) -> str:
    """Encode an argument as JSON: functions and classes by name, objects by class and arguments.

    Args:
        name: The argument, for the error.
        value: Its value.

    Raises:
        ConfigurationError: It contains a lambda or another object without a name that other
            processes can import, or a model or a secret.
    """
    try:
        text = json.dumps(_encode(value))
        if redact(text) != text:
            raise _NotShippableError("it contains a secret")
        return text
    except _NotShippableError as error:
        ways = _SCORER_WAYS if name in ("scorers", "extra_metrics") else f"{_FUNCTION_WAYS}."
        msg = f"{name}= cannot be sent to the tasks of engine='spark': {error}. {ways}"
        raise ConfigurationError(msg) from error


def decode(text: str) -> Any:
    """Return the argument that `encode` encoded.

    Raises:
        ConfigurationError: A name cannot be imported.
    """
    return _decode(json.loads(text))


class _NotShippableError(Exception):
    """A value has no name and no arguments by which another process can create it."""


def _encode(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if type(value) in (list, tuple):
        return {type(value).__name__: [_encode(item) for item in value]}
    if isinstance(value, Mapping):
        return {"dict": [[_encode(key), _encode(item)] for key, item in value.items()]}
    if isinstance(value, Path):
        return str(value)
    if (reference := _import_string_of(value) or _decorated_name(value)) is not None:
        return {"import": reference}
    if isinstance(value, FunctionType | type):
        name = f"{value.__module__}.{value.__qualname__}"
        raise _NotShippableError(f"{name} has no name that can be imported")
    return _encode_object(value)


def _encode_object(value: Any) -> dict[str, Any]:
    """Encode an object of a class whose arguments are its fields, or a judge of MLflow."""
    name = type(value).__name__
    if isinstance(value, MlflowScorer):
        return {"mlflow": _encode_mlflow(value.scorer)}
    if any(f"{base.__module__}.{base.__name__}" == _MLFLOW_SCORER for base in type(value).__mro__):
        return {"mlflow": _encode_mlflow(value)}
    if not dataclasses.is_dataclass(value):
        raise _NotShippableError(f"it contains a {name}, which may hold a secret")
    reference = _import_string_of(type(value))
    if reference is None:
        raise _NotShippableError(f"the class {name} has no name that can be imported")
    fields = _arguments(value)
    return {"new": reference, "with": {field: _encode(item) for field, item in fields.items()}}


def _encode_mlflow(scorer: Any) -> dict[str, Any]:
    """Encode a judge as MLflow registers it: its class or instructions, and the name of a model."""
    # MLflow 3.17 writes the headers of some judges, and drops those of others.
    for field in ("extra_headers", "base_url"):
        if getattr(scorer, field, None) or getattr(scorer, f"_{field}", None):
            msg = f"the scorer {scorer.name!r} has {field}, which may hold a secret"
            raise _NotShippableError(msg)
    # Of the request; LiteLLM accepts a key and headers there.
    parameters = getattr(scorer, "inference_params", None) or {}
    if found := next(filter(_SECRET_PARAMETER.search, map(str, parameters)), None):
        msg = f"inference_params of the scorer {scorer.name!r} has {found}, which may hold a secret"
        raise _NotShippableError(msg)
    dumped: dict[str, Any] = scorer.model_dump()
    if not any(dumped.get(f"{kind}_data") for kind in _MLFLOW_JUDGES):
        raise _NotShippableError(f"the scorer {scorer.name!r} has no name that can be imported")
    return dumped


def _arguments(value: Any) -> dict[str, Any]:
    fields = [field for field in dataclasses.fields(value) if field.init]
    arguments = {field.name: getattr(value, field.name) for field in fields}
    if isinstance(value, PromptJudge) and isinstance(value.model, str | None):
        # Resolved from the name of the model, on each machine.
        del arguments["backend"]
    return arguments


def _decode(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    [kind, *_] = value
    content = value[kind]
    if kind == "import":
        return load_object(content)
    if kind == "new":
        fields = {name: _decode(item) for name, item in value["with"].items()}
        return load_object(content)(**fields)
    if kind == "mlflow":
        from mlflow.genai.scorers import Scorer

        return Scorer.model_validate(content)
    if kind == "dict":
        return {_decode(key): _decode(item) for key, item in content}
    items = [_decode(item) for item in content]
    return tuple(items) if kind == "tuple" else items


def _decorated_name(value: Any) -> str | None:
    """Return the import string of a decorated function: its module has it under that name."""
    for name in ("function", "_original_func"):
        function = getattr(value, name, None)
        if isinstance(function, FunctionType) and _found(function) is value:
            return f"{function.__module__}:{function.__qualname__}"
    return None


def _import_string_of(value: Any) -> str | None:
    """Return the import string of a function or class; None if it has none."""
    is_named = isinstance(value, FunctionType | type) and value.__module__ != "__main__"
    if not is_named or _found(value) is not value:
        return None
    return f"{value.__module__}:{value.__qualname__}"


def _found(value: Any) -> Any:
    """Return what the module of a function or class has under its name."""
    found: Any = sys.modules.get(value.__module__)
    for name in value.__qualname__.split("."):
        found = getattr(found, name, None)
    return None if value.__module__ == "__main__" else found


def _imported(value: Any) -> Any:
    is_reference = isinstance(value, str) and _IMPORT_STRING.fullmatch(value)
    return load_object(value) if is_reference else value


def _load_code(name: str, code: str) -> Any:
    mlflow = require("mlflow", extra="eval")
    from mlflow.models.utils import _load_model_code_path

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, name)
        path.write_text(code, "utf-8")
        try:
            return _load_model_code_path(str(path), None)
        except mlflow.exceptions.MlflowException as error:
            msg = f"model={name!r} cannot be loaded: {error}"
            raise ConfigurationError(msg) from error
