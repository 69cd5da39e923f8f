"""The README's block of pictures: each dark and light, by the reader's theme. Pure but for main."""

from __future__ import annotations

import re
from collections.abc import Collection
from typing import Final

WORDS: Final = {
    "page": ("The home page: nodes of the last complete day, and since when", 640),
    "overview": ("The community's dashboard Overview in Grafana", 640),
    "month": ("A month in numbers, in words and charts", 640),
    "versions": ("The community's dashboard Versions in Grafana", 640),
    "health": ("The operators' dashboard Data health in Grafana", 640),
    "terminal": ("collector status in a terminal", 640),
    "phone": ("The home page on a phone", 240),
}
"""Alternative text and width in pixels of each picture, in the README's order."""
BEGIN: Final = "<!-- pictures: written by make pictures -->"
END: Final = "<!-- end of pictures -->"


def block(files: Collection[str]) -> str:
    """The block for the pictures among these file names."""
    parts = [BEGIN]
    for name, (words, width) in WORDS.items():
        dark = next((each for each in files if each.rpartition(".")[0] == f"{name}-dark"), None)
        if dark is None:
            continue
        light = dark.replace("-dark.", "-light.")
        parts.append(
            "<picture>\n"
            f'  <source media="(prefers-color-scheme: dark)" srcset="docs/pictures/{dark}">\n'
            f'  <img alt="{words}" src="docs/pictures/{light}" width="{width}">\n'
            "</picture>"
        )
    return "\n".join([*parts, END])


def with_block(readme: str, files: Collection[str]) -> str:
    """The README with the block for these pictures in place of the one that it has."""
    return re.sub(
        f"{re.escape(BEGIN)}.*?{re.escape(END)}", lambda _: block(files), readme, flags=re.DOTALL
    )
