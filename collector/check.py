"""What `collector check` looks at: the state directory, the outbox and InfluxDB."""

from __future__ import annotations

from dataclasses import dataclass

from collector.influx import Influx, InfluxError, InfluxUnavailable
from collector.outbox import FILE, OutboxFile, OutboxUnavailable, set_aside
from collector.parts import influx_of
from collector.schema import DAILY, OWNERS, RAW
from collector.settings import Settings
from collector.share import directories
from collector.state import StateError, prepare, pseudonym_key


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at, and in words what is so or what to do."""

    good: bool
    text: str


async def examine(settings: Settings) -> list[Finding]:
    """Look at everything that the settings point to. Makes the state directory if missing."""
    return [*_state(settings), *await _influx(settings)]


def _state(settings: Settings) -> list[Finding]:
    try:
        prepare(settings.state_dir)
        pseudonym_key(settings.key_file)
        stats = []
        for directory in directories(settings.state_dir):
            with OutboxFile(directory / FILE) as file:
                stats.append(file.stats())
    except (StateError, OutboxUnavailable) as error:
        return [Finding(False, f"state directory: {error}")]
    findings = [
        Finding(
            True,
            f"state directory {settings.state_dir}: writable; outbox holds"
            f" {sum(found.reports for found in stats)} undelivered reports",
        )
    ]
    mode = settings.key_file.stat().st_mode & 0o077
    if mode:
        findings.append(Finding(False, f"{settings.key_file} can be read by others: chmod 600 it"))
    if dead := sum(found.dead_letters for found in stats):
        findings.append(Finding(False, f"{dead} dead letters: look with `collector outbox dead`"))
    if asides := [aside for own in directories(settings.state_dir) for aside in set_aside(own)]:
        findings.append(
            Finding(
                False,
                f"{len(asides)} damaged outboxes are set aside: get the reports out with"
                " `collector outbox recover --all`",
            )
        )
    return findings


async def _influx(settings: Settings) -> list[Finding]:
    findings = []
    async with influx_of(settings) as influx:
        try:
            version = await influx.ping()
            findings.append(Finding(True, f"InfluxDB {version} answers at {influx.url}"))
            findings += [await _database(influx, database) for database in (RAW, DAILY, OWNERS)]
        except InfluxUnavailable as error:
            findings.append(
                Finding(
                    False,
                    f"InfluxDB at {influx.url}: {error}; start it or set COLLECTOR_INFLUX_URL"
                    " (reports are taken in meanwhile and wait in the outbox)",
                )
            )
    return findings


async def _database(influx: Influx, database: str) -> Finding:
    name = influx.name(database)
    try:
        await influx.query(database, "SHOW MEASUREMENTS LIMIT 1")
    except InfluxUnavailable:
        raise
    except InfluxError as error:
        if "not found" in str(error):
            return Finding(
                True, f"database {name} is not there yet; `collector serve` makes it at its start"
            )
        return Finding(
            False,
            f"database {name}: {error}; see to COLLECTOR_INFLUX_TOKEN and COLLECTOR_INFLUX_ORG",
        )
    return Finding(True, f"database {name} can be read")
