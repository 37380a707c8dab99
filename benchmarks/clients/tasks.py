"""What is measured, how often, and the bars to meet."""

from __future__ import annotations

from dataclasses import dataclass, field

CLIENTS = ("raw", "ours", "databricks-langchain", "langchain-openai")


@dataclass(frozen=True)
class Task:
    """One thing that every client does.

    Attributes:
        name: The worker's name for it.
        title: What is measured, for the table.
        model: The server's model: its kind, and its delay (ms) or the length of its stream.
        count: Calls, chunks, questions or texts in a round.
        rounds: How often each client does it.
        by: ``cpu`` or ``wall``: which of the two the table compares.
        per: What `count` counts; empty for a figure of the whole round.
        skip: Clients that cannot do it.
        rounds_of: Fewer rounds for clients that would take minutes.
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
        """A few calls that open connections, import what is imported late, and take memory."""
        few = {"stream": self.count, "embed": 1000}.get(self.name, 64)
        return min(self.count, few)

    def of(self, client: str) -> int:
        """Rounds that a client does."""
        return 0 if client in self.skip else self.rounds_of.get(client, self.rounds)


TASKS = (
    Task("invoke", "invoke, chat", "chat-0", 150, 9, per="call"),
    Task("invoke_text", "invoke, text", "text-0", 150, 5, per="call", skip=(CLIENTS[2],)),
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
        # 500 requests, one after the other: most of a minute.
        rounds_of={"databricks-langchain": 1},
    ),
)

QUICK_TASKS = (
    Task("invoke", "invoke, chat", "chat-0", 20, 2, per="call"),
    Task("invoke_text", "invoke, text", "text-0", 20, 2, per="call", skip=(CLIENTS[2],)),
    Task("ainvoke", "ainvoke, 64 in flight", "chat-0", 64, 2, per="call"),
    Task("stream", "stream", "stream-100", 100, 2, per="chunk"),
    Task("batch", "batch of 64 at 10 ms", "chat-10", 64, 1, by="wall"),
    Task("embed", "200 texts at 5 ms a request", "embed-5", 200, 1, by="wall"),
)

IMPORTS: dict[str, tuple[tuple[str, str], ...]] = {
    # The base comes first; what follows is imported beside it, each in a process of its own.
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
class Bar:
    """A ratio that the project promises.

    Attributes:
        row: The task or import that it is about.
        to: Whose figure it is compared with.
        at_most: The most that ours over theirs may be.
    """

    row: str
    to: str
    at_most: float


BARS = (
    Bar("invoke", "raw", 1.6),
    Bar("invoke", "databricks-langchain", 0.4),
    Bar("ainvoke", "databricks-langchain", 0.25),
    Bar("stream", "databricks-langchain", 0.5),
    Bar("embed", "databricks-langchain", 1 / 20),
    Bar("import chat", "core", 1.2),
    Bar("import text", "core", 1.2),
    Bar("import embeddings", "core", 1.2),
)
