"""The Spark session of an evaluation."""

from __future__ import annotations

import atexit
import importlib.util
import os
import subprocess
import sys
import threading
from typing import Any

from langchain_dbx_eval._internal.paths import create_private_folder, home
from langchain_dbx_eval.datasets.databricks.spark import active_session
from langchain_dbx_eval.errors import ConfigurationError, MissingDependencyError

__all__ = ["spark_session"]

_START_TIMEOUT_S = 120
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
    if session is None or _has_ended(session):
        return _sail_session()
    if not (hasattr(session, "createDataFrame") and hasattr(session, "catalog")):
        msg = f"SparkOptions(session=…) must be a SparkSession, got {session!r:.100}."
        raise ConfigurationError(msg)
    return session


def _has_ended(session: Any) -> bool:
    """Whether a session is the one on Sail, and it was stopped or its process has ended."""
    return any(
        session is sail and (sail.is_stopped or process.poll() is not None)
        for process, sail in _sail
    )


def _sail_session() -> Any:
    with _lock:
        if _sail and not _has_ended(_sail[0][1]):
            return _sail[0][1]
        while _sail:
            process, session = _sail.pop()
            # It would stay the active session of this thread.
            session.stop()
            process.kill()
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
        # Tables without a path are files in the working directory of Sail.
        folder = home() / "spark" / "tables"
        create_private_folder(folder)
        process = subprocess.Popen(  # noqa: S603 - no user input
            [sys.executable, "-m", f"{__package__}.sail_server"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            cwd=folder,
            text=True,
            # Ctrl-C in a terminal is for the driver, which ends the server with its input.
            start_new_session=True,
        )
        deadline = threading.Timer(_START_TIMEOUT_S, process.kill)
        deadline.start()
        port = process.stdout.readline().strip() if process.stdout else ""
        deadline.cancel()
        if not port.isdigit():
            process.kill()
            msg = (
                f"Sail did not start: its process ended with status {process.wait()}, or was ended "
                f"because it was not ready after {_START_TIMEOUT_S} s."
            )
            raise ConfigurationError(msg)
        # Before the session registers its own end, which runs first and needs the server.
        atexit.register(process.kill)
        from pyspark.sql.connect.session import SparkSession

        session = SparkSession.builder.remote(f"sc://127.0.0.1:{port}").create()
        _end_retries_with(process, session)
        # CREATE TABLE of Sail (0.7.2) rejects its default, a relative path.
        session.conf.set("spark.sql.warehouse.dir", str(folder.resolve()))
        # Tables on Sail are Delta tables: see `storage.default_format`.
        session.conf.set("spark.sql.sources.default", "delta")
        _sail.append((process, session))
        return session


def _end_retries_with(process: subprocess.Popen[str], session: Any) -> None:
    """Let the calls of a session fail when its process has ended; the default is 15 retries.

    These take more than 8 minutes (pyspark 4.2.1), and no other process gets the address.
    """
    from pyspark.sql.connect.client.retries import DefaultPolicy

    class Policy(DefaultPolicy):
        def can_retry(self, e: BaseException) -> bool:
            return process.poll() is None and super().can_retry(e)

    session.client.set_retry_policies([Policy()])
