"""MLflow's scoring server: records in, predictions out.

Protocol: MLflow, "Deploy MLflow Model as a Local Inference Server", which Databricks' custom
endpoints run.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from langchain_dbx_eval.wire.plain_prompt import decode
from langchain_dbx_eval.wire.tasks import TextCodec
from langchain_dbx_eval.wire.validate import expect_dict, wrong_shape

__all__ = ["CODEC", "batches", "encode", "split"]

# A custom endpoint accepts 16 MB (Databricks, "Model Serving limits"); this leaves a margin.
_MAX_BYTES = 8_000_000
_MAX_RECORDS = 256


def batches(records: Sequence[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    """Group records into batches of at most 256 records and 8 MB of prompts."""
    batch: list[dict[str, Any]] = []
    size = 0
    for record in records:
        # A character takes at most 4 bytes in UTF-8.
        length = len(str(record.get("prompt", ""))) * 4
        if batch and (size + length > _MAX_BYTES or len(batch) == _MAX_RECORDS):
            yield batch
            batch, size = [], 0
        batch.append(record)
        size += length
    if batch:
        yield batch


def encode(records: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the body for a batch of records."""
    return {"dataframe_records": list(records)}


def split(payload: Any, count: int) -> list[Any]:
    """Return the predictions for a batch.

    Args:
        payload: The decoded JSON, ``{"predictions": …}``.
        count: The number of records.

    Returns:
        One prediction per record, in the form in which it was sent.

    Raises:
        InvalidResponseError: There are no predictions, or not one per record.
    """
    response = expect_dict(payload)
    if "predictions" not in response:
        raise wrong_shape("'predictions'", payload)
    predictions = response["predictions"]
    if not isinstance(predictions, list):
        # A model that returns a single string or dict is answered without a list.
        predictions = [predictions]
    if len(predictions) != count:
        raise wrong_shape(f"one prediction for each of the {count} inputs", payload)
    return predictions


CODEC = TextCodec(encode=encode, decode=decode, batches=batches, split=split)
