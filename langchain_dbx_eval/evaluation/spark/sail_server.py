"""A Sail server in a process of its own, started with ``python -m``.

It writes its port to the standard output and ends with its standard input, and so with the process
that started it, however that ends.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]


def main() -> None:
    """Serve Spark Connect on a free port of the loopback interface until the input ends."""
    from pysail.spark import SparkConnectServer

    server = SparkConnectServer("127.0.0.1", 0)
    server.start()
    sys.stdout.write(f"{server.listening_address[1]}\n")
    sys.stdout.flush()
    sys.stdin.read()
    # Tasks that are running are of no use without their driver, and would delay an orderly end.
    os._exit(0)


if __name__ == "__main__":
    main()
