"""Reads, writes and deletes the stored events of one InfluxDB."""

from __future__ import annotations

from collections.abc import Iterable

from collector.days import day_ns
from collector.events.event import Event, Kind, event_of
from collector.influx import Influx, InfluxError, Select, identifier, read, rows_of, string
from collector.influx.writing import write_all
from collector.schema import EVENT


async def read_events(influx: Influx, *kinds: Kind) -> list[Event]:
    """All stored events of these kinds, or of every kind; oldest first. Raises InfluxError."""
    where = " OR ".join(f"{identifier('kind')} = {string(kind.value)}" for kind in kinds)
    found = await read(influx, Select.rows(EVENT, where=where))
    return sorted(event_of(row) for row in rows_of(found))


async def write_events(influx: Influx, events: Iterable[Event]) -> None:
    """Store events; equal ones are stored once. Raises InfluxError."""
    await write_all(influx, EVENT.database, "events", [event.line() for event in events])


async def delete_events(influx: Influx, events: Iterable[Event]) -> None:
    """Delete stored events, and no others. Raises InfluxError, also if one is still stored."""
    gone = set(events)
    for event in gone:
        tags = (f"{identifier(key)} = {string(value)}" for key, value in event.tags.items())
        where = " AND ".join([f"time = {day_ns(event.day)}", *tags])
        await influx.delete(EVENT.database, EVENT.name, where)
    # A DELETE can report success and leave rows.
    if gone and not gone.isdisjoint(await read_events(influx)):
        raise InfluxError("events could not be deleted")
