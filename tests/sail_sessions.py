"""The end of the Sail server that an evaluation of a test started."""

from __future__ import annotations

from langchain_dbx_eval.evaluation.spark import session


def stop_sail() -> None:
    """Stop it: the next evaluation starts another one, with the environment of then."""
    while session._sail:
        process, started = session._sail.pop()
        started.stop()
        process.kill()
        process.wait()
