"""Compare the driver server with that of the documentation under load: ``make bench-driver``.

Both servers run in their own processes with the same model and take turns in one run, because only
ratios are meaningful on a shared machine. All requests are bounded in number and time.
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
from typing import Any
from urllib.parse import urlsplit

import requests

from benchmarks.driver.models import SIZES
from benchmarks.environments import ROOT

CLIENTS = 64
REQUESTS = 384
DOCUMENTED_SERVER_REQUESTS = 64
ROUNDS = 3
PROBES = 200
WARM_UP_S = 1.5
SLOW_CONNECTIONS = 700


@contextmanager
def server(module: str, *arguments: str) -> Iterator[str]:
    """Run a server of this folder on a free port, and return its URL after its first answer."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", f"benchmarks.driver.{module}", str(port), *arguments]
    process = subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
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


def start_clients(url: str, *arguments: object) -> subprocess.Popen[str]:
    """Start a process with clients; `load` documents the arguments."""
    command = [sys.executable, "-m", "benchmarks.driver.load", url, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, cwd=ROOT, stdin=pipe, stdout=pipe, text=True)


def result_of(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Close the stdin of the clients, and return their result."""
    output, _ = process.communicate(timeout=600)
    result: dict[str, Any] = json.loads(output)
    return result


def mixed_throughput(url: str, count: int) -> tuple[float, dict[str, int]]:
    """Return the requests/s of 64 clients that request 8 to 48 tokens, and the statuses."""
    result = result_of(start_clients(url, "mixed", CLIENTS, count))
    return count / result["seconds"], result["statuses"]


def p99(seconds: list[float]) -> float:
    """Return the 99th percentile."""
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * 0.99))]


def probe(url: str) -> list[float]:
    """Return the latencies of sequential requests of 4 tokens."""
    latencies: list[float] = result_of(start_clients(url, "probe", PROBES))["latencies"]
    return latencies


def probe_under_load(url: str, clients: int, tokens: int) -> tuple[list[float], float]:
    """Return the latencies of `probe` beside other clients, and the requests/s of these."""
    load = start_clients(url, "busy", clients, tokens)
    time.sleep(WARM_UP_S)
    latencies = probe(url)
    result = result_of(load)
    return latencies, len(result["latencies"]) / result["seconds"]


def probe_with_slow_connections(url: str) -> tuple[int, float]:
    """Return how many of 20 requests succeed beside incomplete ones, and the highest latency."""
    address = urlsplit(url)
    with ExitStack() as stack:
        for _ in range(SLOW_CONNECTIONS):
            client = stack.enter_context(socket.create_connection((address.hostname, address.port)))
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
        result = result_of(start_clients(url, "probe", 20))
    return result["statuses"].get("200", 0), max(result["latencies"])


def compare_throughput(ours: str, documented: str) -> None:
    """Print the throughput of both servers in turns."""
    ratios: list[float] = []
    for number in range(ROUNDS):
        fast, statuses = mixed_throughput(ours, REQUESTS)
        slow, failures = mixed_throughput(documented, DOCUMENTED_SERVER_REQUESTS)
        ratios.append(fast / slow)
        print(
            f"round {number + 1}: ours {fast:.1f} requests/s {statuses}, "
            f"documented {slow:.1f} {failures}, ratio {fast / slow:.1f}"
        )
    print(f"64 clients: {statistics.median(ratios):.1f} times the documented server (at least 4)")


def compare_latency(url: str) -> None:
    """Print the latency of short requests under load, compared with that without load."""
    for clients, tokens in ((1, 250), (8, 48), (63, 28)):
        idle: list[float] = []
        loaded: list[float] = []
        rates: list[float] = []
        for _ in range(ROUNDS):
            idle += probe(url)
            latencies, rate = probe_under_load(url, clients, tokens)
            loaded += latencies
            rates.append(rate)
        median_ratio = statistics.median(loaded) / statistics.median(idle)
        print(
            f"4 tokens beside {clients} clients of {tokens}: p99 {p99(loaded) * 1000:.0f} ms, "
            f"idle {p99(idle) * 1000:.0f} ms: {p99(loaded) / p99(idle):.1f} times (at most 3); "
            f"median {median_ratio:.1f} times; other clients {statistics.median(rates):.0f} "
            "requests/s",
            flush=True,
        )


def main() -> None:
    """Run the benchmark."""
    for size in SIZES:
        print(f"== {size} model")
        with server("reference_server", size) as ours:
            with server("documented_server", size) as documented:
                compare_throughput(ours, documented)
            compare_latency(ours)
            answered, slowest = probe_with_slow_connections(ours)
            print(
                f"{SLOW_CONNECTIONS} slow connections: {answered} of 20 answered, "
                f"slowest {slowest * 1000:.0f} ms"
            )
        with server("reference_server", size, "16") as small:
            statuses = result_of(start_clients(small, "mixed", 160, 480))["statuses"]
            print(f"10 times overload (160 clients, max_in_flight=16): {statuses}")


if __name__ == "__main__":
    main()
