"""Plain prompts: the protocol of driver apps.

Protocol: ``POST {"prompt", "stop"?, **params}``, answered with a JSON string (LangChain
documentation of `Databricks`, "Wrapping a cluster driver proxy app"). Other shapes are
supported as far as `text_of` finds a text in them.
"""

from __future__ import annotations

from typing import Any

from langchain_core.outputs import Generation

from langchain_dbx_eval.wire.openai.completions import Stream, encode
from langchain_dbx_eval.wire.tasks import TextCodec
from langchain_dbx_eval.wire.validate import has_error, wrong_shape

__all__ = ["CODEC", "decode", "text_of"]

_TEXT_KEYS = ("text", "generated_text", "content", "response", "output", "candidates", "0")


def decode(response: Any) -> list[Generation]:
    """Decode a response of any shape that `text_of` supports."""
    return [Generation(text=text_of(response))]


def text_of(response: Any) -> str:
    """Return the text in the response of a driver app, or in one prediction of an MLflow model.

    Args:
        response: A string, a list of one element, an object with one of the usual keys (``text``,
            ``generated_text``, ``content``, …) or with a single key, or a chat or text completion.

    Raises:
        InvalidResponseError: No text was found; a `transform_output_fn` can extract it.
    """
    if isinstance(response, str):
        return response
    if isinstance(response, list) and len(response) == 1:
        return text_of(response[0])
    if isinstance(response, dict) and not has_error(response):
        if isinstance(choices := response.get("choices"), list) and choices:
            return text_of(choices[0])
        if "message" in response:
            return text_of(response["message"])
        for key in _TEXT_KEYS:
            if key in response:
                return text_of(response[key])
        # A data frame of one column, of any name.
        if len(response) == 1 and isinstance(only := next(iter(response.values())), str):
            return only
    raise wrong_shape("a string (a transform_output_fn can extract it)", response)


CODEC = TextCodec(encode=encode, decode=decode, stream=Stream)
