"""One Sail server for the tests of a module, and an HTTP endpoint that counts requests."""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from langchain_dbx_eval.evaluation.spark import session as spark_sessions


def stop_sail() -> None:
    """Stop the server that evaluations of this process share."""
    for process, session in spark_sessions._sail:
        session.stop()
        process.kill()
        process.wait()
    spark_sessions._sail.clear()


@pytest.fixture(scope="module")
def sail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[object]:
    """A session on Sail; without it, an evaluation would start the same one.

    With DBX_EVAL_SPARK_MASTER (``local[2]``), one of classic Spark, which is then the active one.
    """
    if master := os.environ.get("DBX_EVAL_SPARK_MASTER"):
        yield from _classic(master, tmp_path_factory.mktemp("classic"))
        return
    pytest.importorskip("pysail", reason="the extra sail is not installed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DBX_EVAL_HOME", str(tmp_path_factory.mktemp("sail")))
        session = spark_sessions.spark_session()
    yield session
    stop_sail()


def _classic(master: str, folder: Path) -> Iterator[object]:
    from pyspark.sql import SparkSession

    builder = SparkSession.builder.master(master)
    settings = {
        "spark.ui.enabled": "false",
        "spark.sql.shuffle.partitions": "2",
        "spark.sql.warehouse.dir": str(folder),
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
    }
    for name, value in settings.items():
        builder = builder.config(name, value)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYSPARK_PYTHON", sys.executable)
        session = builder.getOrCreate()
    session.sparkContext.setLogLevel("ERROR")
    yield session
    session.stop()


class CountingEndpoint:
    """Answers ``POST /<n>`` with a text, and counts the requests by number."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        counts, lock = self.counts, threading.Lock()

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                with lock:
                    counts[self.path[1:]] += 1
                time.sleep(0.02)
                body = json.dumps(f"answer {self.path[1:]}.").encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            # The default of 5 refuses connections on a busy machine.
            request_queue_size = 128

        self._server = Server(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[CountingEndpoint]:
    running = CountingEndpoint()
    yield running
    running.close()
