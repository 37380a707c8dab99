"""The clients of the driver benchmarks, one process with one connection per client.

They use `http.client`: 63 threads of it need a sixteenth of a core, 63 threads of
``requests.post`` a quarter, and each of those requests opens a new connection.

    load.py URL probe COUNT          sequential requests of 4 tokens
    load.py URL busy CLIENTS TOKENS  requests of TOKENS tokens until stdin is closed
    load.py URL mixed CLIENTS COUNT  COUNT requests of 8 to 48 tokens

The output is JSON: ``{"seconds": …, "latencies": [seconds per request], "statuses": {"200": …}}``.
"""

from __future__ import annotations

import http.client
import json
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

url, scenario, *numbers = sys.argv[1:]
first, second = (*map(int, numbers), 0)[:2]
address = urlsplit(url).netloc
local = threading.local()
latencies: list[float] = []
statuses: Counter[int] = Counter()


def post(number: int, tokens: int) -> None:
    if not hasattr(local, "connection"):
        local.connection = http.client.HTTPConnection(address, timeout=300)
    body = json.dumps({"prompt": f"question {number}", "max_new_tokens": tokens})
    start = time.perf_counter()
    local.connection.request("POST", "/", body, {"Content-Type": "application/json"})
    answer = local.connection.getresponse()
    answer.read()
    latencies.append(time.perf_counter() - start)
    statuses[answer.status] += 1


def probe(count: int, _: int) -> None:
    for number in range(count):
        post(number, 4)


def busy(clients: int, tokens: int) -> None:
    stopped = threading.Event()

    def client(number: int) -> None:
        while not stopped.is_set():
            post(number, tokens)

    with ThreadPoolExecutor(clients) as pool:
        futures = [pool.submit(client, number) for number in range(clients)]
        sys.stdin.read()
        stopped.set()
        for future in futures:
            future.result()


def mixed(clients: int, count: int) -> None:
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda number: post(number, 8 + number * 7 % 41), range(count)))


start = time.perf_counter()
{"probe": probe, "busy": busy, "mixed": mixed}[scenario](first, second)
seconds = time.perf_counter() - start
result: dict[str, Any] = {"seconds": seconds, "latencies": latencies, "statuses": statuses}
print(json.dumps(result))
