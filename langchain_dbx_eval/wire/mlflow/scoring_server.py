"""Custom MLflow models: records in, predictions out.

Protocol: MLflow's scoring server, "Deploy MLflow Model as a Local Inference Server", which
Databricks' custom endpoints run.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from langchain_dbx_eval.wire.validate import expect_dict, is_failure, wrong_shape

__all__ = ["decode_predictions", "encode_records", "text_of"]

_TEXT_KEYS = ("text", "generated_text", "content", "response", "output", "candidates", "0")


def encode_records(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Make the body for a batch of inputs: one record each."""
    return {"dataframe_records": list(records)}


def decode_predictions(payload: Any, count: int) -> list[Any]:
    """Read the predictions for a batch of inputs.

    Args:
        payload: The decoded JSON, ``{"predictions": …}``.
        count: How many inputs were sent.

    Returns:
        One prediction an input, as it came.

    Raises:
        InvalidResponseError: There are no predictions, or not one an input.
    """
    answer = expect_dict(payload)
    if "predictions" not in answer:
        raise wrong_shape("'predictions'", payload)
    predictions = answer["predictions"]
    if not isinstance(predictions, list):
        # A model that returns a bare string or dict answers without a list around it.
        predictions = [predictions]
    if len(predictions) != count:
        raise wrong_shape(f"{count} predictions, one for each input,", payload)
    return predictions


def text_of(prediction: Any) -> str:
    """The text in one prediction, or in what a driver app answered.

    Args:
        prediction: A string, a list that begins with one, an object with one of the usual keys
            (``text``, ``generated_text``, ``content``, …) or with one key alone, or a chat or text
            completion.

    Raises:
        InvalidResponseError: It holds no text; a `transform_output_fn` can read what it holds.
    """
    if isinstance(prediction, str):
        return prediction
    if isinstance(prediction, list) and len(prediction) == 1:
        return text_of(prediction[0])
    if isinstance(prediction, dict) and not is_failure(prediction):
        if isinstance(choices := prediction.get("choices"), list) and choices:
            return text_of(choices[0])
        if "message" in prediction:
            return text_of(prediction["message"])
        for key in _TEXT_KEYS:
            if key in prediction:
                return text_of(prediction[key])
        # A data frame of one column, of whatever name.
        if len(prediction) == 1 and isinstance(only := next(iter(prediction.values())), str):
            return only
    raise wrong_shape("a text (give a transform_output_fn that reads what it has)", prediction)
