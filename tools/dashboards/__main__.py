"""Writes the dashboards and the alert rules: `python -m tools.dashboards`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Final

from tools.dashboards import alerts, community, ops, records
from tools.dashboards.community_librenms import LIBRENMS
from tools.dashboards.model import Dashboard, Json

ROOT: Final = Path(__file__).resolve().parent.parent.parent
BOARDS: Final = Path("grafana/dashboards")
RULES: Final = Path("provisioning/ops/alerting/rules.json")
FOLDER: Final = "Collector"


def dashboards() -> tuple[Dashboard, ...]:
    """Every dashboard."""
    return (
        *community.DASHBOARDS,
        LIBRENMS,
        *ops.DASHBOARDS,
        *records.DASHBOARDS,
        ops.runbook(ROOT),
    )


def files(site: str = "") -> dict[Path, str]:
    """What to write, by path from the project's root.

    `site` is the address of the collector's own pages, where the community's Grafana does not
    share its host.
    """
    written = {BOARDS / board.file: _text(board.json(), site) for board in dashboards()}
    return written | {RULES: _text(rules())}


def rules() -> Json:
    """All alert rules, in the form of Grafana's file provisioning."""
    book = ops.runbook(ROOT)
    pages = {panel.title: (book.uid, number) for number, panel in enumerate(book.panels, 1)}
    return {
        "apiVersion": 1,
        "groups": [
            {
                "orgId": 1,
                "name": group.name,
                "folder": FOLDER,
                "interval": group.interval,
                "rules": [
                    rule.json(ops.RUNBOOK.as_posix(), pages[rule.title]) for rule in group.rules
                ],
            }
            for group in alerts.GROUPS
        ],
    }


def _text(document: Json, site: str = "") -> str:
    written = json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    return written.replace('href=\\"/', f'href=\\"{site}/')


def main() -> None:
    """Write them, and remove dashboards that are made no more."""
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards", description=__doc__)
    parser.add_argument("--site", default="", help="address of the collector's pages")
    parser.add_argument("--out", type=Path, default=ROOT, help="the project's root, or a copy")
    options = parser.parse_args()
    wanted = files(options.site.rstrip("/"))
    for path in (options.out / BOARDS).rglob("*.json"):
        if path.relative_to(options.out) not in wanted:
            path.unlink()
    for name, content in wanted.items():
        path = options.out / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
