"""The base of all request models, and the one sentence of a 400 for a body that violates one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, GetCoreSchemaHandler, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import CoreSchema, ErrorDetails, core_schema

from langchain_dbx_eval.driver.errors import RequestError, invalid

__all__ = [
    "Expected",
    "RequestModel",
    "Unlisted",
    "Unsupported",
    "is_unlisted",
    "json_type",
    "validate",
]

Model = TypeVar("Model", bound=BaseModel)

_TYPES = {
    "string_type": "a string",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "list_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
}
"""pydantic's error types for a wrong JSON type, and the expected type."""

_JSON_TYPES = {
    bool: "a boolean",
    dict: "an object",
    list: "a list",
    str: "a string",
    type(None): "null",
}


class RequestModel(BaseModel):
    """Base of the request models: no type is converted, and unknown fields are rejected.

    The description of a required field completes the sentence "'field' is missing: send …".
    """

    model_config = ConfigDict(strict=True, extra="forbid")


class Expected:
    """Annotation: the description of the expected value, for the error message.

    Args:
        phrase: Completes the sentence "'field' must be …".
    """

    error_type = "expected"

    def __init__(self, phrase: str) -> None:
        self._phrase = phrase

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.custom_error_schema(
            handler(source), custom_error_type=self.error_type, custom_error_message=self._phrase
        )


class Unlisted:
    """Annotation: error messages do not list this field among those that the server accepts."""


class Unsupported(Unlisted, Expected):
    """Annotation: a field of OpenAI's API that is accepted only with a value that has no effect."""

    error_type = "unsupported"

    def __init__(self) -> None:
        super().__init__("unsupported")


def is_unlisted(field: FieldInfo) -> bool:
    """Whether a field is `Unlisted`."""
    return any(isinstance(annotation, Unlisted) for annotation in field.metadata)


def json_type(value: object) -> str:
    """Return the JSON type of a decoded value, with its article."""
    return _JSON_TYPES.get(type(value), "a number")


def validate(model: type[Model], body: Mapping[str, Any], path: str = "") -> Model:
    """Validate an object against a model.

    Args:
        model: The model.
        body: The decoded JSON object.
        path: The position of the object in the request body; default: it is the body.

    Returns:
        The instance of the model.

    Raises:
        RequestError: 400; the message names the first wrong field, and what is expected.
    """
    try:
        return model.model_validate(body)
    except ValidationError as error:
        details = error.errors(include_url=False)[0]
    raise _rejection(model, details, path)


def _rejection(model: type[BaseModel], error: ErrorDetails, parent: str) -> RequestError:
    kind, location = error["type"], error["loc"]
    path = _path(parent, location)
    if kind in ("extra_forbidden", "unsupported"):
        # A name may be as long as the body; the message must not.
        name = str(location[-1])[:80]
        if len(location) > 1:
            return invalid(f"Unknown field {name!r} in '{_path(parent, location[:-1])}'.")
        problem = "Unknown parameter" if kind == "extra_forbidden" else "Unsupported value of"
        return invalid(f"{problem} {name!r}. This server takes: {_listed(model)}.")
    if kind == "missing":
        field = model.model_fields.get(str(location[0]))
        hint = f": send {field.description}" if field and len(location) == 1 else ""
        return invalid(f"'{path}' is missing{hint}.")
    if kind in ("too_short", "too_long"):
        limits = error["ctx"]
        bound = limits.get("min_length") or limits.get("max_length")
        extreme = "least" if kind == "too_short" else "most"
        items = "item" if bound == 1 else "items"
        return invalid(f"'{path}' must have at {extreme} {bound} {items}.")
    if kind == "expected":
        return invalid(f"'{path}' must be {error['msg']}.")
    if kind == "literal_error":
        return invalid(f"'{path}' must be {error['ctx']['expected']}.")
    if kind in _TYPES:
        return invalid(f"'{path}' must be {_TYPES[kind]}, not {json_type(error['input'])}.")
    return invalid(f"'{path}' is invalid: {error['msg']}.")


def _path(parent: str, location: tuple[int | str, ...]) -> str:
    path = parent
    for part in location:
        if isinstance(part, int):
            path += f"[{part}]"
        elif not part.startswith("<"):  # the tag of a union member
            path += f".{part[:80]}" if path else part[:80]
    return path


def _listed(model: type[BaseModel]) -> str:
    """Return the names of a model's fields, required ones first."""
    fields = sorted(model.model_fields.items(), key=lambda item: not item[1].is_required())
    return ", ".join(field.alias or name for name, field in fields if not is_unlisted(field))
