"""A virtual environment for each peer, so that none decides what another one runs on."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
VENVS = ROOT / ".venv-bench"

OURS = ("--editable", str(ROOT))
PACKAGES: dict[str, tuple[str, ...]] = {
    "raw": OURS,
    "ours": OURS,
    # It takes any mcp, and cannot be imported beside mcp 2 (seen with openai-agents 0.20); its
    # databricks-openai was made for openai 2.
    "databricks-langchain": ("databricks-langchain==0.22.0", "openai<3", "mcp<2"),
    "langchain-openai": ("langchain-openai>=1.7,<2",),
}
SHOWN = {
    "raw": ("requests", "aiohttp"),
    "ours": ("langchain-core",),
    "databricks-langchain": ("databricks-langchain", "openai", "langchain-core"),
    "langchain-openai": ("langchain-openai", "openai", "langchain-core"),
}


def python_of(client: str) -> str:
    """The interpreter that has a client installed; its environment is made where it is missing.

    Raises:
        subprocess.CalledProcessError: uv could not install it; what it said is on stderr.
    """
    packages = PACKAGES[client]
    venv = VENVS / ("ours" if packages is OURS else client)
    python, stamp = venv / "bin" / "python", venv / "installed"
    wanted = "\n".join(packages)
    if packages is OURS:
        wanted += (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    if not stamp.exists() or stamp.read_text(encoding="utf-8") != wanted:
        print(f"Installing {' '.join(packages)} into {venv.relative_to(ROOT)} …", flush=True)
        _uv("venv", "--quiet", "--clear", "--python", ">=3.10", str(venv))
        _uv("pip", "install", "--quiet", "--compile-bytecode", "--python", str(python), *packages)
        stamp.write_text(wanted, encoding="utf-8")
    return str(python)


def versions_of(client: str, python: str) -> str:
    """The versions that matter, such as ``langchain-openai 1.7.3, openai 3.52.0``.

    What is missing there is left out: its client has said so already.
    """
    code = (
        "import sys, importlib.metadata as m; "
        "have = {d.name: d.version for d in m.distributions()}; "
        "print(*(f'{n} {have[n]}' for n in sys.argv[1:] if n in have), sep=', ')"
    )
    command = [python, "-c", code, *SHOWN[client]]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _uv(*arguments: str) -> None:
    # uv trusts the system's certificates only when asked, under the newer or the older name.
    environment = {**os.environ, "UV_SYSTEM_CERTS": "true", "UV_NATIVE_TLS": "true"}
    subprocess.run(["uv", *arguments], check=True, env=environment, cwd=ROOT)
