"""A process that merges records one by one, and prints the number of each that was merged."""

from __future__ import annotations

import sys

from langchain_dbx_eval import EvalDataset

if __name__ == "__main__":
    name, worker, first, last = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    dataset = EvalDataset.load(name)
    for number in range(first, last):
        dataset.merge_records([{"request": f"{worker}-{number}"}])
        print(number, flush=True)  # noqa: T201
