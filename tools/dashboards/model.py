"""What a dashboard is made of, and its JSON as Grafana 9.3 and every later one reads it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

Json = dict[str, Any]

COLUMNS: Final = 24
# The form that Grafana 9.3 writes; later ones bring it up to date as they load it.
_SCHEMA_VERSION: Final = 37


@dataclass(frozen=True, slots=True)
class Source:
    """A datasource, by its fixed uid."""

    type: str
    uid: str

    @property
    def reference(self) -> Json:
        """How a panel names it."""
        return {"type": self.type, "uid": self.uid}


USAGE_DAILY: Final = Source("influxdb", "usage-daily")
USAGE_RAW: Final = Source("influxdb", "usage-raw")
ASTERISK_LIVE: Final = Source("influxdb", "asterisk-live")
TELEMETRICS: Final = Source("influxdb", "telemetrics")
RECORDS: Final = Source("postgres", "records")
PROMETHEUS: Final = Source("prometheus", "prometheus")


@dataclass(frozen=True, slots=True)
class Target:
    """One query. `alias` names its series; `whole` says that it has rows without the filter only.

    `table` asks InfluxDB for rows with their tags, PostgreSQL for rows, or Prometheus for the last
    value alone.
    """

    source: Source
    query: str
    alias: str = ""
    table: bool = False
    whole: bool = False

    def json(self, ref: str) -> Json:
        """The target under its letter."""
        target: Json = {"refId": ref, "datasource": self.source.reference}
        if self.source.type == "prometheus":
            target |= {"expr": self.query, "legendFormat": self.alias or "__auto"}
            target |= {"editorMode": "code", "range": not self.table, "instant": self.table}
            target |= {"format": "table" if self.table else "time_series"}
            return target
        if self.source.type == "postgres":
            form = "table" if self.table else "time_series"
            return target | {
                "editorMode": "code",
                "rawQuery": True,
                "rawSql": self.query,
                "format": form,
            }
        target |= {"rawQuery": True, "query": self.query}
        target["resultFormat"] = "table" if self.table else "time_series"
        if self.alias:
            target["alias"] = self.alias
        return target


@dataclass(frozen=True, slots=True)
class Override:
    """Properties of the fields that a matcher finds: by name, or by a regular expression."""

    matcher: str
    options: str
    properties: Mapping[str, Any]

    def json(self) -> Json:
        """The override, its properties in the form of a list."""
        return {
            "matcher": {"id": self.matcher, "options": self.options},
            "properties": [{"id": name, "value": value} for name, value in self.properties.items()],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One panel; `width` in 24ths of the page, `height` in Grafana's rows.

    `defaults` are its fields' (`fieldConfig.defaults`), thresholds and unit apart. `steps` are
    thresholds: the value from which on a colour holds, the first for all below. `interval` is the
    least that `$__interval` may be, or empty. `points` is the most that a series may have, by which
    `$__interval` grows, or 0 for as many as the panel has pixels. `last` is a span of time until
    now that is drawn whatever the dashboard's range, as `30d`.
    """

    kind: str
    title: str
    description: str
    width: int
    height: int
    targets: tuple[Target, ...] = ()
    unit: str = ""
    no_value: str = ""
    steps: tuple[tuple[float | None, str], ...] = ((None, "blue"),)
    defaults: Mapping[str, Any] = field(default_factory=dict)
    overrides: tuple[Override, ...] = ()
    transformations: tuple[tuple[str, Mapping[str, Any]], ...] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    links: tuple[Mapping[str, Any], ...] = ()
    interval: str = ""
    points: int = 0
    last: str = ""

    def json(self, number: int, x: int, y: int) -> Json:
        """The panel with this id at this place."""
        panel: Json = {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "options": dict(self.options),
        }
        if not self.targets:
            return panel
        steps = [{"value": value, "color": colour} for value, colour in self.steps]
        defaults: Json = {
            "unit": self.unit,
            "thresholds": {"mode": "absolute", "steps": steps},
            **self.defaults,
        }
        if self.no_value:
            defaults["noValue"] = self.no_value
        panel |= {
            "datasource": self.targets[0].source.reference,
            "fieldConfig": {
                "defaults": defaults,
                "overrides": [override.json() for override in self.overrides],
            },
            "targets": [t.json(chr(ord("A") + n)) for n, t in enumerate(self.targets)],
        }
        if len({target.source for target in self.targets}) > 1:
            panel["datasource"] = {"type": "datasource", "uid": "-- Mixed --"}
        if self.transformations:
            panel["transformations"] = [
                {"id": name, "options": dict(options)} for name, options in self.transformations
            ]
        if self.interval:
            panel["interval"] = self.interval
        if self.points:
            panel["maxDataPoints"] = self.points
        if self.last:
            panel |= {"timeFrom": self.last, "hideTimeOverride": True}
        if self.links:
            panel["links"] = [dict(link) for link in self.links]
        return panel

    def wide(self, width: int) -> Panel:
        """The same panel in another width."""
        return replace(self, width=width)


@dataclass(frozen=True, slots=True, kw_only=True)
class Dashboard:
    """A dashboard: rows of panels, each row filling the page's width.

    `file` is where it goes under `grafana/dashboards/`. `range` is Grafana's `from` and `to`,
    `refreshes` the intervals that the page offers to reload itself.
    """

    uid: str
    title: str
    description: str
    file: str
    tag: str
    rows: tuple[tuple[Panel, ...], ...]
    variables: tuple[Json, ...] = ()
    annotations: tuple[Json, ...] = ()
    range: tuple[str, str]
    refresh: str = ""
    refreshes: tuple[str, ...] = ("1m", "5m", "15m", "1h")

    @property
    def panels(self) -> tuple[Panel, ...]:
        """All panels in reading order; the first has the id 1."""
        return tuple(panel for row in self.rows for panel in row)

    def json(self) -> Json:
        """The whole dashboard."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [self.tag],
            "schemaVersion": _SCHEMA_VERSION,
            "version": 1,
            "editable": False,
            "graphTooltip": 1,
            "timezone": "utc",
            "weekStart": "monday",
            "time": {"from": self.range[0], "to": self.range[1]},
            "timepicker": {"refresh_intervals": list(self.refreshes)},
            "refresh": self.refresh,
            "fiscalYearStartMonth": 0,
            "liveNow": False,
            "style": "dark",
            "links": [_siblings(self.tag)],
            "templating": {"list": list(self.variables)},
            "annotations": {"list": [_BUILT_IN, *self.annotations]},
            "panels": _placed(self.rows),
        }


# Grafana adds it by itself where it is missing, and then takes the dashboard for changed.
_BUILT_IN: Final[Json] = {
    "builtIn": 1,
    "datasource": {"type": "grafana", "uid": "-- Grafana --"},
    "enable": True,
    "hide": True,
    "iconColor": "rgba(0, 211, 255, 1)",
    "name": "Annotations & Alerts",
    "type": "dashboard",
}


def _siblings(tag: str) -> Json:
    return {
        "type": "dashboards",
        "tags": [tag],
        "title": "",
        "tooltip": "",
        "icon": "external link",
        "url": "",
        "asDropdown": False,
        "includeVars": True,
        "keepTime": True,
        "targetBlank": False,
    }


def _placed(rows: Sequence[Sequence[Panel]]) -> list[Json]:
    """Rows one under the other; raises ValueError where one does not fill the page."""
    placed: list[Json] = []
    y = 0
    for row in rows:
        width = sum(panel.width for panel in row)
        if width != COLUMNS or len({panel.height for panel in row}) != 1:
            raise ValueError(f"the row of {row[0].title!r} is {width} wide, or of uneven height")
        x = 0
        for panel in row:
            placed.append(panel.json(len(placed) + 1, x, y))
            x += panel.width
        y += row[0].height
    return placed
