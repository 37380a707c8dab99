"""Checks that end an evaluation before it has cost anything: of the data, and of its first row.

An error of the first row that all other rows would meet too, such as a wrong token, ends the
evaluation; an error of the user's code does not.
"""

from __future__ import annotations

import difflib
import itertools
import re
from collections.abc import Mapping
from dataclasses import fields

from langchain_core.exceptions import (
    ModelAuthenticationError,
    ModelNotFoundError,
    ModelPermissionDeniedError,
)

from langchain_dbx_eval._internal.log import describe_error, get_logger
from langchain_dbx_eval.datasets import EvalDataset, EvalRecord
from langchain_dbx_eval.errors import (
    AuthenticationError,
    ConfigurationError,
    ConnectionFailedError,
    DatabricksError,
    MissingDependencyError,
    NotFoundError,
    PermissionDeniedError,
)
from langchain_dbx_eval.scoring import Assessment
from langchain_dbx_eval.scoring.score_row import ScorerOutput

__all__ = ["check_data", "model_failure", "scorer_failure"]

_logger = get_logger(__name__)
_CHECKED_ROWS = 100
_MIN_SIMILARITY = 0.8
# Columns of the documentation that are no field of a record.
_OTHER_COLUMNS = ("expected_tool_calls", "grading_notes", "trace_id", "tags", "session_id")
_GROUND_TRUTH = re.compile("expected|ground_?truth$|reference_answer$")

# The classes of this package, under whose names other clients (OpenAI's, for example) have theirs.
_FATAL: dict[str, type[DatabricksError]] = {
    "AuthenticationError": AuthenticationError,
    "PermissionDeniedError": PermissionDeniedError,
    "NotFoundError": NotFoundError,
}
_IMPORT_ERRORS = ("ImportError", "ModuleNotFoundError", "MissingDependencyError")
_NO_SERVER = re.compile(
    r"ConnectionFailedError: .*(refused|Connect call failed|getaddrinfo|resolv|not known)",
    re.IGNORECASE | re.DOTALL,
)
_ADVICE = "evaluate() stopped after the first row, since all others would fail in the same way"


def check_data(dataset: EvalDataset, *, has_model: bool) -> None:
    """Check that the data can be evaluated, and warn of columns that are probably misspelled.

    Args:
        dataset: The data.
        has_model: Whether a model answers the requests.

    Raises:
        ConfigurationError: There is neither a model nor a response.
    """
    if not has_model and len(dataset) and not any(map(_has_answer, dataset)):
        msg = (
            "evaluate() got neither a model nor responses: no record has a 'response' "
            "or a 'trace'. Call evaluate(model, data), or add the responses to the data."
        )
        raise ConfigurationError(msg)
    known = [f.name for f in fields(EvalRecord)] + [*_OTHER_COLUMNS]
    unknown = {
        name: None
        for record in itertools.islice(dataset, _CHECKED_ROWS)
        for name in record.metadata
        if name not in known
    }
    for name in unknown:
        similar = difflib.get_close_matches(str(name), known, 1, _MIN_SIMILARITY)
        if not similar and _GROUND_TRUTH.match(str(name)):
            similar = ["expected_response"]
        if similar:
            _logger.warning(
                "The column %r of the data is not used: it is metadata. Did you mean %r?",
                name,
                similar[0],
            )


def model_failure(error: BaseException | None) -> DatabricksError | None:
    """Return the error that ends the evaluation, if all calls of the model would fail so."""
    if error is None:
        return None
    text = describe_error(error)
    types = (ModelAuthenticationError, ModelPermissionDeniedError, ModelNotFoundError)
    is_fatal = isinstance(error, (*types, MissingDependencyError)) or (
        type(error).__name__ in _FATAL and hasattr(error, "status_code")
    )
    if not is_fatal and not _NO_SERVER.match(text):
        return None
    if isinstance(error, DatabricksError):
        error.add_advice(f"({_ADVICE}.)")
        return error
    failure = ConfigurationError(f"The model failed: {text} ({_ADVICE}.)")
    failure.__cause__ = error
    return failure


def scorer_failure(outputs: Mapping[str, ScorerOutput]) -> DatabricksError | None:
    """Return the error that ends the evaluation, if a scorer would fail so on all rows.

    These are a package that cannot be imported, and a judge model that rejects the login, does not
    exist or cannot be reached.
    """
    for assessment in itertools.chain.from_iterable(outputs.values()):
        if not isinstance(assessment, Assessment) or assessment.error is None:
            continue
        error, model = assessment.error, assessment.metadata.get("judge_model")
        kind = error.partition(":")[0]
        if kind in _IMPORT_ERRORS:
            advice = "Install what is missing, or leave the scorer out."
            msg = f"The scorer {assessment.name!r} failed: {error} {advice} ({_ADVICE}.)"
            return MissingDependencyError(msg)
        type_ = ConnectionFailedError if _NO_SERVER.match(error) else _FATAL.get(kind)
        # Not an error of that name that the function of a user raises.
        if type_ is not None and model is not None:
            msg = (
                f"The judge {assessment.name!r} failed, whose model is {model!r} (judge=, or "
                f"DBX_EVAL_JUDGE): {error} ({_ADVICE}; its answer is saved, and resume= continues.)"
            )
            return type_(msg)
    return None


def _has_answer(record: EvalRecord) -> bool:
    return record.response is not None or record.trace is not None or record.trace_id is not None
