# %% [markdown]
# # Evaluate on Spark
#
# Predict and score in the tasks of a Spark session. On Databricks, it is that of the notebook or
# job; elsewhere it is Sail, a Spark for one machine: `pip install 'langchain-dbx-eval[sail]'`.

# %%
import os
import sys

ON_DATABRICKS = "DATABRICKS_RUNTIME_VERSION" in os.environ
ON_WORKSPACE = "--workspace" in sys.argv or ON_DATABRICKS
ENDPOINT = os.environ.get("EXAMPLE_ENDPOINT", "databricks-meta-llama-3-3-70b-instruct")

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    def answer(messages: list[dict[str, str]], **params: object) -> str:
        """Replace a model, and a judge that accepts every answer."""
        if "verdict" in str(messages) or "rating" in str(messages):
            return '{"rationale": "A function, not a model.", "rating": "yes"}'
        return "Within 30 days."

    workspace = LocalWorkspace().start()
    workspace.add_endpoint(ENDPOINT, answer, kind="chat")

# %% [markdown]
# ## The chain
#
# A chain holds locks and credentials, so each task loads it: from a models-from-code file, an
# import string, or a model that is logged. The tasks have the login of the environment.

# %%
import tempfile
from pathlib import Path

import mlflow

from langchain_dbx_eval import EvaluationResult, evaluate
from langchain_dbx_eval.evaluation import SparkOptions

FOLDER = Path(tempfile.mkdtemp())
CHAIN = FOLDER / "chain.py"
CHAIN.write_text(f"""
import mlflow
from langchain_core.prompts import ChatPromptTemplate

from langchain_dbx_eval import ChatDatabricks

messages = [("system", "Answer briefly."), ("human", "{{question}}")]
prompt = ChatPromptTemplate.from_messages(messages)
mlflow.models.set_model(prompt | ChatDatabricks(model={ENDPOINT!r}, max_tokens=100))
""")

if ON_WORKSPACE:
    mlflow.set_tracking_uri("databricks")
    mlflow.set_experiment(os.environ.get("EXAMPLE_EXPERIMENT", "/Shared/langchain-dbx-eval"))

# %% [markdown]
# ## Evaluate
#
# The rows are written to the results table in steps. The same call with the same table runs only
# what is missing: after a crash, or with another scorer.

# %%
questions = [
    {
        "request": f"How many days after order {n} can you return a product?",
        "expected_response": "Within 30 days.",
    }
    for n in range(20)
]
default = "main.default.example_results" if ON_DATABRICKS else str(FOLDER / "results")
RESULTS = os.environ.get("EXAMPLE_RESULTS", default)


def run() -> EvaluationResult:
    return evaluate(
        str(CHAIN),
        questions,  # or a Spark frame, or the name of a table
        judge=f"endpoints:/{ENDPOINT}",
        evaluator_config={"databricks-agent": {"metrics": ["correctness"]}},
        max_concurrency=8,
        engine=SparkOptions(results=RESULTS, tasks=2),
    )


result = run()
for name, value in result.metrics.items():
    print(f"{name}: {value:g}")

# %% [markdown]
# ## The rows
#
# They stay in the table: as a Spark frame, or a page of them as a pandas frame.

# %%
table = result.tables["eval_results"]
print(table.to_spark().groupBy("response").count().collect())
print(table.head(3)[["request", "response"]])

# %% [markdown]
# A second call finds all rows in the table, and calls no endpoint.

# %%
again = run()
print(again.metrics == result.metrics)
if not ON_WORKSPACE:
    workspace.stop()
