"""A small network with stored days, in which the owner of one server makes requests."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from collector.influx import Influx
from collector.lines import Point
from collector.outbox import Outboxes
from collector.owners.holdings import Holdings
from collector.privacy import ServerPseudonym
from collector.schema import ASL_REPORT
from tests.command import Done, command
from tests.conftest import Databases, Row, Serve, StartServe
from tests.dates import open_day, start_ns
from tests.network import Network, lines_of
from tests.remains import contents
from tests.sender import Reply, encoded, eventually, lay_key, metric, post, report, server_name

S = 10**9
DAY = 86_400 * S
DAYS_BACK = 5
NEIGHBOURS = 6
LAST_ROLLED = "collector_rollup_last_success_timestamp_seconds"
"""Metric of the time of the last look at the days that ended well; 0 before the first."""


def body_of(number: int, **fields: Any) -> bytes:
    """The body of server `number`, which has two nodes; server 0 is the owner's."""
    nodes = [100_000 + 10 * number, 100_001 + 10 * number]
    server = str(uuid.uuid5(uuid.NAMESPACE_URL, f"server {number}"))
    kernel = "6.6.31-own" if number == 0 else "6.1.0-31-amd64"
    return encoded(report(nodes, server, **({"kernel": kernel} | fields)))


def uuid_of(number: int) -> str:
    return str(uuid.uuid5(uuid.NAMESPACE_URL, f"server {number}"))


OWN = body_of(0)
OWNER = server_name(uuid_of(0))
"""The pseudonym of the owner's server."""


async def raw_points(influx: Influx) -> list[Point]:
    """The raw points of the owner's server, as the services for owners find them."""
    holdings = Holdings(influx, Outboxes(list), [ASL_REPORT])
    return await holdings.raw(ServerPseudonym(OWNER), until_ns=2**62)


def holding(trace: str, *places: Path) -> list[Path]:
    """The files in which a text is."""
    return [file for file, content in contents(*places).items() if trace.encode() in content]


def ask(url: str, what: str = "", body: bytes = OWN, **options: Any) -> Reply:
    """Post to one of the four addresses of `my-data`, like asl-telemetry's curl."""
    return post(url, body, path=f"/v1/my-data{what}", **options)


@dataclass(frozen=True)
class World:
    """Databases with reports of several days, and a collector that serves them."""

    databases: Databases
    collector: Serve

    @property
    def url(self) -> str:
        return self.collector.url

    def raw(self, *, own: bool) -> list[Row]:
        """The raw points of the owner's server, or of all others."""
        sign = "=" if own else "!="
        return [
            row
            for measurement in ("server_report", "node_report")
            for row in self.databases.server.query(
                f"SELECT * FROM {measurement} WHERE \"server\" {sign} '{OWNER}'",
                self.databases.raw,
            )
        ]

    def published(self, *, final: bool) -> dict[str, list[Row]]:
        """The points of the daily series on final or other days, without the erased counts."""
        days = {
            row["time"]: row["final"] == 1
            for row in self.databases.server.query(
                "SELECT final FROM daily_usage", self.databases.daily
            )
        }
        found = {}
        for measurement in (
            "daily_usage", "daily_nodes", "daily_servers", "daily_packages", "hourly_usage",
        ):  # fmt: skip
            rows = self.databases.server.query(f"SELECT * FROM {measurement}", self.databases.daily)
            kept = [
                {
                    name: said
                    for name, said in row.items()
                    if said is not None and not name.startswith("erased_")
                }
                for row in rows
                if days.get(row["time"] // DAY * DAY, False) is final
            ]
            # The order of rows with the same time is not stable.
            found[measurement] = sorted(kept, key=lambda row: sorted(map(str, row.items())))
        return found

    def erased(self) -> dict[int, tuple[int, int]]:
        """The erased counts of the stored days, by start of day."""
        rows = self.databases.server.query(
            "SELECT erased_reports, erased_node_reports FROM daily_usage", self.databases.daily
        )
        return {row["time"]: (row["erased_reports"], row["erased_node_reports"]) for row in rows}

    def days(self) -> list[Row]:
        return self.databases.server.query("SELECT * FROM daily_usage", self.databases.daily)

    def command(self, *words: str, check: bool = True) -> Done:
        """Run `collector …` with the settings of this collector; it must succeed if `check`."""
        done = command(self.collector.environment, *words)
        assert not check or done.code == 0, done.out + done.err
        return done

    def wait_rolled(self) -> None:
        """Wait until its first look at the days has ended: all of them are stored."""
        eventually(lambda: metric(self.collector.metrics_url, LAST_ROLLED) > 0)
        assert len(self.days()) > DAYS_BACK

    def wait_delivered(self, count: int) -> None:
        """Wait until this many raw reports are stored."""
        eventually(
            lambda: (
                self.databases.server.count(self.databases.raw, "server_report", "server") == count
            )
        )


def midnight() -> int:
    """00:00 UTC of the day that is open and has reports, in ns since 1970; those before are final.

    Until 01:00 UTC it is yesterday's, then today's.
    """
    return start_ns(open_day())


def lay_past(databases: Databases) -> None:
    """Store a report of each server on the last DAYS_BACK final days and on the open day.

    A server reports at the same time each day; on the open day early where that is still to come.
    """
    Network(databases).create()
    opens, now = midnight(), time.time_ns()
    received = []
    for back in range(DAYS_BACK, -1, -1):
        for number in range(NEIGHBOURS + 1):
            at = opens - back * DAY + 3600 * S * 5 + number * 60 * S
            received.append((at if at < now else opens + number * S, body_of(number)))
    Network(databases).lay(lines_of(received))


def start_world(
    serve: StartServe,
    databases: Databases,
    state: Path,
    settings: Mapping[str, str] | None = None,
) -> World:
    """Store the past days, start a collector with the tests' key and wait for its rollup."""
    lay_past(databases)
    lay_key(state)
    environment = {
        **databases.environment,
        "COLLECTOR_K_ANONYMITY": "1",
        "COLLECTOR_STATE_DIR": str(state),
        **(settings or {}),
    }
    world = World(databases, serve(environment))
    world.wait_rolled()
    return world
