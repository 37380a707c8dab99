"""The driver server under load, beside the documentation's snippet: ``make bench-driver``.

Both run in processes of their own on the same model, and take turns in one run, because only
ratios mean something on a shared machine. Everything is bounded in count and time.
"""

from __future__ import annotations

import json
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import requests
from driver_models import SIZES

HERE = Path(__file__).parent
CLIENTS = 64
REQUESTS = 384
SNIPPET_REQUESTS = 64
ROUNDS = 3
PROBES = 200
WARM_S = 1.5
SLOW_CONNECTIONS = 700


@contextmanager
def server(script: str, *words: str) -> Iterator[str]:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, str(HERE / script), str(port), *words]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}/"
    try:
        end = time.monotonic() + 120
        while time.monotonic() < end:
            try:
                requests.post(url, json={"prompt": "warm", "max_new_tokens": 4}, timeout=60)
                break
            except requests.ConnectionError:
                time.sleep(0.2)
        yield url
    finally:
        process.terminate()
        process.wait(30)


def clients(url: str, *words: object) -> subprocess.Popen[str]:
    """Clients in a process of their own: see driver_client.py."""
    command = [sys.executable, str(HERE / "driver_client.py"), url, *map(str, words)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def result(process: subprocess.Popen[str]) -> dict[str, Any]:
    printed, _ = process.communicate(timeout=600)
    answer: dict[str, Any] = json.loads(printed)
    return answer


def mixed(url: str, count: int) -> tuple[float, dict[str, int]]:
    """Requests a second of 64 clients that want 8 to 48 tokens each."""
    done = result(clients(url, "mixed", CLIENTS, count))
    return count / done["seconds"], done["statuses"]


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * 0.99))]


def shorts(url: str) -> list[float]:
    """How long requests of 4 tokens take, one after the other."""
    seconds: list[float] = result(clients(url, "probe", PROBES))["taken"]
    return seconds


def shorts_beside(url: str, count: int, tokens: int) -> tuple[list[float], float]:
    """The same beside clients that want longer answers all the time, and how many these got."""
    others = clients(url, "busy", count, tokens)
    time.sleep(WARM_S)
    seconds = shorts(url)
    done = result(others)
    return seconds, len(done["taken"]) / done["seconds"]


def slow_connections(url: str) -> tuple[int, float]:
    port = int(url.rsplit(":", 1)[1].strip("/"))
    with ExitStack() as stack:
        for _ in range(SLOW_CONNECTIONS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
        done = result(clients(url, "probe", 20))
    return done["statuses"].get("200", 0), max(done["taken"])


def throughput(ours: str, snippet: str) -> None:
    ratios: list[float] = []
    for number in range(ROUNDS):
        fast, statuses = mixed(ours, REQUESTS)
        slow, failures = mixed(snippet, SNIPPET_REQUESTS)
        ratios.append(fast / slow)
        print(
            f"round {number + 1}: ours {fast:.1f} requests/s {statuses}, "
            f"snippet {slow:.1f} {failures}, ratio {fast / slow:.1f}"
        )
    print(f"64 clients: {statistics.median(ratios):.1f} times the snippet (wanted: 4)")


def latency(url: str) -> None:
    for count, tokens in ((1, 250), (8, 48), (63, 28)):
        alone: list[float] = []
        beside: list[float] = []
        rates: list[float] = []
        for _ in range(ROUNDS):
            alone += shorts(url)
            seconds, rate = shorts_beside(url, count, tokens)
            beside += seconds
            rates.append(rate)
        middle = statistics.median(beside) / statistics.median(alone)
        print(
            f"4 tokens beside {count} clients of {tokens}: p99 {p99(beside) * 1000:.0f} ms, "
            f"alone {p99(alone) * 1000:.0f} ms: {p99(beside) / p99(alone):.1f} times (wanted: 3); "
            f"median {middle:.1f} times; the others {statistics.median(rates):.0f} requests/s",
            flush=True,
        )


def overload(url: str) -> dict[str, int]:
    statuses: dict[str, int] = result(clients(url, "mixed", 160, 480))["statuses"]
    return statuses


def main() -> None:
    for size in SIZES:
        print(f"== {size} model")
        with server("driver_ours.py", size) as ours:
            with server("driver_snippet.py", size) as snippet:
                throughput(ours, snippet)
            latency(ours)
            answered, slowest = slow_connections(ours)
            print(
                f"{SLOW_CONNECTIONS} slow connections: {answered} of 20 answered, "
                f"slowest {slowest * 1000:.0f} ms"
            )
        with server("driver_ours.py", size, "16") as small:
            print(f"10 times overload (160 clients on 16 places): {overload(small)}")


if __name__ == "__main__":
    main()
