"""The callback in production: from a chain's call to a scored row.

Modules:
    row_selection: `RowSelector`, which calls of a chain become rows.
    matching: `RecordIndex`, which record of the dataset a row belongs to.
    queue: `ScoringQueue`, the bounded queue between the chain's threads and the scorers.
    session: `EvaluationSession`, the rows of one result: saved, scored, written to MLflow.
    exit_flush: `ExitFlush`, the end of a process with calls that no result collected.
"""
