"""Definitions of the published fields: window, denominator and protection of each.

Names, units and meanings come from the schema.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collector.schema import (
    CHANNEL_FIELDS,
    DAILY,
    DAILY_NODES,
    DAILY_PACKAGES,
    DAILY_SERVERS,
    DAILY_UPGRADES,
    DAILY_USAGE,
    HOURLY_USAGE,
    MEASUREMENTS,
)
from collector.schema.librenms import DAILY_LIBRENMS_TOTALS

EXACT: Final = "exact"
SUPPRESSED: Final = "k"

_WINDOWS: Final = {
    "nodes_7d": "7d",
    "servers_7d": "7d",
    "nodes_30d": "30d",
    "servers_30d": "30d",
    "new_nodes": "31d",
    "lapsed_nodes": "31d",
    "coverage": "30d",
}
_HOURLY_WINDOWS: Final = {
    "nodes_24h": "24h",
    "servers_24h": "24h",
    "expected_reports": "7d",
    "expected_nodes_24h": "7d",
}
_OF_NODES: Final = (
    *CHANNEL_FIELDS,
    "other_channels",
    "registered_http",
    "registered_iax",
    "unregistered",
)
_OF: Final = {
    DAILY_USAGE.name: {
        **dict.fromkeys((*_OF_NODES, "new_nodes"), "nodes"),
        "lapsed_nodes": "nodes_30_days_back",
        "coverage": "listed",
    },
    DAILY_NODES.name: {"nodes": "within", "weekly": "within", "total": "within"},
    DAILY_SERVERS.name: {"servers": "within", "weekly": "within"},
    DAILY_PACKAGES.name: {"servers": "servers", "weekly": "servers"},
    DAILY_UPGRADES.name: {"nodes": "changed"},
    DAILY_LIBRENMS_TOTALS.name: {"total": "group", "installs": "installs"},
}
FLAGS: Final = frozenset({"final", "imported"})
"""Fields of `daily_usage` that are flags, not counts."""
_SUPPRESSED: Final = _OF.keys() - {DAILY_USAGE.name}
"""Tables, all counts of which are parts of a total."""
_SUPPRESSED_FIELDS: Final = frozenset(
    (*_OF_NODES, "devices", "ports", "text", "uptime_median", "coverage", "opted_out_reports")
)


@dataclass(frozen=True, slots=True)
class Definition:
    """One published field.

    `window` is the period that it covers (`1d`, `24h`); `of` names the total that it is a part of,
    empty for a total; `protection` is `exact`, or `k` if counts under k are withheld.
    """

    measurement: str
    name: str
    unit: str
    meaning: str
    window: str
    of: str
    protection: str

    @property
    def key(self) -> str:
        """Unique name, with the measurement."""
        return f"{self.measurement}.{self.name}"


DEFINITIONS: Final = tuple(
    Definition(
        measurement.name,
        field.name,
        field.unit,
        field.meaning,
        _HOURLY_WINDOWS.get(field.name, "1h")
        if measurement is HOURLY_USAGE
        else _WINDOWS.get(field.name, "1d"),
        _OF.get(measurement.name, {}).get(field.name, ""),
        SUPPRESSED
        if measurement.name in _SUPPRESSED or field.name in _SUPPRESSED_FIELDS
        else EXACT,
    )
    for measurement in MEASUREMENTS
    if measurement.database == DAILY
    for field in measurement.fields
)
"""All published fields, in schema order."""

MEASURES: Final = tuple(
    item for item in DEFINITIONS if item.measurement == DAILY_USAGE.name and item.name not in FLAGS
)
"""Fields of `daily_usage` that are counts."""
