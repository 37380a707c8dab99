"""Where this package keeps its files: ``DBX_EVAL_HOME``, by default the user's data folder."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from langchain_dbx_eval._internal.extras import require

__all__ = ["catalog_root", "home", "journals_root"]


def home(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder that holds everything: ``DBX_EVAL_HOME``, else the platform's user data folder."""
    if chosen := environment.get("DBX_EVAL_HOME"):
        return Path(chosen).expanduser()
    require("platformdirs", extra="delta")
    from platformdirs import user_data_path

    return user_data_path("langchain-dbx-eval", appauthor=False)


def catalog_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The local catalog's folder: ``DBX_EVAL_CATALOG``, else ``catalog`` in `home`."""
    if chosen := environment.get("DBX_EVAL_CATALOG"):
        return Path(chosen).expanduser()
    return home(environment) / "catalog"


def journals_root(environment: Mapping[str, str] = os.environ) -> Path:
    """The folder of the evaluations' journals: ``journals`` in `home`."""
    return home(environment) / "journals"
