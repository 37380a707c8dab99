"""Where an evaluation is logged: which MLflow, which experiment, which run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._internal.extras import require
from langchain_dbx_eval.evaluation.tracking.store_access import probe, shown, with_retries

if TYPE_CHECKING:
    from langchain_dbx_eval.evaluation.tracking.runs import MlflowRun

__all__ = ["Destination"]


@dataclass(frozen=True, kw_only=True)
class Destination:
    """Where an evaluation is logged.

    Attributes:
        tracking_uri: The MLflow store; None for MLflow's current one.
        experiment_name: The experiment's name; None for `experiment_id`.
        experiment_id: The experiment's id; None for MLflow's current one.
        run_name: The name of the run that is made.
        active_run: The run that was active when the evaluation began, which it then belongs to;
            or the one that it has been given.
    """

    tracking_uri: str | None = None
    experiment_name: str | None = None
    experiment_id: str | None = None
    run_name: str | None = None
    active_run: str | None = None

    @classmethod
    def current(cls, *, run_name: str | None, experiment_name: str | None) -> Destination:
        """Where MLflow stands in this thread, without asking its server."""
        mlflow = require("mlflow", extra="eval")
        active = mlflow.active_run()
        # What `mlflow.set_experiment` has set; asking MLflow for it would ask its server too.
        chosen = getattr(mlflow.tracking.fluent, "_active_experiment_id", None)
        return cls(
            tracking_uri=mlflow.get_tracking_uri(),
            experiment_name=experiment_name,
            experiment_id=None if experiment_name else chosen,
            run_name=run_name,
            active_run=active.info.run_id if active is not None else None,
        )

    @classmethod
    def of_journal(cls, facts: Mapping[str, Any]) -> Destination | None:
        """Where a journal's evaluation is logged; None where it has no run yet.

        The run decides, and not what is MLflow's current experiment now: a new process that does
        not set it would write the rest of the rows to another run.
        """
        if "run_id" not in facts:
            return None
        return cls(**{**facts["destination"], "active_run": facts["run_id"]})

    @classmethod
    def planned(cls, facts: Mapping[str, Any]) -> Destination:
        """Where a journal's evaluation was to be logged.

        A callback's process that ended before `result` had not said so: MLflow's current store.
        """
        return cls(**facts.get("destination", {}))

    def to_json(self) -> dict[str, Any]:
        """Its fields, without secrets: such a store is found by MLFLOW_TRACKING_URI again."""
        store = self.tracking_uri
        return {**asdict(self), "tracking_uri": store if store and shown(store) == store else None}

    @property
    def shown(self) -> str:
        """The store, as it may be shown."""
        import mlflow

        return shown(self.tracking_uri or mlflow.get_tracking_uri())

    def open(self, evaluation_id: str) -> MlflowRun:
        """The run to log to: the active one, the evaluation's own, or a new one.

        Raises:
            TrackingError: The store cannot be reached, or refuses.
        """
        import mlflow

        from langchain_dbx_eval.evaluation.tracking.runs import MlflowRun

        store = self.tracking_uri or mlflow.get_tracking_uri()
        if self.active_run is not None:
            return MlflowRun.attach(tracking_uri=store, run_id=self.active_run)
        probe(store)
        return MlflowRun.begin(
            tracking_uri=store,
            experiment_id=with_retries(store, lambda _: self._experiment_in(store)),
            run_name=self.run_name,
            evaluation_id=evaluation_id,
        )

    def _experiment_in(self, store: str) -> str:
        import mlflow
        from mlflow.tracking.fluent import _get_experiment_id

        if self.experiment_name is None:
            # The one of a notebook or of the environment, else MLflow's default.
            return self.experiment_id or str(_get_experiment_id())
        client = mlflow.MlflowClient(store)
        known = client.get_experiment_by_name(self.experiment_name)
        return str(known.experiment_id if known else client.create_experiment(self.experiment_name))
