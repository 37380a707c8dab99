"""An evaluator for MLflow: ``mlflow.models.evaluate(…, evaluators="dbx-eval")``.

MLflow finds it by the entry point ``mlflow.model_evaluator`` of this package. It serves the model
type ``dbx-agent``: MLflow keeps ``databricks-agent`` for Databricks' own package.
"""

from __future__ import annotations

from typing import Any

import mlflow
from mlflow.models import EvaluationResult as MlflowResult
from mlflow.models.evaluation.artifacts import JsonEvaluationArtifact
from mlflow.models.evaluation.base import ModelEvaluator

from langchain_dbx_eval.errors import ConfigurationError
from langchain_dbx_eval.evaluation.evaluate import evaluate
from langchain_dbx_eval.evaluation.tracking.runs import TABLE_FILE

__all__ = ["DbxEvaluator"]

_MODEL_TYPE = "dbx-agent"
_OPTIONS = ("judge", "judge_cache", "scorers", "max_concurrency")
_JUDGING = ("metrics", "global_guidelines")


class DbxEvaluator(ModelEvaluator):
    """Runs `langchain_dbx_eval.evaluate` for MLflow."""

    @classmethod
    def can_evaluate(cls, *, model_type: str, evaluator_config: Any, **kwargs: Any) -> bool:  # noqa: ARG003
        """Whether the model type is ``dbx-agent``."""
        return model_type == _MODEL_TYPE

    def evaluate(
        self,
        *,
        model_type: str,  # noqa: ARG002
        dataset: Any,
        run_id: str,
        evaluator_config: dict[str, Any] | None = None,
        model: Any = None,
        **kwargs: Any,  # noqa: ARG002
    ) -> MlflowResult:
        """Evaluate, and log to the run that MLflow has begun.

        Args:
            model_type: ``dbx-agent``.
            dataset: MLflow's dataset, whose features are the evaluation set.
            run_id: The run.
            evaluator_config: ``judge``, ``judge_cache``, ``scorers``, ``max_concurrency`` as for
                `evaluate`, and the ``metrics`` and ``global_guidelines`` of the documented
                ``evaluator_config``.
            model: The pyfunc model that MLflow has loaded; None scores the responses of the data.
            kwargs: What else MLflow tells, which has no meaning here.

        Returns:
            MLflow's own result: the metrics, and the table as the artifact ``eval_results``.

        Raises:
            ConfigurationError: The configuration is not known.
        """
        config = _checked(evaluator_config)
        judging = {key: config[key] for key in _JUDGING if key in config}
        result = evaluate(
            None if model is None else lambda request: _single(model.predict(request)),
            dataset.features_data,
            evaluator_config={"databricks-agent": judging},
            **{key: config[key] for key in _OPTIONS if key in config},
        )
        # MLflow's run is the active one, so everything is logged to it; its file is this one.
        table = JsonEvaluationArtifact(  # type: ignore[no-untyped-call]
            uri=mlflow.get_artifact_uri(TABLE_FILE)
        )
        artifacts = {"eval_results": table}
        return MlflowResult(dict(result.metrics), artifacts, run_id)  # type: ignore[no-untyped-call]


def _checked(config: dict[str, Any] | None) -> dict[str, Any]:
    given = dict(config or {})
    if unknown := [key for key in given if key not in (*_OPTIONS, *_JUDGING)]:
        known = ", ".join((*_OPTIONS, *_JUDGING))
        msg = f"evaluator_config does not know {unknown[0]!r}. It knows: {known}."
        raise ConfigurationError(msg)
    return given


def _single(predictions: Any) -> Any:
    """The prediction for one request, which pyfunc models give as a list of one."""
    is_list_of_one = isinstance(predictions, list) and len(predictions) == 1
    return predictions[0] if is_list_of_one else predictions
