"""``langchain-dbx-eval demo``: run the shipped demonstration."""

from __future__ import annotations

import argparse

__all__ = ["add_command"]


def add_command(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add the command ``demo``."""
    parser = commands.add_parser(
        "demo",
        help="run an end-to-end demonstration on this machine, without a workspace",
        description="Run a chain on 48 questions through an emulated workspace and a real "
        "driver server, score its answers, and log them to MLflow.",
    )
    parser.add_argument(
        "--variant",
        choices=["baseline", "better"],
        default="baseline",
        help="retriever to use; 'better' also prints a comparison with the baseline",
    )
    parser.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> None:
    from langchain_dbx_eval.demo.run import run_demo

    run_demo(options.variant)
