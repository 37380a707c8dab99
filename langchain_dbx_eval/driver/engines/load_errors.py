"""Errors of the model libraries while loading a model, converted to one error with one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["convert_load_errors"]

# torch raises RuntimeError for an unknown device or full device memory, and AssertionError for
# CUDA in a build without it.
_LOAD_ERRORS = (OSError, ValueError, ImportError, RuntimeError, AssertionError)


@contextmanager
def convert_load_errors(name: str, kind: str) -> Iterator[None]:
    """Convert the errors of the enclosed loading code to `ConfigurationError`.

    Args:
        name: The name or folder of the model.
        kind: The kind of model, such as ``"a causal language model"``.

    Raises:
        ConfigurationError: The model cannot be loaded, or cannot be moved to the device.
    """
    try:
        yield
    except _LOAD_ERRORS as error:
        why = " ".join(str(error).split())
        msg = f"{name!r} cannot be loaded as {kind}: {why}"
        raise ConfigurationError(msg) from error
