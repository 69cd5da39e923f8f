"""Reads stored points of the published series, and replaces them by computed ones."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from collector.influx import Influx, InfluxError, Select, identifier, read, string
from collector.influx.writing import write_all
from collector.lines import line, tag_set
from collector.rollup.points import Points, Tags
from collector.schema import Measurement

_MANY: Final = 50
"""If more points are to be removed, it is faster to delete and rewrite the span."""


@dataclass(frozen=True, slots=True)
class Span:
    """A half-open span of time: `start` <= time < `end`, in ns since 1970."""

    start: int
    end: int

    def where(self) -> str:
        """An InfluxQL condition that selects the span."""
        return f"time >= {self.start} AND time < {self.end}"


async def stored_points(influx: Influx, measurement: Measurement, span: Span) -> Points:
    """The points of a measurement in a span. Raises InfluxError."""
    names = {tag.name for tag in measurement.tags}
    known = {"time", *names, *(field.name for field in measurement.fields)}
    select = Select.rows(measurement, where=span.where())
    found = await read(influx, select)
    if not all(known.issuperset(series.columns) for series in found):
        # Tags are columns like fields here. Grouping tells the two apart, but takes InfluxDB four
        # times as long, so it is done only if there are others than the schema's.
        found = await read(influx, replace(select, more="GROUP BY *"))
    points: Points = {}
    for series in found:
        at = {name: number for number, name in enumerate(series.columns)}
        time, own = at.pop("time"), series.tags
        tag_at = [] if own else [(name, at.pop(name)) for name in sorted(names & at.keys())]
        # Sorted once for all rows: a day's tables have more than a thousand.
        shared = tuple((name, value) for name, value in sorted(own.items()) if value)
        for row in series.values:
            tags = (
                tuple((name, str(row[number])) for name, number in tag_at if row[number]) or shared
            )
            points[int(row[time]), tags] = {
                name: row[number] for name, number in at.items() if row[number] is not None
            }
    return points


async def store(influx: Influx, measurement: Measurement, points: Points, span: Span) -> None:
    """Replace the stored points of a span by `points`: write those that differ, delete all others.

    Raises InfluxError, also if InfluxDB did not carry out a deletion.
    """
    stored = await stored_points(influx, measurement, span)
    await replace_points(influx, measurement, stored, points, span)


async def replace_points(
    influx: Influx, measurement: Measurement, stored: Points, points: Points, span: Span
) -> None:
    """Replace the points `stored` in a span, just read, by `points`. Raises like `store`."""
    # InfluxDB cannot delete a field: the point is deleted and rewritten.
    narrowed = {
        key for key, fields in stored.items() if fields.keys() - points.get(key, fields).keys()
    }
    stale = stored.keys() - points.keys()
    removes = bool(narrowed or stale)
    if len(narrowed) + len(stale) > _MANY:
        await influx.delete(measurement.database, measurement.name, span.where())
        stored, narrowed, stale = {}, set(), set()
    for key in sorted(narrowed):
        await _remove(influx, measurement, *key)
    lines = [
        line(measurement.name, tag_set(dict(key[1])), fields, key[0])
        for key, fields in points.items()
        if key in narrowed or stored.get(key) != fields
    ]
    await write_all(influx, measurement.database, measurement.name, lines)
    for key in sorted(stale):
        await _remove(influx, measurement, *key)
    # A DELETE can report success and leave rows.
    if removes and await stored_points(influx, measurement, span) != points:
        raise InfluxError(f"{measurement.name}: stale points could not be deleted")


async def _remove(influx: Influx, measurement: Measurement, time: int, tags: Tags) -> None:
    conditions = [f"{identifier(key)} = {string(value)}" for key, value in tags]
    await influx.delete(
        measurement.database, measurement.name, " AND ".join([f"time = {time}", *conditions])
    )
