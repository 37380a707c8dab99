"""The command line ``langchain-dbx-eval``.

Modules:
    entry_point: `main`, the entry point.
    app: the program: its commands, errors and exit statuses.
    arguments: arguments that several commands take, such as RUN.
    output: JSON, tables and texts on the terminal.
    row_files: rows as JSON lines, CSV and Parquet.
    runs: ``run`` and ``resume``, and the file that configures a run.
    evaluations: the commands that read an evaluation: ``list``, ``show``, ``compare``, …
    datasets: ``datasets list``, ``show``, ``create``, …
    judges: ``judges list`` and ``judges agreement``.
    doctor: ``doctor``, which checks the environment.
    init: ``init``, which writes the files of the folder ``starter``.
    serve: ``serve``, the driver server.
    demo: ``demo``, the shipped demonstration.

A module of a command imports typer and nothing heavy: what it needs is imported when it runs, so
that ``--help`` and the completion of a shell are fast.
"""

from langchain_dbx_eval.cli.entry_point import main

__all__ = ["main"]
