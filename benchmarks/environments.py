"""Virtual environments for other packages, so that their dependencies do not affect each other."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

__all__ = ["ROOT", "python_of_environment"]

ROOT = Path(__file__).parents[1]
_VENVS = ROOT / ".venv-bench"


def python_of_environment(name: str, *packages: str, inputs: str = "") -> str:
    """Return the interpreter of an environment, which is created if it is missing or outdated.

    Args:
        name: The name of the environment, a folder in ``.venv-bench``.
        packages: Arguments of ``uv pip install``.
        inputs: Text that determines the installation in addition; when it changes, the environment
            is created again.

    Raises:
        FileNotFoundError: uv is not installed.
        subprocess.CalledProcessError: uv could not install the packages; its error is on stderr.
    """
    venv = _VENVS / name
    python, stamp = venv / "bin" / "python", venv / "installed"
    content = "\n".join((*packages, inputs))
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != content:
        print(f"Installing {' '.join(packages)} into {venv.relative_to(ROOT)} …", flush=True)
        _uv("venv", "--quiet", "--clear", "--python", ">=3.10", str(venv))
        _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *packages)
        stamp.write_text(content, encoding="utf-8")
    # As that of the other packages, also if Python writes none here (PYTHONDONTWRITEBYTECODE).
    package = ROOT / "langchain_dbx_eval"
    subprocess.run([str(python), "-m", "compileall", "-q", str(package)], check=True)
    return str(python)


def _uv(*arguments: str) -> None:
    # scripts/install puts uv into the environment of this project if it is not on PATH.
    uv = shutil.which("uv") or str(Path(sys.prefix, "bin", "uv"))
    # uv uses the system's certificates only with these variables (newer and older name).
    environment = {**os.environ, "UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
    subprocess.run([uv, *arguments], check=True, env=environment, cwd=ROOT)
