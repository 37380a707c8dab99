"""What every test stands on: an environment of its own, a workspace, a catalog, an MLflow store."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from filelock import FileLock

from langchain_dbx_eval.testing import LocalWorkspace

# Before MLflow is first imported: it reports its use to a server, which tests must not.
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"


@pytest.fixture(autouse=True)
def _environment_without_databricks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[None]:
    """No test sees the developer's own logins, proxies or data, or leaves a variable behind."""
    with mock.patch.dict(os.environ):
        for name in list(os.environ):
            if name.startswith(("DATABRICKS_", "DBX_EVAL_", "MLFLOW_TRACKING")):
                del os.environ[name]
        os.environ["HOME"] = str(tmp_path)
        os.environ["DBX_EVAL_HOME"] = str(tmp_path / "dbx-eval")
        monkeypatch.chdir(tmp_path)
        yield


@pytest.fixture
def _log_levels_again() -> Iterator[None]:
    """What `serve` and the documentation set for a process of their own ends with the test."""
    logs = [logging.getLogger(f"langchain_dbx_eval{part}") for part in ("", ".driver")]
    levels = [log.level for log in logs]
    yield
    for log, level in zip(logs, levels, strict=True):
        log.setLevel(level)


@pytest.fixture
def workspace() -> Iterator[LocalWorkspace]:
    """A running workspace, which the environment points at."""
    with LocalWorkspace() as running:
        yield running


@pytest.fixture
def documented_port() -> Iterator[int]:
    """7777, which the documentation's code names, once nobody on this machine has it.

    The lock is for the tests of another checkout, which would take it a moment later.
    """
    with FileLock(Path(tempfile.gettempdir()) / "dbx-eval-tests-7777.lock", timeout=120):
        give_up = time.monotonic() + 60
        while not _is_free(7777):
            assert time.monotonic() < give_up, "another program has port 7777"
            time.sleep(0.2)
        yield 7777


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("0.0.0.0", port)).close()
    except OSError:
        return False
    return True


@pytest.fixture(scope="session")
def _migrated_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow store: its migrations take seconds, so they run once and are copied."""
    from mlflow.store.db.utils import _initialize_tables
    from sqlalchemy import create_engine

    path = tmp_path_factory.mktemp("mlflow") / "template.db"
    engine = create_engine(f"sqlite:///{path}")
    _initialize_tables(engine)
    engine.dispose()
    return path


@pytest.fixture
def mlflow_store(_migrated_store: Path, tmp_path: Path) -> Iterator[str]:
    """A real MLflow store on SQLite, set as the tracking URI; the URI is returned."""
    import mlflow

    path = tmp_path / "mlflow.db"
    shutil.copy(_migrated_store, path)
    uri = f"sqlite:///{path}"
    mlflow.set_tracking_uri(uri)
    mlflow.set_experiment("tests")
    yield uri
    while mlflow.active_run() is not None:
        mlflow.end_run()
    # The model that was logged last stays MLflow's "active" one, to which it links metrics.
    mlflow.clear_active_model()
    mlflow.set_tracking_uri(None)
