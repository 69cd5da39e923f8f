"""`make pictures`: the README's pictures, taken of a running demo with Debian's chromium.

Pages are taken at the width of a desk and of a phone, dashboards where the demo has found a
Grafana, each dark and light; the terminal's picture is made of real output of `collector status`.
"""

from __future__ import annotations

import asyncio
import base64
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal

from playwright.async_api import Browser, Page, async_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, SVG_EXPORT_THEME
from rich.text import Text

from collector.public.month_pages import MONTHS
from tools.demo.readme import with_block
from tools.demo.run import demo
from tools.demo.serving import Serving
from tools.demo.story import Place
from tools.demo.watching import Watching

FOLDER: Final = Path(__file__).resolve().parents[2] / "docs/pictures"
README: Final = FOLDER.parents[1] / "README.md"
Theme = Literal["dark", "light"]
THEMES: Final[tuple[Theme, ...]] = ("dark", "light")
_SETTLES_MS: Final = 1500
_DRAWN_MS: Final = 8000
"""Grafana keeps connections open, so the network is never idle."""
_QUALITY: Final = 0.82
_FONTS: Final = re.compile(r"@font-face \{\{.*?\}\}", re.DOTALL)
_TO_WEBP: Final = """async ([data, quality]) => {
  const picture = new Image();
  picture.src = 'data:image/png;base64,' + data;
  await picture.decode();
  const canvas = document.createElement('canvas');
  canvas.width = picture.width;
  canvas.height = picture.height;
  canvas.getContext('2d').drawImage(picture, 0, 0);
  return canvas.toDataURL('image/webp', quality).split(',')[1];
}"""


@dataclass(frozen=True)
class Shot:
    """A picture of a web page: its name, address and size in pixels."""

    name: str
    url: str
    width: int
    height: int
    wait_ms: int = _SETTLES_MS
    headers: Mapping[str, str] | None = None


def shots(place: Place, watching: Watching, month: str) -> list[Shot]:
    """The pictures to take of a demo; `month` is the address of a month's page, or empty."""
    found = [
        Shot("page", f"{place.base}/", 1280, 860),
        Shot("phone", f"{place.base}/", 390, 844),
    ]
    if month:
        found.append(Shot("month", month, 1280, 860))
    admin = {"Authorization": "Basic " + base64.b64encode(b"admin:admin").decode()}
    for kind, name, board in (
        ("community", "overview", "usage-overview"),
        ("community", "versions", "usage-versions"),
        ("ops", "health", "collector-health"),
    ):
        if (url := watching.grafanas.get(kind)) is not None:
            headers = admin if kind == "ops" else None
            board_url = f"{url}/d/{board}?kiosk"
            found.append(Shot(name, board_url, 1440, 1000, _DRAWN_MS, headers))
    return found


async def take(place: Place, watching: Watching, folder: Path) -> None:
    """Write all pictures of a demo to a folder."""
    for theme in THEMES:
        drawing = await terminal(place, theme)
        (folder / f"terminal-{theme}.svg").write_text(drawing, encoding="utf-8")
    async with async_playwright() as playwright:
        program = shutil.which("chromium")
        browser = await playwright.chromium.launch(executable_path=program, args=["--no-sandbox"])
        month = await _newest_month(browser, place)
        for shot in shots(place, watching, month):
            for theme in THEMES:
                picture = await _taken(browser, shot, theme)
                (folder / f"{shot.name}-{theme}.webp").write_bytes(picture)
        await browser.close()


async def _newest_month(browser: Browser, place: Place) -> str:
    """The address of the newest month's page; empty if there is none."""
    page = await browser.new_page()
    await page.goto(f"{place.base}/{MONTHS}")
    links = await page.eval_on_selector_all("main a", "links => links.map(link => link.href)")
    await page.close()
    months = [link for link in links if re.search(rf"/{MONTHS}/\d{{4}}-\d\d$", link)]
    return max(months, default="")


async def _taken(browser: Browser, shot: Shot, theme: Theme) -> bytes:
    """A WebP of the top of a page."""
    context = await browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme=theme,
        extra_http_headers=dict(shot.headers or {}),
    )
    page = await context.new_page()
    theirs = f"&theme={theme}" if "?kiosk" in shot.url else ""
    await page.goto(shot.url + theirs)
    await page.wait_for_timeout(shot.wait_ms)
    picture = await _webp(page, await page.screenshot())
    await context.close()
    return picture


async def _webp(page: Page, png: bytes) -> bytes:
    """Convert a PNG in the browser, which has the codec."""
    await page.goto("about:blank")
    text = await page.evaluate(_TO_WEBP, [base64.b64encode(png).decode(), _QUALITY])
    return base64.b64decode(text)


async def terminal(place: Place, theme: Theme) -> str:
    """An SVG of what `collector status` says of the demo's collector."""
    command = [sys.executable, "-m", "collector", "status"]
    environment = os.environ | Serving.environment_of(place.settings)
    done = await asyncio.to_thread(
        subprocess.run,
        command,
        env=environment | {"FORCE_COLOR": "1", "COLUMNS": "96"},
        capture_output=True,
        text=True,
        check=False,
    )
    console = Console(record=True, width=96, file=io.StringIO(), force_terminal=True)
    console.print(Text("$ collector status", style="bold"))
    console.print(Text.from_ansi(done.stdout.rstrip()))
    return console.export_svg(
        title="usage-collector",
        theme=SVG_EXPORT_THEME if theme == "dark" else DEFAULT_TERMINAL_THEME,
        # A picture that fetches nothing.
        code_format=_FONTS.sub("", CONSOLE_SVG_FORMAT),
        unique_id=f"collector-{theme}",
    )


def main() -> None:
    """Run a demo, take its pictures, and end it."""
    FOLDER.mkdir(parents=True, exist_ok=True)

    async def look(place: Place, watching: Watching) -> None:
        await take(place, watching, FOLDER)

    code = asyncio.run(demo(Console(), servers=800, days=90, look=look))
    readme = README.read_text(encoding="utf-8")
    README.write_text(
        with_block(readme, [path.name for path in FOLDER.iterdir()]), encoding="utf-8"
    )
    sys.exit(code)


if __name__ == "__main__":
    main()
