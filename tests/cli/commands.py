"""Running commands in this process, and reading what they print."""

from __future__ import annotations

from collections.abc import Iterator

from typer.main import get_command

from langchain_dbx_eval.cli.app import app


def command_names() -> list[list[str]]:
    """Return the words of each command, groups included."""

    def names(command: object, words: list[str]) -> Iterator[list[str]]:
        for name, child in getattr(command, "commands", {}).items():
            yield [*words, name]
            yield from names(child, [*words, name])

    return list(names(get_command(app), []))
