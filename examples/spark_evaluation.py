# %% [markdown]
# # Evaluate on Spark
#
# The tasks of a Spark session call the model and score its answers; a table contains the rows, and
# a second run continues with what is missing in it. On this machine the session is Sail, a Spark
# without Java. On a workspace it is that of the notebook or job, or of Databricks Connect.

# %%
import os
import sys

ON_WORKSPACE = "--workspace" in sys.argv or "DATABRICKS_RUNTIME_VERSION" in os.environ
ENDPOINT = os.environ.get("EXAMPLE_ENDPOINT", "databricks-meta-llama-3-3-70b-instruct")

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    def answer(messages: list[dict[str, str]], **params: object) -> str:
        """Replace a model, and know one capital."""
        return "Paris" if "France" in messages[-1]["content"] else "I don't know."

    workspace = LocalWorkspace().start()
    workspace.add_endpoint(ENDPOINT, answer, kind="chat")

# %% [markdown]
# ## The chain
#
# Tasks run on other machines, so the chain is a file: its text is sent to them.

# %%
from pathlib import Path

CHAIN = f"""
import mlflow
from langchain_core.prompts import ChatPromptTemplate
from langchain_dbx_eval import ChatDatabricks

messages = [("system", "Answer in one word."), ("human", "{{question}}")]
prompt = ChatPromptTemplate.from_messages(messages)
mlflow.models.set_model(prompt | ChatDatabricks(model="{ENDPOINT}", temperature=0, max_tokens=20))
"""
Path("spark_chain.py").write_text(CHAIN, encoding="utf-8")

# %% [markdown]
# ## Evaluate
#
# `questions` may also be a Spark frame, or the name of a table.

# %%
import tempfile

import mlflow
from langchain_dbx_eval import evaluate
from langchain_dbx_eval.evaluation import SparkOptions

if ON_WORKSPACE:
    mlflow.set_tracking_uri("databricks")
    mlflow.set_experiment(os.environ.get("EXAMPLE_EXPERIMENT", "/Shared/langchain-dbx-eval"))
    results = os.environ.get("EXAMPLE_RESULTS", "main.default.example_results")
else:
    results = f"{tempfile.mkdtemp()}/results"

questions = [
    {"request": {"question": "What is the capital of France?"}, "expected_response": "Paris"},
    {"request": {"question": "What is the capital of Korea?"}, "expected_response": "Seoul"},
]
result = evaluate(
    "spark_chain.py",
    questions,
    evaluator_config={"databricks-agent": {"metrics": []}},
    engine=SparkOptions(results=results, tasks=2),
    run_name="spark",
)
print(result.summary["exact_match"])
print(result.tables["eval_results"].head(2)[["request", "response"]])
if not ON_WORKSPACE:
    workspace.stop()
