"""`collector status` and `collector doctor`."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.table import Column, Table
from rich.text import Text

from collector.cli.common import load_settings, out
from collector.cli.exit_codes import ExitCode
from collector.orders import PUBLISHER

if TYPE_CHECKING:
    from collections.abc import Iterator

    from collector.status.report import InfluxDB, Status

Json = Annotated[
    bool, typer.Option("--json", help="print JSON instead; docs/reference.md has its form")
]

_BAD: Final = "bold red"
_GOOD: Final = "green"
_UNKNOWN: Final = "-"


def status(as_json: Json = False) -> None:
    """Show the collector on one screen: intake, outbox, delivery, last day, retention, disk.

    It needs no running collector and no InfluxDB: what cannot be read is said in its place. The
    exit code is 0 whatever is shown; `collector doctor` judges.
    """
    from collector.status.gather import gather
    from collector.status.problems import examined

    found = asyncio.run(gather(load_settings()))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
        return
    wrong = [one for one in examined(found) if not one.good]
    table = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 2, 0, 0))
    for name, text in _rows(found):
        table.add_row(Text(name, "bold"), text)
    out.print(table)
    if wrong or any(one.problem for one in _servers(found)):
        words = ", ".join(dict.fromkeys(one.check for one in wrong)) or "InfluxDB"
        out.print(Text(f"\nNeeds attention: {words}. `collector doctor` says what to do.", _BAD))


def doctor(as_json: Json = False) -> None:
    """Look for what is wrong, as `collector check` does and as the runbook would; say what to do.

    It changes nothing. The exit code is 1 if anything is wrong.
    """
    from collector.status.doctor import diagnose

    found = asyncio.run(diagnose(load_settings()))
    if as_json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        table = Table.grid(Column(no_wrap=True), Column(overflow="fold"), padding=(0, 1, 0, 0))
        for one in sorted(found.findings, key=lambda one: not one.good):
            table.add_row(Text("ok", _GOOD) if one.good else Text("WRONG", _BAD), Text(one.text))
            if not one.good:
                more = f" (docs/runbook.md, {one.runbook})" if one.runbook else ""
                table.add_row("", Text(f"Do: {one.do}{more}."))
        out.print(table)
    raise typer.Exit(ExitCode.DONE if found.good else ExitCode.FAILED)


def _rows(found: Status) -> Iterator[tuple[str, Text]]:
    """Each part's name and text."""
    yield "version", Text(f"{found.version}, at {_time(found.made)} UTC")
    yield from (
        ("collector", _collector(found)),
        ("intake", _intake(found)),
        ("outbox", _outbox(found)),
        ("delivery", _delivery(found)),
        ("last day", _last_day(found)),
        ("alerts", _alerts(found)),
        ("retention", _retention(found)),
        ("disk", _disk(found)),
        ("certificates", _certificates(found)),
    )


def _collector(found: Status) -> Text:
    process = found.collector
    workers = f", {process.workers} workers" if process.workers > 1 else ""
    if not process.running:
        return Text(f"does not run: {process.why}", _BAD)
    if process.why:
        return Text(f"runs{workers}, but is not well: {process.why}", _BAD)
    does = "publishes, takes no reports" if process.role == PUBLISHER else "takes reports"
    return Text(f"runs{workers}, {does}", _GOOD)


def _intake(found: Status) -> Text:
    intake = found.intake
    lines = [
        "no report yet" if intake.newest is None else f"newest report {_time(intake.newest)} UTC"
    ]
    if intake.hour is not None:
        usual = (
            "" if intake.expected_reports is None else f", {intake.expected_reports:.0f} are usual"
        )
        lines.append(
            f"{intake.reports} reports in the hour from {intake.hour:%Y-%m-%d %H:%M}{usual}"
        )
    if intake.outcomes is not None:
        counts = ", ".join(f"{count} {name}" for name, count in sorted(intake.outcomes.items()))
        lines.append(f"since its start {counts}")
    return Text("\n".join(lines))


def _outbox(found: Status) -> Text:
    from collector.setting_types import format_duration

    outbox = found.outbox
    if outbox.problem:
        return Text(outbox.problem, _BAD)
    # The records store is named only where a sender makes use of it.
    waiting = ", ".join(
        f"{count} wait for {name}"
        for name, count in outbox.waiting.items()
        if count or name == "influx"
    )
    lines = [waiting or "no outbox yet"]
    if outbox.oldest_age_s is not None:
        lines[0] += f", the oldest for {format_duration(outbox.oldest_age_s)}"
    lines.append(f"{_size(outbox.bytes)} of {_size(outbox.limit_bytes)}")
    text = Text("\n".join(lines))
    aside = f"\n{outbox.dead_letters} dead letters, {outbox.set_aside} damaged outboxes set aside"
    return text.append(aside, _BAD if outbox.dead_letters or outbox.set_aside else "")


def _servers(found: Status) -> list[InfluxDB]:
    return [found.influxdb, *([found.influxdb_raw] if found.influxdb_raw else [])]


def _delivery(found: Status) -> Text:
    lines = []
    for one in _servers(found):
        of = " (raw data)" if one is found.influxdb_raw else ""
        lines.append(
            Text(f"InfluxDB at {one.url}{of}: {one.problem}", _BAD)
            if one.version is None
            else Text(f"InfluxDB {one.version} answers at {one.url}{of}")
        )
    lines += [Text(f"no progress to {blocked}", _BAD) for blocked in found.outbox.blocked]
    return Text("\n").join(lines)


def _last_day(found: Status) -> Text:
    day = found.last_day
    if day.day is None:
        return Text("no final day" if found.influxdb.version else _UNKNOWN)
    return Text(f"{day.day}: {day.nodes} nodes, {day.servers} servers, {day.reports} reports")


def _alerts(found: Status) -> Text:
    alerts = found.alerts
    parts = []
    if alerts.nodes_24h is not None:
        usual = (
            ""
            if not alerts.expected_nodes_24h
            else f" ({alerts.nodes_24h / alerts.expected_nodes_24h:.0%} of usual)"
        )
        parts.append(f"{alerts.nodes_24h} nodes in 24 hours{usual}")
    for count, words in (
        (alerts.days_due, "days due"),
        (alerts.days_failing, "days failing"),
        (alerts.erasures_queued, "erasures queued"),
    ):
        if count is not None:
            parts.append(f"{count} {words}")
    return Text(", ".join(parts) or _UNKNOWN)


def _retention(found: Status) -> Text:
    from collector.setting_types import retention_text

    parts = [
        f"{one.database} " + ("missing" if one.seconds is None else retention_text(one.seconds))
        for one in found.retention
    ]
    return Text(", ".join(parts) or _UNKNOWN)


def _disk(found: Status) -> Text:
    disk = found.disk
    if disk.free_bytes is None or not disk.size_bytes:
        return Text(f"{disk.path}: not there yet")
    free = f"{disk.free_bytes / disk.size_bytes:.0%}"
    return Text(
        f"{_size(disk.free_bytes)} of {_size(disk.size_bytes)} free ({free}) at {disk.path}"
    )


def _certificates(found: Status) -> Text:
    parts = [
        f"{one.address} " + (one.problem if one.ends is None else f"ends {one.ends:%Y-%m-%d}")
        for one in found.certificates
    ]
    return Text("\n".join(parts) or "none known: no setting names an https:// address")


def _size(count: int) -> str:
    from pydantic import ByteSize

    return ByteSize(count).human_readable(separator=" ")


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
