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
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
from driver_models import SIZES

HERE = Path(__file__).parent
CLIENTS = 64
REQUESTS = 192
SNIPPET_REQUESTS = 64
ROUNDS = 3
PROBES = 120
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


def ask(url: str, tokens: int, number: int = 0) -> tuple[int, float]:
    begun = time.perf_counter()
    body = {"prompt": f"question {number}", "max_new_tokens": tokens}
    status = requests.post(url, json=body, timeout=300).status_code
    return status, time.perf_counter() - begun


def mixed(url: str, count: int) -> tuple[float, Counter[int]]:
    """Requests a second of 64 clients that want 8 to 48 tokens each."""
    begun = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        done = list(pool.map(lambda n: ask(url, 8 + n * 7 % 41, n), range(count)))
    return count / (time.perf_counter() - begun), Counter(status for status, _ in done)


def p99(seconds: list[float]) -> float:
    return sorted(seconds)[min(len(seconds) - 1, int(len(seconds) * 0.99))]


def shorts(url: str, count: int = PROBES) -> list[float]:
    """How long requests of 4 tokens take, one after the other, for a client of its own process.

    Beside 63 busy threads of this process it would wait for them rather than for the server.
    """
    command = [sys.executable, str(HERE / "driver_probe.py"), url, str(count)]
    seconds: list[float] = json.loads(subprocess.check_output(command))
    return seconds


def shorts_beside(url: str, clients: int, tokens: int) -> tuple[list[float], float]:
    """The same beside clients that want longer answers all the time, and how many these got."""
    done = False
    answered = 0

    def busy(number: int) -> None:
        nonlocal answered
        while not done:
            ask(url, tokens, number)
            answered += 1

    with ThreadPoolExecutor(clients) as pool:
        others = [pool.submit(busy, number) for number in range(clients)]
        time.sleep(1)
        answered, begun = 0, time.perf_counter()
        seconds = shorts(url)
        rate = answered / (time.perf_counter() - begun)
        done = True
        for other in others:
            other.result()
    return seconds, rate


def slow_connections(url: str) -> tuple[int, float]:
    port = int(url.rsplit(":", 1)[1].strip("/"))
    with ExitStack() as stack:
        for _ in range(SLOW_CONNECTIONS):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n")
        answers = [ask(url, 4) for _ in range(20)]
    return sum(status == 200 for status, _ in answers), p99([s for _, s in answers])


def throughput(ours: str, snippet: str) -> None:
    ratios: list[float] = []
    for number in range(ROUNDS):
        fast, statuses = mixed(ours, REQUESTS)
        slow, failures = mixed(snippet, SNIPPET_REQUESTS)
        ratios.append(fast / slow)
        print(
            f"round {number + 1}: ours {fast:.1f} requests/s {dict(statuses)}, "
            f"snippet {slow:.1f} {dict(failures)}, ratio {fast / slow:.1f}"
        )
    print(f"64 clients: {statistics.median(ratios):.1f} times the snippet (wanted: 4)")


def latency(url: str) -> None:
    for clients, tokens in ((1, 250), (8, 48), (63, 28)):
        alone: list[float] = []
        beside: list[float] = []
        rates: list[float] = []
        for _ in range(ROUNDS):
            alone += shorts(url)
            seconds, rate = shorts_beside(url, clients, tokens)
            beside += seconds
            rates.append(rate)
        middle = statistics.median(beside) / statistics.median(alone)
        print(
            f"4 tokens beside {clients} clients of {tokens}: p99 {p99(beside) * 1000:.0f} ms, "
            f"alone {p99(alone) * 1000:.0f} ms: {p99(beside) / p99(alone):.1f} times; "
            f"median {middle:.1f} times; the others {statistics.median(rates):.0f} requests/s",
            flush=True,
        )


def overload(url: str) -> Counter[int]:
    with ThreadPoolExecutor(160) as pool:
        return Counter(status for status, _ in pool.map(lambda n: ask(url, 32, n), range(480)))


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
            print(f"10 times overload (160 clients on 16 places): {dict(overload(small))}")


if __name__ == "__main__":
    main()
