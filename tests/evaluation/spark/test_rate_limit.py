"""Processes at a real HTTP endpoint that answers 429 above a number of requests per second.

The rows of the figure of issue 16: ``DBX_EVAL_SPARK_LIMITED_ROWS=2000 pytest -s`` this file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

pytestmark = [pytest.mark.timeout(900), pytest.mark.xdist_group("spark-engine")]

_ROWS = int(os.environ.get("DBX_EVAL_SPARK_LIMITED_ROWS", "0"))
_BURST = 20


class LimitedEndpoint:
    """Refills a bucket of 20 tokens at a rate; a request without a token is answered with 429."""

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self.granted: list[float] = []
        self.refused = 0
        self._tokens, self._filled = float(_BURST), time.monotonic()
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_granted = endpoint._grant()
                if is_granted:
                    time.sleep(0.2)
                self.send_response(200 if is_granted else 429)
                if not is_granted:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", "6")
                self.end_headers()
                self.wfile.write(b"answer")

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            # The default of 5 refuses connections on a busy machine.
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def _grant(self) -> bool:
        with self._lock:
            now = time.monotonic()
            self._tokens = min(_BURST, self._tokens + self.rate * (now - self._filled))
            self._filled = now
            if self._tokens < 1:
                self.refused += 1
                return False
            self._tokens -= 1
            self.granted.append(now)
            return True

    @property
    def share_refused(self) -> float:
        return self.refused / (self.refused + len(self.granted))

    @property
    def share_used(self) -> float:
        """Requests that were granted, of those that could have been in this time."""
        possible = _BURST + self.rate * (self.granted[-1] - self.granted[0])
        return len(self.granted) / possible

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def limited() -> Iterator[LimitedEndpoint]:
    running = LimitedEndpoint(20 if _ROWS else 60)
    yield running
    running.close()


# The calls of a task, without Spark: one process per task.
_PROCESS = """
import asyncio, sys
from pathlib import Path
from langchain_dbx_eval.evaluation.spark.pacing import PacedLimiter
from tests.evaluation.spark.models import limited

url, shared, rows = sys.argv[1:]

async def row(limiter, number):
    while True:
        error = None
        try:
            await limited.ainvoke(f"{url} {number}")
        except Exception as found:
            error = found
        if not limiter.on_error(error):
            assert error is None, error
            limiter.on_success()
            limiter.release()
            return
        await limiter.reacquire()

async def main():
    limiter = PacedLimiter(4, Path(shared))
    running = set()
    for number in range(int(rows)):
        await limiter.acquire()
        running.add(asyncio.create_task(row(limiter, number)))
    await asyncio.gather(*running)

sys.stdin.read()
asyncio.run(main())
"""


def test_four_processes_are_refused_less_than_5_percent(limited, tmp_path: Path) -> None:
    rows = 150
    command = [sys.executable, "-c", _PROCESS, limited.url, str(tmp_path / "pace"), str(rows)]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[3])}
    processes = [
        subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) for _ in range(4)
    ]
    # They wait until all of them have their input closed.
    for process in processes:
        process.stdin.close()
    assert [process.wait(timeout=300) for process in processes] == [0, 0, 0, 0]
    assert len(limited.granted) == 4 * rows
    assert limited.refused > 0
    assert limited.share_refused < 0.05


_EVALUATION = """
import os, sys
from langchain_dbx_eval import evaluate
from langchain_dbx_eval.evaluation import SparkOptions

engine, url, rows = sys.argv[1:]
session = None
if engine == "classic":
    from pyspark.sql import SparkSession
    settings = {
        "spark.ui.enabled": "false", "spark.sql.shuffle.partitions": "4",
        "spark.sql.warehouse.dir": "warehouse",
        "spark.driver.bindAddress": "127.0.0.1", "spark.driver.host": "127.0.0.1",
    }
    builder = SparkSession.builder.master("local[4]")
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    session.sparkContext.setLogLevel("OFF")
result = evaluate(
    "tests.evaluation.spark.models:limited",
    [{"request": f"{url} {n}"} for n in range(int(rows))],
    evaluator_config={"databricks-agent": {"metrics": []}},
    max_concurrency=32,
    engine=SparkOptions(results=os.path.abspath("results"), session=session, tasks=4),
)
print(int(result.metrics["rows/answered"]))
"""


@pytest.mark.skipif(not _ROWS, reason="takes minutes: DBX_EVAL_SPARK_LIMITED_ROWS is not set")
@pytest.mark.parametrize("engine", ["sail", "classic"])
def test_four_tasks_use_85_percent_of_the_allowed_rate(
    engine, limited, mlflow_store: str, tmp_path: Path
) -> None:
    if engine == "classic" and shutil.which("java") is None:
        pytest.skip("Spark needs Java, which is not on this machine")
    environment = {
        **os.environ,
        "PYSPARK_PYTHON": sys.executable,
        "PYTHONPATH": str(Path(__file__).parents[3]),
        "TMPDIR": str(tmp_path),
        "DBX_EVAL_HOME": str(tmp_path / "home"),
        "MLFLOW_TRACKING_URI": mlflow_store,
    }
    finished = subprocess.run(
        [sys.executable, "-c", _EVALUATION, engine, limited.url, str(_ROWS)],
        env=environment,
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        text=True,
        timeout=800,
        check=True,
    )
    figures = f"{limited.share_used:.1%} used, {limited.share_refused:.1%} refused"
    sys.stdout.write(f"{engine}: {figures}\n")
    assert finished.stdout.split()[-1] == str(_ROWS)
    assert limited.share_used >= 0.85
    assert limited.share_refused < 0.05
