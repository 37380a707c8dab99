"""The journal: the durable state of one evaluation, in one SQLite file.

Modules:
    store: `Journal`, which reads and writes the file.
    schema: the tables, the schema version, and the migrations from earlier versions.
    codec: the stored form of rows, scorer outputs and the manifest. A new field goes here.
    rows: `Row`, `Answer` and `RowKey`, the rows in memory.
    manifest: `EvaluationManifest`, what an evaluation consists of, its destination and progress.
    fingerprint: a hash of models and scorers, by which a change is noticed.
    reconcile: adapts a journal to a changed dataset, model or set of scorers.
    export: copies of journals, also of running evaluations.
    listing: the evaluations on this machine, and their states.
"""
