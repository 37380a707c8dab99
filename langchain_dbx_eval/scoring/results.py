"""Conversion of what a scorer function returned to assessments."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from langchain_dbx_eval._internal.imports import load_object
from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.scoring.assessments import Assessment, JudgeUsage, ScorerOutput, Skip

__all__ = ["AGGREGATIONS", "ResultReader", "aggregation_metadata", "check_output"]

AGGREGATIONS = "dbx_eval.aggregations"
"""The metadata key of an assessment for the aggregations of its metric, as a JSON list."""

_SUPPORTED = ("min", "max", "mean", "median", "variance", "p90")
_ASSESSMENT_TYPES: dict[str, Any] = {
    **dict.fromkeys(("name", "column", "leaf"), str),
    **dict.fromkeys(("rationale", "error"), str | None),
    **dict.fromkeys(("extra_columns", "metadata"), Mapping),
    "usage": JudgeUsage | None,
}
# The name that `mlflow.entities.Feedback` has by default (`DEFAULT_FEEDBACK_NAME`, MLflow 3.17).
_UNNAMED = "feedback"
# databricks-agents 1.13 marks so the assessments that its judges named.
_USER_DEFINED_NAME = "_user_defined_assessment_name"


@dataclass(frozen=True, kw_only=True)
class ResultReader:
    """Converts the results of one scorer to assessments.

    Attributes:
        name: Name of the scorer.
        family: Column prefix, before the name; empty: none.
        leaf: See `Assessment.leaf`.
        source: See `Assessment.source`; an assessment that states its own source keeps it.
        as_rating: Whether True is "yes" and False is "no".
        metadata: See `Assessment.metadata`.
    """

    name: str
    family: str = ""
    leaf: str = ""
    source: Literal["CODE", "LLM_JUDGE"] = "CODE"
    as_rating: bool = False
    metadata: Mapping[str, str] = field(default_factory=dict)

    def read(self, result: Any, name: str = "") -> list[Assessment]:
        """Convert a result.

        Args:
            result: True or False, a number, a string, ``(value, rationale)``,
                ``{"value": …, "rationale": …}``, an assessment (this package's, or a ``Feedback``
                or ``Assessment`` of MLflow), a list of these, a dict of these by name, or None.
            name: Name of the assessment; default: that of the scorer.

        Raises:
            TypeError: `result` is none of these.
        """
        name = name or self.name
        if result is None:
            return []
        if isinstance(result, Assessment):
            return [result]
        if hasattr(result, "rationale") and hasattr(result, "value"):
            return [self._read_mlflow(result, name)]
        if isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], str | None):
            return [self._assessment(name, self._checked(result[0]), result[1])]
        if isinstance(result, Mapping):
            if "value" in result:
                value = self._checked(result["value"])
                return [self._assessment(name, value, result.get("rationale"))]
            return [a for key, item in result.items() for a in self.read(item, f"{name}/{key}")]
        if isinstance(result, list | tuple):
            return [assessment for item in result for assessment in self.read(item, name)]
        return [self._assessment(name, self._checked(result))]

    def _checked(self, value: Any) -> Any:
        value = value.item() if hasattr(value, "item") else value  # a number of NumPy
        if not isinstance(value, str | int | float):
            msg = (
                f"The scorer {self.name!r} returned {value!r:.80}. Return True or False, a number, "
                "a string, (value, rationale), {'value': …, 'rationale': …}, an assessment, a list "
                "of these, a dict of these by name, or None."
            )
            raise TypeError(msg)
        return value

    def _read_mlflow(self, feedback: Any, name: str) -> Assessment:
        metadata = dict(getattr(feedback, "metadata", None) or {})
        own_name = getattr(feedback, "name", None)
        # A judge of databricks-agents has its own name unless the user gave it another one.
        is_default = metadata.pop(_USER_DEFINED_NAME, "") == "false"
        if own_name and own_name != _UNNAMED and not is_default:
            name = own_name
        error = getattr(feedback, "error", None)
        message = getattr(error, "error_message", None) or getattr(error, "error_code", None)
        message = message or getattr(feedback, "error_message", None)
        value = getattr(feedback.value, "value", feedback.value)
        assessment = self._assessment(name, value, feedback.rationale, str(message or "") or None)
        source: Any = getattr(getattr(feedback, "source", None), "source_type", None)
        return replace(
            assessment,
            source=source if source in ("CODE", "LLM_JUDGE", "HUMAN") else assessment.source,
            metadata={**assessment.metadata, **{k: str(v) for k, v in metadata.items()}},
        )

    def _assessment(
        self, name: str, value: Any, rationale: Any = None, error: str | None = None
    ) -> Assessment:
        if isinstance(value, bool) and self.as_rating:
            value = "yes" if value else "no"
        return Assessment(
            name=name,
            column=f"{self.family}/{name}" if self.family else name,
            leaf=self.leaf,
            value=None if error is not None else value,
            rationale=None if rationale is None else str(rationale),
            error=error,
            source=self.source,
            metadata=self.metadata,
        )


def check_output(output: ScorerOutput) -> ScorerOutput:
    """Return what a scorer returned, without numbers that no average can contain.

    Returns:
        The output; a NaN, and a number beyond the range of `float`, is an error.

    Raises:
        TypeError: It is not a list of assessments and skips, or a field has the wrong type.
    """
    return [_check_item(item) for item in output]


def _check_item(item: Any) -> Assessment | Skip:
    if isinstance(item, Skip):
        return item
    if not isinstance(item, Assessment):
        msg = f"The scorer returned a {type(item).__name__}, which is not an Assessment."
        raise TypeError(msg)
    for name, expected in _ASSESSMENT_TYPES.items():
        if not isinstance(value := getattr(item, name), expected):
            msg = f"The scorer returned an Assessment whose {name} is a {type(value).__name__}."
            raise TypeError(msg)
    if not isinstance(item.value, int | float):
        return item
    try:
        if math.isfinite(float(item.value)):
            return item
        error = f"The scorer returned {item.value}, which is not a number."
    except OverflowError:
        error = "The scorer returned an integer that is beyond the range of float."
    return replace(item, value=None, error=error)


def aggregation_metadata(
    name: str, aggregations: Iterable[str | Callable[[list[float]], float]] | None
) -> dict[str, str]:
    """Return the metadata by which `aggregates.summarize` computes further metrics of a scorer.

    Args:
        name: Name of the scorer.
        aggregations: ``min``, ``max``, ``mean``, ``median``, ``variance``, ``p90``, or functions of
            the list of values.

    Raises:
        ConfigurationError: An aggregation is unknown, or a function cannot be imported by name.
    """
    if not aggregations:
        return {}
    return {AGGREGATIONS: json.dumps([_aggregation_name(name, one) for one in aggregations])}


def _aggregation_name(scorer: str, aggregation: Any) -> str:
    if aggregation in _SUPPORTED:
        return str(aggregation)
    if callable(aggregation):
        module = getattr(aggregation, "__module__", "")
        reference = f"{module}:{getattr(aggregation, '__qualname__', '')}"
        try:
            if load_object(reference) is aggregation:
                return reference
        except ConfigurationError:
            pass
        hint = "is a function without an importable name: define it at the top of a module or cell"
    else:
        hint = f"is not supported: use {', '.join(_SUPPORTED)}, or a function"
    msg = f"aggregations of the scorer {scorer!r}: {aggregation!r} {hint}."
    raise ConfigurationError(msg)
