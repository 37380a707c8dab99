"""The clients of the driver benchmarks, in a process of their own, with a connection each.

They are plain `http.client`: 63 threads of ``requests.post`` took a quarter of a core, these a
sixteenth, and each of those requests has a connection of its own that the server must open too.

    driver_client.py URL probe COUNT          requests of 4 tokens, one after the other
    driver_client.py URL busy CLIENTS TOKENS  requests of so many tokens, until its input ends
    driver_client.py URL mixed CLIENTS COUNT  so many requests of 8 to 48 tokens in all

It prints JSON: ``{"seconds": …, "taken": [seconds of each], "statuses": {"200": …}}``.
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

url, what, *numbers = sys.argv[1:]
first, second = (*map(int, numbers), 0)[:2]
address = urlsplit(url).netloc
own = threading.local()
taken: list[float] = []
statuses: Counter[int] = Counter()


def ask(number: int, tokens: int) -> None:
    if not hasattr(own, "connection"):
        own.connection = http.client.HTTPConnection(address, timeout=300)
    body = json.dumps({"prompt": f"question {number}", "max_new_tokens": tokens})
    begun = time.perf_counter()
    own.connection.request("POST", "/", body, {"Content-Type": "application/json"})
    answer = own.connection.getresponse()
    answer.read()
    taken.append(time.perf_counter() - begun)
    statuses[answer.status] += 1


def probe(count: int, _: int) -> None:
    for number in range(count):
        ask(number, 4)


def busy(clients: int, tokens: int) -> None:
    over = threading.Event()

    def client(number: int) -> None:
        while not over.is_set():
            ask(number, tokens)

    with ThreadPoolExecutor(clients) as pool:
        others = [pool.submit(client, number) for number in range(clients)]
        sys.stdin.read()
        over.set()
        for other in others:
            other.result()


def mixed(clients: int, count: int) -> None:
    with ThreadPoolExecutor(clients) as pool:
        list(pool.map(lambda number: ask(number, 8 + number * 7 % 41), range(count)))


begun = time.perf_counter()
{"probe": probe, "busy": busy, "mixed": mixed}[what](first, second)
seconds = time.perf_counter() - begun
result: dict[str, Any] = {"seconds": seconds, "taken": taken, "statuses": statuses}
print(json.dumps(result))
