"""Makes the report of each month that is over, once, and stores it beside the published series."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from datetime import date, datetime, timedelta
from typing import Any, Final

from collector.days import ONE_DAY, day_ns, day_of
from collector.events.stored import read_events
from collector.influx import Influx, Select, read, rows_of
from collector.months.report import Tables, compose, last_day
from collector.months.stored import stored_months, write_reports
from collector.rollup.inputs import is_final
from collector.rollup.schedule import RolledDay
from collector.schema import ALL, DAILY_NODES, DAILY_UPGRADES, DAILY_USAGE, Measurement

_GAP_HEALS: Final = timedelta(days=3)
"""A month with a day missing waits so long for it, since late reports may still arrive."""


class Months:
    """The reports of months of one InfluxDB; one of the schedule's other series."""

    name = "month"

    def __init__(self, influx: Influx) -> None:
        self._influx = influx

    async def due(self, now: datetime) -> list[date]:
        """The last days of the months that are over and have no report. Raises InfluxError."""
        final = await self._final_days()
        stored = {month.first for month in await stored_months(self._influx)}
        return sorted(last_day(first) for first in finished(final, now) if first not in stored)

    async def roll(self, day: date, now: datetime, *, force: bool = False) -> RolledDay:
        """Store the report of the month that ends with `day`. Raises InfluxError."""
        first = day.replace(day=1)
        span = f"time >= {day_ns(first)} AND time <= {day_ns(day)}"
        before = f"time >= {day_ns(first - ONE_DAY)} AND time <= {day_ns(day)}"
        final, usage, nodes, upgrades, events = await asyncio.gather(
            self._final_days(),
            self._rows(DAILY_USAGE, (), f"{before} AND final = 1"),
            self._rows(
                DAILY_NODES,
                ("nodes", "dimension", "value"),
                f"{span} AND final = 1 AND within = '{ALL}'",
            ),
            self._rows(DAILY_UPGRADES, ("nodes", "from_version", "to_version"), span),
            read_events(self._influx),
        )
        report = compose(
            first,
            begun=min(final),
            usage={
                day_of(row.pop("time")): {
                    name: int(value) for name, value in row.items() if value is not None
                }
                for row in usage
            },
            tables=_tables(nodes),
            upgrades=((row["from_version"], row["to_version"], row["nodes"]) for row in upgrades),
            events=events,
            made=now.replace(microsecond=0),
        )
        await write_reports(self._influx, [report])
        return RolledDay("written", reports=report.sums.get("reports", 0), final=True)

    async def _final_days(self) -> list[date]:
        select = Select.rows(DAILY_USAGE, ("nodes",), "final = 1")
        return [day_of(row["time"]) for row in rows_of(await read(self._influx, select))]

    async def _rows(
        self, measurement: Measurement, names: tuple[str, ...], where: str
    ) -> list[dict[str, Any]]:
        return rows_of(await read(self._influx, Select.rows(measurement, names, where)))


def finished(final: Iterable[date], now: datetime) -> list[date]:
    """The first days of the months whose last day is final, given all complete days.

    The series may begin within a month. Where a day after that is missing, the month is finished
    three days after its end.
    """
    days = set(final)
    found = []
    for first in sorted({day.replace(day=1) for day in days}):
        last = last_day(first)
        inside = [day for day in days if first <= day <= last]
        begin = max(first, min(days))
        whole = len(inside) == (last - begin).days + 1
        if is_final(last, now) and (whole or is_final(last + _GAP_HEALS, now)):
            found.append(first)
    return found


def _tables(rows: Iterable[Mapping[str, Any]]) -> dict[date, Tables]:
    found: dict[date, dict[str, dict[str, int]]] = {}
    for row in rows:
        day = found.setdefault(day_of(row["time"]), {})
        day.setdefault(row["dimension"], {})[row["value"]] = row["nodes"]
    return dict(found)
