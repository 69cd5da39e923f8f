"""The pages in Debian's chromium: a collector as a process, numbers that it counted itself."""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from urllib.parse import urldefrag, urljoin, urlsplit

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

from tests.conftest import Databases, InfluxServer, Serve, start_collector
from tests.dates import last_final_day
from tests.length import repeat
from tests.public_site import INTEGRATION_LINKS, run_collector
from tests.sender import eventually, get

CHROMIUM = shutil.which("chromium")
ABROAD = ("/es/method", "/es/privacy", "/es/my-data", "/es/api", "/es/month")
PAGES = ("/", "/method", "/privacy", "/my-data", "/api", "/es", "/month", "/integrations", *ABROAD)
"""Pages whose path is the same every day; `/month/2026-10` is tested beside them."""
MONTHS = [("", False), ("/es", True), ("/es", False), ("", True)][: repeat(2, 4)]
"""Language and colour scheme of a month's page."""
DESKTOP = ViewportSize(width=1280, height=900)
PHONE = ViewportSize(width=390, height=844)
SMALL = ViewportSize(width=320, height=568)

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="there is no chromium: install Debian's package"
)


def a_month() -> date:
    """The first day of the newest month that is over."""
    after = last_final_day() + timedelta(days=1)
    return (after.replace(day=1) - timedelta(days=1)).replace(day=1)


@pytest.fixture(scope="module")
def collector(
    influx_server: InfluxServer, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Serve]:
    """A collector with some weeks of a fleet behind it, and reports of today."""
    databases = Databases(influx_server, f"b{secrets.token_hex(6)}_")
    directory = tmp_path_factory.mktemp("browser")
    environment = {
        **databases.environment,
        "COLLECTOR_STATE_DIR": str(directory / "state"),
        "COLLECTOR_GRAFANA_URL": "https://grafana.example.org/",
        "COLLECTOR_CONTACT": "the test's club",
    }
    # The last day of a month is among them, whatever today is.
    fleet = ("--servers", "120", "--days", "36")
    run_collector(environment, directory / "state", "--history", *fleet, module="tools.simulation")
    running = start_collector(environment, directory / "serve.log")
    try:
        running.wait_ready()
        run_collector(
            environment,
            directory / "client",
            *("--post", f"{running.url}/usage", *fleet, "--rate", "0"),
            module="tools.simulation",
        )

        def counted() -> bool:
            found = get(running.url, "/v1/freshness").json
            past = int(fleet[-1]) - 1
            whole = found["days"] >= past and found["last_final_day"] == str(last_final_day())
            return bool(whole and get(running.url, f"/month/{a_month():%Y-%m}").status == 200)

        # The collector counts what is due by itself; today is counted after its first hour.
        eventually(counted, within=300)
        yield running
    finally:
        running.terminate()
        for name in influx_server.databases():
            if name.startswith(databases.prefix):
                influx_server.drop(name)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # Root may not use chromium's sandbox; what is opened is our own.
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield started
        started.close()


@dataclass
class Heard:
    """What a page asked for and complained of."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)


def opened(
    browser: Browser, address: str, viewport: ViewportSize = DESKTOP, *, dark: bool = False
) -> tuple[Page, Heard]:
    page = browser.new_page(viewport=viewport, color_scheme="dark" if dark else "light")
    heard = Heard()
    page.on("request", lambda request: heard.requests.append(request.url))
    page.on("console", lambda message: heard.complaints.append(message.text))
    page.on("pageerror", lambda error: heard.complaints.append(str(error)))
    page.on("requestfailed", lambda request: heard.complaints.append(request.url))
    answer = page.goto(address)
    assert answer is not None
    assert answer.status == 200
    return page, heard


@pytest.mark.parametrize(("prefix", "dark"), MONTHS)
def test_page_of_a_month_is_one_request_without_barriers_on_any_screen(
    collector: Serve, browser: Browser, prefix: str, dark: bool
) -> None:
    address = f"{collector.url}{prefix}/month/{a_month():%Y-%m}"
    for viewport in (DESKTOP, PHONE, SMALL):
        page, heard = opened(browser, address, viewport, dark=dark)
        assert [url for url in heard.requests if not url.startswith("data:")] == [address]
        assert heard.complaints == []
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]
        if viewport is not SMALL:
            found = Axe().run(page)
            assert found.violations_count == 0, found.generate_report()
        assert page.locator("svg[role=img]").count() == 3
        page.close()


@pytest.mark.parametrize("path", PAGES)
def test_page_asks_once_complains_of_nothing_and_is_never_wider_than_the_screen(
    collector: Serve, browser: Browser, path: str
) -> None:
    page, heard = opened(browser, collector.url + path, SMALL)
    asked = [url for url in heard.requests if not url.startswith("data:")]
    assert asked == [collector.url + path]
    assert page.title()
    assert page.context.cookies() == []
    for viewport in (SMALL, PHONE, DESKTOP):
        page.set_viewport_size(viewport)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"], viewport
    assert heard.complaints == []
    page.close()


def test_every_link_leads_somewhere(collector: Serve, browser: Browser) -> None:
    todo, seen, strangers = {f"{collector.url}/"}, set[str](), set[str]()
    while todo:
        address = todo.pop()
        seen.add(address)
        answer = browser.new_context().request.get(address)
        assert answer.status == 200, address
        if not answer.headers["content-type"].startswith("text/html"):
            continue
        page, heard = opened(browser, address)
        assert heard.complaints == [], address
        links = [link.get_attribute("href") or "" for link in page.locator("a").all()]
        page.close()
        for link in links:
            there, fragment = urldefrag(urljoin(address, link))
            if urlsplit(there).netloc != urlsplit(collector.url).netloc:
                strangers.add(there)
            elif there not in seen and not (fragment and there == address):
                todo.add(there)
    assert {f"{collector.url}{path}" for path in PAGES} <= seen
    assert strangers == {"https://grafana.example.org/"} | INTEGRATION_LINKS


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("path", PAGES[:8])
def test_axe_finds_no_barrier(collector: Serve, browser: Browser, path: str, dark: bool) -> None:
    page, _ = opened(browser, collector.url + path, PHONE if dark else DESKTOP, dark=dark)
    for summary in page.locator("summary").all():
        summary.click()
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()
    page.close()


def test_dark_is_dark_and_light_is_light(collector: Serve, browser: Browser) -> None:
    brightness = []
    for dark in (False, True):
        page, _ = opened(browser, collector.url, dark=dark)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        brightness.append(sum(int(part) for part in colour.strip("rgb()").split(",")))
        page.close()
    assert brightness[0] > 600
    assert brightness[1] < 150


def test_page_without_scripts_is_the_same_page(collector: Serve, browser: Browser) -> None:
    page, _ = opened(browser, collector.url)
    context = browser.new_context(java_script_enabled=False)
    without = context.new_page()
    without.goto(collector.url)
    assert without.locator("main").inner_text() == page.locator("main").inner_text()
    context.close()
    page.close()


def test_keyboard_reaches_the_content_first(collector: Serve, browser: Browser) -> None:
    page, _ = opened(browser, collector.url)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.url.endswith("#main")
    page.close()


def test_screen_reader_is_told_what_the_chart_shows(collector: Serve, browser: Browser) -> None:
    page, _ = opened(browser, collector.url)
    (chart,) = page.locator("svg[role=img]").all()
    assert "Nodes a day:" in (chart.get_attribute("aria-label") or "")
    headings = page.get_by_role("heading", level=1).all_inner_texts()
    assert len(headings) == 1
    assert headings[0].endswith("nodes")
    page.close()


def test_line_and_bars_are_drawn(collector: Serve, browser: Browser, tmp_path: Path) -> None:
    for viewport in (DESKTOP, PHONE):
        page, _ = opened(browser, collector.url, viewport)
        chart = page.locator("svg.chart").bounding_box()
        line = page.locator("svg.chart path.one").bounding_box()
        assert chart is not None
        assert line is not None
        assert line["width"] > 0.97 * chart["width"]
        assert 0 < line["height"] < chart["height"]
        first = page.locator(".shares table").first.locator("svg.bar rect").first.bounding_box()
        assert first is not None
        assert first["width"] > 10
        picture = page.screenshot(path=tmp_path / f"home-{viewport['width']}.png", full_page=True)
        assert len(picture) > 20_000
        page.close()
