"""What goes wrong with one day stays with it: all others are computed, and it is tried again."""

from __future__ import annotations

from asyncio import to_thread
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import unquote_plus

import pytest
import structlog
from aiohttp import web

from collector.days import day_ns
from collector.influx import Influx
from collector.metrics import Metrics
from collector.rollup.schedule import Failures
from collector.state import ROLLUP_LOCK, SharedLock
from tests.command import Done, command
from tests.conftest import Databases
from tests.faulty import Fault, FaultyProxy
from tests.fleets import EPOCH, Received, random_fleet
from tests.network import Network, Rollup, day_of, differences, number_of
from tests.oracle import DAY, HOUR, Oracle, Series, said

DAYS = 6
NOW = (EPOCH + DAYS) * DAY + 2 * HOUR
BAD = EPOCH + 2
GOOD = [day for day in range(EPOCH, EPOCH + DAYS) if day != BAD]


@pytest.fixture(scope="module")
def received() -> Received:
    """What a fleet of 12 servers sends in 6 days."""
    return random_fleet(12, days=DAYS, servers=12)


@pytest.fixture
def network(databases: Databases, state_dir: Path) -> Network:
    state_dir.mkdir()
    made = Network(databases)
    made.create()
    return made


async def garbage(_proxy: FaultyProxy, _request: web.Request, _body: bytes) -> web.StreamResponse:
    """An answer that no InfluxDB gives."""
    return web.Response(body=b"\x00\xff,\n\n,,,,7", content_type="text/csv")


async def damaged(_proxy: FaultyProxy, _request: web.Request, _body: bytes) -> web.StreamResponse:
    return web.json_response({"error": "shard is damaged"}, status=400)


def of_rows(day: int, fault: Fault) -> Fault:
    """Lets the raw rows of a day meet a fault, and nothing else."""

    async def met(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse:
        asked = unquote_plus(request.query_string + body.decode(errors="replace"))
        if f"time >= {day_ns(day_of(day))} " in asked and '"channel"' in asked:
            proxy.met["rows"] += 1
            return await fault(proxy, request, body)
        return await proxy.forward(request, body)

    return met


def of_days(series: Series, days: list[int], *names: str) -> Series:
    return {
        name: {key: fields for key, fields in series[name].items() if key[0] // DAY in days}
        for name in names
    }


@pytest.mark.parametrize("fault", [garbage, damaged])
async def test_a_day_that_fails_keeps_no_other_from_being_computed_and_heals(
    network: Network, state_dir: Path, received: Received, fault: Fault
) -> None:
    network.lay_received(received)
    server, metrics, now = network.databases.server, Metrics(), NOW
    exact = Oracle(said(received), NOW).series()
    async with (
        FaultyProxy(server.url).open() as proxy,
        Influx(
            proxy.url, token=server.token, org=server.org, prefix=network.databases.prefix
        ) as to,
    ):
        proxy.query_fault = of_rows(BAD, fault)
        schedule = Rollup(to, 1, 0, state_dir).schedule(lambda: now, metrics)
        with structlog.testing.capture_logs() as logs:
            assert await schedule.once()

        tables = ("daily_nodes", "daily_servers", "daily_packages")
        everywhere = of_days(exact, GOOD, *tables)
        assert not differences(of_days(network.series(), GOOD, *tables), everywhere)
        usage = network.found("daily_usage")
        assert [key[0] // DAY for key in sorted(usage) if key[0] // DAY < EPOCH + DAYS] == GOOD
        # What reaches back over the day is not known, and not made up.
        assert "nodes_7d" in usage[(BAD - 1) * DAY, ()]
        assert "nodes_7d" not in usage[(BAD + 1) * DAY, ()]
        sample = metrics.registry.get_sample_value
        assert sample("collector_rollup_runs_total", {"outcome": "failed"}) == 5
        assert sample("collector_rollup_days_failing") == 5
        failed = [entry for entry in logs if "it is skipped" in entry["event"]]
        assert [entry["day"] for entry in failed] == [
            day_of(day).isoformat() for day in range(BAD, EPOCH + DAYS + 1)
        ]

        # It is not asked for again before its time, and nothing is said twice.
        met = proxy.met["rows"]
        with structlog.testing.capture_logs() as logs:
            await schedule.once()
        assert proxy.met["rows"] == met
        assert not [entry for entry in logs if entry["log_level"] == "error"]

        proxy.query_fault = None
        now += HOUR
        assert await schedule.once()
        assert sample("collector_rollup_days_failing") == 0
        assert sample("collector_rollup_days_due") == 0
    exact = Oracle(said(received), now).series()
    assert not differences(network.series(), exact)


async def test_an_influxdb_that_goes_away_is_no_day_s_fault(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    server, metrics = network.databases.server, Metrics()

    gone = False

    async def away(proxy: FaultyProxy, request: web.Request, body: bytes) -> web.StreamResponse:
        nonlocal gone
        # It still tells which days are due.
        gone = gone or b"channel" in body
        return web.Response(status=503) if gone else await proxy.forward(request, body)

    async with (
        FaultyProxy(server.url).open() as proxy,
        Influx(
            proxy.url, token=server.token, org=server.org, prefix=network.databases.prefix
        ) as to,
    ):
        schedule = Rollup(to, 1, 0, state_dir).schedule(lambda: NOW, metrics)
        proxy.query_fault = away
        assert not await schedule.once()
        assert gone
        assert metrics.registry.get_sample_value("collector_rollup_days_failing") == 0
        proxy.query_fault = None
        assert await schedule.once()
    assert not differences(network.series(), Oracle(said(received), NOW).series())


async def test_a_torn_hour_that_is_stored_is_written_anew(
    network: Network, state_dir: Path, received: Received
) -> None:
    network.lay_received(received)
    async with network.rollup(state_dir) as rollup:
        await rollup.reconcile(NOW)
        at = BAD * DAY + 5 * HOUR
        network.databases.server.query(
            f"DELETE FROM hourly_usage WHERE time = {at}", network.databases.daily
        )
        network.publish([f"hourly_usage reports=1i {at}"])
        await rollup.reconcile(NOW)
    assert not differences(network.series(), Oracle(said(received), NOW).series())


def test_a_day_that_fails_is_tried_later_and_later_and_a_current_one_within_the_quarter() -> None:
    now, failures = datetime(2026, 3, 10, 12, tzinfo=UTC), Failures()
    old, current = now.date() - timedelta(days=2), now.date() - timedelta(days=1)
    minutes = [failures.add(old, now).total_seconds() / 60 for _ in range(40)]
    assert minutes[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert set(minutes[9:]) == {360}
    assert [failures.add(current, now).total_seconds() / 60 for _ in range(5)] == [1, 2, 4, 8, 15]
    assert failures.waits(old, now + timedelta(hours=5))
    assert not failures.waits(old, now + timedelta(hours=6))
    assert failures.next() == now + timedelta(minutes=15)
    failures.keep_only([old])
    assert (len(failures), failures.any_from(current), failures.any_from(old)) == (1, False, True)
    failures.remove(old)
    assert failures.next() is None


def stored(network: Network, received: Received, *, days: int = 3) -> list[str]:
    """Lays down reports of the last days as of now; the dates of those days."""
    first = number_of(datetime.now(UTC).date()) - days
    moved = [
        (at + (first - EPOCH) * DAY, body) for at, body in received if at // DAY < EPOCH + days
    ]
    network.lay_received(moved)
    return [day_of(first + n).isoformat() for n in range(days)]


def said_of(done: Done, day: str) -> list[str]:
    return [line for line in (done.out + done.err).splitlines() if day in line]


@pytest.mark.parametrize("name", ["rollup", "verify"])
async def test_command_says_which_day_failed_and_goes_on_with_the_others(
    network: Network, state_dir: Path, received: Received, name: str
) -> None:
    days = stored(network, received)
    bad = number_of(datetime.fromisoformat(days[1]).date())
    async with FaultyProxy(network.databases.server.url).open() as proxy:
        proxy.query_fault = of_rows(bad, garbage)
        environment = network.databases.environment | {
            "COLLECTOR_INFLUX_URL": proxy.url,
            "COLLECTOR_STATE_DIR": str(state_dir),
        }
        done = await to_thread(command, environment, name, "--from", days[0], "--to", days[-1])
    assert done.code == 1
    assert "Traceback" not in done.out + done.err
    assert [line for line in said_of(done, days[1]) if "could not be computed: " in line]
    assert [line for line in said_of(done, days[0]) if "could not" not in line]
    if name == "rollup":
        assert [line for line in said_of(done, days[2]) if "written" in line]
        assert number_of(datetime.fromisoformat(days[2]).date()) * DAY in {
            time for time, _ in network.found("daily_usage")
        }


@pytest.mark.parametrize(
    "arguments",
    [
        ("rollup", "--from", "DAY"),
        ("verify", "--from", "DAY", "--repair"),
        (
            *("quarantine", "add", "--from", "DAY", "--to", "DAY", "--tag", "arch=x86_64"),
            *("--note", "test", "--yes", "--below-k"),
        ),
        ("quarantine", "resume"),
    ],
)
async def test_command_waits_for_its_turn_and_says_so(
    network: Network, state_dir: Path, received: Received, arguments: tuple[str, ...]
) -> None:
    [day, *_] = stored(network, received, days=1)
    environment = network.databases.environment | {"COLLECTOR_STATE_DIR": str(state_dir)}
    chosen = [day if argument == "DAY" else argument for argument in arguments]
    async with SharedLock(state_dir / ROLLUP_LOCK):
        done = await to_thread(command, environment, *chosen, "--wait", "1s")
        assert done.code == 1
        assert "waiting for up to 1s" in done.err
        assert "still computing or erasing" in done.err
        assert not network.found("daily_usage")
    done = await to_thread(command, environment, *chosen)
    assert "waiting" not in done.err
    assert done.code == 0, done.err
    async with SharedLock(state_dir / ROLLUP_LOCK).held(limit_s=0.1):
        pass


def test_wait_that_is_no_duration_is_refused(state_dir: Path) -> None:
    environment = {"COLLECTOR_STATE_DIR": str(state_dir)}
    done = command(environment, "quarantine", "resume", "--wait", "soon")
    assert done.code == 2
    assert "must be a duration" in done.err
