"""Import strings: ``"package.module:name"``."""

from __future__ import annotations

import importlib
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["load_object"]


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
    found: Any = _import(module_name, reference)
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            msg = f"{reference!r} cannot be imported: {error}."
            raise ConfigurationError(msg) from error
    return found


def _import(name: str, reference: str) -> Any:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            reason = f"module {name!r} needs {error.name!r}, which is not installed"
        else:
            reason = f"there is no module {error.name!r} in the current Python path"
        msg = f"{reference!r} cannot be imported: {reason}."
        raise ConfigurationError(msg) from error
    except Exception as error:  # the module's own code may raise anything
        msg = (
            f"{reference!r} cannot be imported: module {name!r} raised "
            f"{type(error).__name__}: {error}"
        )
        raise ConfigurationError(msg) from error
