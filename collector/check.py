"""Checks of `collector check`: the state directory, the outbox, the clock and InfluxDB."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from itertools import chain
from pathlib import Path

from collector.clock_bounds import TOLERANCE_NS, is_wrong
from collector.influx import Influx, InfluxError, InfluxUnavailable, NoDatabase
from collector.influx.databases import retentions, retentions_at
from collector.influx.diagnosis import NotSupported, diagnose
from collector.influx.v2 import awaits_setup, speaks_v2
from collector.jetstream.extra import check_installed
from collector.outbox import FILE, OutboxUnavailable, set_aside
from collector.outbox.peek import peek
from collector.parts import influx_of
from collector.schema import DAILY, DATABASES, LIBRENMS, LIVE, OWNERS, RAW
from collector.schema.telemetrics import TELEMETRICS
from collector.settings import Settings, SettingsError
from collector.sqlite.errors import StoreUnavailable
from collector.state import StateError, check_usable, read_key
from collector.worker import directories


class Area(StrEnum):
    """Part of the collector that a check is about."""

    STATE = "state"
    INFLUX = "influxdb"
    NATS = "nats"
    RECORDS = "records"
    STATSD = "statsd"
    ASTERISK = "asterisk"


@dataclass(frozen=True, slots=True)
class Finding:
    """Result of one check; `text` gives the state, or the problem and its remedy."""

    good: bool
    text: str
    area: Area


Told = tuple[bool, str]
"""The first two fields of a finding."""


async def examine(settings: Settings) -> list[Finding]:
    """Run all checks; they change nothing."""
    found: dict[Area, Iterable[Told]] = {
        Area.STATE: list(_state(settings)),
        Area.INFLUX: await _influx(settings),
        Area.NATS: await _nats(settings),
        Area.RECORDS: await asyncio.to_thread(lambda: list(_records(settings))),
        Area.STATSD: _statsd(settings),
        Area.ASTERISK: await _asterisks(settings),
    }
    return [Finding(good, text, area) for area, told in found.items() for good, text in told]


def _statsd(settings: Settings) -> Iterable[Told]:
    """Check StatsD's settings and sockets, if it is enabled."""
    if not settings.statsd_listen:
        return ()
    # The intakes take longer to import than all other checks take.
    from collector.intakes.statsd.check import examine  # noqa: PLC0415

    return examine(settings)


async def _nats(settings: Settings) -> Iterable[Told]:
    """Check the servers of NATS and the stream, if reports go through it."""
    try:
        check_installed(settings)
    except SettingsError as error:
        return [(False, str(error))]
    if not settings.nats_url:
        return ()
    # The library is an extra that need not be installed.
    from collector.jetstream.check import examine  # noqa: PLC0415

    return await examine(settings)


def _records(settings: Settings) -> Iterator[Told]:
    """Check that the records store answers, if a sender of records is enabled."""
    if not settings.telemetrics:
        return
    # The library behind it is slow to load.
    from collector.record_keeping import Records  # noqa: PLC0415

    try:
        with closing(Records(settings)) as records:
            answers = records.ping()
    except StoreUnavailable as error:
        yield (
            False,
            f"records store: {error}; see COLLECTOR_RECORDS_URL (records wait in the outbox)",
        )
        return
    if answers:
        yield True, "the records store answers"
    else:
        yield True, "records store: not there yet; `collector serve` makes it"


def databases_of(settings: Settings) -> tuple[str, ...]:
    """The databases that every collector has, and those that a setting makes use of."""
    live = (LIVE,) if settings.statsd_listen or settings.asterisk_file else ()
    librenms = (LIBRENMS,) if settings.librenms else ()
    records = (TELEMETRICS,) if settings.telemetrics else ()
    return (RAW, DAILY, OWNERS, *live, *librenms, *records)


def _state(settings: Settings) -> Iterator[Told]:
    directory = settings.state_dir
    if not directory.exists():
        yield _missing(directory)
        return
    try:
        check_usable(directory)
        found = [peek(path) for own in directories(directory) if (path := own / FILE).exists()]
        usable = [
            (
                True,
                f"state directory {directory}: writable; outbox holds"
                f" {sum(one.reports for one in found)} undelivered reports",
            ),
            *_key(settings.key_file),
            *_foreign(directory),
            _clock(max((one.newest_ns for one in found), default=0)),
        ]
    except (StateError, OutboxUnavailable, OSError) as error:
        yield False, f"state directory: {error}"
        return
    yield from usable
    if dead := sum(one.dead_letters for one in found):
        yield False, f"{dead} dead letters: look with `collector outbox dead`"
    if asides := [aside for own in directories(directory) for aside in set_aside(own)]:
        yield (
            False,
            f"{len(asides)} damaged outboxes are set aside: recover their reports with"
            " `collector outbox recover --all`",
        )


def _missing(directory: Path) -> Told:
    """Check whether a missing state directory can be created."""
    above = next(path for path in directory.absolute().parents if path.exists())
    if above.is_dir() and os.access(above, os.W_OK | os.X_OK):
        return True, f"state directory {directory}: not there yet; `collector serve` makes it"
    return False, f"state directory {directory}: cannot be made in {above}"


def _key(path: Path) -> Iterator[Told]:
    """Check the pseudonym key. Raises StateError if it cannot be used."""
    if not path.exists():
        yield True, f"{path}: no pseudonym key yet; `collector serve` makes it"
        return
    read_key(path)
    if path.stat().st_mode & 0o077:
        yield False, f"{path} can be read by others: chmod 600 it"


def _foreign(directory: Path) -> Iterator[Told]:
    """Find files of other users than the directory's owner, as root made in earlier versions."""
    owner = directory.stat().st_uid
    foreign = sorted(
        str(path.relative_to(directory))
        for path in directory.rglob("*")
        if path.lstat().st_uid != owner
    )
    if foreign:
        yield (
            False,
            f"{len(foreign)} files in {directory} belong to another user than the directory, the"
            f" first is {foreign[0]}: the collector may not be able to use or erase them; give them"
            f" back with `chown -R --reference={directory} {directory}`",
        )


def _clock(newest_ns: int) -> Told:
    """Check the clock against `newest_ns`, the time of the newest report in the outbox."""
    now = time.time_ns()
    reading = f"the clock says {datetime.fromtimestamp(now // 10**9, UTC).isoformat()}"
    if is_wrong(now):
        return (
            False,
            f"{reading}, which cannot be right: set it (see `timedatectl`); reports received"
            " meanwhile wait in the outbox, and their times are corrected then",
        )
    lead = newest_ns - now
    if lead > TOLERANCE_NS:
        return (
            False,
            f"{reading}; the outbox holds reports of {lead // 10**9} s after that: the clock was"
            " ahead then, or is behind now (see `timedatectl`)",
        )
    return True, reading


async def _asterisks(settings: Settings) -> Iterable[Told]:
    """Log in to the manager interface of each Asterisk, and say what is missing there."""
    if not settings.asterisk_file:
        return ()
    # Without a file of Asterisks the check needs no intakes, which are slow to load.
    from collector.asterisks import asterisks  # noqa: PLC0415
    from collector.intakes.ami.examine import examine  # noqa: PLC0415

    try:
        found = asterisks(settings)
    except SettingsError as error:
        return [(False, line) for line in str(error).splitlines()]
    return chain(*await asyncio.gather(*(examine(one, one.ami) for one in found if one.ami)))


async def _influx(settings: Settings) -> Iterable[Told]:
    async with influx_of(settings) as influx:
        placed = influx.by_server(databases_of(settings))
        told = await asyncio.gather(*(_server(*each) for each in placed.items()))
        for server, held in influx.by_server(DATABASES).items():
            told.append(await _left_behind(server, sorted({*DATABASES} - {*held})))
    return chain(*told)


async def _left_behind(influx: Influx, elsewhere: list[str]) -> list[Told]:
    """Find databases that belong on the other server, as a move leaves them."""
    try:
        there = await retentions_at(influx, elsewhere) if elsewhere else {}
    except InfluxError:
        return []
    names = [influx.name(one) for one, seconds in there.items() if seconds is not None]
    words = (
        f"InfluxDB at {influx.url} holds {', '.join(names)} too, which the settings place on"
        " another one: owners' erasures do not reach it there. Delete it when the other has all"
        " of it (docs/operations.md)"
    )
    return [(False, words)] if names else []


async def _server(influx: Influx, databases: Sequence[str]) -> list[Told]:
    """Check one server and the databases that belong on it."""
    try:
        version = await influx.ping()
        told = [(True, f"InfluxDB {version} answers at {influx.url}")]
        if speaks_v2(version) and (missing := await _missing_setup(influx)):
            return [*told, (False, missing)]
        kept_s = await _retentions(influx, databases)
        for database in databases:
            there = kept_s[database] is not None if database in kept_s else None
            told.append(await _database(influx, database, there=there))
            with suppress(NoDatabase):
                held = await influx.policies.of(database)
                words = "" if held is None else held.default_warning(influx.name(database))
                told += [(False, words)] if words else []
    except NotSupported as error:
        return [(False, f"InfluxDB at {influx.url}: {error}")]
    except InfluxUnavailable as error:
        words = await diagnose(influx.url, error, influx.variables)
        remedy = "" if ": " in words else f"; start it or set {influx.variables}_URL"
        meanwhile = (
            "reports are taken in meanwhile and wait in the outbox"
            if RAW in databases
            else "reports are taken in and stored meanwhile; days are published when it answers"
        )
        return [(False, f"InfluxDB at {influx.url}: {words}{remedy} ({meanwhile})")]
    return told


async def _missing_setup(influx: Influx) -> str:
    """Say what an InfluxDB 2 lacks: its set-up, or a token for it; empty if it has both."""
    if await awaits_setup(influx):
        return (
            f"InfluxDB at {influx.url} has not been set up yet: run `influx setup` (or open its"
            " page, or start its container with DOCKER_INFLUXDB_INIT_MODE=setup), then"
            " `collector provision` with the token that it gives"
        )
    if influx.token:
        return ""
    return (
        f"InfluxDB 2 requires a token: set {influx.variables}_TOKEN or"
        f" {influx.variables}_TOKEN_FILE; `collector provision` makes one"
    )


async def _retentions(influx: Influx, databases: Sequence[str]) -> Mapping[str, int | None]:
    """Retention in s of the databases (None: missing); empty if the token may not read it."""
    try:
        return await retentions(influx, databases)
    except InfluxUnavailable:
        raise
    except InfluxError:
        return {}


async def _database(influx: Influx, database: str, *, there: bool | None) -> Told:
    """Check a database that is in InfluxDB's list of databases or not; None: no list was given."""
    name, variables = influx.name(database), influx.variables
    missing = (
        f"{name} is not there yet, or not shown to this token: `collector serve` makes it"
        " at its start if the token may, `collector provision` with an administrator's"
    )
    try:
        await influx.query(database, "SHOW MEASUREMENTS LIMIT 1")
    except NoDatabase:
        if not there:
            return True, missing
        return (
            False,
            f"bucket {name} is there, but this token may not read it: check {variables}_TOKEN",
        )
    except InfluxUnavailable:
        raise
    except InfluxError as error:
        if there is False:
            return False, f"{missing} ({error})"
        return False, f"database {name}: {error}; check {variables}_TOKEN and {variables}_ORG"
    # InfluxDB 1.6 has no measurements, rather than an error, in a database that is missing.
    return True, missing if there is False else f"database {name} can be read"
