"""Volumes of the workspace: folders of this machine."""

from __future__ import annotations

from pathlib import Path

from langchain_dbx_eval.testing.errors import ApiError

__all__ = ["Volumes"]


class Volumes:
    """The volumes by name, and their files.

    Args:
        root: The folder that contains all volumes.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._names: set[str] = set()

    def add(self, name: str) -> Path:
        """Create a volume, and return its folder."""
        self._names.add(name)
        folder = self._root.joinpath("Volumes", *name.split("."))
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def find(self, path: str) -> Path:
        """Return the local file of a path such as ``/Volumes/main/default/v/file``.

        Raises:
            ApiError: The volume does not exist.
        """
        parts = path.strip("/").split("/")
        if parts[0] != "Volumes" or ".." in parts or ".".join(parts[1:4]) not in self._names:
            raise ApiError(404, "NOT_FOUND", f"The volume of {path} does not exist.")
        return self._root.joinpath(*parts)

    def write(self, path: str, content: bytes) -> None:
        """Write a file, and create its parent folders.

        Raises:
            ApiError: The volume does not exist.
        """
        file = self.find(path)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)

    def delete(self, path: str) -> None:
        """Delete a file.

        Raises:
            ApiError: The file does not exist.
        """
        file = self.find(path)
        if not file.is_file():
            raise ApiError(404, "NOT_FOUND", f"The file {path} does not exist.")
        file.unlink()
