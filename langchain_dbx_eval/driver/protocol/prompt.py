"""The prompt form of ``POST /``, and the generation parameters that all formats share.

Source: the schema for driver-proxy apps in the LangChain documentation.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Generic, TypeVar

from pydantic import AfterValidator, Field, create_model

from langchain_dbx_eval.driver.engines.base import GenerationRequest
from langchain_dbx_eval.driver.engines.parameters import LENGTH_NAMES, NO_EFFECT, PARAMETERS
from langchain_dbx_eval.driver.errors import invalid
from langchain_dbx_eval.driver.protocol.chat_options import CHAT_OPTIONS
from langchain_dbx_eval.driver.protocol.requests import Capabilities, ParsedGeneration
from langchain_dbx_eval.driver.protocol.validation import (
    Expected,
    RequestModel,
    Unlisted,
    Unsupported,
    is_unlisted,
    validate,
)

__all__ = [
    "MAX_STOPS",
    "MAX_STOP_LENGTH",
    "ParameterizedFormat",
    "PromptFormat",
    "PromptRequest",
    "RowParameters",
    "StopList",
    "without_logprobs",
]

MAX_STOPS = 16
"""Each stop string is searched for in each completion, so their number is bounded."""

MAX_STOP_LENGTH = 1_000
"""Characters of one stop string; a stream withholds up to as many."""

StopList = Annotated[
    list[Annotated[str, Field(min_length=1, max_length=MAX_STOP_LENGTH)]],
    Field(max_length=MAX_STOPS),
]

_OptionalStops = Annotated[
    StopList | None,
    Expected(
        f"a list of strings (at most {MAX_STOPS}, each with 1 to {MAX_STOP_LENGTH} characters) or "
        "null"
    ),
]

Model = TypeVar("Model", bound=RequestModel)


class PromptRequest(RequestModel):
    """``POST /``: a prompt to complete."""

    prompt: str = Field(description="the text to complete")
    stop: _OptionalStops = None


class RowParameters(RequestModel):
    """The ``params`` of MLflow's formats, which apply to all rows."""

    stop: _OptionalStops = None


class ParameterizedFormat(Generic[Model]):
    """A request format with the generation parameters of an engine as additional fields.

    A field of the request format takes precedence over a parameter of the same name, unless the
    field has no effect (`Unlisted`). Each of `LENGTH_NAMES` is accepted if the engine allows any
    of them. A standard parameter that the engine does not allow is accepted with a value that has
    no effect (`NO_EFFECT`), unless the capabilities are strict.

    Args:
        model: The request format.
        capabilities: What the engine supports.
    """

    def __init__(self, model: type[Model], capabilities: Capabilities) -> None:
        allowed = capabilities.parameters
        fields: dict[str, Any] = {}
        self._allowed = {
            name
            for name in allowed
            if name not in model.model_fields or is_unlisted(model.model_fields[name])
        }
        lengths = set() if allowed.isdisjoint(LENGTH_NAMES) else set(LENGTH_NAMES)
        without_effect: set[str] = set()
        if not capabilities.strict:
            without_effect = {*PARAMETERS, *NO_EFFECT} - allowed - lengths - set(model.model_fields)
        for number, name in enumerate(sorted(self._allowed | lengths | without_effect)):
            annotation = _annotation(name)
            if name in without_effect:
                annotation = _only(NO_EFFECT.get(name, ()))
            elif name not in allowed:
                annotation = Annotated[annotation, Unlisted()]
            if name in model.model_fields:
                fields[name] = (annotation, None)
            else:
                # An alias, because a parameter may be named like a method of BaseModel.
                fields[f"parameter_{number}"] = (annotation, Field(None, alias=name))
        self.model: type[Model] = create_model(
            model.__name__, __base__=model, __doc__=model.__doc__, **fields
        )
        self.models = (self.model,)

    def validate(self, body: Mapping[str, Any], path: str = "") -> tuple[Model, dict[str, Any]]:
        """Validate an object, and return it with its generation parameters.

        The parameters have the names that the engine allows, and the values of the body:
        validation converts whole numbers to floats.

        Args:
            body: The object.
            path: The position of the object in the request body; default: it is the body.

        Raises:
            RequestError: 400, for an object that violates the model.
        """
        request = validate(self.model, body, path)
        given = {name: value for name, value in body.items() if value is not None}
        params = {name: value for name, value in given.items() if name in self._allowed}
        lengths = [name for name in LENGTH_NAMES if name in given]
        if len(lengths) > 1:
            raise invalid(f"{' and '.join(map(repr, lengths))} are the same: send one of them.")
        if lengths and lengths[0] not in self._allowed:
            supported = next(name for name in LENGTH_NAMES if name in self._allowed)
            params[supported] = given[lengths[0]]
        return request, params


def without_logprobs(capabilities: Capabilities) -> Capabilities:
    """Return the capabilities for a format whose response has only the text."""
    names = capabilities.parameters - {"logprobs", "top_logprobs"}
    return replace(capabilities, parameters=names)


class PromptFormat(ParameterizedFormat[PromptRequest]):
    """The prompt form, for an engine that generates text."""

    def __init__(self, capabilities: Capabilities) -> None:
        super().__init__(PromptRequest, without_logprobs(capabilities))

    def parse(self, body: Mapping[str, Any]) -> ParsedGeneration:
        """Parse a body.

        Raises:
            RequestError: 400, for a body that violates the format.
        """
        return ParsedGeneration("text", (self.parse_prompt(body),))

    def parse_prompt(self, body: Mapping[str, Any], path: str = "") -> GenerationRequest:
        """Parse an object at `path` of the request body; see `parse`."""
        request, params = self.validate(body, path)
        return GenerationRequest(request.prompt, tuple(request.stop or ()), params)


def _only(values: tuple[float, ...]) -> Any:
    """Return the type of a parameter that may only have these values, or null."""

    def check(value: float) -> float:
        if value not in values:
            raise ValueError
        return value

    schema: Any = {"enum": list(values)}
    value = Annotated[float, AfterValidator(check), Field(json_schema_extra=schema)]
    return Annotated[value | None if values else None, Unsupported()]


def _annotation(name: str) -> Any:
    if name in CHAT_OPTIONS:
        return CHAT_OPTIONS[name]
    if name not in PARAMETERS:
        return Any
    limits = PARAMETERS[name]
    number, kind = ("a whole number", int) if limits.integer else ("a number", float)
    return Annotated[
        kind | None,
        Field(ge=limits.low, le=limits.high),
        Expected(f"{number} from {limits.low} to {limits.high}"),
    ]
