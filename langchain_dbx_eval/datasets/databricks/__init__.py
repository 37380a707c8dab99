"""Tables in a Databricks workspace.

Modules:
    unity_catalog: databricks-sdk: client, table metadata, errors.
    credential_vending: the table backend ``"delta"``: a table's files in cloud storage.
    sql_table: a table that is read and merged into by SQL.
    spark: the table backend ``"spark"``: SQL in the active Spark session.
    warehouse: the table backend ``"warehouse"``: SQL in a SQL warehouse.
    warehouse_startup: starting a SQL warehouse within a deadline.
    statement_execution: one statement by the Statement Execution API.
    row_upload: rows as a statement's parameter, or as a file in a volume.
    managed_dataset: the table backend ``"managed"``: Databricks' managed evaluation datasets.
    agents_client: calls of the package databricks-agents.
"""
