"""A browser, and the reports that the tests open in it."""

from __future__ import annotations

import json
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.reporting import report_samples

if TYPE_CHECKING:
    from selenium.webdriver import Chrome
    from selenium.webdriver.remote.webelement import WebElement

# https://github.com/dequelabs/axe-core, release 4.14.1 (MPL-2.0), from npm.
_AXE = Path(__file__).parent / "axe" / "axe.min.js"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_SWITCHES = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync
    --disable-background-networking --disable-component-update --window-size=1280,900"""
_DEADLINE_S = 60


class Page:
    """A report in a browser."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, file: Path, fragment: str = "") -> float:
        """Open a report, wait until it is drawn, and return the seconds that it took."""
        self.driver.get("about:blank")
        self.driver.get(f"{file.as_uri()}{fragment}")
        self.wait("return document.documentElement.dataset.ready")
        return float(self.run("return performance.now() / 1000"))

    def run(self, script: str, *arguments: Any) -> Any:
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> Any:
        """Run a script until it returns something true."""
        deadline = time.monotonic() + _DEADLINE_S
        while not (value := self.run(script)):
            assert time.monotonic() < deadline, f"never true: {script}\n{self.text('body')[:2000]}"
            time.sleep(0.02)
        return value

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements("css selector", selector)

    def text(self, selector: str) -> str:
        return str(self.run("return document.querySelector(arguments[0])?.innerText", selector))

    def texts(self, selector: str) -> list[str]:
        script = "return Array.from(document.querySelectorAll(arguments[0]), e => e.innerText)"
        return list(self.run(script, selector))

    def press(self, *keys: str) -> None:
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def choose(self, selector: str, value: str) -> None:
        """Choose an option of a list by its value."""
        script = """const list = document.querySelector(arguments[0]);
            list.value = arguments[1]; list.dispatchEvent(new Event("change"))"""
        self.run(script, selector, value)

    def emulate(self, *, width: int = 1280, scheme: str = "light", media: str = "") -> None:
        """Set the width of the window, light or dark, and the medium."""
        sizes = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", sizes)
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.driver.execute_cdp_cmd(
            "Emulation.setEmulatedMedia", {"media": media, "features": features}
        )

    def violations(self) -> list[str]:
        """Return the serious violations of accessibility that axe finds."""
        self.run(_AXE.read_text(encoding="utf-8"))
        found = self.driver.execute_async_script(
            "axe.run(document).then(result => arguments[0](result.violations))"
        )
        return [
            f"{one['id']}: {node['html'][:200]} {node['failureSummary']}"
            for one in found
            if one["impact"] in ("serious", "critical")
            for node in one["nodes"]
        ]

    def complaints(self) -> list[str]:
        """Return the messages of the console, and requests for anything but the report."""
        messages = [entry["message"] for entry in self.driver.get_log("browser")]
        events = [
            json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")
        ]
        urls = [
            event["params"]["request"]["url"]
            for event in events
            if event["method"] == "Network.requestWillBeSent"
        ]
        # "chrome", "chrome-untrusted": Chromium's own pages.
        local = ("file:", "data:", "blob:", "chrome", "about:")
        return messages + [url for url in urls if not url.startswith(local)]


@pytest.fixture(scope="session")
def _browser() -> Iterator[Chrome]:
    binary = next(filter(None, map(shutil.which, _BROWSERS)), None)
    chromedriver = shutil.which("chromedriver")
    if binary is None or chromedriver is None:
        pytest.skip("no Chromium with chromedriver: apt-get install chromium chromium-driver")
    from selenium.webdriver import Chrome, ChromeOptions
    from selenium.webdriver.chrome.service import Service

    options = ChromeOptions()
    options.binary_location = binary
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for switch in (*_SWITCHES.split(), f"--user-data-dir={profile}"):
            options.add_argument(switch)
        driver = Chrome(options=options, service=Service(chromedriver))
        driver.set_script_timeout(_DEADLINE_S)
        yield driver
        driver.quit()


@pytest.fixture
def page(_browser: Chrome) -> Iterator[Page]:
    """A browser that must have nothing to complain about after the test."""
    page = Page(_browser)
    page.emulate()
    page.complaints()
    yield page
    assert page.complaints() == []


@pytest.fixture(scope="session")
def _written_reports(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path]]:
    return tmp_path_factory.mktemp("reports"), {}


@pytest.fixture
def report(
    _written_reports: tuple[Path, dict[str, Path]], mlflow_store: str
) -> Callable[[str], Path]:
    """Return the file of a report of `report_samples`, which is written once."""
    folder, known = _written_reports

    def write(name: str) -> Path:
        if name not in known:
            known[name] = report_samples.WRITERS[name](folder / f"{name}.html")
        return known[name]

    return write
