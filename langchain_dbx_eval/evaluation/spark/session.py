"""The Spark session of an evaluation."""

from __future__ import annotations

import atexit
import importlib.util
import os
import subprocess
import sys
import threading
from typing import Any

from langchain_dbx_eval.datasets.databricks.spark import active_session
from langchain_dbx_eval.errors import ConfigurationError, MissingDependencyError

__all__ = ["spark_session"]

_lock = threading.Lock()
_sail: list[tuple[subprocess.Popen[str], Any]] = []


def spark_session(session: Any = None) -> Any:
    """Return the session of the user, the active one, or a new one on Sail.

    Raises:
        ConfigurationError: `session` is no Spark session, or Sail does not start.
        MissingDependencyError: There is no session, and the extra ``sail`` is not installed.
    """
    if session is None:
        session = active_session()
    if session is None:
        return _sail_session()
    if not (hasattr(session, "createDataFrame") and hasattr(session, "catalog")):
        msg = f"SparkOptions(session=…) must be a SparkSession, got {session!r:.100}."
        raise ConfigurationError(msg)
    return session


def _sail_session() -> Any:
    with _lock:
        if _sail and _sail[0][0].poll() is None:
            return _sail[0][1]
        _sail.clear()
        if importlib.util.find_spec("pysail") is None:
            msg = (
                "engine='spark' needs a Spark session: run it in a notebook or job on Databricks, "
                "pass SparkOptions(session=…), or install a Spark for this machine: "
                "pip install 'langchain-dbx-eval[sail]'"
            )
            raise MissingDependencyError(msg)
        # The modules of the user, wherever this process finds them.
        environment = {
            "RUST_LOG": "error",
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [os.getcwd(), *sys.path])),
        }
        process = subprocess.Popen(  # noqa: S603 - no user input
            [sys.executable, "-m", f"{__package__}.sail_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            text=True,
            # Ctrl-C in a terminal is for the driver, which ends the server with its input.
            start_new_session=True,
        )
        port = process.stdout.readline().strip() if process.stdout else ""
        if not port.isdigit():
            process.kill()
            msg = f"Sail did not start: the exit status of its process is {process.wait()}."
            raise ConfigurationError(msg)
        # Before the session registers its own end, which runs first and needs the server.
        atexit.register(process.kill)
        from pyspark.sql.connect.session import SparkSession

        session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
        # Tables on Sail are Delta tables: see `storage.default_format`.
        session.conf.set("spark.sql.sources.default", "delta")
        _sail.append((process, session))
        return session
