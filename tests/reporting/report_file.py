"""Reads the data of a report's file, as its scripts do."""

from __future__ import annotations

import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any


def read_elements(path: Path) -> dict[str, Any]:
    """Decode all data of a report, by the id of its element."""
    text = path.read_text(encoding="utf-8")
    elements = re.findall(r'<script type="text/plain" id="([\w-]+)">([^<]*)</script>', text)
    return {name: json.loads(gzip.decompress(base64.b64decode(data))) for name, data in elements}


def read_overview(path: Path) -> dict[str, Any]:
    """Decode the overview."""
    overview: dict[str, Any] = read_elements(path)["overview"]
    return overview


def read_rows(path: Path, run: int = 0) -> list[dict[str, Any]]:
    """Decode all rows of a run."""
    elements = read_elements(path)
    pages = [elements[f"page-{run}-{n}"] for n in range(elements["overview"]["runs"][run]["pages"])]
    return [row for page in pages for row in page]
