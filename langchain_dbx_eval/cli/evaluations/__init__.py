"""The commands that read an evaluation, one module each.

Modules:
    list: ``list``, the evaluations on this machine.
    show: ``show``, the metrics of an evaluation, or one row.
    compare: ``compare``, an evaluation and its baselines.
    check: ``check``, conditions with an exit status.
    report: ``report``, the HTML report.
    export: ``export``, the rows as a file.
    sync: ``sync``, which writes the rest of an evaluation to MLflow.
"""
