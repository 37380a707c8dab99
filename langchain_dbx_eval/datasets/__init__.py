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

__all__ = ["EvalDataset", "EvalRecord", "record_key"]
