# %% [markdown]
# # A custom model with hooks
#
# An MLflow model whose signature differs from `prompt` and `stop` is called with two hooks. On
# a workspace, set EXAMPLE_CUSTOM_ENDPOINT to your model, and change the hooks to its signature.

# %%
import os
import sys

ON_WORKSPACE = "--workspace" in sys.argv or "DATABRICKS_RUNTIME_VERSION" in os.environ
ENDPOINT = os.environ.get("EXAMPLE_CUSTOM_ENDPOINT", "summary-model")

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    def summarize(prompt: str, sentences: int) -> dict[str, str]:
        return {"summary": ".".join(prompt.split(".")[:sentences]) + "."}

    workspace = LocalWorkspace().start()
    workspace.add_endpoint(ENDPOINT, summarize, kind="custom")

# %% [markdown]
# ## The hooks
#
# The first receives the body of the request, the second one prediction.

# %%
from typing import Any

from langchain_dbx_eval import Databricks


def to_fields(**request: Any) -> dict[str, Any]:
    return {**request, "sentences": 1}


def to_text(prediction: dict[str, str]) -> str:
    return prediction["summary"]


llm = Databricks(endpoint_name=ENDPOINT, transform_input_fn=to_fields, transform_output_fn=to_text)
print(llm.invoke("Delta Lake is a table format. It has transactions."))

# %% [markdown]
# ## Many prompts
#
# They are sent in one request.

# %%
print(llm.batch(["One. Two.", "Three. Four."]))
if not ON_WORKSPACE:
    print(len(workspace.requests[-1].body["dataframe_records"]), "records in one request")
    workspace.stop()
