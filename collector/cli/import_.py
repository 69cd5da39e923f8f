"""`collector import …`: history of other servers."""

from __future__ import annotations

import asyncio
import gzip
import io
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, tzinfo
from pathlib import Path
from typing import Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer
from rich.progress import Progress, wrap_file

from collector import app
from collector.admission import TagBudget, TagValue
from collector.cli.common import err, fail, load_settings, say, warn, worded_errors
from collector.history.asl3_dump import DumpError, Row, dump_rows
from collector.history.asl3_live import TABLES, DatabaseError, Dsn, live_rows
from collector.history.asl3_raw import INSTANCE
from collector.history.asl3_rows import Gap, PassedOver, TableError
from collector.history.asl3_usage import Import, OldData, Plan
from collector.influx import Influx
from collector.influx.databases import ensure
from collector.metrics import Metrics
from collector.nodelist import NodeList
from collector.outbox import FILE, OutboxFile
from collector.privacy import OwnerMark, Pseudonymiser
from collector.settings import Settings, shown
from collector.state import KEY_BYTES, prepare, pseudonym_key

commands = typer.Typer(no_args_is_help=True, help="Bring the history of another server.")

_PASSWORD: Final = "MYSQL_PWD"  # noqa: S105 - the name of a variable
_GZIP: Final = b"\x1f\x8b"
_DAYS_SHOWN: Final = 10
_SECONDS_PER_DAY: Final = 86_400
_WARNING: Final = (
    "The imported days count every node that the old server had ever seen; ours count the nodes"
    " that reported on the day. The old series cannot fall and stands higher: the two levels"
    " cannot be compared. Imported days have the field `imported` = 1."
)
_MEANINGS: Final = {
    PassedOver.NULL_VALUE: "a value that must be there is NULL",
    PassedOver.ZERO_DATE: "the date is 0000-00-00",
    PassedOver.BAD_DATE: "the date is none, or before 1970",
    PassedOver.BAD_NUMBER: "a number is none, or under 0",
    PassedOver.BAD_UUID: "the server's identity is no UUID",
    PassedOver.PRIVATE: "the node number is a private one",
    PassedOver.SUPERSEDED: "there is a later row of the same date",
    PassedOver.NOT_ENDED: "the day has not ended: it may become one of our own",
    PassedOver.EXPIRED: "older than what is kept here",
    PassedOver.IN_THE_FUTURE: "later than now: is --time-zone right?",
    PassedOver.OPTED_OUT: "the server's owner wants no reports kept",
    PassedOver.REPORTED_TO_US: "the server reported to us too that day",
    PassedOver.ALREADY_IMPORTED: "there already from an earlier import",
    "unlisted": "the node is not in the public list",
    "duplicate": "the node is twice in one report",
}
_GAPS: Final = {
    Gap.NO_CHANNEL: "nodes without a channel driver, as `unknown`",
    Gap.BAD_PACKAGES: "nodes whose package list is not usable, without it",
    Gap.CHANNELS_CONTRADICT: "days with more nodes on channels than nodes, without channels",
}


def _zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter("must be a time zone such as UTC or America/Chicago") from None


@commands.command("asl3-usage")
def asl3_usage(
    dsn: Annotated[
        str, typer.Option(help="its database: mysql://user@host:3306/db", show_default=False)
    ] = "",
    dump: Annotated[
        Path | None,
        typer.Option(
            help="a file of mysqldump or mariadb-dump, or that gzipped", exists=True, dir_okay=False
        ),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help=f"file of the password, if not in ${_PASSWORD}", exists=True, dir_okay=False
        ),
    ] = None,
    time_zone: Annotated[
        tzinfo, typer.Option(parser=_zone, metavar="ZONE", help="zone of the old server's clock")
    ] = "UTC",  # type: ignore[assignment] # typer parses it
    apply: Annotated[bool, typer.Option("--apply", help="write; without it, only look")] = False,
) -> None:
    """Bring an ASL3-Usage database: its days as daily series, its nodes' last reports as raw."""
    if bool(dsn) == (dump is not None):
        raise typer.BadParameter("give --dsn or --dump", param_hint="--dsn / --dump")
    configured = load_settings()
    if configured.instance == INSTANCE:
        fail(
            f"COLLECTOR_INSTANCE={INSTANCE} is the number of imported reports: give the collector"
            " another, or the two may overwrite each other"
        )
    with worded_errors():
        try:
            rows = _dumped(dump) if dump is not None else live_rows(_source(dsn, password_file))
            data = OldData.of(rows, time_zone)
        except (DatabaseError, DumpError, TableError, EOFError, gzip.BadGzipFile) as error:
            fail(str(error))
        asyncio.run(_import(configured, data, apply=apply))


def _source(dsn: str, password_file: Path | None) -> Dsn:
    password = (
        password_file.read_text(encoding="utf-8").rstrip("\r\n")
        if password_file is not None
        else os.environ.get(_PASSWORD, "")
    )
    found = Dsn.parse(dsn)
    if found.password:
        warn(
            "The DSN holds the password, which every user of this machine can see in the list of"
            f" processes: better give it in ${_PASSWORD} or a --password-file."
        )
        return found
    return replace(found, password=password)


def _dumped(path: Path) -> Iterator[tuple[str, Row]]:
    with path.open("rb") as plain:
        zipped = plain.read(len(_GZIP)) == _GZIP
        plain.seek(0)
        with (
            wrap_file(
                plain,
                path.stat().st_size,
                description="reading",
                console=err,
                disable=not err.is_terminal,
            ) as watched,
            gzip.GzipFile(fileobj=watched) if zipped else watched as binary,
            io.TextIOWrapper(binary, encoding="utf-8", errors="replace", newline="") as text,
        ):
            yield from dump_rows(text, TABLES)


async def _import(configured: Settings, data: OldData, *, apply: bool) -> None:
    async with app.influx_of(configured) as influx:
        retention = app.retention(configured)
        if apply:
            prepare(configured.state_dir)
            await ensure(influx, retention)
        importer = _importer(configured, influx, retention, apply=apply)
        plan = await importer.plan(data)
        _tell(data, plan, configured)
        if not apply:
            say("\nNothing was written: this was a dry run. --apply writes.")
            return
        with Progress(console=err, disable=not err.is_terminal) as progress:
            task = progress.add_task("importing", total=plan.steps)
            await importer.apply(plan, lambda done: progress.advance(task, done))
    say(f"\nWritten: {len(plan.days)} days and {len(plan.reports)} reports.")


def _importer(
    configured: Settings, influx: Influx, retention: dict[str, int], *, apply: bool
) -> Import:
    # A dry run makes no key; where there is none, no pseudonym is stored that could be met.
    known = apply or configured.key_file.exists()
    key = pseudonym_key(configured.key_file) if known else secrets.token_bytes(KEY_BYTES)
    outbox = configured.state_dir / FILE
    seen: Sequence[TagValue] = ()
    out: set[OwnerMark] = set()
    if outbox.exists():
        with OutboxFile(outbox) as file:
            seen = file.tag_values()
            out = {choice.owner for choice in file.owners.choices() if choice.out}
    pseudonyms = Pseudonymiser(key)
    return Import(
        influx,
        pseudonyms=pseudonyms,
        opted_out=lambda server: pseudonyms.mark(server) in out,
        budget=TagBudget(
            app.tag_budgets(), memory_days=configured.retention_raw // _SECONDS_PER_DAY, seen=seen
        ),
        listed=NodeList(configured.nodelist_url, directory=configured.state_dir, metrics=Metrics()),
        k=configured.k_anonymity,
        retention=retention,
        now=datetime.now(UTC),
    )


def _tell(data: OldData, plan: Plan, configured: Settings) -> None:
    days = [day.day for day in data.days]
    say(f"asl_usage: {data.rows['asl_usage']} rows{_range(days)}")
    say(f"  {len(plan.days)} days to write, {len(plan.changed)} of them anew")
    say(f"  {len(plan.unchanged)} days there already from an earlier import")
    say(f"  {len(plan.own_days)} days in conflict with our own, which are kept")
    _list(plan.own_days)
    _reasons(plan.days_passed)
    reported = [datetime.fromtimestamp(node.written_s, UTC).date() for node in data.nodes]
    say(f"nodes: {data.rows['nodes']} rows{_range(reported)}")
    say(f"  {len(plan.reports)} reports to write, of {plan.nodes} nodes")
    expired = plan.nodes_passed[PassedOver.EXPIRED]
    kept = shown(configured)["COLLECTOR_RETENTION_RAW"]
    say(f"  {expired} nodes outside of raw retention ({kept})")
    _reasons(plan.nodes_passed)
    for gap, meaning in _GAPS.items():
        if plan.gaps[gap]:
            say(f"  {plan.gaps[gap]} taken in part ({gap}): {meaning}")
    warn(f"\n{_WARNING}")


def _range(days: Sequence[date]) -> str:
    return f", {min(days)} to {max(days)}" if days else ""


def _list(days: Sequence[date]) -> None:
    for day in days[:_DAYS_SHOWN]:
        say(f"    {day}")
    if len(days) > _DAYS_SHOWN:
        say(f"    and {len(days) - _DAYS_SHOWN} more, to {days[-1]}")


def _reasons(passed: Counter[str]) -> None:
    for reason, count in sorted(passed.items()):
        meaning = _MEANINGS.get(reason, "what the intake refuses a report for")
        say(f"  {count} passed over ({reason}): {meaning}")
