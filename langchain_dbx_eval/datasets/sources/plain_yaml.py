"""YAML as people write questions: ``no`` is a text, and so is ``2026-11-21``.

PyYAML follows YAML 1.1, where the one is false and the other a date. This loader knows only what
JSON knows, by the core schema of YAML 1.2 (section 10.3.2).
"""

from __future__ import annotations

import re
from typing import Any

import yaml

__all__ = ["load"]


class _PlainLoader(yaml.SafeLoader):
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own attribute


for _tag, _pattern, _first in (
    ("null", r"null|Null|NULL|~|", ["n", "N", "~", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(0|[1-9][0-9]*)", list("-+0123456789")),
    (
        "float",
        r"[-+]?([0-9]*\.[0-9]+([eE][-+]?[0-9]+)?|[0-9]+[eE][-+]?[0-9]+)",
        list("-+.0123456789"),
    ),
):
    _PlainLoader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(rf"^(?:{_pattern})$"), _first
    )


def load(text: str) -> Any:
    """Read a YAML document.

    Raises:
        yaml.YAMLError: It is none, or has tags that plain data has not.
    """
    return yaml.load(text, Loader=_PlainLoader)  # noqa: S506 - a SafeLoader
