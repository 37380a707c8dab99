"""The command line ``langchain-dbx-eval``.

Modules:
    parser: `main`, the entry point, and the parser of all commands.
    serve: ``serve``, the driver server.
    demo: ``demo``, the shipped demonstration.
    list: ``list``, which lists the evaluations on this machine.
    sync: ``sync``, which writes the rest of an evaluation to MLflow.
    export: ``export``, which copies the journal of an evaluation.
    check: ``check``, which checks an evaluation against conditions.
"""

from __future__ import annotations

from langchain_dbx_eval.cli.parser import main

__all__ = ["main"]
