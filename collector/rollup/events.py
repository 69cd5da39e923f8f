"""Finds the events of the published series, and stores them beside it.

Events are computed from the published series alone, over its whole length, so that recomputing a
day, late reports and a restored backup give the same events. Operators' notes are never touched.

- A version, or a version of a package, has an event on the first complete day on which the
  published tables name it: the first day on which at least k nodes or servers have it. The first
  week of the tables has none, because counting began then.
- An outage is a run of hours without any report in which at least `_LEAST_EXPECTED` were expected
  together: without a fault, no report would arrive with a probability of e^-20, if reports come
  independently of each other. The expected number of an hour is the one stored with it, and after
  24 hours of the outage that of the day before, since the stored one then counts the outage itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Final

from collector.days import NS_PER_HOUR, NS_PER_S, day_ns, day_of
from collector.events.event import SOFTWARE, Event, Kind, first_package, first_version, outage
from collector.events.stored import delete_events, read_events, write_events
from collector.influx import Influx, Select, identifier, read, rows_of, string
from collector.rollup.facts import HOURS
from collector.rollup.inputs import FINAL_AFTER
from collector.rollup.schedule import RolledDay
from collector.schema import (
    ALL,
    DAILY_NODES,
    DAILY_PACKAGES,
    DAILY_USAGE,
    DIMENSION,
    FINAL,
    HOURLY_USAGE,
    NONE,
    OTHER,
    UNKNOWN,
    VALUE,
    WITHIN,
    Measurement,
)

_FOUND: Final = (Kind.VERSION, Kind.PACKAGE, Kind.OUTAGE)
"""Kinds of events that are found here."""
_LEAST_EXPECTED: Final = 20
_BEGINNING: Final = timedelta(days=7)
_NO_VERSION: Final = frozenset({OTHER, UNKNOWN, NONE})

FirstDays = Mapping[tuple[str, str], date]
"""The first published day of a name (a dimension or package) and value (a version)."""


class Events:
    """The events of one InfluxDB's series; one of the schedule's other series."""

    name = "event"

    def __init__(self, influx: Influx) -> None:
        self._influx = influx
        self._wanted: set[Event] = set()
        self._stored: set[Event] = set()

    async def due(self, now: datetime) -> list[date]:
        """The days whose stored events differ from the computed ones. Raises InfluxError."""
        self._wanted = set(await self._found(now))
        self._stored = set(await read_events(self._influx, *_FOUND))
        return sorted({event.day for event in self._wanted ^ self._stored})

    async def roll(self, day: date, now: datetime, *, force: bool = False) -> RolledDay:
        """Store the events of a day, as `due` computed them. Raises InfluxError."""
        wanted, stored = (
            {event for event in events if event.day == day}
            for events in (self._wanted, self._stored)
        )
        kept = {tuple(event.tags.values()) for event in wanted}
        await write_events(self._influx, sorted(wanted - stored))
        stale = (event for event in stored if tuple(event.tags.values()) not in kept)
        await delete_events(self._influx, stale)
        return RolledDay("written", final=day < now.date())

    async def update(self, now: datetime) -> None:
        """Bring all stored events up to date. Raises InfluxError."""
        for day in await self.due(now):
            await self.roll(day, now)

    async def _found(self, now: datetime) -> list[Event]:
        final = Select(DAILY_USAGE.database, DAILY_USAGE.name, ["last(nodes)"], f"{FINAL.name} = 1")
        hours, ends = await asyncio.gather(self._silent_hours(now), read(self._influx, final))
        if not ends:
            return outages(hours)
        last = day_of(ends[0].values[0][0])
        nodes, packages = await asyncio.gather(
            self._first_days(DAILY_NODES, DIMENSION.name, VALUE.name, last, _versions()),
            self._first_days(DAILY_PACKAGES, "package", "version", last),
        )
        return [
            *(first_version(day, *each) for each, day in newcomers(nodes).items()),
            *(first_package(day, *each) for each, day in newcomers(packages).items()),
            *outages(hours),
        ]

    async def _silent_hours(self, now: datetime) -> dict[int, float]:
        """The hours without a report (start in ns since 1970), with their expected reports."""
        # Reports in flight at the end of an hour have arrived an hour later.
        ended = int((now - FINAL_AFTER).timestamp()) * NS_PER_S - NS_PER_HOUR
        select = Select.rows(
            HOURLY_USAGE, ("reports", "expected_reports"), f"reports = 0 AND time <= {ended}"
        )
        return {
            int(row["time"]): float(row["expected_reports"] or 0)
            for row in rows_of(await read(self._influx, select))
        }

    async def _first_days(
        self, table: Measurement, name: str, value: str, last: date, where: str = ""
    ) -> FirstDays:
        condition = f"time <= {day_ns(last)}" + (f" AND {where}" if where else "")
        select = Select(
            table.database,
            table.name,
            [f"first({identifier(table.fields[0].name)})"],
            condition,
            f"GROUP BY {identifier(name)}, {identifier(value)}",
        )
        return {
            (series.tags[name], series.tags[value]): day_of(series.values[0][0])
            for series in await read(self._influx, select)
        }


def newcomers(first_days: FirstDays) -> dict[tuple[str, str], date]:
    """The names and values that came after the first week of the table, with their first day."""
    begun = min(first_days.values(), default=date.min)
    return {
        (name, value): day
        for (name, value), day in first_days.items()
        if value not in _NO_VERSION and day - begun >= _BEGINNING
    }


def outages(silent: Mapping[int, float]) -> list[Event]:
    """The outages among hours without a report.

    `silent` maps the start of each such hour (ns since 1970) to the number of reports expected.
    """
    found = []
    for start, run in _runs(silent):
        expected = list(run)
        for hour in range(HOURS, len(expected)):
            expected[hour] = expected[hour - HOURS]
        # Hours at either end in which nobody reports anyway are no part of it.
        busy = [hour for hour, number in enumerate(expected) if number > 0]
        if sum(expected) >= _LEAST_EXPECTED:
            begin = datetime.fromtimestamp(start // NS_PER_S, UTC) + timedelta(hours=busy[0])
            found.append(outage(begin, busy[-1] - busy[0] + 1, round(sum(expected))))
    return found


def _runs(silent: Mapping[int, float]) -> Iterator[tuple[int, list[float]]]:
    """Each run of consecutive hours: its start, and the expected number of each of its hours."""
    hours = enumerate(sorted(silent))
    for _, run in groupby(hours, key=lambda each: each[1] - each[0] * NS_PER_HOUR):
        times = [time for _, time in run]
        yield times[0], [silent[time] for time in times]


def _versions() -> str:
    own = " OR ".join(f"{identifier(DIMENSION.name)} = {string(name)}" for name in SOFTWARE)
    return f"{identifier(WITHIN.name)} = {string(ALL)} AND ({own})"
