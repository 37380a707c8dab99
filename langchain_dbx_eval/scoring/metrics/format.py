"""Metrics of the form of the response: 1 or 0 for each row, 0 for an empty response."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_dbx_eval._internal.imports import require
from langchain_dbx_eval.scoring.assessments import Assessment, ScorerOutput
from langchain_dbx_eval.scoring.context import ScoringContext

__all__ = ["RegexMatch", "ValidJson"]


@dataclass(frozen=True)
class ValidJson:
    """Whether the response is JSON that conforms to a schema; the rationale is the first violation.

    Attributes:
        schema: A JSON schema; None: any JSON.
    """

    schema: Mapping[str, Any] | None = None
    name: str = "valid_json"
    column: str = "response/format/valid_json"

    def score(self, context: ScoringContext) -> ScorerOutput:
        """See `Scorer.score`."""
        if (answer := context.response_text) is None:
            return []
        violation = self._violation(answer)
        value = float(violation is None)
        return [Assessment(name=self.name, column=self.column, value=value, rationale=violation)]

    def _violation(self, answer: str) -> str | None:
        try:
            value = json.loads(answer)
        except (ValueError, RecursionError) as error:
            return f"Not JSON: {error}"
        if self.schema is None:
            return None
        jsonschema = require("jsonschema", extra="scorers")
        validator = jsonschema.validators.validator_for(self.schema)(self.schema)
        violation = jsonschema.exceptions.best_match(validator.iter_errors(value))
        return None if violation is None else f"At {violation.json_path}: {violation.message}"


@dataclass(frozen=True)
class RegexMatch:
    r"""Whether the response contains a match of a pattern.

    Attributes:
        pattern: A regular expression of Python's `re`; ``\A…\Z`` matches the complete response.
    """

    pattern: str
    name: str = "regex_match"
    column: str = "response/format/regex_match"

    def score(self, context: ScoringContext) -> ScorerOutput:
        """See `Scorer.score`."""
        if (answer := context.response_text) is None:
            return []
        # A pattern that matches the empty text does not make an empty response good.
        value = float(bool(answer.strip()) and re.search(self.pattern, answer) is not None)
        return [Assessment(name=self.name, column=self.column, value=value)]
