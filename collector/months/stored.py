"""Reads and writes the stored reports of months of one InfluxDB."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

from collector.days import day_ns, day_of
from collector.influx import Influx, Select, read, rows_of
from collector.influx.writing import write_all
from collector.lines import line
from collector.months.report import MonthReport, last_day
from collector.schema import MONTH_REPORT

_HEADLINES = ("days", "nodes", "servers")


@dataclass(frozen=True, slots=True)
class StoredMonth:
    """A month that has a report: its first day, its complete days, and counts of its last day."""

    first: date
    days: int
    nodes: int
    servers: int


async def stored_months(influx: Influx) -> list[StoredMonth]:
    """All months that have a report, oldest first. Raises InfluxError."""
    found = await read(influx, Select.rows(MONTH_REPORT, _HEADLINES))
    return sorted(
        (
            StoredMonth(
                day_of(row["time"]).replace(day=1), *(int(row[name] or 0) for name in _HEADLINES)
            )
            for row in rows_of(found)
        ),
        key=lambda month: month.first,
    )


async def read_report(influx: Influx, first: date) -> MonthReport | None:
    """The report of the month that begins on `first`; None if there is none. Raises InfluxError."""
    where = f"time = {day_ns(last_day(first))}"
    for row in rows_of(await read(influx, Select.rows(MONTH_REPORT, ("report",), where))):
        return MonthReport.model_validate_json(str(row["report"]))
    return None


async def write_reports(influx: Influx, reports: Iterable[MonthReport]) -> None:
    """Store reports. Raises InfluxError."""
    lines = [
        line(
            MONTH_REPORT.name,
            "",
            {
                "report": report.model_dump_json(),
                "days": report.days,
                "nodes": report.nodes_on(report.end),
                "servers": report.servers_on(report.end),
            },
            day_ns(report.last),
        )
        for report in reports
    ]
    await write_all(influx, MONTH_REPORT.database, "reports of months", lines)
