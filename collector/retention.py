"""How long what is kept: what is there, what a shorter retention would lose, what a start does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Final

import structlog

from collector.days import day_of
from collector.influx import Influx, InfluxError, InfluxUnavailable
from collector.influx.databases import ensure, retentions, set_retention
from collector.influx.usage import Usage, time_range, usage
from collector.rollup.hourly import HISTORY_DAYS
from collector.rollup.inputs import stored_days
from collector.rollup.raw import raw_counts
from collector.rollup.windows import DAYS
from collector.schema import DAILY, RAW
from collector.settings import format_duration

log = structlog.get_logger("collector.retention")

DAY_S: Final = 86_400
LEAST_RAW_S: Final = 35 * DAY_S
"""Under it the 30-day numbers of a day could not be computed again a few days after it."""


@dataclass(frozen=True, slots=True)
class Needs:
    """Published series, and how many days of raw data, with its own, a day of them is made of."""

    series: str
    days: int


NEEDS: Final = (
    Needs("the day's own counts and tables", 1),
    Needs("hourly nodes_24h, servers_24h", 2),
    Needs("nodes_7d, servers_7d", 7),
    Needs("hourly expected_reports, expected_nodes_24h", HISTORY_DAYS + 1),
    Needs("nodes_30d, servers_30d", DAYS - 1),
    Needs("new_nodes, lapsed_nodes, daily_upgrades", DAYS),
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A database, its name in InfluxDB, its retention in s (0: for ever), and what it holds.

    `seconds` and `usage` are None where the database is not there.
    """

    database: str
    name: str
    seconds: int | None
    usage: Usage | None

    @property
    def days(self) -> int | None:
        """The days from its oldest to its newest point, both counted; None where it has none."""
        if self.usage is None or self.usage.oldest is None or self.usage.newest is None:
            return None
        return (day_of(self.usage.newest) - day_of(self.usage.oldest)).days + 1

    @property
    def bytes_per_day(self) -> int | None:
        """Bytes on disk for each of those days; None where either is unknown."""
        if self.days is None or self.usage is None or self.usage.disk_bytes is None:
            return None
        return self.usage.disk_bytes // self.days


@dataclass(frozen=True, slots=True)
class Loss:
    """Days of one database that a retention would delete: reports of each, oldest first."""

    database: str
    was: int
    becomes: int
    reports: Mapping[date, int]


def spoken(seconds: int) -> str:
    """A retention for a person, as `90d`."""
    return format_duration(seconds) if seconds else "for ever"


def outlasts(one: int, other: int) -> bool:
    """Whether one retention is longer than another; 0 is for ever."""
    return other != 0 and (one == 0 or one > other)


async def look(influx: Influx) -> list[Kept]:
    """Both databases as they are. Raises InfluxUnavailable, InfluxError."""
    return [
        Kept(
            database,
            influx.name(database),
            seconds,
            None if seconds is None else await usage(influx, database),
        )
        for database, seconds in (await retentions(influx, (RAW, DAILY))).items()
    ]


async def loss(influx: Influx, database: str, seconds: int, now: datetime) -> Loss:
    """What a database would lose at `now` if it kept its points for `seconds` (0: for ever).

    Days of which a part is old enough count as a whole: the rest follows within hours. Raises
    InfluxError, also where the database is not there.
    """
    was = (await retentions(influx, (database,)))[database]
    if was is None:
        raise InfluxError(
            f"there is no {influx.name(database)} in InfluxDB, or the token may not see it"
        )
    held = await time_range(influx, database) if outlasts(was, seconds) else None
    if held is None:
        return Loss(database, was, seconds, {})
    first, last = day_of(held[0]), first_whole(now, seconds) - timedelta(days=1)
    if last < first:
        return Loss(database, was, seconds, {})
    if database == RAW:
        counts = await raw_counts(influx, first, last)
        reports = {day: found.reports for day, found in sorted(counts.items())}
    else:
        stored = await stored_days(influx, first, last)
        reports = {day: found.number("reports") for day, found in sorted(stored.items())}
    return Loss(database, was, seconds, reports)


def first_whole(now: datetime, seconds: int) -> date:
    """The first day of which nothing is older than a retention; `date.min` for ever."""
    if seconds == 0:
        return date.min
    oldest = now - timedelta(seconds=seconds)
    midnight = oldest.replace(hour=0, minute=0, second=0, microsecond=0)
    return oldest.date() + timedelta(days=0 if oldest == midnight else 1)


def recomputable_from(needs: Needs, whole: date, now: datetime) -> date | None:
    """The first day of a series that can be computed again if raw data is whole from `whole` on.

    None where that is not even yesterday, the last complete day.
    """
    first = whole + timedelta(days=needs.days - 1)
    return first if first < now.date() else None


async def prepare(influx: Influx, wanted: Mapping[str, int]) -> None:
    """Make missing databases, and lengthen the retention of those that keep less than `wanted`.

    What keeps longer stays so, with a warning: deleting is an operator's decision. Raises
    InfluxUnavailable, InfluxError (a database that could not be made).
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
        option = f"--{database.removeprefix('usage_')}"
        command = f"collector retention set {option} {format_duration(setting)}"
        said = {
            "database": influx.name(database),
            "kept": spoken(was),
            "setting": spoken(setting),
        }
        if not outlasts(setting, was):
            log.warning(
                "kept longer than the setting says; only the command shortens it",
                **said,
                command=command,
            )
            continue
        try:
            await set_retention(influx, database, setting)
        except InfluxUnavailable:
            raise
        except InfluxError as error:
            log.warning(
                "kept shorter than the setting says, and could not be lengthened; run the"
                " command with an administrator's token",
                **said,
                command=command,
                why=str(error),
            )
        else:
            log.info("retention lengthened to the setting", **said)
