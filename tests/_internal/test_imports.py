"""Import strings: what they resolve to, and what their errors name."""

from __future__ import annotations

import os.path
import sys
from pathlib import Path

import pytest

from langchain_dbx_eval import errors
from langchain_dbx_eval._internal.imports import load_object


def test_an_import_string_resolves_to_the_object() -> None:
    assert load_object("os.path:join") is os.path.join


def test_a_dotted_name_is_resolved_attribute_by_attribute() -> None:
    assert load_object("pathlib:Path.home") == Path.home


@pytest.mark.parametrize("reference", ["", "os", "os:", ":join", "os.path.join"])
def test_a_string_without_module_or_name_is_rejected(reference: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=r"'package\.module:name'"):
        load_object(reference)


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        ("no_such_module:f", "no module 'no_such_module'"),
        ("os.no_such_part:f", r"no module 'os.no_such_part'"),
        ("os:no_such_function", "'no_such_function'"),
        ("os:path.no_such_function", "'no_such_function'"),
        ("..relative:f", "raised TypeError"),
    ],
)
def test_the_error_names_what_is_missing(reference: str, message: str) -> None:
    with pytest.raises(errors.ConfigurationError, match=message):
        load_object(reference)


@pytest.mark.parametrize(
    ("source", "message"),
    [("import not_installed_at_all", "needs 'not_installed_at_all'"), ("1 / 0", "ZeroDivision")],
)
def test_a_module_that_fails_to_import_is_named_with_its_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, message: str
) -> None:
    (tmp_path / "failing_module.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(errors.ConfigurationError, match=message):
        load_object("failing_module:f")
    assert "failing_module" not in sys.modules
