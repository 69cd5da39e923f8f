"""Annotations of the community's dashboards: events of the series, drawn on every panel of days."""

from __future__ import annotations

from typing import Final

from collector.events.event import Kind
from collector.schema import EVENT
from tools.dashboards.model import USAGE_DAILY, Json

_KIND, _SUBJECT = EVENT.tags[0].name, EVENT.tags[1].name
_TEXT: Final = EVENT.fields[0].name


def _events(name: str, colour: str, where: str) -> Json:
    """An annotation for each event that fits an InfluxQL condition, with the event's text."""
    return {
        "name": name,
        "datasource": USAGE_DAILY.reference,
        "enable": True,
        "hide": False,
        "iconColor": colour,
        "query": f'SELECT "{_TEXT}" FROM "{EVENT.name}" WHERE $timeFilter AND {where}',
        "textColumn": _TEXT,
        "titleColumn": "",
        "tagsColumn": "",
        "timeEndColumn": "",
    }


EVENTS: Final = (
    _events("Outages of our own intake", "orange", f"\"{_KIND}\" = '{Kind.OUTAGE}'"),
    _events("New versions", "blue", f"\"{_KIND}\" = '{Kind.VERSION}'"),
    _events("Notes", "green", f"\"{_KIND}\" = '{Kind.NOTE}'"),
)
"""On every dashboard of the community; each can be switched off at the top of the page."""
OF_PACKAGE: Final = _events(
    "New versions of $package",
    "purple",
    f"\"{_KIND}\" = '{Kind.PACKAGE}' AND \"{_SUBJECT}\" = '$package'",
)
"""On a dashboard with the variable `package`."""
