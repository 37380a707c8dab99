"""Evaluation records, and where they come from.

- `dataset`: `EvalDataset`, which is what users hold.
- `records`: one record, in either vocabulary, checked; `reading`: many of them.
- `catalog`: what `EvalDataset.load` takes, in the order in which it is tried.
- `names`, `named`: three-level names, and where they are looked up.
- `local_catalog`, `delta`: Delta tables in a folder, under those names; `rows`: how records lie
  there.
- `files`, `frames`, `memory`: the other sources; `derived`: datasets made of datasets.
"""

from langchain_dbx_eval.datasets.dataset import EvalDataset
from langchain_dbx_eval.datasets.record import EvalRecord, record_key

__all__ = ["EvalDataset", "EvalRecord", "record_key"]
