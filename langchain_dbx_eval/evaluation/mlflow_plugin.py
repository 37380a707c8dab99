"""An evaluator for MLflow: ``mlflow.models.evaluate(…, evaluators="dbx-eval")``.

MLflow finds it by the entry point ``mlflow.model_evaluator`` of this package. Its model type is
``dbx-agent``: MLflow reserves ``databricks-agent`` for Databricks' own package.
"""

from __future__ import annotations

from typing import Any

import mlflow
from mlflow.models import EvaluationResult as MlflowResult
from mlflow.models.evaluation.artifacts import JsonEvaluationArtifact
from mlflow.models.evaluation.base import ModelEvaluator

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.evaluate import EvaluationOptions, evaluate
from langchain_dbx_eval.evaluation.tracking.metrics import legal_metric_names
from langchain_dbx_eval.evaluation.tracking.runs import table_file

__all__ = ["DbxEvaluator"]

_MODEL_TYPE = "dbx-agent"
_AGENT_CONFIG = ("metrics", "global_guidelines")
_OPTIONS = ("judge_cache", "judge_repeats")
_SUPPORTED = ("judge", *_OPTIONS, "scorers", "max_concurrency", *_AGENT_CONFIG)


class DbxEvaluator(ModelEvaluator):
    """Runs `langchain_dbx_eval.evaluate` for MLflow."""

    @classmethod
    def can_evaluate(cls, *, model_type: str, evaluator_config: Any, **kwargs: Any) -> bool:  # noqa: ARG003
        """Return whether the model type is ``dbx-agent``."""
        return model_type == _MODEL_TYPE

    def evaluate(
        self,
        *,
        model_type: str,  # noqa: ARG002
        dataset: Any,
        run_id: str,
        evaluator_config: dict[str, Any] | None = None,
        model: Any = None,
        extra_metrics: list[Any] | None = None,
        custom_artifacts: list[Any] | None = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> MlflowResult:
        """Evaluate a model, and log the evaluation to the run that MLflow started.

        Args:
            model_type: ``dbx-agent``.
            dataset: MLflow's dataset; its features are the evaluation dataset, its predictions the
                responses, and its targets the expected responses.
            run_id: The run.
            evaluator_config: ``judge``, ``judge_cache``, ``judge_repeats``, ``scorers`` and
                ``max_concurrency`` as for `evaluate` and `EvaluationOptions`, and the ``metrics``
                and ``global_guidelines`` of the documented ``evaluator_config``.
            model: The pyfunc model that MLflow loaded; None scores the responses in the data.
            extra_metrics: Further metrics, as for `evaluate`.
            custom_artifacts: Not supported.
            kwargs: MLflow's other arguments: the model's id, and the name of its output column.

        Returns:
            MLflow's result: the metrics, and the table as the artifact ``eval_results``.

        Raises:
            ConfigurationError: `evaluator_config` has an unsupported key, or `custom_artifacts` is
                given.
        """
        if custom_artifacts:
            msg = (
                "custom_artifacts is not supported by the evaluator 'dbx-eval'. Log artifacts "
                "yourself, from result.artifacts['eval_results']."
            )
            raise ConfigurationError(msg)
        config = dict(evaluator_config or {})
        if unsupported := [key for key in config if key not in _SUPPORTED]:
            msg = (
                f"evaluator_config has the unsupported key {unsupported[0]!r}. Supported are: "
                f"{', '.join(_SUPPORTED)}."
            )
            raise ConfigurationError(msg)
        agent_config = {key: config.pop(key) for key in _AGENT_CONFIG if key in config}
        options = EvaluationOptions(**{key: config.pop(key) for key in _OPTIONS if key in config})
        result = evaluate(
            model,
            _data(dataset),
            extra_metrics=extra_metrics,
            evaluator_config={"databricks-agent": agent_config},
            options=options,
            **config,
        )
        # MLflow's run is the active one, so the evaluation and its table are logged to it.
        table = JsonEvaluationArtifact(  # type: ignore[no-untyped-call]
            uri=mlflow.get_artifact_uri(table_file(mlflow.get_run(run_id), result.evaluation_id))
        )
        artifacts = {"eval_results": table}
        # MLflow logs what this returns.
        names = legal_metric_names(result.metrics)
        metrics = {names[name]: value for name, value in result.metrics.items()}
        return MlflowResult(metrics, artifacts, run_id)  # type: ignore[no-untyped-call]


def _data(dataset: Any) -> Any:
    """Return the features of MLflow's dataset with the columns that it keeps apart."""
    data = dataset.features_data
    if dataset.has_predictions:
        data = data.assign(response=dataset.predictions_data)
    if dataset.has_targets:
        data = data.assign(expected_response=dataset.labels_data)
    return data
