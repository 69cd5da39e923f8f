"""StatsD while something fails: the outbox, the memory, the clock; and the truth that AMI tells."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from collector.app import running
from collector.fast_path import FastHandler
from collector.intakes import Intake, IntakeContext
from collector.intakes.live import TrueState
from collector.intakes.proof import Proof
from collector.intakes.series import Series
from collector.intakes.statsd import Statsd
from collector.outbox import FILE, Entry, OutboxFile
from collector.privacy_section import PrivacySection
from collector.problems import Reason, Refusal
from collector.schema import LIVE
from collector.schema.live import UNCERTAIN
from collector.setting_types import Address, parse_endpoint
from collector.settings import Settings
from tests.conftest import Databases, MachineClock, Serve, StartServe
from tests.sender import eventually, lay_key, metric
from tests.statsd import Sender, gauges, live, total

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def environment(databases: Databases, port: int) -> dict[str, str]:
    return databases.environment | {
        "COLLECTOR_STATSD_FLUSH": "1s",
        "COLLECTOR_ASL": "0",
        "COLLECTOR_STATSD_LISTEN": f"127.0.0.1:{port}",
    }


def wait_for_flush_put_off(collector: Serve) -> None:
    """Wait until a flush that has begun since then is put off."""

    def flushes() -> float:
        name = "collector_statsd_flushes_total"
        return metric(collector.metrics_url, name, outcome="put-off")

    before = flushes()
    # The first may have begun before.
    eventually(lambda: flushes() > before + 1)


def test_outbox_that_is_full_puts_flushes_off_and_counters_are_counted_on(
    serve: StartServe,
    environment: dict[str, str],
    databases: Databases,
    port: int,
    state_dir: Path,
) -> None:
    lay_key(state_dir)
    with OutboxFile(state_dir / FILE) as file:
        line = b"statsd_gauge,asterisk=a,name=%d value=1 %d"
        now = time.time_ns()
        lines = [line % (number, now) for number in range(20_000)]
        file.append(Entry(now, None, len(lines), b"\n".join(lines), LIVE, "statsd"))
    away = {"COLLECTOR_INFLUX_URL": "http://127.0.0.1:9", "COLLECTOR_OUTBOX_MAX": "1MiB"}
    collector = serve(environment | away, ready=False)
    eventually(lambda: "event=serving" in collector.logs())
    with Sender(f"127.0.0.1:{port}") as sender:
        for count in (3, 4):
            sender.send(b"calls:%d|c" % count)
            wait_for_flush_put_off(collector)
    assert "the outbox takes no flush of StatsD" in collector.logs()
    # What is counted on survives a kill as well.
    collector.kill()
    serve(environment)
    eventually(lambda: total(databases, "calls") == 7)


def test_values_that_cannot_be_saved_are_stored_all_the_same(
    serve: StartServe, environment: dict[str, str], databases: Databases, port: int
) -> None:
    collector = serve(environment)
    file = collector.state_dir / "memory" / "live.sqlite3"
    with Sender(f"127.0.0.1:{port}") as sender:
        sender.send(b"calls:1|c")
        eventually(lambda: total(databases, "calls") == 1)
        # As if a newer collector had written it.
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA user_version = 99")
        sender.send(b"calls:2|c")
        eventually(lambda: total(databases, "calls") == 3)
        eventually(lambda: "what StatsD sends cannot be saved" in collector.logs())
        with closing(sqlite3.connect(file)) as database:
            database.execute("PRAGMA user_version = 1")
        sender.send(b"calls:4|c", b"up:+1|g")
        eventually(lambda: total(databases, "calls") == 7)
        eventually(lambda: "what StatsD sends is saved again" in collector.logs())
    collector.kill()
    collector = serve(environment)
    eventually(lambda: ("up",) in gauges(databases, "statsd_gauge", UNCERTAIN))
    assert total(databases, "calls") == 7


def test_clock_that_is_set_back_stops_nothing(
    serve: StartServe,
    environment: dict[str, str],
    databases: Databases,
    port: int,
    machine_clock: MachineClock,
) -> None:
    collector = serve(environment | machine_clock.environment)
    with Sender(f"127.0.0.1:{port}") as sender:
        sender.send(b"calls:1|c")
        eventually(lambda: total(databases, "calls") == 1)
        machine_clock.set(-3600)
        eventually(lambda: "the clock was set" in collector.logs())
        sender.send(b"calls:2|c")
        eventually(lambda: total(databases, "calls") == 3)


@dataclass
class Teller(Intake):
    """A sender that knows the truth, as AMI does; also its running intake."""

    name = "teller"
    measurements = ()
    hubs: list[TrueState] = field(default_factory=list)

    def is_on(self, settings: Settings) -> bool:
        return True

    def privacy(self, settings: Settings) -> PrivacySection:
        return PrivacySection({}, {})

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[Teller]:
        self.hubs.append(context.true_state)
        yield self

    def routes(self) -> Sequence[web.RouteDef]:
        return []

    def fast_handlers(self) -> Mapping[str, FastHandler]:
        return {}

    def identify(self, body: bytes) -> Proof | Refusal:
        return Refusal(Reason.MALFORMED_JSON, "none")


async def test_truth_of_ami_sets_a_gauge_and_ends_its_uncertainty(
    databases: Databases, state_dir: Path, port: int
) -> None:
    settings = Settings(
        listen=Address("127.0.0.1", 0),
        metrics_listen=Address("127.0.0.1", 0),
        state_dir=state_dir,
        influx_url=databases.server.url,
        influx_token=databases.server.token,
        influx_org=databases.server.org,
        influx_prefix=databases.prefix,
        statsd_listen=[parse_endpoint(f"127.0.0.1:{port}")],
        statsd_flush=1,
    )
    teller = Teller()

    def newest() -> dict[str, Any]:
        rows = live(databases, "SELECT * FROM channels ORDER BY time DESC LIMIT 1")
        return rows[0] if rows else {}

    async with running(settings, intakes=(Statsd(), teller)):
        with Sender(f"127.0.0.1:{port}") as sender:
            sender.send(b"channels.count:+1|g")
            # It may have had channels before.
            await asyncio.to_thread(eventually, lambda: newest().get(UNCERTAIN) is not None)
            assert newest()["count"] == 1
            teller.hubs[0].truth("default", {Series.of("channels"): 5.0})
            teller.hubs[0].truth("another", {Series.of("channels"): 9.0})
            await asyncio.to_thread(eventually, lambda: newest()["count"] == 5)
            assert newest().get(UNCERTAIN) is None
            sender.send(b"channels.count:-2|g")
            await asyncio.to_thread(eventually, lambda: newest()["count"] == 3)
            assert newest().get(UNCERTAIN) is None
