"""A machine's clock that is wrong and then set: reports end on the day on which they came."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from aiohttp import web

from collector.outbox import FILE
from collector.outbox.peek import peek
from tests.conftest import Databases, MachineClock, Serve, StartServe
from tests.faulty import FaultyProxy
from tests.sender import (
    GUARD_S,
    encoded,
    eventually,
    get,
    key_of,
    metric,
    node_name,
    post,
    report,
)
from tools.embedded import EmbeddedInflux

DAY = 86_400


class Sent:
    """Reports sent to a collector, and when: none may be stored at any other time."""

    def __init__(self) -> None:
        self.times: dict[int, tuple[float, float]] = {}

    def send(self, collector: Serve, *numbers: int) -> None:
        for number in numbers:
            begun = time.time()
            assert post(collector.url, encoded(report([number, number + 1]))).status == 200
            self.times[number] = self.times[number + 1] = (begun, time.time())

    def stored(self, databases: Databases, collector: Serve) -> dict[int, float]:
        """The time of each number's point, in s since 1970."""
        key = key_of(collector.state_dir)
        rows = databases.server.query('SELECT "node" FROM "node_report"', databases.raw)
        found = {str(row["node"]): row["time"] / 1e9 for row in rows}
        assert len(found) == len(rows), "a report is there twice"
        names = {number: node_name(number, key) for number in self.times}
        return {number: found[name] for number, name in names.items() if name in found}

    def all_right(self, databases: Databases, collector: Serve, *, slack: float = 1.5) -> None:
        eventually(lambda: len(self.stored(databases, collector)) == len(self.times))
        for number, at in self.stored(databases, collector).items():
            begun, ended = self.times[number]
            assert begun - slack <= at <= ended + slack, (number, at - begun)
        servers = databases.server.query('SELECT "nodes" FROM "server_report"', databases.raw)
        assert len(servers) == len(self.times) / 2


def now_1970() -> int:
    """How far a clock that begins in 1970 is ahead of ours."""
    return -int(time.time()) + 3600


def test_reports_under_a_clock_of_1970_end_on_the_day_on_which_they_came(
    databases: Databases, serve: StartServe, machine_clock: MachineClock
) -> None:
    sent = Sent()
    machine_clock.set(now_1970())
    collector = serve(databases.environment | machine_clock.environment)
    sent.send(collector, 2000, 2010)
    eventually(lambda: metric(collector.metrics_url, "collector_clock_wrong") == 1)
    assert get(collector.metrics_url, "/healthz").status == 200
    # Killed, set to another wrong time, killed again: what came stays where it was, in time.
    collector.kill()
    collector = serve(collector.environment)
    sent.send(collector, 2020)
    machine_clock.set(now_1970() + 40 * DAY)
    sent.send(collector, 2030)
    collector.kill()
    collector = serve(collector.environment)
    sent.send(collector, 2040)
    assert sent.stored(databases, collector) == {}
    machine_clock.set(0)
    sent.send(collector, 2050)
    sent.all_right(databases, collector)
    assert metric(collector.metrics_url, "collector_clock_wrong") == 0
    assert "reason=clock" in collector.logs()


def test_clock_set_while_the_collector_is_down_dates_what_waits(
    databases: Databases, serve: StartServe, machine_clock: MachineClock
) -> None:
    sent = Sent()
    machine_clock.set(now_1970())
    collector = serve(databases.environment | machine_clock.environment)
    sent.send(collector, 2000, 2010)
    collector.kill()
    machine_clock.set(0)
    collector = serve(collector.environment)
    sent.send(collector, 2020)
    sent.all_right(databases, collector)
    assert metric(collector.metrics_url, "collector_redated_reports_total") == 2


def test_what_an_earlier_boot_took_under_a_wrong_clock_is_dated_to_the_start_and_told(
    databases: Databases, serve: StartServe, machine_clock: MachineClock
) -> None:
    sent = Sent()
    machine_clock.set(now_1970())
    first = databases.environment | machine_clock.environment | {"BOOT_ID": "first"}
    collector = serve(first)
    sent.send(collector, 2000, 2010)
    collector.kill()
    machine_clock.set(0)
    collector = serve(collector.environment | {"BOOT_ID": "second"})
    # Dated to the start, which takes a while on a busy machine.
    sent.all_right(databases, collector, slack=GUARD_S)
    assert metric(collector.metrics_url, "collector_redated_reports_total") == 2
    assert "reports=2" in next(
        row for row in collector.logs().splitlines() if "earlier boot" in row
    )


@contextmanager
def away(influx: EmbeddedInflux) -> Iterator[None]:
    influx.terminate()
    yield
    influx.start()


@pytest.mark.parametrize("ahead", [-2 * DAY, 2 * DAY], ids=["behind", "ahead"])
def test_reports_that_wait_while_the_clock_is_set_are_moved_with_it(
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    machine_clock: MachineClock,
    ahead: int,
) -> None:
    sent = Sent()
    collector = serve(own_databases.environment | machine_clock.environment)
    with away(own_influx):
        sent.send(collector, 2000)
        machine_clock.set(ahead)
        sent.send(collector, 2010, 2020)
        collector.kill()
        collector = serve(collector.environment)
        sent.send(collector, 2030)
        machine_clock.set(0)
        sent.send(collector, 2040)
    sent.all_right(own_databases, collector)


def test_reports_that_influxdb_refused_as_too_old_come_back_when_the_clock_is_set(
    databases: Databases, serve: StartServe, machine_clock: MachineClock
) -> None:
    sent = Sent()
    machine_clock.set(-120 * DAY)
    collector = serve(databases.environment | machine_clock.environment)
    sent.send(collector, 2000, 2010)
    # Two lines of nodes and one of the server, of each.
    eventually(lambda: metric(collector.metrics_url, "collector_dead_letters") == 6)
    machine_clock.set(0)
    sent.send(collector, 2020)
    sent.all_right(databases, collector)
    eventually(lambda: metric(collector.metrics_url, "collector_dead_letters") == 0)


def test_clock_that_was_days_ahead_misdates_nothing_that_comes_after(
    databases: Databases, serve: StartServe, machine_clock: MachineClock
) -> None:
    early, later = Sent(), Sent()
    machine_clock.set(3 * DAY)
    collector = serve(databases.environment | machine_clock.environment)
    early.send(collector, 2000)
    eventually(lambda: len(early.stored(databases, collector)) == 2)
    machine_clock.set(0)
    later.send(collector, 3000, 3010)
    # It was delivered before: that is told.
    eventually(lambda: "they are on another day" in collector.logs())
    collector.kill()
    collector = serve(collector.environment)
    later.send(collector, 3020)
    eventually(lambda: len(later.stored(databases, collector)) == 6)
    for number, at in later.stored(databases, collector).items():
        begun, ended = later.times[number]
        assert begun - 0.1 <= at <= ended + 1.1


async def deaf(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse:
    """Stored by InfluxDB, but the answer is lost."""
    await proxy.forward(request, body)
    assert request.transport is not None
    request.transport.abort()
    return web.Response()


async def test_report_that_may_be_stored_already_is_not_stored_again_at_another_time(
    databases: Databases, serve: StartServe, machine_clock: MachineClock
) -> None:
    def stored() -> int:
        return databases.server.count(databases.raw, "server_report", "nodes")

    def told(proxy: FaultyProxy) -> None:
        environment = databases.environment | {"COLLECTOR_INFLUX_URL": proxy.url}
        collector = serve(environment | machine_clock.environment)
        assert post(collector.url, encoded(report([2001]))).status == 200
        eventually(lambda: not peek(collector.state_dir / FILE).reports)
        proxy.fault = deaf
        assert post(collector.url, encoded(report([2002]))).status == 200
        eventually(lambda: stored() == 2)
        collector.kill()
        machine_clock.set(-3600)
        proxy.fault = None
        collector = serve(collector.environment)
        assert post(collector.url, encoded(report([2003]))).status == 200
        eventually(lambda: not peek(collector.state_dir / FILE).reports)

    async with FaultyProxy(databases.server.url).open() as proxy:
        await asyncio.to_thread(told, proxy)
    assert stored() == 3
