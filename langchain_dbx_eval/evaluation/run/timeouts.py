"""Time limits of rows and scorers."""

from __future__ import annotations

import math
from numbers import Real
from typing import Any

from langchain_dbx_eval.errors import ConfigurationError

__all__ = ["DEFAULT_SCORER_TIMEOUT", "check_timeouts"]

DEFAULT_SCORER_TIMEOUT = 600.0
"""Seconds for each scorer of a row: twice the default `timeout` of the clients, so that a judge
endpoint that has to start, and is asked twice, is waited for."""


def check_timeouts(*, minimum: float = math.nextafter(0, 1), **arguments: Any) -> None:
    """Check time limits; None is no limit.

    Args:
        minimum: The smallest number that is allowed; default: any positive one.
        arguments: The values by the names of their arguments.

    Raises:
        ConfigurationError: One is not a number of seconds, or too small.
    """
    for name, value in arguments.items():
        is_number = isinstance(value, Real) and not isinstance(value, bool)
        if value is not None and not (is_number and minimum <= value < math.inf):
            msg = (
                f"{name} must be a positive number of seconds, or None, got {value!r:.100} "
                f"({type(value).__name__})."
            )
            raise ConfigurationError(msg)
