"""Evaluation records, and where they come from.

- `records`: one record, in either vocabulary, checked.
- `names`: three-level names such as ``main.default.questions``.
- `local_catalog`: Delta tables in a folder, under those names.
- `sources`: what `EvalDataset.load` takes, in the order in which it is tried.
- `dataset`: `EvalDataset`, which is what users hold.
"""

from langchain_dbx_eval.datasets.dataset import EvalDataset
from langchain_dbx_eval.datasets.records import EvalRecord, record_key

__all__ = ["EvalDataset", "EvalRecord", "record_key"]
