"""Evaluation datasets: records, and the sources and tables that they are read from.

Modules:
    dataset: `EvalDataset`, the public class.
    record: `EvalRecord`, one validated record; its key; a document's URI.
    base: the interfaces `OpenDataset`, `DatasetSource` and `TableBackend`, and `LoadOptions`.
    views: filters, samples and splits.
    preview: the HTML preview in notebooks.
    mlflow_input: a dataset as the input of an MLflow run.
    schema: table names, row validation, and the codecs of records in tables and in MLflow.
    sources: what `EvalDataset.load` accepts; `sources.registry` lists it.
    delta: Delta tables, and the local catalog.
    databricks: tables in a workspace: SQL warehouse, Spark, credential vending, managed datasets.
"""

from langchain_dbx_eval.datasets.dataset import EvalDataset
from langchain_dbx_eval.datasets.record import EvalRecord, record_key
from langchain_dbx_eval.datasets.schema.validation import InvalidRow

__all__ = [
    "EvalDataset",
    "EvalRecord",
    "InvalidRow",
    "create_dataset",
    "delete_dataset",
    "get_dataset",
    "record_key",
]

# The names of `mlflow.genai.datasets`, so that its code runs with another import.
create_dataset = EvalDataset.create
get_dataset = EvalDataset.load
delete_dataset = EvalDataset.delete
