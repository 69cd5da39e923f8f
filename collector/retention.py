"""Retention of the databases: their state, the loss under a new retention, and changes at start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import structlog

from collector.days import day_of
from collector.influx import Influx, InfluxError, InfluxUnavailable
from collector.influx.databases import ensure, retentions, set_retention
from collector.influx.usage import Usage, points_by_day, time_range, usage
from collector.rollup.lookback import HISTORY_DAYS, PRESENCE_DAYS
from collector.schema import DAILY, LIBRENMS, LIVE, RAW
from collector.schema.librenms import LIBRENMS_REPORT
from collector.schema.telemetrics import TELEMETRICS, TELEMETRICS_RECORD
from collector.setting_types import format_duration, retention_text

log = structlog.get_logger("collector.retention")

DAY_S: Final = 86_400
LEAST_RAW_S: Final = 35 * DAY_S
"""With less, the 30-day numbers of a day could not be recomputed a few days later."""


OPTIONS: Final = {
    RAW: "raw",
    DAILY: "daily",
    LIVE: "live",
    LIBRENMS: "librenms",
    TELEMETRICS: "records",
}
"""Databases whose retention the operator sets, with the option of `collector retention`."""


_COUNTED: Final = {LIBRENMS: LIBRENMS_REPORT, TELEMETRICS: TELEMETRICS_RECORD}
"""Measurement whose points are a database's reports; of any other database, all points count."""


NEEDS: Final = {
    "the day's own counts and tables": 1,
    "hourly nodes_24h, servers_24h": 2,
    "nodes_7d, servers_7d": 7,
    "hourly expected_reports, expected_nodes_24h": HISTORY_DAYS + 1,
    "nodes_30d, servers_30d": PRESENCE_DAYS - 1,
    "new_nodes, lapsed_nodes, daily_upgrades": PRESENCE_DAYS,
}
"""Published series, each with the number of days of raw data that one day of it needs."""


@dataclass(frozen=True, slots=True)
class DatabaseState:
    """The state of a database: its name in InfluxDB, retention in s (0: unlimited) and contents.

    `seconds` and `usage` are None if the database does not exist.
    """

    database: str
    name: str
    seconds: int | None
    usage: Usage | None

    @property
    def bytes_per_day(self) -> int | None:
        """Bytes on disk for each day from the oldest to the newest point; None if unknown."""
        held = self.usage
        if held is None or held.disk_bytes is None or held.oldest is None or held.newest is None:
            return None
        return held.disk_bytes // ((day_of(held.newest) - day_of(held.oldest)).days + 1)


@dataclass(frozen=True, slots=True)
class Loss:
    """Days of a database that a new retention would delete: number of reports by day.

    Of the live database, the number of points.
    """

    database: str
    was: int
    becomes: int
    reports: Mapping[date, int]


def outlasts(one: int, other: int) -> bool:
    """Whether one retention is longer than another; 0 is unlimited."""
    return other != 0 and (one == 0 or one > other)


async def look(influx: Influx) -> list[DatabaseState]:
    """Read the state of the databases that have one, and of those that every collector has.

    Raises InfluxUnavailable, InfluxError.
    """
    return [
        DatabaseState(
            database,
            influx.name(database),
            seconds,
            None if seconds is None else await usage(influx, database),
        )
        for database, seconds in (await retentions(influx, OPTIONS)).items()
        if seconds is not None or database in (RAW, DAILY)
    ]


async def loss(influx: Influx, database: str, seconds: int, now: datetime) -> Loss:
    """The days a database would lose at `now` with a retention of `seconds` (0: unlimited).

    A partly expired day counts as lost, since the rest follows within hours. Raises InfluxError,
    also if the database does not exist.
    """
    # Imported here for its weight: other commands about retention start quickly without it.
    from collector.rollup.inputs import stored_days
    from collector.rollup.raw import read_days

    was = (await retentions(influx, (database,)))[database]
    if was is None:
        raise InfluxError(
            f"there is no {influx.name(database)} in InfluxDB, or the token may not see it"
        )
    held = await time_range(influx, database) if outlasts(was, seconds) else None
    if held is None:
        return Loss(database, was, seconds, {})
    first, last = day_of(held[0]), first_complete(now, seconds) - timedelta(days=1)
    if last < first:
        return Loss(database, was, seconds, {})
    if database == RAW:
        counts = (await read_days(influx, first, last)).counts
        reports = {day: found.reports for day, found in sorted(counts.items())}
    elif database == DAILY:
        stored = await stored_days(influx, first, last)
        reports = {day: found.number("reports") for day, found in sorted(stored.items())}
    else:
        reports = await points_by_day(influx, database, first, last, _COUNTED.get(database))
    return Loss(database, was, seconds, reports)


def first_complete(now: datetime, seconds: int) -> date:
    """The first day without expired points under a retention; `date.min` if it is unlimited."""
    if seconds == 0:
        return date.min
    oldest = now - timedelta(seconds=seconds)
    midnight = oldest.replace(hour=0, minute=0, second=0, microsecond=0)
    return oldest.date() + timedelta(days=0 if oldest == midnight else 1)


def recomputable_from(needs: int, complete: date, now: datetime) -> date | None:
    """The first day of a series that can be recomputed with complete raw data from `complete` on.

    `needs` is the number of days that it needs. None if that day is after yesterday.
    """
    first = complete + timedelta(days=needs - 1)
    return first if first < now.date() else None


async def prepare(influx: Influx, wanted: Mapping[str, int]) -> None:
    """Create missing databases, and raise retentions that are shorter than `wanted`.

    Longer ones are not changed but logged, since deleting is an operator's decision. Raises
    InfluxUnavailable, InfluxError (if a database cannot be created).
    """
    await ensure(influx, wanted)
    for database in wanted:
        held = await influx.policies.of(database)
        if held is not None and (words := held.default_warning(influx.name(database))):
            log.warning("another default retention policy", why=words)
    for database, was in (await retentions(influx, wanted)).items():
        setting = wanted[database]
        if was is None or was == setting:
            continue
        option = OPTIONS.get(database, database)
        command = f"collector retention set --{option} {format_duration(setting)}"
        values = {
            "database": influx.name(database),
            "retention": retention_text(was),
            "setting": retention_text(setting),
        }
        if not outlasts(setting, was):
            log.warning(
                "retention is longer than the setting; only the command shortens it",
                **values,
                command=command,
            )
            continue
        try:
            await set_retention(influx, database, setting)
        except InfluxUnavailable:
            raise
        except InfluxError as error:
            log.warning(
                "retention is shorter than the setting and could not be raised; run the"
                " command with an administrator's token",
                **values,
                command=command,
                why=str(error),
            )
        else:
            log.info("retention raised to the setting", **values)
