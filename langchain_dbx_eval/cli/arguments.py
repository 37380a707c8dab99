"""Arguments that several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation import EvaluationResult

__all__ = [
    "BackendOption",
    "JsonOption",
    "RunArgument",
    "VersionOption",
    "WarehouseOption",
    "complete_runs",
    "find_run",
    "load_result",
]


_MIN_PREFIX = 4


def complete_runs(incomplete: str) -> list[str]:
    """Return the evaluation ids that begin with a text, the newest first, for the shell."""
    from langchain_dbx_eval._internal.paths import journals_root

    ids = sorted((path.stem for path in journals_root().glob("*.sqlite")), reverse=True)
    return [name for name in ["last", *ids] if name.startswith(incomplete)]


RunArgument = Annotated[
    str,
    typer.Argument(
        metavar="RUN",
        help="Evaluation id, MLflow run id (or the beginning of one), path of a journal, or "
        "'last'.",
        show_default=False,
        autocompletion=complete_runs,
    ),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
BackendOption = Annotated[
    str | None,
    typer.Option(
        help="Where a table is: local, warehouse, spark, delta, managed; or mlflow. "
        "[default: the first that has it]"
    ),
]
VersionOption = Annotated[
    int | None, typer.Option(help="The version of a table. [default: the newest]")
]
WarehouseOption = Annotated[
    str | None,
    typer.Option(help="The SQL warehouse. [default: DATABRICKS_WAREHOUSE_ID]", metavar="ID"),
]


def find_run(reference: str) -> str | Path:
    """Return a reference that `EvaluationResult.load` accepts.

    Args:
        reference: Such a reference, the beginning of an evaluation id or of an MLflow run id, or
            ``last`` for the newest evaluation.

    Raises:
        NotFoundError: It is ``last``, and there is no evaluation on this machine.
        ConfigurationError: The ids of several evaluations begin so.
    """
    from langchain_dbx_eval._internal.paths import journals_root
    from langchain_dbx_eval.errors import ConfigurationError, NotFoundError
    from langchain_dbx_eval.evaluation import list_evaluations

    if reference != "last":
        is_known = (journals_root() / f"{reference}.sqlite").exists()
        if is_known or len(reference) < _MIN_PREFIX or Path(reference).exists():
            return reference
        found = [
            info
            for info in list_evaluations()
            if info.evaluation_id.startswith(reference) or str(info.run_id).startswith(reference)
        ]
        if len(found) > 1:
            ids = ", ".join(info.evaluation_id for info in found[:5])
            msg = f"{len(found)} evaluations begin with {reference!r}: {ids}. Give more of the id."
            raise ConfigurationError(msg)
        return found[0].journal if found else reference
    if newest := list_evaluations(limit=1):
        return newest[0].journal
    msg = (
        f"There is no evaluation in {journals_root()} yet. Start one with `langchain-dbx-eval "
        "run`; DBX_EVAL_HOME sets the folder."
    )
    raise NotFoundError(msg)


def load_result(reference: str) -> EvaluationResult:
    """Load the evaluation of an argument RUN.

    Raises:
        NotFoundError: This machine has no such evaluation.
        JournalError: Its journal cannot be read.
    """
    from langchain_dbx_eval.evaluation import EvaluationResult

    return EvaluationResult.load(find_run(reference))
