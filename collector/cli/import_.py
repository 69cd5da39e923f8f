"""`collector import …`: import the history of other servers."""

from __future__ import annotations

import asyncio
import os
import secrets
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import typer

from collector.cli.commands import Commands
from collector.cli.common import err, fail, load_settings, progress_bar, say, warn, worded_errors
from collector.redaction import hide

if TYPE_CHECKING:
    from collector.history.asl3_dump_file import DumpFile
    from collector.history.asl3_live import Dsn
    from collector.history.asl3_usage import Import, SourceTables
    from collector.influx import Influx
    from collector.privacy import OwnerMark
    from collector.settings import Settings
    from collector.tag_budget import TagValue

commands = Commands(no_args_is_help=True, help="Import the history of another server.")

_PASSWORD: Final = "MYSQL_PWD"  # noqa: S105 - the name of a variable
_STDIN: Final = Path("-")
_WEB_INI: Final = Path("/etc/asl-usage/web.ini")
_LOCALTIME: Final = Path("/etc/localtime")
_SECONDS_PER_DAY: Final = 86_400


def _zone(name: str) -> tzinfo:
    if name.upper() == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise typer.BadParameter("must be a time zone such as UTC or America/Chicago") from None


@commands.command(
    "asl3-usage",
    examples=[
        "collector import asl3-usage  # a dry run, beside asl-usage",
        "collector import asl3-usage --dump usage.sql.gz",
        "collector import asl3-usage --dump usage.sql.gz --apply",
    ],
)
def asl3_usage(
    dsn: Annotated[
        str,
        typer.Option(
            help="the database: mysql://HOST:3306/DB, with USER@ before HOST", show_default=False
        ),
    ] = "",
    dump: Annotated[
        Path | None,
        typer.Option(
            help="dump file of mysqldump or mariadb-dump, also compressed; `-`: standard input"
        ),
    ] = None,
    web_ini: Annotated[
        Path | None,
        typer.Option(
            "--web-ini",
            help=f"the old server's own settings, which name its database; by default {_WEB_INI}",
            show_default=False,
            dir_okay=False,
        ),
    ] = None,
    password_file: Annotated[
        Path | None,
        typer.Option(
            help=f"file with the password, if not in ${_PASSWORD}", exists=True, dir_okay=False
        ),
    ] = None,
    time_zone: Annotated[
        tzinfo | None,
        typer.Option(
            parser=_zone,
            metavar="ZONE",
            help="time zone of the old server's clock; by default UTC, with a web.ini this"
            " machine's",
            show_default=False,
        ),
    ] = None,
    apply: Annotated[bool, typer.Option("--apply", help="write; without it, a dry run")] = False,
    yes: Annotated[
        bool, typer.Option("--yes", help="write even if the dump may be incomplete")
    ] = False,
) -> None:
    """Import an ASL3-Usage database: its days as daily series, its nodes' last reports as raw."""
    from collector.history.asl3_live import TABLES, live_rows
    from collector.history.asl3_raw import INSTANCE
    from collector.history.asl3_usage import SourceTables

    if bool(dsn) + (dump is not None) + (web_ini is not None) > 1:
        raise typer.BadParameter(
            "give --dsn or --dump or --web-ini, one of them",
            param_hint="--dsn / --dump / --web-ini",
        )
    if dump is not None and dump != _STDIN and (not dump.exists() or dump.is_dir()):
        raise typer.BadParameter(f"there is no file {str(dump)!r}", param_hint="--dump")
    doubts: list[str] = []
    with worded_errors():
        # As root, who alone may read the file; the settings lead to another user.
        source = None if dump is not None else _source(dsn, web_ini, password_file)
    zone = time_zone or (UTC if dump is not None or dsn else _zone_of_machine())
    configured = load_settings()
    if configured.instance == INSTANCE:
        fail(
            f"COLLECTOR_INSTANCE={INSTANCE} is reserved for imported reports: give the collector"
            " another number, or the two may overwrite each other"
        )
    with worded_errors():
        if source is not None:
            data = SourceTables.of(live_rows(source), zone)
        else:
            with _opened(dump or _STDIN) as opened:
                data = SourceTables.of(opened.rows(TABLES), zone)
                doubts = opened.doubts
        for doubt in doubts:
            warn(f"The dump may be incomplete: {doubt}.")
        if doubts and apply and not yes:
            fail(
                "Nothing was written. Check the numbers of rows and days without --apply; if they"
                " are right, use --apply --yes."
            )
        asyncio.run(_import(configured, data, apply=apply))


def _zone_of_machine() -> tzinfo:
    """The time zone of this machine's clock; UTC if it has none."""
    try:
        with _LOCALTIME.open("rb") as file:
            return ZoneInfo.from_file(file)
    except (OSError, ValueError):
        return UTC


def _of_web_ini(path: Path | None) -> Dsn:
    """The database that a web.ini of ASL3-Usage names; the installed one if none is given."""
    from collector.history.asl3_live import DatabaseError, Dsn

    try:
        text = (path or _WEB_INI).read_text(encoding="utf-8")
    except FileNotFoundError:
        if path is None:
            raise typer.BadParameter(
                f"give --dsn or --dump: there is no {_WEB_INI} of ASL3-Usage on this machine",
                param_hint="--dsn / --dump / --web-ini",
            ) from None
        raise typer.BadParameter(
            f"file {str(path)!r} does not exist", param_hint="--web-ini"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        fail(f"{path or _WEB_INI} cannot be read: {error}")
    try:
        found = Dsn.of_web_ini(text)
    except DatabaseError as error:
        fail(f"{path or _WEB_INI}: {error}")
    hide(found.password)
    warn(f"the database is that of {path or _WEB_INI}: {found.database} at {found.host}")
    return found


def _source(dsn: str, web_ini: Path | None, password_file: Path | None) -> Dsn:
    from collector.history.asl3_live import Dsn

    if not dsn:
        return _of_web_ini(web_ini)
    password = (
        password_file.read_text(encoding="utf-8").rstrip("\r\n")
        if password_file is not None
        else os.environ.get(_PASSWORD, "")
    )
    hide(password)
    found = Dsn.parse(dsn)
    if found.password:
        warn(
            "The DSN holds the password, which every user of this machine can see in the list of"
            f" processes: pass it in ${_PASSWORD} or a --password-file."
        )
        return found
    return replace(found, password=password)


@contextmanager
def _opened(path: Path) -> Iterator[DumpFile]:
    """Open the dump at a path, or on standard input (`-`)."""
    from rich.progress import wrap_file

    from collector.history.asl3_dump_file import DumpFile

    if path == _STDIN:
        with DumpFile(sys.stdin.buffer) as dump:
            yield dump
        return
    with path.open("rb") as file, ExitStack() as stack:
        # The length of a pipe is unknown.
        watched = (
            wrap_file(
                file,
                path.stat().st_size,
                description="reading",
                console=err,
                disable=not err.is_terminal,
            )
            if path.is_file()
            else nullcontext(file)
        )
        yield stack.enter_context(DumpFile(stack.enter_context(watched)))


async def _import(configured: Settings, data: SourceTables, *, apply: bool) -> None:
    from collector import parts
    from collector.cli.import_summary import print_summary
    from collector.influx.databases import ensure
    from collector.state import prepare

    async with parts.influx_of(configured) as influx:
        retention = parts.retention(configured)
        if apply:
            prepare(configured.state_dir)
            await ensure(influx, retention)
        importer = _importer(configured, influx, retention, apply=apply)
        plan = await importer.plan(data)
        print_summary(data, plan, configured)
        if not apply:
            say("\nNothing was written: this was a dry run. --apply writes.")
            return
        with progress_bar() as progress:
            task = progress.add_task("importing", total=plan.steps)
            await importer.apply(plan, lambda done: progress.advance(task, done))
    say(f"\nWritten: {len(plan.days)} days and {len(plan.reports)} reports.")


def _importer(
    configured: Settings, influx: Influx, retention: dict[str, int], *, apply: bool
) -> Import:
    from collector.history.asl3_usage import Import
    from collector.memory import path_in
    from collector.metrics import Metrics
    from collector.nodelist import NodeList
    from collector.outbox import FILE
    from collector.privacy import Pseudonymiser
    from collector.schema.budgets import ASL_BUDGETS
    from collector.state import KEY_BYTES, pseudonym_key
    from collector.tag_budget import TagBudget
    from collector.upgrade import migrated

    # A dry run creates neither key nor memory. Without a key file, no stored pseudonym can match.
    known = apply or configured.key_file.exists()
    key = secrets.token_bytes(KEY_BYTES)
    if known:
        key = pseudonym_key(configured.key_file, configured.state_dir)
    seen: Sequence[TagValue] = ()
    out: set[OwnerMark] = set()
    if path_in(configured.state_dir).exists() or (configured.state_dir / FILE).exists():
        memory = migrated(configured.state_dir)
        seen = memory.tags.values()
        out = {choice.owner for choice in memory.choices.all() if choice.out}
    pseudonyms = Pseudonymiser(key)
    return Import(
        influx,
        pseudonyms=pseudonyms,
        opted_out=lambda server: pseudonyms.mark(server) in out,
        budget=TagBudget(
            ASL_BUDGETS, memory_days=configured.retention_raw // _SECONDS_PER_DAY, seen=seen
        ),
        listed=NodeList(configured.nodelist_url, directory=configured.state_dir, metrics=Metrics()),
        k=configured.k_anonymity,
        retention=retention,
        now=datetime.now(UTC),
    )
