"""Fixtures for all tests: a clean environment, a workspace, an MLflow store."""

from __future__ import annotations

import logging
import os
import resource
import shutil
import signal
import socket
import sys
import tempfile
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from unittest import mock

import pytest
from filelock import FileLock
from hypothesis import HealthCheck, settings

from langchain_dbx_eval.client import sync_transport
from langchain_dbx_eval.testing import LocalWorkspace
from tests.polling import wait_until

# The usual limit of open files, on every machine: leaked connections then fail here too.
_, _HARD_LIMIT = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, _HARD_LIMIT), _HARD_LIMIT))

# Random inputs are the same in each run, so that a run fails only by its commit. `make fuzz` draws
# new ones. No time limits: on a loaded machine, one example may take longer than the usual 200 ms.
_EXAMPLES = os.environ.get("DBX_EVAL_FUZZ_EXAMPLES")
settings.register_profile(
    "tests",
    max_examples=int(_EXAMPLES or 100),
    derandomize=not _EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
    print_blob=True,
)
settings.load_profile("tests")

# pyspark 4.2, which MLflow imports to infer a signature, takes a main module without a file and a
# spec for a doctest of its own, and exits: such as that of a worker of pytest-xdist.
_MAIN = sys.modules["__main__"]
if _MAIN.__spec__ is None and not hasattr(_MAIN, "__file__"):
    _MAIN.__spec__ = ModuleSpec("__main__", None)

# Before MLflow is first imported, because its telemetry needs the network.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture(autouse=True)
def _environment_without_databricks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """Remove the developer's logins and data from the environment, and restore it afterwards."""
    with mock.patch.dict(os.environ):
        for name in list(os.environ):
            if name.startswith(("DATABRICKS_", "DBX_EVAL_", "MLFLOW_TRACKING")):
                del os.environ[name]
        os.environ["HOME"] = str(tmp_path)
        os.environ["DBX_EVAL_HOME"] = str(tmp_path / "dbx-eval")
        monkeypatch.chdir(tmp_path)
        yield


@pytest.fixture(autouse=True)
def _default_ctrl_c() -> Iterator[None]:
    """Handle SIGINT as in a terminal: a background job ignores it, and so would evaluations."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture(autouse=True)
def _closed_connections() -> Iterator[None]:
    """Close the idle connections of clients, which last as long as the process.

    Without this, the suite exceeds 1,024 open files and tests fail at random.
    """
    yield
    while sync_transport._adapters:
        sync_transport._adapters.popitem()[1].close()


@pytest.fixture
def _restored_log_levels() -> Iterator[None]:
    """Restore the log levels that `serve` sets for its process."""
    logs = [logging.getLogger(f"langchain_dbx_eval{part}") for part in ("", ".driver")]
    levels = [log.level for log in logs]
    yield
    for log, level in zip(logs, levels, strict=True):
        log.setLevel(level)


@pytest.fixture
def workspace() -> Iterator[LocalWorkspace]:
    """A running workspace, set in the environment."""
    with LocalWorkspace() as running:
        yield running


@pytest.fixture
def documented_port() -> Iterator[int]:
    """Port 7777, which the code of the documentation uses, once it is free on this machine.

    The lock is shared with the tests of other checkouts.
    """
    with FileLock(Path(tempfile.gettempdir()) / "dbx-eval-tests-7777.lock", timeout=550):
        wait_until(lambda: _is_free(7777))
        yield 7777


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("0.0.0.0", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def _migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store, created once and copied, because its migrations take seconds."""
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    path = tmp_path_factory.mktemp("mlflow") / "template.db"
    engine = create_engine(f"sqlite:///{path}")
    _initialize_tables(engine)
    engine.dispose()
    return path


@pytest.fixture
def mlflow_store(_migrated_store: Path, tmp_path: Path) -> Iterator[str]:
    """The URI of an MLflow store on SQLite, set as the tracking URI."""
    import mlflow
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    path = tmp_path / "mlflow.db"
    shutil.copy(_migrated_store, path)
    uri = f"sqlite:///{path}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("tests")
    yield uri
    while mlflow.active_run() is not None:
        mlflow.end_run()
    # Otherwise MLflow links the metrics of later tests to the model that was logged last.
    mlflow.clear_active_model()
    mlflow.set_tracking_uri(None)
    # MLflow keeps the engine of each store for the life of the process, with one connection per
    # thread that used it.
    if engine := SqlAlchemyStore._engine_map.pop(uri, None):
        engine.dispose()
