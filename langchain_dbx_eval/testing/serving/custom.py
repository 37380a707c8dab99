"""What an endpoint with a custom MLflow model answers.

The protocol is MLflow's scoring server (`mlflow.pyfunc.scoring_server`, read in 3.17): one of
four input formats, `params` beside it, and one prediction for each record.
"""

from __future__ import annotations

from typing import Any

from langchain_dbx_eval.driver.engines.base import Generation
from langchain_dbx_eval.testing.errors import bad_request
from langchain_dbx_eval.testing.serving.endpoints import Endpoint

__all__ = ["answer"]

_FORMATS = ("dataframe_records", "dataframe_split", "instances", "inputs")


def answer(endpoint: Endpoint, body: dict[str, Any]) -> dict[str, Any]:
    """One prediction for each record of the request.

    Raises:
        Refusal: The request is not of the form that MLflow asks for.
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
    prediction = endpoint.model.run(prompt, fields)
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
        records = _rows_of_split(data)
    elif name == "dataframe_records":
        records = data
    else:
        records = _rows_of_tensors(data)
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise bad_request(f"Failed to parse input data: '{name}' holds no list of records.")
    return records


def _rows_of_split(data: Any) -> Any:
    try:
        return [dict(zip(data["columns"], row, strict=True)) for row in data["data"]]
    except (KeyError, TypeError, ValueError):
        return None


def _rows_of_tensors(data: Any) -> Any:
    """Rows of TF Serving's formats: one value, a list of rows, or a dictionary of columns."""
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
