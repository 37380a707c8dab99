"""Delta tables, read and written in this process.

Modules:
    reader: a Delta table at one version.
    local_catalog: the table backend ``"local"``: Delta tables in a folder.
    staging: rows that are encoded and validated before the first of them is written.
"""
