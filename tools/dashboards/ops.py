"""The operators' dashboards: of the collector, of each Asterisk, and the runbook."""

from __future__ import annotations

import re
from dataclasses import replace
from math import ceil
from pathlib import Path
from typing import Final

from tools.dashboards.live_asterisk import ASTERISK_NOW
from tools.dashboards.live_attacks import ATTACKS_BOARD
from tools.dashboards.live_calls import CALLS_BOARD
from tools.dashboards.live_quality import QUALITY_BOARD
from tools.dashboards.live_queues import QUEUES_BOARD
from tools.dashboards.model import COLUMNS, Dashboard, Panel
from tools.dashboards.ops_health import HEALTH
from tools.dashboards.ops_intake import INTAKE
from tools.dashboards.ops_parts import LAST_DAY_AND_NOW, TAG
from tools.dashboards.ops_storage import STORAGE

RUNBOOK: Final = Path("docs/runbook.md")


_ABREAST: Final = 3
"""Sections beside each other: a column is then about as wide as a phone, and as high as there."""
_LETTERS: Final = 47
_LINE_PX, _PARAGRAPH_PX = 22, 14
"""Letters of a line on a phone, its height, and the space under a paragraph, in Grafana's font."""
_FRAME_PX: Final = 58
"""Height of a panel's title, padding and border, less the gap to the next."""
_ROW_PX: Final = 38


def runbook(root: Path) -> Dashboard:
    """docs/runbook.md as a dashboard, a panel a heading, so that an alert can link to its own."""
    head, *parts = re.split(r"(?m)^## ", (root / RUNBOOK).read_text(encoding="utf-8"))
    named = [part.partition("\n") for part in parts]
    sections = [
        ("About", head.partition("\n")[2].strip()),
        *((title.strip(), body.strip()) for title, _, body in named),
    ]
    rows = []
    for start in range(0, len(sections), _ABREAST):
        row = sections[start : start + _ABREAST]
        pages = [_page(title, body, COLUMNS // len(row)) for title, body in row]
        highest = max(page.height for page in pages)
        rows.append(tuple(replace(page, height=highest) for page in pages))
    return Dashboard(
        uid="collector-runbook",
        title="Collector: runbook",
        description="What each alert means, how to look, what to do: docs/runbook.md.",
        file="ops/runbook.json",
        tag=TAG,
        range=LAST_DAY_AND_NOW,
        rows=tuple(rows),
    )


def _page(title: str, markdown: str, width: int) -> Panel:
    """A section, as high as its text is on a phone."""
    paragraphs = re.sub(r"[*`]|\]\([^)]*\)", "", markdown).split("\n\n")
    lines = [ceil(len(paragraph) / _LETTERS) for paragraph in paragraphs]
    pixels = sum(lines) * _LINE_PX + len(lines) * _PARAGRAPH_PX + _FRAME_PX
    return Panel(
        kind="text",
        title=title,
        description=f"From the runbook: {title}.",
        width=width,
        height=ceil(pixels / _ROW_PX),
        options={"mode": "markdown", "content": markdown},
    )


DASHBOARDS: Final = (
    INTAKE,
    HEALTH,
    STORAGE,
    ASTERISK_NOW,
    CALLS_BOARD,
    QUEUES_BOARD,
    QUALITY_BOARD,
    ATTACKS_BOARD,
)
