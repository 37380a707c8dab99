# %% [markdown]
# # Evaluate in production
#
# A callback scores a sample of the calls of an app in the background, and writes them to MLflow
# every few minutes. Answers are neither changed nor delayed.

# %%
import os
import sys

ON_WORKSPACE = "--workspace" in sys.argv or "DATABRICKS_RUNTIME_VERSION" in os.environ
ENDPOINT = os.environ.get("EXAMPLE_ENDPOINT", "databricks-meta-llama-3-3-70b-instruct")

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    workspace = LocalWorkspace().start()
    workspace.add_endpoint(ENDPOINT, lambda messages, **params: "Within 30 days.", kind="chat")

# %%
import mlflow
from langchain_dbx_eval import ChatDatabricks, EvaluationCallbackHandler, scorer
from langchain_dbx_eval.evaluation import CallbackOptions

if ON_WORKSPACE:
    mlflow.set_tracking_uri("databricks")
    mlflow.set_experiment(os.environ.get("EXAMPLE_EXPERIMENT", "/Shared/langchain-dbx-eval"))


@scorer
def is_short(response: str) -> bool:
    return len(response) < 500


handler = EvaluationCallbackHandler(
    sample_rate=0.5,
    scorers=[is_short],
    evaluator_config={"databricks-agent": {"metrics": []}},
    options=CallbackOptions(max_pending=200, on_full="drop"),
)

# %% [markdown]
# ## The app

# %%
chat = ChatDatabricks(model=ENDPOINT, max_tokens=50)
for number in range(10):
    config = {"callbacks": [handler], "tags": ["live"]}
    chat.invoke(f"When can I return product {number}?", config=config)

# %% [markdown]
# ## Write the results
#
# An app calls this in a thread every few minutes. Each result is a run in MLflow.

# %%
result = handler.result()
print(len(result.rows), "scored,", handler.sampled_out, "not in the sample")
print(handler.dropped, "dropped,", handler.internal_errors, "internal errors")
if not ON_WORKSPACE:
    workspace.stop()
