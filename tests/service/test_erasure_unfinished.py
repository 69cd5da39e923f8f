"""Erasures that InfluxDB does not let end: the series goes on, final days stay as published."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import date
from pathlib import Path

from aiohttp import web

from collector.memory import Action, Memory, State, days_of_erasures
from collector.privacy import ServerPseudonym
from tests.conftest import Databases, Row, Serve, StartServe
from tests.dates import last_final_day, open_day
from tests.faulty import FaultyProxy
from tests.network import Network, lines_of
from tests.owners import (
    DAY,
    DAYS_BACK,
    NEIGHBOURS,
    World,
    ask,
    body_of,
    midnight,
    start_world,
    uuid_of,
)
from tests.sender import eventually, metric, server_name

JSON = {"Accept": "application/json"}
HOUR = 3600 * 10**9
ELSEWHERE_BACK = DAYS_BACK + 2
"""A day, so many days back, on which no owner reported who asks here."""
# A rollup deletes rows of the series too: those pass.
DELETE, TELL = rb"DELETE\+FROM\+%22(node|server)_report%22", b"erased_reports"


@dataclass
class Gate:
    """Stops up to `most` requests that match `what`, after `passing` of them: hangs, then refuses.

    `done`: what is stopped is handed on, and only its answer is kept back.
    """

    what: bytes
    passing: int = 0
    done: bool = False
    hangs: bool = True
    status: int = 503
    most: int = 2**62
    stopped: int = 0
    passed: int = 0

    async def __call__(
        self, proxy: FaultyProxy, request: web.Request, body: bytes
    ) -> web.StreamResponse:
        if not re.search(self.what, body) or self.stopped >= self.most:
            return await proxy.forward(request, body)
        if self.passed < self.passing:
            self.passed += 1
            return await proxy.forward(request, body)
        if self.done:
            await proxy.forward(request, body)
        self.stopped += 1
        while self.hangs:  # noqa: ASYNC110 - a test sets it from outside
            await asyncio.sleep(0.02)
        return web.json_response({"error": "injected"}, status=self.status)


STEPS = {
    "planned, nothing deleted": Gate(DELETE),
    "some deleted": Gate(DELETE, passing=1),
    "all deleted, final days not told": Gate(TELL),
    "final days told": Gate(TELL, done=True),
}


def put(proxy: FaultyProxy, gate: Gate | None) -> None:
    proxy.fault = proxy.query_fault = gate


def of_touched_days(world: World) -> dict[str, list[Row]]:
    """All that is published of the final days that an erasure here touches."""
    since = midnight() - DAYS_BACK * DAY
    return {
        name: [row for row in rows if row["time"] >= since]
        for name, rows in world.published(final=True).items()
    }


def lay_elsewhere(databases: Databases, server: int) -> None:
    """A report of a server on the day that no erasure touches."""
    at = midnight() - ELSEWHERE_BACK * DAY + 9 * HOUR + server * 10**9
    Network(databases).lay(lines_of([(at, body_of(server))]))


def reports_on(world: World, day_ns: int) -> int:
    return {row["time"]: int(row["reports"]) for row in world.days()}.get(day_ns, 0)


def pseudonym(number: int) -> ServerPseudonym:
    return ServerPseudonym(server_name(uuid_of(number)))


def raw_of(world: World, number: int) -> int:
    server = pseudonym(number)
    return sum(row["server"] == server for own in (True, False) for row in world.raw(own=own))


def wait_done(collector: Serve) -> None:
    def done() -> bool:
        memory = Memory(collector.state_dir)
        return not memory.erasures.all(State.PLANNED, State.ACCEPTED)

    eventually(done)


async def beside(proxy: FaultyProxy, work: Callable[[], None]) -> None:
    async with proxy.open():
        try:
            await asyncio.to_thread(work)
        finally:
            put(proxy, None)


def killed(collector: Serve, gate: Gate, number: int) -> None:
    """Have a server's reports erased, and kill the collector once the gate stops that."""
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(ask, collector.url, "/erase", body_of(number))
        eventually(lambda: gate.stopped > 0)
        collector.kill()
        # On a slow machine it is told before that this takes longer.
        assert asked.exception() is not None or asked.result().status == 202
    gate.hangs = False


def wait_other_days(world: World, number: int) -> None:
    """Until a day that no erasure holds counts one server more, and all others are looked at."""
    elsewhere = midnight() - ELSEWHERE_BACK * DAY
    eventually(lambda: reports_on(world, elsewhere) == 2 + number)
    world.wait_rolled()
    assert metric(world.collector.metrics_url, "collector_rollup_days_failing") == 0
    eventually(lambda: metric(world.collector.metrics_url, "collector_erasures_waiting") == 1)


async def test_killed_at_each_step_the_series_goes_on_and_final_days_stay_as_published(
    serve: StartServe, databases: Databases, tmp_path: Path
) -> None:
    proxy = FaultyProxy(databases.server.url)

    def work() -> None:
        Network(databases).create()
        lay_elsewhere(databases, 200)
        through = {"COLLECTOR_INFLUX_URL": proxy.url}
        world = start_world(serve, databases, tmp_path / "state", through)
        eventually(lambda: reports_on(world, midnight()) == NEIGHBOURS + 1)
        published = of_touched_days(world)
        days = [row["time"] for row in published["daily_usage"]]
        assert len(days) == DAYS_BACK
        for number, (step, gate) in enumerate(STEPS.items()):
            put(proxy, gate)
            killed(world.collector, gate, number)
            lay_elsewhere(databases, 201 + number)
            world = World(databases, serve(world.collector.environment))
            wait_other_days(world, number)
            assert of_touched_days(world) == published, step
            put(proxy, None)
            wait_done(world.collector)
            assert raw_of(world, number) == 0, step
            erased = world.erased()
            gone = (number + 1, 2 * (number + 1))
            assert {day: erased[day] for day in days} == dict.fromkeys(days, gone), step
            assert of_touched_days(world) == published, step
        # The open day is counted without them.
        eventually(lambda: reports_on(world, midnight()) == NEIGHBOURS + 1 - len(STEPS))
        world.command("verify")
        assert of_touched_days(world) == published

    await beside(proxy, work)


async def test_commands_leave_days_of_an_unfinished_erasure_alone_and_say_so(
    serve: StartServe, databases: Databases, tmp_path: Path
) -> None:
    proxy = FaultyProxy(databases.server.url)

    def work() -> None:
        through = {"COLLECTOR_INFLUX_URL": proxy.url}
        world = start_world(serve, databases, tmp_path / "state", through)
        eventually(lambda: reports_on(world, midnight()) == NEIGHBOURS + 1)
        published = of_touched_days(world)
        put(proxy, Gate(DELETE, passing=1, hangs=False))
        answer = ask(world.url, "/erase", headers=JSON)
        assert (answer.status, answer.json) == (202, {"status": "delayed"})
        assert 0 < raw_of(world, 0) < 3 * (DAYS_BACK + 1)
        last_final = str(last_final_day())
        rolled = world.command(
            "rollup", "--from", last_final, "--to", last_final, "--force", check=False
        )
        assert rolled.code == 1
        assert "erasing" in rolled.out
        assert "until an erasure of some of its reports is done" in rolled.err
        assert world.command("rollup", "--from", str(open_day())).code == 0
        verified = world.command("verify", "--repair", "--force")
        assert "erasing" in verified.out
        assert "until an erasure of some of its reports is done" in verified.out
        like = ("--from", last_final, "--to", last_final, "--tag", "arch=x86_64")
        add = ("quarantine", "add", *like, "--note", "-", "--below-k", "--yes")
        refused = world.command(*add, check=False)
        assert refused.code == 1
        assert "is not done yet" in refused.err
        assert "Traceback" not in refused.err
        assert of_touched_days(world) == published
        # Who asks again is told when it is done.
        put(proxy, None)
        wait_done(world.collector)
        done = ask(world.url, "/erase", headers=JSON)
        assert (done.status, done.json["status"]) == (200, "erased")
        assert world.command("rollup", "--from", last_final).code == 0
        world.command("verify")
        assert of_touched_days(world) == published
        assert world.command(*add).code == 0

    await beside(proxy, work)


async def test_erasures_that_overlap_add_up_in_whichever_order_they_end(
    serve: StartServe, databases: Databases, tmp_path: Path
) -> None:
    """The second is planned before the first has said anything, and ends before it."""
    proxy = FaultyProxy(databases.server.url)

    def work() -> None:
        through = {"COLLECTOR_INFLUX_URL": proxy.url}
        world = start_world(serve, databases, tmp_path / "state", through)
        published = of_touched_days(world)
        world.collector.terminate()
        memory = Memory(world.collector.state_dir)
        for number in range(2):
            memory.erasures.ask(pseudonym(number), Action.ERASE, number)
        # The first one's second request is refused, for a reason of its own.
        gate = Gate(DELETE, passing=1, hangs=False, status=400, most=1)
        put(proxy, gate)
        world = World(databases, serve(world.collector.environment))
        wait_done(world.collector)
        assert gate.stopped == 1
        erased = world.erased()
        days = [row["time"] for row in published["daily_usage"]]
        assert {day: erased[day] for day in days} == dict.fromkeys(days, (2, 4))
        world.command("verify")
        assert of_touched_days(world) == published

    await beside(proxy, work)


def test_days_of_planned_erasures_are_known_until_these_are_done(tmp_path: Path) -> None:
    assert days_of_erasures(tmp_path) == frozenset()
    assert list(tmp_path.iterdir()) == []
    table = Memory(tmp_path).erasures
    first, second = (table.ask(pseudonym(number), Action.ERASE, number) for number in range(2))
    assert days_of_erasures(tmp_path) == frozenset()
    table.begin(first, plan=json.dumps({"days": ["2026-01-01", "2026-01-02"]}))
    table.begin(second, plan=json.dumps({"days": ["2026-01-02", "2026-01-05"]}))
    assert days_of_erasures(tmp_path) == {date(2026, 1, day) for day in (1, 2, 5)}
    asked = table.one(second)
    assert asked is not None
    table.finish(asked, receipt="{}", notice=None)
    assert days_of_erasures(tmp_path) == {date(2026, 1, day) for day in (1, 2)}
    table.reset(first)
    assert days_of_erasures(tmp_path) == frozenset()
