# %% [markdown]
# # Serve a function from a notebook
#
# A driver server in the background of this notebook serves a Python function. Clients call it
# through the driver proxy of the workspace. On Databricks, use a cluster with dedicated access
# mode.

# %%
import os
import sys

ON_WORKSPACE = "--workspace" in sys.argv or "DATABRICKS_RUNTIME_VERSION" in os.environ

if not ON_WORKSPACE:
    from langchain_dbx_eval.testing import LocalWorkspace

    workspace = LocalWorkspace().start()

# %% [markdown]
# ## The function
#
# It names the parameters that it takes. A generator streams.

# %%
from collections.abc import Iterator

from langchain_dbx_eval import ChatDatabricks, Databricks
from langchain_dbx_eval.driver import DriverServer


def complete(prompt: str, temperature: float = 0.0) -> Iterator[str]:
    for word in f"You said: {prompt}".split(" "):
        yield f"{word} "


# %% [markdown]
# ## Serve and call it
#
# The client finds the key that the server created in the environment of this process.

# %%
server = DriverServer(complete, port=7777).start()
llm = Databricks(cluster_driver_port=7777)
print(llm.invoke("How are you?"))

# %% [markdown]
# The same server has OpenAI's routes, with streams.

# %%
chat = ChatDatabricks(cluster_driver_port=7777, path="v1/chat/completions")
for chunk in chat.stream("How are you?"):
    print(chunk.text, end="|")
print()

# %%
server.stop()
if not ON_WORKSPACE:
    workspace.stop()
