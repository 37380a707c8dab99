"""Tables, SQL warehouses, volumes and managed datasets of the local workspace.

Modules:
    tables: Delta tables, SQL warehouses, and the catalog of both.
    sql_engine: execution of Databricks SQL with DuckDB.
    statement_api: the Statement Execution API.
    managed_datasets: managed evaluation datasets.
    volumes: files in volumes.
"""
