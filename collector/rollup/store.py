"""Reads stored points of the published series, and replaces them by computed ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import chain
from typing import Final

from collector.influx import (
    Influx,
    InfluxError,
    Select,
    Series,
    identifier,
    read,
    read_each,
    string,
)
from collector.influx.contents import Span
from collector.influx.writing import write_all
from collector.lines import line, tag_set
from collector.rollup.points import Key, Points, Tags
from collector.schema import Measurement

_MANY: Final = 50
"""If more points are to be removed, it is faster to delete and rewrite the span."""


async def stored_points(influx: Influx, measurement: Measurement, span: Span) -> Points:
    """The points of a measurement in a span. Raises InfluxError."""
    [points] = await stored_points_each(influx, {measurement: span})
    return points


async def stored_points_each(influx: Influx, spans: Mapping[Measurement, Span]) -> list[Points]:
    """The points of each measurement of one database in its span. Raises InfluxError."""
    selects = [Select.rows(each, where=span.where()) for each, span in spans.items()]
    found = await read_each(influx, selects)
    for number, (measurement, select) in enumerate(zip(spans, selects, strict=True)):
        known = {"time", *(tag.name for tag in measurement.tags)}
        known |= {field.name for field in measurement.fields}
        if not all(known.issuperset(series.columns) for series in found[number]):
            # Tags are columns like fields here. Grouping tells the two apart, but takes InfluxDB
            # four times as long, so it is done only if there are others than the schema's.
            found[number] = await read(influx, replace(select, more="GROUP BY *"))
    return [_points(each, series) for each, series in zip(spans, found, strict=True)]


def _points(measurement: Measurement, found: Sequence[Series]) -> Points:
    names = {tag.name for tag in measurement.tags}
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
    await replace_points(influx, [Change(measurement, span, stored, points)])


@dataclass(frozen=True)
class Change:
    """A measurement's points `stored` in a span, just read, and those that replace them."""

    measurement: Measurement
    span: Span
    stored: Points
    points: Points

    @cached_property
    def narrowed(self) -> set[Key]:
        """The points that lose a field. InfluxDB cannot delete one: they are deleted first."""
        return {
            key
            for key, fields in self.stored.items()
            if fields.keys() - self.points.get(key, fields).keys()
        }

    @cached_property
    def stale(self) -> set[Key]:
        """The points that are stored and no longer wanted."""
        return self.stored.keys() - self.points.keys()

    @property
    def lines(self) -> list[str]:
        """The lines of all points that differ."""
        return [
            line(self.measurement.name, tag_set(dict(key[1])), fields, key[0])
            for key, fields in self.points.items()
            if self.stored.get(key) != fields
        ]


async def replace_points(influx: Influx, changes: Sequence[Change]) -> None:
    """Carry out changes of measurements of one database, with one write. Raises like `store`."""
    removing = [change for change in changes if change.narrowed or change.stale]
    left = [await _emptied(influx, change) for change in changes]
    for change in left:
        for key in sorted(change.narrowed):
            await _remove(influx, change.measurement, *key)
    lines = {change.measurement: texts for change in left if (texts := change.lines)}
    if lines:
        [database] = {measurement.database for measurement in lines}
        names = ", ".join(measurement.name for measurement in lines)
        await write_all(influx, database, names, [*chain.from_iterable(lines.values())])
    for change in left:
        for key in sorted(change.stale):
            await _remove(influx, change.measurement, *key)
    if not removing:
        return
    # A DELETE can report success and leave rows.
    found = await stored_points_each(influx, {each.measurement: each.span for each in removing})
    if wrong := [
        change.measurement.name
        for change, points in zip(removing, found, strict=True)
        if points != change.points
    ]:
        raise InfluxError(f"{', '.join(wrong)}: stale points could not be deleted")


async def _emptied(influx: Influx, change: Change) -> Change:
    """The change, after the deletion of its whole span if many of its points are to be removed."""
    if len(change.narrowed) + len(change.stale) <= _MANY:
        return change
    measurement = change.measurement
    await influx.delete(measurement.database, measurement.name, change.span.where())
    return replace(change, stored={})


async def _remove(influx: Influx, measurement: Measurement, time: int, tags: Tags) -> None:
    conditions = [f"{identifier(key)} = {string(value)}" for key, value in tags]
    await influx.delete(
        measurement.database, measurement.name, " AND ".join([f"time = {time}", *conditions])
    )
