"""What the model libraries raise about a model that cannot be loaded, as one error in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["loading"]

# torch's for a device that it does not know, or whose memory is full, is a RuntimeError; for CUDA
# in a build without it, an AssertionError.
_FAILURES = (OSError, ValueError, ImportError, RuntimeError, AssertionError)


@contextmanager
def loading(name: str, kind: str) -> Iterator[None]:
    """Load a model within this.

    Args:
        name: The model's name or folder.
        kind: What it is to be, such as ``"a causal language model"``.

    Raises:
        ConfigurationError: It cannot be loaded, or not be put on the device asked for.
    """
    try:
        yield
    except _FAILURES as error:
        why = " ".join(str(error).split())
        msg = f"{name!r} cannot be loaded as {kind}: {why}"
        raise ConfigurationError(msg) from error
