"""Use what an extra promises, in an environment in which it alone is installed.

    python scripts/try_extra.py eval

`make package` calls it for each extra, in an empty folder that is also the home. It needs no other
package.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

QUESTIONS = [
    {"request": "What is the capital of France?", "expected_response": "Paris"},
    {"request": "What is the capital of Korea?", "expected_response": "Seoul"},
]


class _Endpoint(BaseHTTPRequestHandler):
    """A serving endpoint, because the emulator requires an extra."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        if "embed" in self.path:
            answer: dict[str, Any] = {"object": "list", "data": [{"index": 0, "embedding": [0.5]}]}
        else:
            message = {"role": "assistant", "content": "Paris"}
            choice = {"index": 0, "message": message, "text": "Paris", "finish_reason": "stop"}
            answer = {"object": "chat.completion", "choices": [choice]}
        body = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        pass


def core() -> None:
    """Call the three models, and read which extra the rest needs."""
    from langchain_dbx_eval import ChatDatabricks, Databricks, DatabricksEmbeddings, evaluate
    from langchain_dbx_eval.errors import MissingDependencyError

    server = ThreadingHTTPServer(("127.0.0.1", 0), _Endpoint)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    os.environ["DATABRICKS_HOST"] = f"http://127.0.0.1:{server.server_port}"
    os.environ["DATABRICKS_TOKEN"] = "dapi-not-a-secret"
    chat = ChatDatabricks(model="chat")
    assert chat.invoke("Hi").text == "Paris"
    assert asyncio.run(chat.ainvoke("Hi")).text == "Paris"
    assert Databricks(endpoint_name="text", task="llm/v1/completions").invoke("Hi") == "Paris"
    assert DatabricksEmbeddings(endpoint="embed").embed_query("Hi") == [0.5]
    if importlib.util.find_spec("mlflow") is None:
        try:
            evaluate(chat, QUESTIONS)
        except MissingDependencyError as error:
            assert "pip install 'langchain-dbx-eval[eval]'" in str(error), error
        else:
            raise AssertionError("evaluate() without the extra `eval`")


def cli() -> None:
    """Show the help and the version."""
    _run("--version")
    assert "Evaluate a model" in _run("run", "--help")


def driver() -> None:
    """Serve a function, and call it."""
    from langchain_dbx_eval import ChatDatabricks, Databricks
    from langchain_dbx_eval.driver import DriverServer

    with DriverServer(lambda prompt: f"You said: {prompt}", port=0, api_key="key") as server:
        where = {"host": "local", "cluster_driver_port": server.port, "driver_api_key": "key"}
        assert Databricks(**where).invoke("Hi") == "You said: Hi"
        assert "Hi" in ChatDatabricks(**where).invoke("Hi").text
        assert "".join(Databricks(**where).stream("Hi")) == "You said: Hi"
    assert "--port" in _run("serve", "--help")


def transformers() -> None:
    """Generate with a model of random weights, through a driver server."""
    import transformers as library
    from tokenizers import Tokenizer, models, pre_tokenizers

    words = {word: number for number, word in enumerate(["[UNK]", "a", "b", "c", "d"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    config = library.LlamaConfig(
        vocab_size=5, hidden_size=8, intermediate_size=8, num_hidden_layers=1, num_attention_heads=2
    )
    library.LlamaForCausalLM(config).save_pretrained("model")
    library.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]").save_pretrained(
        "model"
    )

    from langchain_dbx_eval import Databricks
    from langchain_dbx_eval.driver import DriverServer
    from langchain_dbx_eval.driver.engines.transformers.engine import TransformersEngine

    with DriverServer(TransformersEngine("model"), port=0, api_key="key") as server:
        llm = Databricks(host="local", cluster_driver_port=server.port, driver_api_key="key")
        assert llm.invoke("a b", max_tokens=3)
    import sentence_transformers  # noqa: F401 - is installed


def delta() -> None:
    """Write, read and change a dataset in Delta tables, from records and from files."""
    from langchain_dbx_eval import EvalDataset

    dataset = EvalDataset.get_or_create("main.default.extra").merge_records(QUESTIONS)
    assert len(EvalDataset.load("main.default.extra")) == len(dataset) == 2
    Path("more.yaml").write_text("- request: What is 1 + 1?\n", encoding="utf-8")
    more = EvalDataset.load("more.yaml")
    assert len(dataset.merge_records(more)) == 3


def spark() -> None:
    """Read a dataset from a frame of a Spark session, for which a machine needs Java."""
    delta()
    if shutil.which("java") is None:
        return
    from pyspark.sql import SparkSession

    from langchain_dbx_eval import EvalDataset

    session = SparkSession.builder.master("local[1]").getOrCreate()
    assert len(EvalDataset.load(session.createDataFrame(QUESTIONS))) == 2
    session.stop()


def sail() -> None:
    """Evaluate with `engine="spark"` without Java."""
    from langchain_dbx_eval import evaluate
    from langchain_dbx_eval.evaluation import SparkOptions

    Path("chain.py").write_text(
        "import mlflow\nfrom langchain_core.runnables import RunnableLambda\n"
        "mlflow.models.set_model(RunnableLambda(lambda question: 'Paris'))\n",
        encoding="utf-8",
    )
    result = evaluate(
        "chain.py",
        QUESTIONS,
        evaluator_config={"databricks-agent": {"metrics": []}},
        engine=SparkOptions(results=str(Path("results").resolve()), tasks=1),
    )
    assert result.metrics["response/ground_truth/exact_match/average"] == 0.5


def evaluation() -> None:
    """Evaluate with a judge, compare, check, and write the report."""
    from langchain_core.runnables import RunnableLambda

    from langchain_dbx_eval import compare, evaluate
    from langchain_dbx_eval.reporting import write_report
    from langchain_dbx_eval.scoring import scorer
    from langchain_dbx_eval.scoring.metrics import ExactMatch

    delta()

    @scorer(affects_verdict=True)
    def is_short(response: str) -> bool:
        return len(response) < 20

    options: dict[str, Any] = {"scorers": [is_short, ExactMatch()]}
    first = evaluate(RunnableLambda(lambda _: "Paris"), "main.default.extra", **options)
    second = evaluate(RunnableLambda(lambda _: "Seoul"), "main.default.extra", **options)
    assert first.metrics["response/ground_truth/exact_match/average"] == 0.5
    compare(second, first)
    second.check("rows/failed <= 2 %")
    write_report(second, Path("report.html"), baselines=[first])
    assert first.run_id is not None
    assert first.run_id in _run("list")
    _run("show", "last")


def databricks() -> None:
    """Import the client of managed datasets, beside the evaluation."""
    evaluation()
    import databricks.agents.datasets as client

    assert client.create_dataset


def scorers() -> None:
    """Score a response with the metrics that require a library."""
    from langchain_dbx_eval.datasets import EvalRecord
    from langchain_dbx_eval.scoring import Outcome, ScoringContext
    from langchain_dbx_eval.scoring.metrics import Bleu, ChrF, RougeL, ValidJson

    record = EvalRecord(request="Capital?", expected_response='{"capital": "Paris"}')
    context = ScoringContext(record, Outcome(response='{"capital": "Paris"}'))
    for metric in (RougeL(), Bleu(), ChrF(), ValidJson({"required": ["capital"]})):
        (assessment,) = metric.score(context)
        assert round(assessment.value, 6) == 1, assessment


def testing() -> None:
    """Call an endpoint of the emulated workspace, and merge into a table by its SQL warehouse."""
    from langchain_dbx_eval import ChatDatabricks, EvalDataset
    from langchain_dbx_eval.testing import LocalWorkspace

    with LocalWorkspace() as workspace:
        workspace.add_endpoint("my-chat", lambda messages, **params: "Paris.", kind="chat")
        workspace.add_warehouse("warehouse")
        assert ChatDatabricks(model="my-chat").invoke("Hi").text == "Paris."
        dataset = EvalDataset.create("main.default.remote", warehouse_id="warehouse")
        assert len(dataset.merge_records(QUESTIONS)) == 2


def demo() -> None:
    """Run the demonstration."""
    assert "Report:" in _run("demo")


def docs() -> None:
    """Build the site."""
    command = [Path(sys.executable).parent / "mkdocs", "build", "--strict", "--quiet"]
    command += ["--config-file", Path(__file__).parents[1] / "mkdocs.yml", "--site-dir", Path.cwd()]
    subprocess.run(command, check=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "true"})


def everything() -> None:
    """Use all but the extras that `all` leaves out."""
    driver()
    testing()
    evaluation()
    demo()


def _run(*arguments: str) -> str:
    """Run the command of the package, and return what it prints."""
    command = [Path(sys.executable).parent / "langchain-dbx-eval", *arguments]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return done.stdout


EXTRAS: dict[str, Callable[[], None]] = {
    "core": core,
    "cli": cli,
    "driver": driver,
    "transformers": transformers,
    "delta": delta,
    "spark": spark,
    "sail": sail,
    "databricks": databricks,
    "eval": evaluation,
    "scorers": scorers,
    "testing": testing,
    "demo": demo,
    "docs": docs,
    "all": everything,
}

if __name__ == "__main__":
    name = sys.argv[1]
    if name != "docs":
        core()
    EXTRAS[name]()
    print(f"{name}: works")
