# %% [markdown]
# # A gate in continuous integration
#
# Evaluate, check conditions, and end with the exit status of the verdict.
# `workflows/evaluate.yml` runs this script in GitHub Actions.

# %%
import os
import sys

ON_WORKSPACE = "--workspace" in sys.argv or "DATABRICKS_RUNTIME_VERSION" in os.environ
ENDPOINT = os.environ.get("EXAMPLE_ENDPOINT", "databricks-meta-llama-3-3-70b-instruct")

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    def add(messages: list[dict[str, str]], **params: object) -> str:
        """Replace a model."""
        number = int(messages[-1]["content"].split()[0])
        return str(2 * number) if number % 40 else "I don't know"

    workspace = LocalWorkspace().start()
    workspace.add_endpoint(ENDPOINT, add, kind="chat")

# %%
import mlflow
from langchain_dbx_eval import ChatDatabricks, evaluate

if ON_WORKSPACE:
    mlflow.set_tracking_uri("databricks")
    mlflow.set_experiment(os.environ.get("EXAMPLE_EXPERIMENT", "/Shared/langchain-dbx-eval"))

questions = [
    {
        "request_id": f"sum-{n}",
        "request": f"{n} + {n} = ? Answer with the number only.",
        "expected_response": str(2 * n),
    }
    for n in range(40)
]
result = evaluate(
    ChatDatabricks(model=ENDPOINT, temperature=0, max_tokens=20),
    questions,
    evaluator_config={"databricks-agent": {"metrics": []}},
    run_name="gate",
)

# %% [markdown]
# ## Check
#
# 0: pass, 3: regression, 4: inconclusive, 1: could not run.

# %%
from pathlib import Path

report = result.check("exact_match >= 0.9", "rows/failed <= 2 %", "latency p95 < 20 s")
print(report)
Path("junit.xml").write_text(report.to_junit(), encoding="utf-8")
if summary := os.environ.get("GITHUB_STEP_SUMMARY"):
    with Path(summary).open("a", encoding="utf-8") as file:
        file.write(report.to_markdown())
if not ON_WORKSPACE:
    workspace.stop()
if report.exit_code:
    sys.exit(report.exit_code)
