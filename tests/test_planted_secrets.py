"""A secret in each place that takes one, everything run, and everything written searched for it."""

from __future__ import annotations

import json
import os
import secrets
import shutil
import subprocess
import sys
from base64 import b64encode
from pathlib import Path

PLACES = [
    *("api_token", "environment", "profile", "workspace_client", "oauth_secret", "oauth_access"),
    *("driver_api_key", "driver_environment", "host_password", "proxy_password", "extra_header"),
    *("judge_token", "judge_key", "mlflow_password", "mlflow_token", "environment_key"),
    *("server_key", "upstream_key", "workspace"),
]


def forms(secret: str) -> list[bytes]:
    """Return the forms in which a secret may be written: in part, and in Base64 at each offset."""
    shifted = [b64encode(b" " * n + secret.encode()) for n in range(3)]
    return [secret[:20].encode(), secret[-20:].encode(), *(one[4:-4] for one in shifted)]


def test_no_secret_is_written(tmp_path: Path, _migrated_store: Path) -> None:  # noqa: PT019 - a path
    planted = {name: f"planted{secrets.token_hex(16)}" for name in PLACES}
    folder, home = tmp_path / "written", tmp_path / "written" / "home"
    home.mkdir(parents=True)
    shutil.copy(_migrated_store, folder / "mlflow.db")
    environment = {
        **os.environ,
        "HOME": str(home),
        "TMPDIR": str(home),
        "DBX_EVAL_HOME": str(home / "dbx-eval"),
        "DATABRICKS_CONFIG_FILE": str(tmp_path / "databrickscfg"),
        "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
    }
    with (folder / "stdout").open("wb") as stdout, (folder / "stderr").open("wb") as stderr:
        subprocess.run(
            [sys.executable, "-m", "tests.planted_secrets"],
            input=json.dumps(planted).encode(),
            stdout=stdout,
            stderr=stderr,
            cwd=folder,
            env=environment,
            timeout=240,
            check=False,
        )
    finished = (folder / "stdout").read_text().count("\nfinished ")
    assert finished == 3, (folder / "stderr").read_text()[-3000:]
    found = [
        f"{name} in {path.relative_to(folder)}: {content[max(0, at - 100) : at + 60]!r}"
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (content := path.read_bytes())
        for name, secret in planted.items()
        if (at := max(content.find(form) for form in forms(secret))) >= 0
    ]
    assert not found, "\n".join(found)
