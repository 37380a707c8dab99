# %% [markdown]
# # An external-model endpoint
#
# MLflow's deployments client creates an endpoint that passes requests on to OpenAI. The key is
# in a secret scope: `databricks secrets put-secret models openai-api-key`.

# %%
import os
import sys

ON_WORKSPACE = "--workspace" in sys.argv or "DATABRICKS_RUNTIME_VERSION" in os.environ
NAME = os.environ.get("EXAMPLE_EXTERNAL_ENDPOINT", "example-external")

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    workspace = LocalWorkspace().start()
    workspace.add_external_model("gpt-4.1-mini", lambda messages, **params: "Hello!")

# %% [markdown]
# ## Create it, unless it exists

# %%
from mlflow.deployments import get_deploy_client

client = get_deploy_client("databricks")
if NAME not in [endpoint["name"] for endpoint in client.list_endpoints()]:
    client.create_endpoint(
        name=NAME,
        config={
            "served_entities": [
                {
                    "name": NAME,
                    "external_model": {
                        "name": "gpt-4.1-mini",
                        "provider": "openai",
                        "task": "llm/v1/chat",
                        "openai_config": {"openai_api_key": "{{secrets/models/openai-api-key}}"},
                    },
                }
            ]
        },
    )

# %% [markdown]
# ## Call it

# %%
from langchain_dbx_eval import ChatDatabricks

chat = ChatDatabricks(model=NAME, temperature=0.1, max_tokens=50)
answer = chat.invoke("hello")
print(answer.text, answer.usage_metadata)
if not ON_WORKSPACE:
    workspace.stop()
