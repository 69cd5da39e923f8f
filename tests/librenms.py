"""LibreNMS's clients: a hand-made report with all 48 groups, written as each client writes it."""

from __future__ import annotations

import copy
import json
import urllib.parse
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path
from typing import Any

import aiohttp

from collector.app import running
from collector.days import day_ns
from collector.intakes.librenms.points import Prepared, ReportConverter, prepare
from collector.lines import ReportStamper
from collector.metrics import Metrics
from collector.privacy import Pseudonymiser
from collector.schema import LIBRENMS
from collector.setting_types import Address
from collector.settings import Settings
from collector.tag_budget import TagBudget
from tests.conftest import Databases
from tests.sender import KEY, lay_key

REPORT: dict[str, Any] = json.loads(
    (Path(__file__).parent / "cases" / "librenms" / "report.json").read_text(encoding="utf-8")
)
UUID: str = REPORT["uuid"]
FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def report(uuid: str = UUID, **groups: Any) -> dict[str, Any]:
    """The report of an install, with some groups replaced."""
    said = copy.deepcopy(REPORT)
    said["uuid"] = uuid
    said["data"] |= groups
    return said


def php_json(said: Mapping[str, Any]) -> str:
    """JSON as PHP's json_encode writes it: ASCII, and slashes escaped."""
    return json.dumps(said, separators=(",", ":")).replace("/", "\\/")


def uuid_of(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


class Installs:
    """Writes reports of installs to the database, as the intake would have at the time."""

    def __init__(self, databases: Databases) -> None:
        self.databases = databases
        self._converter = ReportConverter(
            pseudonyms=Pseudonymiser(KEY),
            stamper=ReportStamper(instance=0),
            budget=TagBudget({"librenms_group": 60}, memory_days=90),
            metrics=Metrics(),
        )
        self.sent: dict[date, dict[int, dict[str, Any]]] = {}
        self.reports: dict[date, int] = {}

    def send(self, day: date, number: int, said: dict[str, Any], second: int = 60) -> None:
        found = prepare(today(said))
        assert isinstance(found, Prepared)
        entry = self._converter.entry(found, day_ns(day) + second * 10**9, [])
        self.databases.server.write(f"{self.databases.prefix}{LIBRENMS}", entry.lines.decode())
        self.sent.setdefault(day, {})[number] = said
        self.reports[day] = self.reports.get(day, 0) + 1

    def fill(self, day: date, numbers: Iterable[int]) -> None:
        for number in numbers:
            self.send(day, number, report(uuid_of(number)), 60 + number)


def today(said: Mapping[str, Any]) -> bytes:
    """The body of today's client."""
    return urllib.parse.urlencode({"data": php_json(said)}).encode()


def earlier(said: Mapping[str, Any]) -> bytes:
    """The body of earlier clients, which did not encode the field."""
    return f"data={php_json(said)}&".encode()


def query(said: Mapping[str, Any]) -> str:
    """The path and query of a GET."""
    return "/log.php?" + today(said).decode()


def clearing(uuid: str = UUID) -> bytes:
    """The body of a request to `clear.php`."""
    return urllib.parse.urlencode({"uuid": uuid}).encode()


def expected(said: Mapping[str, Any]) -> dict[str, list[tuple[str | None, str | None, int]]]:
    """Totals by group: name and value of the second column, None without one, and their sum."""
    found: dict[str, list[tuple[str | None, str | None, int]]] = {}
    for group, rows in said["data"].items():
        sums: dict[tuple[str | None, str | None], int] = {}
        for row in rows:
            (_, total), *others = row.items()
            name, value = others[0] if others else (None, None)
            text = None if name is None else str("" if value is None else value) or "unknown"
            sums[name, text] = sums.get((name, text), 0) + total
        found[group] = [(name, value, total) for (name, value), total in sums.items()]
    return found


def stored_totals(texts: Iterable[object]) -> dict[str, list[tuple[str | None, str | None, int]]]:
    """The same of the field `totals` of the points of a report."""
    found: dict[str, list[tuple[str | None, str | None, int]]] = {}
    for text in texts:
        for row in json.loads(str(text)):
            rows = found.setdefault(row["g"], [])
            if "t" in row:
                rows.append((row.get("n"), row.get("v"), row["t"]))
    return found


def settings_of(databases: Databases, state_dir: Path, **settings: Any) -> Settings:
    """Settings of a collector of this sender, with the tests' pseudonym key."""
    lay_key(state_dir)
    return Settings(
        listen=Address("127.0.0.1", 0),
        metrics_listen=Address("127.0.0.1", 0),
        state_dir=state_dir,
        influx_url=databases.server.url,
        influx_token=databases.server.token,
        influx_org=databases.server.org,
        influx_prefix=databases.prefix,
        librenms=True,
        **settings,
    )


@asynccontextmanager
async def serving(settings: Settings) -> AsyncIterator[aiohttp.ClientSession]:
    """A collector in this process; a session with its public address."""
    async with (
        running(settings) as at,
        aiohttp.ClientSession(f"http://{at.public}") as session,
    ):
        yield session
