"""The workspace's volumes: folders of this machine behind the Files API."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from flask import Flask, request

from langchain_dbx_eval.testing.errors import Refusal
from langchain_dbx_eval.testing.lakehouse.faults import Denied, SqlFaults
from langchain_dbx_eval.testing.lakehouse.tables import Lakehouse

__all__ = ["Volumes", "add_file_routes"]


class Volumes:
    """Volumes by name, and the files in them.

    Args:
        root: The folder below which all of them lie.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: set[str] = set()

    def add(self, name: str) -> Path:
        """Make a volume; returns its folder."""
        self._names.add(name)
        folder = self._root.joinpath("Volumes", *name.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def find(self, path: str) -> Path:
        """The file of this machine behind a path such as ``/Volumes/main/default/v/file``.

        Raises:
            Refusal: There is no such volume.
        """
        parts = path.strip("/").split("/")
        if parts[0] != "Volumes" or ".." in parts or ".".join(parts[1:4]) not in self._names:
            raise Refusal(404, "NOT_FOUND", f"The volume of {path} does not exist.")
        return self._root.joinpath(*parts)

    def write(self, path: str, content: bytes) -> None:
        """Write a file, and the folders that lead to it."""
        file = self.find(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def delete(self, path: str) -> None:
        """Remove a file.

        Raises:
            Refusal: There is none.
        """
        file = self.find(path)
        if not file.is_file():
            raise Refusal(404, "NOT_FOUND", f"The file {path} does not exist.")
        file.unlink()


def add_file_routes(app: Flask, house: Lakehouse, faults: SqlFaults) -> None:
    """Add the Files API to the workspace's app."""
    base = "/api/2.0/fs/files/<path:path>"

    @app.put(base)
    def upload(path: str) -> tuple[str, int]:
        fault = faults.take(".".join(path.split("/")[1:4]), Denied)
        if isinstance(fault, Denied):
            raise Refusal(403, "PERMISSION_DENIED", fault.message)
        house.volumes.write(path, request.get_data())
        return "", 204

    @app.delete(base)
    def delete(path: str) -> tuple[Any, int]:
        house.volumes.delete(path)
        return "", 204
