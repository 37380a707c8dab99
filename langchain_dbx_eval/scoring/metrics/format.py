"""Scores of the answer's form."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.scoring.assessments import Assessment
from langchain_dbx_eval.scoring.context import ScoringContext

__all__ = ["RegexMatch", "ValidJson"]


@dataclass(frozen=True)
class ValidJson:
    """Whether the answer is JSON, and follows a schema.

    Attributes:
        schema: A JSON schema; None asks for any JSON.
    """

    schema: Mapping[str, Any] | None = None
    name: str = "valid_json"
    column: str = "response/format/valid_json"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: 1 or 0, and what is wrong."""
        answer = context.response_text
        if answer is None:
            return []
        fault = self._fault(answer)
        value = float(fault is None)
        return [Assessment(name=self.name, column=self.column, value=value, rationale=fault)]

    def _fault(self, answer: str) -> str | None:
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError) as error:
            return f"Not JSON: {error}"
        if self.schema is None:
            return None
        jsonschema = require("jsonschema", extra="scorers")
        validator = jsonschema.validators.validator_for(self.schema)(self.schema)
        fault = jsonschema.exceptions.best_match(validator.iter_errors(value))
        return None if fault is None else f"At {fault.json_path}: {fault.message}"


@dataclass(frozen=True)
class RegexMatch:
    r"""Whether a pattern is found anywhere in the answer.

    Attributes:
        pattern: A regular expression of Python's `re`; anchor it with ``\A…\Z`` for all of it.
    """

    pattern: str
    name: str = "regex_match"
    column: str = "response/format/regex_match"

    def score(self, context: ScoringContext) -> Sequence[Assessment]:
        """Assess one row: 1 or 0."""
        answer = context.response_text
        if answer is None:
            return []
        found = re.search(self.pattern, answer) is not None
        return [Assessment(name=self.name, column=self.column, value=float(found))]
