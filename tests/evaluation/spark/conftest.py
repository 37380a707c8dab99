"""One Sail server for the tests of a module, and an HTTP endpoint that counts requests."""

from __future__ import annotations

import contextlib
import json
import math
import os
import sys
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from langchain_dbx_eval.evaluation.spark import session as spark_sessions
from tests.sail_sessions import stop_sail


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
    """Answers ``POST /<n>`` with a text, and counts the requests by number.

    Attributes:
        counts: Requests by number.
        held: Requests without an answer by the id of the process that sent them.
    """

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.held: defaultdict[int, set[str]] = defaultdict(set)
        self._limit = math.inf
        self._released = threading.Event()
        self._lock = threading.Lock()
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                pid = int(self.rfile.read(int(self.headers["Content-Length"])))
                number = self.path[1:]
                with endpoint._lock:
                    endpoint.counts[number] += 1
                    is_held = len(endpoint.counts) > endpoint._limit
                    if is_held:
                        endpoint.held[pid].add(number)
                    released = endpoint._released
                if is_held:
                    released.wait()
                time.sleep(0.02)
                body = json.dumps(f"answer {number}.").encode()
                # The process that sent it may have been killed.
                with contextlib.suppress(OSError):
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

    def hold_after(self, count: float) -> None:
        """Answer what is held; requests after this number of distinct ones are held from now on."""
        with self._lock:
            self._released.set()
            self._released = threading.Event()
            self._limit = count
            self.held.clear()

    def close(self) -> None:
        self.hold_after(math.inf)
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def endpoint() -> Iterator[CountingEndpoint]:
    running = CountingEndpoint()
    yield running
    running.close()
