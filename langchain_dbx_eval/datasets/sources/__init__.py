"""What `EvalDataset.load` accepts.

Modules:
    registry: the list of sources; add one here.
    table_resolver: three-level names, and the list of table backends; add one here.
    files: JSON lines, JSON, CSV, Parquet and YAML files, and Delta folders.
    frames: pandas, polars, Arrow, Spark and Hugging Face.
    memory: lists of dicts or records.
    mlflow_store: the evaluation datasets of MLflow's own store.
    mlflow_traces: the traces of an MLflow experiment.
"""
