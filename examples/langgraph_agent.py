# %% [markdown]
# # Evaluate a LangGraph agent
#
# Judge the answer, and check which tools were called. Needs the package `langchain`.

# %%
import os
import sys

ON_WORKSPACE = "--workspace" in sys.argv or "DATABRICKS_RUNTIME_VERSION" in os.environ
ENDPOINT = os.environ.get("EXAMPLE_ENDPOINT", "databricks-meta-llama-3-3-70b-instruct")

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    def call_tool(messages: list[dict[str, str]], **params: object) -> str | dict[str, object]:
        """Replace a model: call the tool once, then answer with its result."""
        if messages[-1]["role"] == "tool":
            return f"It is {messages[-1]['content']}."
        call = {"name": "weather", "arguments": '{"city": "Seoul"}'}
        return {"content": None, "tool_calls": [{"id": "1", "type": "function", "function": call}]}

    workspace = LocalWorkspace().start()
    workspace.add_endpoint(ENDPOINT, call_tool, kind="chat")

# %%
import mlflow
from langchain.agents import create_agent
from langchain_dbx_eval import ChatDatabricks, evaluate, scorer

if ON_WORKSPACE:
    mlflow.set_tracking_uri("databricks")
    mlflow.set_experiment(os.environ.get("EXAMPLE_EXPERIMENT", "/Shared/langchain-dbx-eval"))


def weather(city: str) -> str:
    """Return the weather in a city."""
    return "sunny"


agent = create_agent(ChatDatabricks(model=ENDPOINT, temperature=0), [weather])

# %% [markdown]
# ## Evaluate
#
# The state of the graph has `messages`: the request is passed as messages, the last one is the
# answer.


# %%
@scorer
def calls_weather(tool_calls: list[dict[str, object]]) -> bool:
    return "weather" in [call["name"] for call in tool_calls]


result = evaluate(
    agent,
    [{"request": "How is the weather in Seoul?", "expected_response": "It is sunny."}],
    scorers=[calls_weather],
    evaluator_config={"databricks-agent": {"metrics": []}},
    run_name="agent",
)
print(result.tables["eval_results"][["request", "response", "metric/calls_weather"]])
if not ON_WORKSPACE:
    workspace.stop()
