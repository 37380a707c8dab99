"""A process that appends runs to a table of metrics: its own ones, and some that all append."""

from __future__ import annotations

import sys

from langchain_dbx_eval import append_metrics_to_table

if __name__ == "__main__":
    table, form, worker, runs = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
    for number in range(runs):
        metrics = {"quality": number / 10, f"of {worker}": 1.0}
        append_metrics_to_table(f"{worker}-{number}", metrics, table, form=form, run_id=None)
        shared = {"quality": number / 10, "rows/failed": 1}
        append_metrics_to_table("shared", shared, table, run_id=f"id-{number}")
        append_metrics_to_table(f"shared-{number}", shared, table)
