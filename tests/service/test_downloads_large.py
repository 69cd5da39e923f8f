"""Downloads of many years from a real collector: in flat memory, and never half for whole."""

from __future__ import annotations

import http.client
import urllib.parse
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from tests.conftest import Databases, Serve, StartServe
from tests.owners import LAST_ROLLED
from tests.public_site import served
from tests.sender import GUARD_S, eventually, get, metric
from tools import embedded

FIRST = date(2016, 1, 1)
DAYS = 5 * 365 + 2
ROWS = 250
MIB = 1 << 20


def stamp(day: date) -> int:
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 10**9


def lay(databases: Databases, days: int) -> None:
    """Days long past, whose tables have as many rows as those of a large network."""
    batch: list[str] = []
    for number in range(days):
        at = stamp(FIRST + timedelta(days=number))
        batch.append(f"daily_usage nodes=9000i,servers=6000i,reports=6000i,final=1i {at}")
        batch += [
            "daily_nodes,dimension=asterisk_version,within=asl_version,"
            f"within_value=asl3-{row % 10},value=20.{row}.0 nodes={row + number % 7}i {at}"
            for row in range(ROWS)
        ]
        if len(batch) > 40_000 or number == days - 1:
            databases.server.write(databases.daily, "\n".join(batch))
            batch.clear()


def peak(collector: Serve) -> int:
    """The most memory that the process has held since `forget_peak`, in bytes."""
    status = Path(f"/proc/{collector.process.pid}/status").read_text()
    (line,) = [line for line in status.splitlines() if line.startswith("VmHWM:")]
    return int(line.split()[1]) * 1024


def forget_peak(collector: Serve) -> None:
    Path(f"/proc/{collector.process.pid}/clear_refs").write_text("5")


def looks(collector: Serve) -> int:
    """How much the rollup has written and ended so far."""
    ended = int(metric(collector.metrics_url, LAST_ROLLED))
    return ended + collector.logs().count("day rolled up")


def read_through(url: str, path: str) -> int:
    """Read an answer and keep none of it; its length."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=GUARD_S)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        assert answer.status == 200
        return sum(len(piece) for piece in iter(lambda: answer.read(1 << 16), b""))
    finally:
        connection.close()


@pytest.fixture
def collector(databases: Databases, serve: StartServe) -> Serve:
    started = serve(databases.environment)
    eventually(lambda: looks(started) > 0)
    lay(databases, DAYS)
    return started


def test_five_years_take_no_more_memory_than_one(collector: Serve) -> None:
    one = f"/v1/daily/nodes.json?from={FIRST}&to={FIRST + timedelta(days=364)}"
    read_through(collector.url, one)
    while True:
        looked = looks(collector)
        forget_peak(collector)
        yearly = read_through(collector.url, one)
        after_one = peak(collector)
        forget_peak(collector)
        whole = read_through(collector.url, "/v1/daily/nodes.json")
        after_all = peak(collector)
        # A look at a quarter of an hour makes the pages of all months: if one came, once more.
        if looks(collector) == looked:
            break
    assert whole > 4.9 * yearly
    assert whole > 60 * MIB
    assert after_all - after_one < 16 * MIB, f"{after_one / MIB:.0f} to {after_all / MIB:.0f} MiB"


def test_stream_that_breaks_is_not_taken_for_the_end(
    own_influx: embedded.EmbeddedInflux, own_databases: Databases
) -> None:
    own_databases.server.create(own_databases.daily)
    lay(own_databases, 1200)
    with served(own_databases) as url:
        get(url, "/v1/freshness")
        parts = urllib.parse.urlsplit(url)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=GUARD_S)
        connection.request("GET", "/v1/daily/nodes.json")
        answer = connection.getresponse()
        assert answer.status == 200
        assert answer.read(1000)
        own_influx.kill()
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            answer.read()
        connection.close()
