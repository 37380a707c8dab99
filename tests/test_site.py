"""The documentation site builds without a warning, and its search finds words of both languages."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from mkdocs.commands.build import build
from mkdocs.config import load_config

from tests.polling import wait_until
from tests.reporting.conftest import _browser  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

ROOT = Path(__file__).parents[1]
pytestmark = [pytest.mark.xdist_group("site"), pytest.mark.timeout(600)]


class _Warnings(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built once."""
    folder = tmp_path_factory.mktemp("site")
    warnings = _Warnings()
    logging.getLogger("mkdocs").addHandler(warnings)
    build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(folder)))
    logging.getLogger("mkdocs").removeHandler(warnings)
    assert warnings.messages == []
    return folder


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The address of a server of the site: its search needs HTTP."""

    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    server.server_close()


def test_every_page_is_on_the_site_and_in_its_navigation(site: Path) -> None:
    home = (site / "index.html").read_text(encoding="utf-8")
    for page in (ROOT / "docs").rglob("*.md"):
        name = page.relative_to(ROOT / "docs").with_suffix("").as_posix()
        path = "" if name == "index" else f"{name.removesuffix('/index')}/"
        assert (site / path / "index.html").exists()
        assert f'href="{path or "."}"' in home, name


def test_korean_pages_have_their_language(site: Path) -> None:
    for page, language in (("ko/report", "ko"), ("report", "en")):
        text = (site / page / "index.html").read_text(encoding="utf-8")
        assert f'<html lang="{language}"' in text


def test_the_site_loads_nothing_from_other_servers(site: Path) -> None:
    home = (site / "tutorials/laptop/index.html").read_text(encoding="utf-8")
    assert "fonts.googleapis.com" not in home
    assert 'src="http' not in home


def test_public_names_are_in_the_python_reference(site: Path) -> None:
    text = (site / "reference/python/index.html").read_text(encoding="utf-8")
    for name in ("evaluate", "EvalDataset", "compare", "DriverServer", "ChatDatabricks"):
        assert f'.{name}"' in text, name


def test_the_index_of_the_search_has_english_and_korean_pages(site: Path) -> None:
    index = json.loads((site / "search/search_index.json").read_text(encoding="utf-8"))
    assert index["config"]["lang"] == ["en", "ko"]
    for words, page in (("드라이버 프록시", "ko/how-to/driver-proxy/"), ("resume", "evaluation/")):
        places = [one["location"] for one in index["docs"] if words in one["text"]]
        assert any(place.startswith(page) for place in places), words


@pytest.mark.parametrize(
    ("words", "page"),
    [
        ("driver proxy", "how-to/driver-proxy/"),
        ("resume", "evaluation/"),
        ("드라이버 프록시", "ko/how-to/driver-proxy/"),
    ],
)
def test_the_search_finds(words: str, page: str, address: str, _browser: Chrome) -> None:  # noqa: F811, PT019
    start = f"{address}troubleshooting/"

    def opened() -> bool:
        if _browser.current_url != start:
            _browser.get(start)
        ready = "return document.readyState === 'complete' && !!document.querySelector('#__search')"
        return bool(_browser.execute_script(ready))

    # Without the page that shows the results of the search before.
    _browser.get("about:blank")
    # `get` can return, on a loaded machine, while the browser still shows the page before.
    wait_until(opened)
    _browser.execute_script(
        "const query = document.querySelector('[data-md-component=search-query]');"
        "document.querySelector('#__search').checked = true; query.focus();"
        "query.value = arguments[0]; query.dispatchEvent(new KeyboardEvent('keyup'));",
        words,
    )

    def found() -> list[str]:
        links = _browser.execute_script(
            "return [...document.querySelectorAll('.md-search-result__link')].map(a => a.href)"
        )
        return [link.removeprefix(address) for link in links]

    wait_until(lambda: bool(found()))
    assert any(place.startswith(page) for place in found()[:10]), found()[:10]
