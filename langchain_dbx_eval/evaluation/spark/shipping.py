"""What the tasks need, in a form that another machine can load, and that contains no secret.

A chain cannot be pickled: clients hold locks and credentials. So the model is named, and each
process of a task loads it once. Scorers are configuration: they are pickled, with their functions
by name, and refused if a model or a secret is among their fields.
"""

from __future__ import annotations

import inspect
import io
import os
import pickle
import re
import sys
import tempfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from langchain_core.language_models import BaseLanguageModel
from langchain_core.runnables import Runnable
from pydantic import SecretBytes, SecretStr

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval._internal.import_string import load_object
from langchain_dbx_eval._internal.paths import expand_user
from langchain_dbx_eval.errors import ConfigurationError, DatabricksError
from langchain_dbx_eval.evaluation.run.model_input import ToInput
from langchain_dbx_eval.evaluation.run.model_resolver import resolve_model

__all__ = ["ShippedModel", "dump", "load_scorers", "ship_model", "ship_scorers"]

_IMPORT_STRING = re.compile(r"[\w.]+:[A-Za-z_][\w.]*")
_URI = ("endpoints:/", "models:/", "runs:/")
_WAYS = (
    "Pass what each machine of the cluster can load by itself: an import string "
    "('my_package.chains:chain', or a function without parameters that returns the chain), the "
    "path of a models-from-code file ('chain.py', which calls mlflow.models.set_model), a logged "
    "model ('models:/main.default.my_chain/1', 'runs:/…') or an endpoint ('endpoints:/my-chat')."
)
_SCORER_WAYS = (
    "Define it in a module that each machine of the cluster can import, and pass it or its import "
    "string: scorers=['my_package.scorers:is_polite']. A judge model is named: "
    "judge='endpoints:/my-chat'."
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


def ship_scorers(arguments: Mapping[str, Any]) -> bytes:
    """Return the arguments of `select_scorers` as bytes.

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
    return dump("scorers", shipped)


def load_scorers(shipped: bytes) -> dict[str, Any]:
    """Return the arguments of `select_scorers` that were shipped; import strings are imported."""
    arguments: dict[str, Any] = pickle.loads(shipped)  # noqa: S301 - written by `ship_scorers`
    for name in ("scorers", "extra_metrics"):
        if isinstance(arguments[name], tuple):
            arguments[name] = tuple(map(_imported, arguments[name]))
    arguments["judge"] = _imported(arguments["judge"])
    return arguments


def dump(name: str, value: Any) -> bytes:
    """Pickle an argument, functions and classes by their names.

    Args:
        name: The argument, for the error.
        value: Its value.

    Raises:
        ConfigurationError: It contains a lambda or another object without a name that other
            processes can import, or a model or a secret.
    """
    buffer = io.BytesIO()
    try:
        _Pickler(buffer, protocol=5).dump(value)
    except Exception as error:  # of pickle, or of the object's own methods
        msg = f"{name}= cannot be sent to the tasks of engine='spark': {error}. {_SCORER_WAYS}"
        raise ConfigurationError(msg) from error
    return buffer.getvalue()


class _Pickler(pickle.Pickler):
    def reducer_override(self, value: Any) -> Any:
        if isinstance(value, SecretStr | SecretBytes | BaseLanguageModel):
            msg = f"it contains a {type(value).__name__}, which may hold a secret"
            raise pickle.PicklingError(msg)
        if isinstance(value, FunctionType | type):
            if _import_string_of(value) is None:
                msg = f"{value.__module__}.{value.__qualname__} has no name that can be imported"
                raise pickle.PicklingError(msg)
            return NotImplemented
        if isinstance(value, ModuleType):
            return NotImplemented
        # The module has the decorated function under the name of the function itself.
        function = vars(value).get("function") if hasattr(value, "__dict__") else None
        if isinstance(function, FunctionType) and _found(function) is value:
            return load_object, (f"{function.__module__}:{function.__qualname__}",)
        return NotImplemented


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
