"""The clients, the tasks, the number of rounds, and the thresholds."""

from __future__ import annotations

from dataclasses import dataclass, field

from benchmarks.environments import ROOT

_OURS = ("--editable", str(ROOT))
CLIENTS: dict[str, tuple[str, ...]] = {
    "raw": _OURS,
    "ours": _OURS,
    # Its requirement of mcp has no upper bound, but it cannot be imported with mcp 2 (seen with
    # openai-agents 0.20); its databricks-openai requires openai 2.
    "databricks-langchain": ("databricks-langchain==0.22.0", "openai<3", "mcp<2"),
    "langchain-openai": ("langchain-openai>=1.7,<2",),
}
"""The packages that each client requires."""

REPORTED_PACKAGES = {
    "raw": ("requests", "aiohttp"),
    "ours": ("langchain-core",),
    "databricks-langchain": ("databricks-langchain", "openai", "langchain-core"),
    "langchain-openai": ("langchain-openai", "openai", "langchain-core"),
}
"""The packages whose versions are reported."""


@dataclass(frozen=True)
class Task:
    """A task that each client performs.

    Attributes:
        name: The name in the worker.
        title: The title in the table.
        model: The model of the server: its kind, and its delay (ms) or the length of its stream.
        count: Calls, chunks, prompts or texts per round.
        rounds: Rounds per client.
        by: The measure in the table: ``cpu`` or ``wall``.
        per: The unit of `count`; empty: the figure is that of a whole round.
        skip: Clients that do not support the task.
        rounds_of: The number of rounds of clients that would need minutes.
    """

    name: str
    title: str
    model: str
    count: int
    rounds: int
    by: str = "cpu"
    per: str = ""
    skip: tuple[str, ...] = ()
    rounds_of: dict[str, int] = field(default_factory=dict)

    @property
    def warm_up(self) -> int:
        """The number of calls before the first round: they open connections and import modules."""
        few = {"stream": self.count, "embed": 1000}.get(self.name, 64)
        return min(self.count, few)

    def of(self, client: str) -> int:
        """Return the number of rounds of a client."""
        return 0 if client in self.skip else self.rounds_of.get(client, self.rounds)


TASKS = (
    Task("invoke", "invoke, chat", "chat-0", 150, 9, per="call"),
    Task(
        "invoke_text", "invoke, text", "text-0", 150, 5, per="call", skip=("databricks-langchain",)
    ),
    Task("ainvoke", "ainvoke, 64 in flight", "chat-0", 256, 5, per="call"),
    Task("stream", "stream", "stream-2000", 2000, 7, per="chunk"),
    Task("batch", "batch of 64 at 100 ms", "chat-100", 64, 3, by="wall"),
    Task(
        "embed",
        "10,000 texts at 50 ms a request",
        "embed-50",
        10_000,
        2,
        by="wall",
        # It sends 500 sequential requests, which take most of a minute.
        rounds_of={"databricks-langchain": 1},
    ),
)

QUICK_TASKS = (
    Task("invoke", "invoke, chat", "chat-0", 20, 2, per="call"),
    Task(
        "invoke_text", "invoke, text", "text-0", 20, 2, per="call", skip=("databricks-langchain",)
    ),
    Task("ainvoke", "ainvoke, 64 in flight", "chat-0", 64, 2, per="call"),
    Task("stream", "stream", "stream-100", 100, 2, per="chunk"),
    Task("batch", "batch of 64 at 10 ms", "chat-10", 64, 1, by="wall"),
    Task("embed", "200 texts at 5 ms a request", "embed-5", 200, 1, by="wall"),
)

IMPORTS: dict[str, tuple[tuple[str, str], ...]] = {
    # The reference comes first. Each import is measured in its own process.
    "chat": (
        ("core", "langchain_core.language_models.chat_models:BaseChatModel"),
        ("ours", "langchain_dbx_eval:ChatDatabricks"),
        ("databricks-langchain", "databricks_langchain:ChatDatabricks"),
        ("langchain-openai", "langchain_openai:ChatOpenAI"),
    ),
    "text": (
        ("core", "langchain_core.language_models.llms:BaseLLM"),
        ("ours", "langchain_dbx_eval:Databricks"),
        ("langchain-openai", "langchain_openai:OpenAI"),
    ),
    "embeddings": (
        ("core", "langchain_core.embeddings:Embeddings"),
        ("ours", "langchain_dbx_eval:DatabricksEmbeddings"),
        ("databricks-langchain", "databricks_langchain:DatabricksEmbeddings"),
        ("langchain-openai", "langchain_openai:OpenAIEmbeddings"),
    ),
}
IMPORT_ROUNDS = 5
IMPORT_ROUNDS_OF = {"databricks-langchain": 1, "langchain-openai": 2}


@dataclass(frozen=True)
class Threshold:
    """The maximum of a ratio.

    Attributes:
        row: The name of the task or import.
        reference: The client with which ours is compared.
        at_most: The maximum of our figure divided by that of the reference.
    """

    row: str
    reference: str
    at_most: float


THRESHOLDS = (
    Threshold("invoke", "raw", 1.6),
    Threshold("invoke", "databricks-langchain", 0.4),
    Threshold("ainvoke", "databricks-langchain", 0.25),
    Threshold("stream", "databricks-langchain", 0.5),
    Threshold("embed", "databricks-langchain", 1 / 20),
    Threshold("import chat", "core", 1.2),
    Threshold("import text", "core", 1.2),
    Threshold("import embeddings", "core", 1.2),
)
