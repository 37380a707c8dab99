"""Optional dependencies."""

from __future__ import annotations

import importlib
from types import ModuleType

from langchain_dbx_eval.errors import MissingDependencyError

__all__ = ["require"]


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
