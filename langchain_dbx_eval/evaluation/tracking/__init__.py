"""Writing the rows of a journal to MLflow.

Modules:
    writer: `MlflowWriter`, in the background and at the end; `sync`, later.
    runs: `MlflowRun`, an evaluation as a run: dataset, rows, metrics, table.
    traces: a row as a trace: its id, its spans, writing it, autologging's trace of the same call.
    assessments: the scores and expectations of a row as assessments of its trace.
    metrics: the metrics of a run, under names that MLflow accepts.
    sql_store: writes the assessments of many rows in one transaction.
    store_access: fails fast if a server is down, retries transient errors, hides passwords.
"""
