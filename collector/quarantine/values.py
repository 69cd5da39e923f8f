"""Values of tags that a batch says, and those of them that no report in the series says."""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Final, NamedTuple

import polars as pl

from collector.influx import Influx, Select, read
from collector.influx.quoting import identifier
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
"""Reports in the series under which a value counts as said by too few to stay firm."""

Values = Mapping[str, Set[str]]
"""Values by tag."""


class Found(NamedTuple):
    """The values of a batch that few reports in the series say, and those that none says.

    `other` is among the first where the batch holds it.
    """

    suspect: Values
    gone: Values


async def values_of(influx: Influx, picked: Picked) -> Found:
    """Compare a batch that is marked with all other raw reports. Raises InfluxError."""
    suspect: dict[str, set[str]] = {}
    gone: dict[str, set[str]] = {}
    for tag in (one.name for one in NODE_TAGS if one is not REGISTRATION):
        of_server = any(one.name == tag for one in SERVER_TAGS)
        measurement = SERVER_REPORT if of_server else NODE_REPORT
        rows = picked.reports if of_server else picked.nodes
        said = set(rows.select(pl.col(tag).drop_nulls().unique()).to_series()) - {UNKNOWN, ""}
        counts = await _standing(influx, measurement, tag) if said - {OTHER} else {}
        gone[tag] = {one for one in said - {OTHER} if not counts.get(one)}
        suspect[tag] = {one for one in said if one == OTHER or counts.get(one, 0) < _FEW}
    return Found(suspect, gone)


async def _standing(influx: Influx, measurement: Measurement, tag: str) -> dict[str, int]:
    """How many reports (or nodes in them) that are in no batch say each value of a tag."""
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
