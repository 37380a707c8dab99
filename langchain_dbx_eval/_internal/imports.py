"""Imports by name: optional dependencies, and objects that an import string names."""

from __future__ import annotations

import importlib
from operator import attrgetter
from types import ModuleType
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError, MissingDependencyError

__all__ = ["load_object", "require"]


def require(module: str, *, extra: str) -> ModuleType:
    """Import an optional dependency.

    Args:
        module: The module to import, such as ``"deltalake"``.
        extra: The extra of this package that installs it, such as ``"delta"``.

    Returns:
        The imported module.

    Raises:
        MissingDependencyError: The module is not installed; the message has the command to run.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.split(".")[0] != module.split(".")[0]:
            raise
        msg = (
            f"This needs {module.split('.')[0]!r}, which is not installed. "
            f"Run: pip install 'langchain-dbx-eval[{extra}]'"
        )
        raise MissingDependencyError(msg) from error


def load_object(reference: str) -> Any:
    """Import the object that an import string names.

    Args:
        reference: ``"package.module:name"``; a dotted name, such as ``"module:Class.method"``, is
            resolved attribute by attribute.

    Returns:
        The object.

    Raises:
        ConfigurationError: The string has another form, the module does not exist, raises when it
            is imported, or needs a module that is not installed, or the attribute does not exist.
    """
    module_name, colon, path = reference.partition(":")
    if not (module_name and colon and path):
        msg = f"{reference!r} is not an import string. Use the form 'package.module:name'."
        raise ConfigurationError(msg)
    try:
        module = importlib.import_module(module_name)
    except Exception as error:  # the module's own code may raise anything
        msg = f"{reference!r} cannot be imported: {_reason(error, module_name)}"
        raise ConfigurationError(msg) from error
    try:
        return attrgetter(path)(module)
    except AttributeError as error:
        msg = f"{reference!r} cannot be imported: {error}."
        raise ConfigurationError(msg) from error


def _reason(error: Exception, module: str) -> str:
    if not isinstance(error, ModuleNotFoundError):
        return f"module {module!r} raised {type(error).__name__}: {error}"
    if error.name is None or not f"{module}.".startswith(f"{error.name}."):
        return f"module {module!r} needs {error.name!r}, which is not installed."
    return f"there is no module {error.name!r} in the current Python path."
