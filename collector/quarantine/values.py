"""Tag values of a batch that few or no other reports have."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final

from collector.influx import Influx, Select, read
from collector.influx.quoting import identifier
from collector.lazy import pl
from collector.quarantine.pattern import Picked
from collector.schema import (
    NODE_REPORT,
    NODE_TAGS,
    OTHER,
    QUARANTINE,
    REGISTRATION,
    SERVER_REPORT,
    SERVER_TAGS,
    UNKNOWN,
    Measurement,
)

_FEW: Final = 5
"""A value that fewer other reports have is suspect."""

Values = Mapping[str, Set[str]]
"""Values by tag."""


async def values_of(influx: Influx, picked: Picked) -> tuple[Values, Values]:
    """Tag values of a marked batch: those that few other reports have, and those that none has.

    `other` is among the first if the batch holds it. Raises InfluxError.
    """
    suspect: dict[str, set[str]] = {}
    gone: dict[str, set[str]] = {}
    for tag in (one.name for one in NODE_TAGS if one is not REGISTRATION):
        of_server = any(one.name == tag for one in SERVER_TAGS)
        measurement = SERVER_REPORT if of_server else NODE_REPORT
        rows = picked.reports if of_server else picked.nodes
        found = set(rows.select(pl.col(tag).drop_nulls().unique()).to_series()) - {UNKNOWN, ""}
        counts = await _counts(influx, measurement, tag) if found - {OTHER} else {}
        gone[tag] = {one for one in found - {OTHER} if not counts.get(one)}
        suspect[tag] = {one for one in found if one == OTHER or counts.get(one, 0) < _FEW}
    return suspect, gone


async def _counts(influx: Influx, measurement: Measurement, tag: str) -> dict[str, int]:
    """Count the reports (or their nodes) outside of quarantine by value of a tag."""
    counts: dict[str, int] = {}
    for field, where, sign in (("server", "", 1), (QUARANTINE, f"{QUARANTINE} > 0", -1)):
        select = Select(
            measurement.database,
            measurement.name,
            [f"count({identifier(field)})"],
            where,
            f"GROUP BY {identifier(tag)}",
        )
        for series in await read(influx, select):
            value = series.tags.get(tag, "")
            counts[value] = counts.get(value, 0) + sign * sum(row[1] for row in series.values)
    return counts
