# %% [markdown]
# # A dataset in Unity Catalog
#
# Create a dataset, add records from a list and a frame, and read it. On a workspace, set
# DATABRICKS_WAREHOUSE_ID, or run it in a notebook with Spark.

# %%
import os
import sys

ON_WORKSPACE = "--workspace" in sys.argv or "DATABRICKS_RUNTIME_VERSION" in os.environ
NAME = os.environ.get("EXAMPLE_DATASET", "main.default.example_questions")

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    workspace = LocalWorkspace().start()
    workspace.add_warehouse("example-warehouse", state="STOPPED", start_seconds=0.1)
    os.environ["DATABRICKS_WAREHOUSE_ID"] = "example-warehouse"

# %% [markdown]
# ## Create or open it, and add records
#
# Records with the same request are one record, so this cell may run again.

# %%
import pandas as pd

from langchain_dbx_eval import EvalDataset

dataset = EvalDataset.get_or_create(NAME)
dataset = dataset.merge_records(
    [
        {"request": "What is MLflow?", "expected_facts": ["It tracks experiments."]},
        {"request": "What is Spark?", "expected_facts": ["It is distributed."]},
    ]
)
frame = pd.DataFrame([{"request": "What is Delta Lake?", "expected_response": "A table format."}])
dataset = dataset.merge_records(frame)
print(dataset.source, len(dataset))

# %% [markdown]
# ## Read it
#
# Reading never writes to the table.

# %%
print(EvalDataset.load(NAME).to_pandas()[["request", "expected_response"]])
if not ON_WORKSPACE:
    del os.environ["DATABRICKS_WAREHOUSE_ID"]
    workspace.stop()
