"""What an evaluation consists of, and how far it got."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from langchain_dbx_eval._version import __version__
from langchain_dbx_eval.datasets import EvalDataset
from langchain_dbx_eval.evaluation.journal.fingerprint import fingerprint
from langchain_dbx_eval.scoring import Scorer

__all__ = ["Destination", "EvaluationManifest", "package_versions"]

# What determines the answers and the scores.
_PACKAGES = ("langchain-core", "langchain", "langgraph", "databricks-sdk", "mlflow-skinny")


@dataclass(frozen=True, kw_only=True)
class Destination:
    """The MLflow store, experiment and run to which an evaluation is written.

    Attributes:
        tracking_uri: The store; None: MLflow's current store.
        experiment_name: The name of the experiment; None: `experiment_id`.
        experiment_id: The id of the experiment; None: MLflow's current experiment.
        run_name: The name of a new run; None: MLflow generates one.
        run_id: An existing run: the one that was active when the evaluation started, or the one
            that the evaluation has already; None: a new run.
    """

    tracking_uri: str | None = None
    experiment_name: str | None = None
    experiment_id: str | None = None
    run_name: str | None = None
    run_id: str | None = None


@dataclass(frozen=True, kw_only=True)
class EvaluationManifest:
    """What an evaluation consists of, and how far it got. All values are plain JSON.

    Attributes:
        created_at: Start of the evaluation, in ISO 8601.
        dataset: ``name``, ``source``, ``version``, ``digest``, number of ``records`` and of
            ``invalid_rows`` of the dataset; None for a callback without one.
        model: The fingerprint of the model and of `input_fn`.
        repeat: Number of invocations per record.
        from_callback: Whether the rows are calls that a callback captured. These cannot be
            repeated, so such an evaluation cannot be resumed.
        scorers: The fingerprint of each scorer by its column, in the order of the scorers.
        destination: Where it is written; no field is set until it is known.
        run_id: The MLflow run; None until MLflow was reached.
        experiment_id: The MLflow experiment of the run.
        complete: Whether every row is scored; of a callback, whether its rows were collected, by
            `result` or by ``langchain-dbx-eval sync``.
        logged: Whether all of it is in MLflow.
        replaced_traces: What is to be deleted in MLflow, because rows were retried: by the id of a
            trace, the names of its feedback, or None for the trace itself.
        versions: The versions of Python and of packages that ran the evaluation; empty in the
            journal of an earlier release.
    """

    created_at: str
    dataset: Mapping[str, Any] | None
    model: str
    repeat: int
    from_callback: bool
    scorers: Mapping[str, str]
    destination: Destination = Destination()
    run_id: str | None = None
    experiment_id: str | None = None
    complete: bool = False
    logged: bool = False
    replaced_traces: Mapping[str, Sequence[str] | None] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def describe(
        cls,
        dataset: EvalDataset | None,
        scorers: Sequence[Scorer],
        *,
        model: Any = None,
        repeat: int = 1,
        from_callback: bool = False,
    ) -> EvaluationManifest:
        """Return the manifest of a new evaluation.

        Args:
            dataset: The dataset; None for a callback without one.
            scorers: The scorers.
            model: Everything that determines the answers: the model and `input_fn`.
            repeat: Number of invocations per record.
            from_callback: Whether a callback captures the rows.
        """
        described = None
        if dataset is not None:
            names = ("name", "source", "version", "digest")
            described = {name: getattr(dataset, name) for name in names}
            described["records"] = len(dataset)
            described["invalid_rows"] = len(dataset.invalid_rows)
        return cls(
            created_at=datetime.now(timezone.utc).isoformat(timespec="milliseconds"),
            dataset=described,
            model=fingerprint(model),
            repeat=repeat,
            from_callback=from_callback,
            scorers={scorer.column: fingerprint(scorer) for scorer in scorers},
            versions=package_versions(),
        )

    def changes_since(self, earlier: EvaluationManifest) -> list[str]:
        """Return which of ``model``, ``repeat``, ``dataset`` and ``scorers`` differ.

        The order of the scorers, and the name and version of a dataset with the same records, do
        not count.
        """
        changes = [n for n in ("model", "repeat") if getattr(self, n) != getattr(earlier, n)]
        if (self.dataset or {}).get("digest") != (earlier.dataset or {}).get("digest"):
            changes.append("dataset")
        if dict(self.scorers) != dict(earlier.scorers):
            changes.append("scorers")
        return changes


def package_versions() -> dict[str, str]:
    """Return the versions of Python and of the packages that this process uses."""
    versions = {"langchain-dbx-eval": __version__, "Python": platform.python_version()}
    for name in _PACKAGES:
        with suppress(PackageNotFoundError):
            versions[name.removesuffix("-skinny")] = version(name)
    return versions
