"""The operators' dashboards: of the collector, of each Asterisk, and the runbook."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Final

from tools.dashboards.kinds import text
from tools.dashboards.live_asterisk import ASTERISK_NOW
from tools.dashboards.live_attacks import ATTACKS_BOARD
from tools.dashboards.live_calls import CALLS_BOARD
from tools.dashboards.live_quality import QUALITY_BOARD
from tools.dashboards.live_queues import QUEUES_BOARD
from tools.dashboards.model import Dashboard, Panel
from tools.dashboards.ops_health import HEALTH
from tools.dashboards.ops_intake import INTAKE
from tools.dashboards.ops_parts import LAST_DAY_AND_NOW, TAG
from tools.dashboards.ops_storage import STORAGE

RUNBOOK: Final = Path("docs/runbook.md")


def runbook(root: Path) -> Dashboard:
    """docs/runbook.md as a dashboard, a panel a heading, so that an alert can link to its own."""
    head, *parts = re.split(r"(?m)^## ", (root / RUNBOOK).read_text(encoding="utf-8"))
    panels = [_page("About", head.partition("\n")[2].strip(), 5)]
    for part in parts:
        title, _, body = part.partition("\n")
        panels.append(_page(title.strip(), body.strip(), 9))
    return Dashboard(
        uid="collector-runbook",
        title="Collector: runbook",
        description="What each alert means, how to look, what to do: docs/runbook.md.",
        file="ops/runbook.json",
        tag=TAG,
        range=LAST_DAY_AND_NOW,
        rows=tuple((panel,) for panel in panels),
    )


def _page(title: str, markdown: str, height: int) -> Panel:
    panel = text(markdown, height)
    options = {"mode": "markdown", "content": markdown}
    return replace(panel, title=title, description=f"From the runbook: {title}.", options=options)


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
