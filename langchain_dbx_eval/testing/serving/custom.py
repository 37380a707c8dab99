"""Endpoints with a custom MLflow model.

The protocol is that of MLflow's scoring server (`mlflow.pyfunc.scoring_server`, read in 3.17): one
of four input formats, optional `params`, and one prediction per record.
"""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import bad_request
from langchain_dbx_eval.testing.serving.endpoints import Endpoint

__all__ = ["answer"]

_FORMATS = ("dataframe_records", "dataframe_split", "instances", "inputs")


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """Return one prediction per record of the request.

    Raises:
        ApiError: The request does not follow MLflow's protocol.
    """
    params = body.get("params") or {}
    if not isinstance(params, dict):
        raise bad_request("The 'params' of a request must be a JSON dictionary.")
    return {"predictions": [_predict(endpoint, record, params) for record in _records(body)]}


def _predict(endpoint: Endpoint, record: dict[str, Any], params: dict[str, Any]) -> Any:
    fields = {**params, **record}
    prompt = fields.pop("prompt", None)
    if not isinstance(prompt, str):
        message = "Failed to enforce schema of data. Model is missing inputs ['prompt']."
        raise bad_request(f"{message} Note that there were extra inputs: {sorted(fields)}.")
    prediction = endpoint.backend.invoke(prompt, fields)
    return prediction.text if isinstance(prediction, Generation) else prediction


def _records(body: dict[str, Any]) -> list[dict[str, Any]]:
    formats = [name for name in _FORMATS if name in body]
    if len(formats) != 1:
        message = "The input must be a JSON dictionary with exactly one of the input fields "
        message += f"{set(_FORMATS)}. Received dictionary with input fields: {list(body)}."
        raise bad_request(message)
    [name] = formats
    data = body[name]
    if name == "dataframe_split":
        records = _split_records(data)
    elif name == "dataframe_records":
        records = data
    else:
        records = _tensor_records(data)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise bad_request(f"Failed to parse input data: '{name}' is not a list of records.")
    return records


def _split_records(data: Any) -> Any:
    try:
        return [dict(zip(data["columns"], row, strict=True)) for row in data["data"]]
    except (KeyError, TypeError, ValueError):
        return None


def _tensor_records(data: Any) -> Any:
    """Return the records of TF Serving's formats: a value, a list of rows, a dict of columns."""
    if isinstance(data, dict):
        if not all(isinstance(column, list) for column in data.values()):
            return [data]
        try:
            rows = list(zip(*data.values(), strict=True))
        except ValueError:
            return None
        return [dict(zip(data, row, strict=True)) for row in rows]
    rows = data if isinstance(data, list) else [data]
    return [row if isinstance(row, dict) else {"prompt": row} for row in rows]
