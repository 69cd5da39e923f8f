"""`collector verify`: each day counted again, told in a table and an exit code, and mended."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.command import Done, command
from tests.conftest import Databases
from tests.fleets import random_fleet
from tests.network import Network, day_of, differences
from tests.oracle import DAY, HOUR, Oracle, Series, said

DAYS = 4


@dataclass(frozen=True)
class Verified:
    """The last four days that are over: a fleet's, laid down and rolled up."""

    network: Network
    environment: dict[str, str]
    first: int
    exact: Series

    def verify(self, *arguments: str) -> tuple[Done, dict[str, list[str]]]:
        """Run the command; give also its table: the other columns by day."""
        first, last = day_of(self.first), day_of(self.first + DAYS - 1)
        span = () if "--from" in arguments else ("--from", f"{first}", "--to", f"{last}")
        done = command(self.environment, "verify", *span, *arguments)
        cells = [
            [cell.strip() for cell in re.split(r"[│|┃]", line)[1:-1]]
            for line in done.out.splitlines()
        ]
        return done, {row[0]: row[1:] for row in cells if row and re.match(r"\d{4}-", row[0])}

    def day(self, number: int) -> str:
        return day_of(self.first + number).isoformat()

    def reports(self, number: int) -> str:
        fields = self.exact["daily_usage"][(self.first + number) * DAY, ()]
        return str(fields["reports"])

    def query(self, database: str, statement: str) -> None:
        self.network.databases.server.query(statement, database)

    def on(self, number: int) -> str:
        """A day as a condition."""
        start = (self.first + number) * DAY
        return f"time >= {start} AND time < {start + DAY}"


@pytest.fixture
async def rolled(databases: Databases, state_dir: Path) -> Verified:
    # Until one o'clock yesterday is open still.
    first = (time.time_ns() - HOUR) // DAY - DAYS
    received = random_fleet(8, days=DAYS, servers=12, first=first)
    network = Network(databases)
    network.create()
    network.lay_received(received)
    at = (first + DAYS + 1) * DAY
    async with network.rollup(state_dir) as rollup:
        await rollup.roll(range(first, first + DAYS), at)
    environment = {
        **databases.environment,
        "COLLECTOR_STATE_DIR": str(state_dir),
        "COLLECTOR_K_ANONYMITY": "1",
    }
    exact = Oracle(said(received), at).series(range(first, first + DAYS))
    return Verified(network, environment, first, exact)


def test_days_that_are_right_are_told_as_good(rolled: Verified) -> None:
    done, table = rolled.verify()
    assert table == {
        rolled.day(n): [rolled.reports(n), rolled.reports(n), "good", ""] for n in range(DAYS)
    }
    assert done.code == 0


def test_a_changed_number_is_told_by_its_measurement_and_mended_on_request(
    rolled: Verified,
) -> None:
    time_ns = (rolled.first + 1) * DAY
    rolled.network.publish([f"daily_usage nodes_7d=1i {time_ns}"])
    rolled.query(rolled.network.databases.daily, f"DELETE FROM hourly_usage WHERE time = {time_ns}")

    done, table = rolled.verify()
    reports = rolled.reports(1)
    assert table[rolled.day(1)] == [reports, reports, "differs", "hourly_usage 1, daily_usage 1"]
    assert done.code == 1
    assert rolled.network.found("daily_usage")[time_ns, ()]["nodes_7d"] == 1

    done, table = rolled.verify("--repair")
    assert table[rolled.day(1)] == [reports, reports, "good", ""]
    assert done.code == 0
    assert not differences(rolled.network.series(), rolled.exact)


def test_a_day_that_is_not_stored_is_told_as_missing_and_mended_on_request(
    rolled: Verified,
) -> None:
    for measurement in rolled.network.series():
        rolled.query(
            rolled.network.databases.daily, f"DELETE FROM {measurement} WHERE {rolled.on(2)}"
        )
    done, table = rolled.verify()
    assert table[rolled.day(2)][:3] == ["-", rolled.reports(2), "missing"]
    assert done.code == 1

    assert rolled.verify("--repair")[0].code == 0
    assert not differences(rolled.network.series(), rolled.exact)


def test_a_day_that_would_lose_over_a_fifth_is_mended_by_force_alone(rolled: Verified) -> None:
    for measurement in ("server_report", "node_report"):
        rolled.query(
            rolled.network.databases.raw, f"DELETE FROM {measurement} WHERE {rolled.on(1)}"
        )
    done, table = rolled.verify("--repair")
    assert table[rolled.day(1)][:3] == [rolled.reports(1), "0", "differs"]
    assert f"{rolled.day(1)} would lose over 20 %" in done.out
    assert done.code == 1

    done, table = rolled.verify("--repair", "--force")
    assert table[rolled.day(1)][:3] == ["0", "0", "good"]
    assert done.code == 0


def test_expired_and_imported_days_are_told_and_are_not_wrong(rolled: Verified) -> None:
    rolled.network.publish([f"daily_usage imported=1i {(rolled.first + 3) * DAY}"])
    rolled.query(rolled.network.databases.raw, f"DELETE FROM node_report WHERE {rolled.on(0)}")
    environment = {**rolled.environment, "COLLECTOR_RETENTION_RAW": "4d"}
    done, table = Verified(rolled.network, environment, rolled.first, rolled.exact).verify()
    assert table[rolled.day(0)][2] == "expired"
    assert table[rolled.day(3)][2] == "imported"
    assert done.code == 0


def test_the_open_day_is_counted_only_when_it_is_asked_for(rolled: Verified) -> None:
    today = time.time_ns() // DAY
    body = random_fleet(8, days=1, servers=1, first=today)[0][1]
    rolled.network.lay_received([(today * DAY, body)])

    done, table = rolled.verify("--from", rolled.day(0))
    assert len(table) == DAYS
    assert done.code == 0

    done, table = rolled.verify("--from", "today", "--to", "today")
    assert table[day_of(today).isoformat()][:3] == ["-", "1", "missing"]
    assert done.code == 1


@pytest.mark.parametrize(
    ("span", "words"),
    [
        (("--from", "today", "--to", "yesterday"), "before the first"),
        (("--from", "today", "--to", "2100-01-01"), "in the future"),
        (("--from", "2026-02-30"), "must be YYYY-MM-DD, today or yesterday"),
    ],
)
def test_a_wrong_span_is_refused_in_words(span: tuple[str, ...], words: str) -> None:
    done = command({}, "verify", *span)
    assert words in re.sub(r"[\s│]+", " ", done.err)
    assert done.code == 2


@pytest.mark.usefixtures("brief_retries")
def test_without_influxdb_the_answer_is_a_sentence(state_dir: Path) -> None:
    environment = {
        "COLLECTOR_INFLUX_URL": "http://127.0.0.1:9",
        "COLLECTOR_STATE_DIR": str(state_dir),
    }
    done = command(environment, "verify", "--from", "yesterday")
    assert "InfluxDB cannot be reached" in done.err
    assert "Traceback" not in done.err
    assert done.code == 1
