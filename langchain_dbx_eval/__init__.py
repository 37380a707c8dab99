"""LangChain on Databricks: models, a driver server, and evaluation that runs anywhere.

The public names are resolved when they are first used (PEP 562): importing this package loads
neither MLflow, pandas, Flask nor Delta.

Modules:
    llms, chat_models, embeddings: the three LangChain components.
    errors: the tree of typed errors.
    _redaction: removal of secrets from the text of errors and logs.
    client: HTTP access to serving endpoints and driver-proxy apps.
    wire: JSON to LangChain objects and back.
    driver: the reference driver server.
    datasets: evaluation datasets and where they are stored.
    scoring: judges, metrics and the assessments that they produce.
    evaluation: `evaluate`, the callback handler, the journal and MLflow tracking.
    reporting: reports and comparisons of evaluations, and the agreement of judges with people.
    testing: `LocalWorkspace`, a local Databricks workspace for tests.
    demo: the shipped demonstration.
    cli: the command line.
    pytest_plugin: evaluations as tests of pytest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from langchain_dbx_eval._version import __version__

if TYPE_CHECKING:
    from langchain_dbx_eval import errors
    from langchain_dbx_eval.chat_models import ChatDatabricks
    from langchain_dbx_eval.datasets import EvalDataset, EvalRecord
    from langchain_dbx_eval.embeddings import DatabricksEmbeddings
    from langchain_dbx_eval.evaluation import EvaluationCallbackHandler, EvaluationResult, evaluate
    from langchain_dbx_eval.llms import Databricks
    from langchain_dbx_eval.reporting import append_metrics_to_table, compare, judge_agreement
    from langchain_dbx_eval.scoring import PromptJudge, scorer

__all__ = [
    "ChatDatabricks",
    "Databricks",
    "DatabricksEmbeddings",
    "EvalDataset",
    "EvalRecord",
    "EvaluationCallbackHandler",
    "EvaluationResult",
    "PromptJudge",
    "__version__",
    "append_metrics_to_table",
    "compare",
    "errors",
    "evaluate",
    "judge_agreement",
    "scorer",
]

_MODULES = {
    "ChatDatabricks": "chat_models",
    "Databricks": "llms",
    "DatabricksEmbeddings": "embeddings",
    "EvalDataset": "datasets",
    "EvalRecord": "datasets",
    "EvaluationCallbackHandler": "evaluation",
    "EvaluationResult": "evaluation",
    "PromptJudge": "scoring",
    "append_metrics_to_table": "reporting",
    "compare": "reporting",
    "evaluate": "evaluation",
    "judge_agreement": "reporting",
    "scorer": "scoring",
}


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
    if name == "errors":
        return importlib.import_module(f"{__name__}.errors")
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def __dir__() -> list[str]:
    return sorted(__all__)
