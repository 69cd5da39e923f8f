"""`collector retention …`: show and change the retention, and preview the loss."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from contextlib import closing
from datetime import UTC, date, datetime
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.filesize import decimal

from collector.cli.commands import Commands
from collector.cli.common import (
    TextTable,
    a_duration,
    fail,
    load_settings,
    out,
    say,
    warn,
    with_influx,
)
from collector.schema import DAILY, LIBRENMS, RAW, RECORDS
from collector.schema.telemetrics import TELEMETRICS

if TYPE_CHECKING:
    from collector.influx import Influx
    from collector.retention import DatabaseState, Loss
    from collector.settings import Settings

commands = Commands(no_args_is_help=True, help="Show and change the retention of the databases.")


def _a_day_at_least(text: str) -> int:
    from collector.retention import DAY_S

    seconds = a_duration(text)
    if seconds < DAY_S:
        raise typer.BadParameter("the retention is 1d at least")
    return seconds


def _option(name: str, parser: Callable[[str], int], of: str) -> Any:  # noqa: ANN401 - typer's
    return typer.Option(name, parser=parser, metavar="DURATION", help=f"retention of {of}")


Raw = Annotated[int | None, _option("--raw", _a_day_at_least, "raw reports")]
Daily = Annotated[int | None, _option("--daily", a_duration, "the daily series; 0: for ever")]
Live = Annotated[int | None, _option("--live", _a_day_at_least, "Asterisk's live values")]
LibreNMS = Annotated[int | None, _option("--librenms", _a_day_at_least, "LibreNMS's reports")]
Records = Annotated[
    int | None,
    _option("--records", a_duration, "telemetrics-client's records and their counts; 0: for ever"),
]
Json = Annotated[bool, typer.Option("--json", help="print JSON instead of tables")]


@commands.command(examples=["collector retention show", "collector retention show --json"])
def show(as_json: Json = False) -> None:
    """Show the retention, contents and disk size of each database."""
    configured = load_settings()
    found = with_influx(configured, partial(_look, configured))
    if as_json:
        say(json.dumps([_shown(database) for database in found], indent=2))
        return
    table = TextTable.narrow(
        "database", "retention", "points", "oldest", "newest", "on disk", "a day"
    )
    for database in found:
        table.add(*_row(database))
    out.print(table)


@commands.command(examples=["collector retention plan --raw 60d"])
def plan(
    raw: Raw = None,
    daily: Daily = None,
    live: Live = None,
    librenms: LibreNMS = None,
    records: Records = None,
    as_json: Json = False,
) -> None:
    """Show what a new retention would delete; changes nothing."""
    configured = load_settings()
    wanted = _wanted(raw, daily, live, librenms, records)
    losses, held, now = with_influx(configured, partial(_plan, configured, wanted))
    if as_json:
        say(json.dumps(_planned(losses, held, now), indent=2))
        return
    _print_plan(losses, held, now)


@commands.command(
    name="set",
    examples=[
        "collector retention set --raw 120d",
        "collector retention set --daily 0 --yes  # daily series for ever",
    ],
)
def set_(
    raw: Raw = None,
    daily: Daily = None,
    live: Live = None,
    librenms: LibreNMS = None,
    records: Records = None,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="allow less than the 35 days that 30-day numbers need")
    ] = False,
) -> None:
    """Change the retention. InfluxDB deletes older points, which cannot be recovered."""
    from collector.retention import LEAST_RAW_S, outlasts
    from collector.setting_types import format_duration, retention_text

    configured = load_settings()
    wanted = _wanted(raw, daily, live, librenms, records)
    if raw is not None and raw < LEAST_RAW_S and not force:
        fail(
            f"{format_duration(raw)} of raw reports is under {format_duration(LEAST_RAW_S)}: the"
            " 30-day numbers of a day could not be recomputed; --force sets it anyway"
        )
    losses, held, now = with_influx(configured, partial(_plan, configured, wanted))
    _check_order(held, wanted)
    changed = [one for one in losses if one.was != one.becomes]
    if any(outlasts(one.was, one.becomes) for one in changed):
        _print_plan(losses, held, now)
        if not yes:
            typer.confirm(
                "Shorten the retention? InfluxDB then deletes older points for good.", abort=True
            )
    with_influx(configured, partial(_apply, [one for one in changed if one.database != RECORDS]))
    for one in losses:
        if one.database == RECORDS:
            # The collector purges it by its setting, which the reminder below names.
            continue
        change = f"was {retention_text(one.was)}" if one in changed else "unchanged"
        say(f"{_name(held, one.database)}: retention {retention_text(one.becomes)} ({change})")
    _remind(configured, wanted)


def _wanted(*seconds: int | None) -> dict[str, int]:
    """Retention by database, from the values of the options in their order."""
    from collector.retention import OPTIONS

    given = {name: one for name, one in zip(OPTIONS, seconds, strict=True) if one is not None}
    if not given:
        raise typer.BadParameter("give --raw, --daily, --live, --librenms or --records, or several")
    return given


async def _look(configured: Settings, influx: Influx) -> list[DatabaseState]:
    from collector.influx.usage import Usage
    from collector.record_keeping import Records
    from collector.retention import DatabaseState, look

    held = await look(influx)
    with closing(Records(configured)) as records:
        found = records.contents()
    if found is not None:
        usage = Usage(found.records, found.oldest_ns, found.newest_ns, found.disk_bytes)
        held.append(DatabaseState(RECORDS, "records store", configured.retention_records, usage))
    return held


async def _plan(
    configured: Settings, wanted: Mapping[str, int], influx: Influx
) -> tuple[list[Loss], list[DatabaseState], datetime]:
    from collector.record_keeping import Records
    from collector.retention import Loss, loss
    from collector.setting_types import oldest_kept

    now = datetime.now(UTC)
    losses = [await loss(influx, database, seconds, now) for database, seconds in wanted.items()]
    held = await _look(configured, influx)
    if TELEMETRICS in wanted and any(one.database == RECORDS for one in held):
        seconds = wanted[TELEMETRICS]
        with closing(Records(configured)) as records:
            days = records.by_day(before_ns=oldest_kept(seconds))
        losses.append(Loss(RECORDS, configured.retention_records, seconds, days))
    return losses, held, now


async def _apply(changed: list[Loss], influx: Influx) -> None:
    """Set the retention and read it back to verify it."""
    from collector.influx.databases import retentions, set_retention

    for change in changed:
        await set_retention(influx, change.database, change.becomes)
    found = await retentions(influx, [change.database for change in changed])
    for change in changed:
        if found[change.database] != change.becomes:
            fail(
                f"{change.database}: InfluxDB accepted the change, but its retention is"
                f" {found[change.database]} s"
            )


def _check_order(held: list[DatabaseState], wanted: Mapping[str, int]) -> None:
    from collector.retention import outlasts
    from collector.setting_types import retention_text

    seconds = {database.database: database.seconds for database in held} | dict(wanted)
    daily = seconds[DAILY]
    for database, what in ((RAW, "raw reports"), (LIBRENMS, "reports of LibreNMS")):
        source = seconds.get(database)
        if source is not None and daily is not None and outlasts(source, daily):
            fail(
                f"daily series ({retention_text(daily)}) must outlast {what}"
                f" ({retention_text(source)})"
            )


def _remind(configured: Settings, wanted: Mapping[str, int]) -> None:
    from collector.retention import OPTIONS, outlasts
    from collector.setting_types import format_duration
    from collector.settings import variable

    for database, seconds in wanted.items():
        name = f"retention_{OPTIONS[database]}"
        setting: int = getattr(configured, name)
        if setting != seconds:
            effect = (
                "the next start lengthens it again"
                if outlasts(setting, seconds)
                else "each start warns of the difference"
            )
            warn(
                f"{variable(name)} is {format_duration(setting)}: set it to"
                f" {format_duration(seconds)} and restart the collector, or {effect}"
            )


def _name(held: list[DatabaseState], database: str) -> str:
    return next(found.name for found in held if found.database == database)


def _day(time_ns: int | None) -> str | None:
    from collector.days import day_of

    return None if time_ns is None else day_of(time_ns).isoformat()


def _row(database: DatabaseState) -> list[object]:
    from collector.setting_types import retention_text

    if database.seconds is None or database.usage is None:
        return [database.name, "missing"]
    held = database.usage
    days = [_day(at) or "" for at in (held.oldest, held.newest)]
    sizes = [
        "unknown" if size is None else decimal(size)
        for size in (held.disk_bytes, database.bytes_per_day)
    ]
    return [database.name, retention_text(database.seconds), held.points, *days, *sizes]


def _shown(database: DatabaseState) -> dict[str, Any]:
    held = database.usage
    return {
        "database": database.name,
        "kept_seconds": database.seconds,
        "points": held and held.points,
        "oldest": held and _day(held.oldest),
        "newest": held and _day(held.newest),
        "disk_bytes": held and held.disk_bytes,
        "disk_bytes_per_day": database.bytes_per_day,
    }


def _recomputable(
    losses: list[Loss], held: list[DatabaseState], now: datetime
) -> list[tuple[str, date | None, date | None]]:
    """Each series with the first day that can be recomputed, now and under the plan."""
    from collector.days import day_of
    from collector.retention import NEEDS, first_complete, recomputable_from

    raw = next((one for one in losses if one.database == RAW), None)
    usage = next(database.usage for database in held if database.database == RAW)
    if raw is None or usage is None or usage.oldest is None:
        return []
    oldest = day_of(usage.oldest)
    before, after = (max(oldest, first_complete(now, s)) for s in (raw.was, raw.becomes))
    return [
        (series, recomputable_from(needs, before, now), recomputable_from(needs, after, now))
        for series, needs in NEEDS.items()
    ]


def _planned(losses: list[Loss], held: list[DatabaseState], now: datetime) -> dict[str, Any]:
    return {
        "lost": [
            {
                "database": _name(held, one.database),
                "kept_seconds": one.was,
                "planned_seconds": one.becomes,
                "days": len(one.reports),
                "first": min(one.reports).isoformat() if one.reports else None,
                "last": max(one.reports).isoformat() if one.reports else None,
                "reports": sum(one.reports.values()),
            }
            for one in losses
        ],
        "recomputable_from": [
            {
                "series": series,
                "now": before and before.isoformat(),
                "planned": after and after.isoformat(),
            }
            for series, before, after in _recomputable(losses, held, now)
        ],
    }


def _print_plan(losses: list[Loss], held: list[DatabaseState], now: datetime) -> None:
    from collector.setting_types import retention_text

    table = TextTable.narrow("database", "retention", "planned", "days lost", "which", "reports")
    for one in losses:
        days = sorted(one.reports)
        which = f"{days[0]} to {days[-1]}" if days else ""
        kept = (retention_text(one.was), retention_text(one.becomes))
        table.add(_name(held, one.database), *kept, len(days), which, sum(one.reports.values()))
    out.print(table)
    series = TextTable.narrow("a day can be recomputed of", "from", "planned")
    for name, before, after in _recomputable(losses, held, now):
        series.add(name, before or "no day", after or "no day")
    if series.rows:
        out.print(series)
    if any(one.database == DAILY and one.reports for one in losses):
        warn("Deleted published days are gone for good: make a backup first.")
