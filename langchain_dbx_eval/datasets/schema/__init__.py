"""The form of a record outside of Python: table names, validation, and codecs.

Modules:
    table_name: `TableName`, a parsed three-level name.
    validation: rows to records, with one error for each invalid row.
    row_codec: records as rows of a table; merging of rows; the content digest.
    mlflow_codec: records as rows of MLflow's and of Databricks' managed datasets, and of `to_df`.
    trace_codec: MLflow traces as rows.
"""
