"""The README's pictures: there, small, dark and light, and fetching nothing."""

from __future__ import annotations

import re
from pathlib import Path

from tools.demo.readme import WORDS, with_block

ROOT = Path(__file__).resolve().parents[2]
PICTURES = ROOT / "docs/pictures"
MOST_BYTES = 600_000


def test_pictures_are_small_and_each_is_dark_and_light() -> None:
    files = sorted(path for path in PICTURES.iterdir() if path.is_file())
    assert {path.suffix for path in files} <= {".webp", ".svg"}
    assert sum(path.stat().st_size for path in files) < MOST_BYTES
    themes: dict[str, set[str]] = {}
    for path in files:
        name, _, theme = path.stem.rpartition("-")
        themes.setdefault(name, set()).add(theme)
    assert {"page", "phone", "terminal"} <= themes.keys()
    assert all(each == {"dark", "light"} for each in themes.values()), themes


def test_readme_shows_each_picture_that_there_is_in_the_readers_theme() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    files = [path.name for path in PICTURES.iterdir()]
    assert with_block(readme, files) == readme, "`make pictures` writes the block"
    assert set(re.findall(r"docs/pictures/([\w-]+\.\w+)", readme)) == set(files)
    assert readme.count("<picture>") == len(files) // 2
    assert set(WORDS) >= {name.rpartition("-")[0] for name in files}


def test_svg_pictures_fetch_nothing() -> None:
    for path in PICTURES.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        addresses = set(re.findall(r"(?:url\(|href=|src=)\W*(https?:[^\"')]+)", text))
        assert not addresses, path.name
