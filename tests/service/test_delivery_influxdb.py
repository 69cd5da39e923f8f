"""The writer and a real InfluxDB: what it refuses for good, and databases made by themselves."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest

from tests.command import command
from tests.conftest import Databases, Serve, StartServe, clean_environment
from tests.sender import GUARD_S, encoded, eventually, get, metric, post, report
from tests.service.delivery import delivering
from tests.service.upstream import Answer, Upstream

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes


async def test_points_that_influxdb_refuses_are_set_aside_and_the_rest_delivered(
    databases: Databases, tmp_path: Path
) -> None:
    now = time.time_ns()
    good = [f"node_report uptime={n}i {now + n}" for n in range(200)]
    old = "node_report uptime=1i 946684800000000000"
    conflict = f'node_report uptime="text" {now + 500}'
    lines = [*good[:70], old, *good[70:150], conflict, *good[150:]]
    async with delivering(tmp_path, databases) as delivery:
        await delivery.put(*lines)
        await delivery.emptied()
    dead = delivery.dead()
    assert set(dead) == {old, conflict}
    # 1.x says "beyond", 2.x "outside".
    assert "retention policy" in dead[old]
    assert "field type conflict" in dead[conflict]
    assert databases.server.count(databases.raw, "node_report", "uptime") == 200


async def test_database_is_made_with_the_retention_asked_for(
    databases: Databases, tmp_path: Path
) -> None:
    async with delivering(tmp_path, databases, retention_s=30 * 86_400) as delivery:
        await delivery.put(f"m f=1i {time.time_ns()}")
        await delivery.emptied()
    assert databases.server.retention(databases.raw) == 30 * 86_400


async def test_database_dropped_at_work_is_made_again(databases: Databases, tmp_path: Path) -> None:
    async with delivering(tmp_path, databases) as delivery:
        await delivery.put(f"m f=1i {time.time_ns()}")
        await delivery.emptied()
        databases.server.drop(databases.raw)
        await delivery.put(f"m f=2i {time.time_ns()}")
        await delivery.emptied()
    assert databases.server.count(databases.raw, "m", "f") == 1


def outbox_command(collector: Serve, *words: str) -> str:
    """What `collector outbox …` prints, run beside the collector."""
    done = subprocess.run(
        [sys.executable, "-m", "collector", "outbox", *words],
        env=clean_environment() | collector.environment | {"COLUMNS": "400"},
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        check=True,
    )
    return done.stdout


def test_dead_letters_are_listed_and_sent_again_on_request(
    databases: Databases, serve: StartServe
) -> None:
    midday = datetime.now(UTC).replace(hour=12, minute=0, second=0, microsecond=0)
    databases.server.create(databases.raw)
    # InfluxDB keeps the type of a field a day long: an uptime in words spoils the day's numbers.
    databases.server.write(
        databases.raw, f'node_report uptime="in words" {int(midday.timestamp()) * 10**9}'
    )
    collector = serve(databases.environment)
    assert post(collector.url, encoded(report([2001, 2002]))).status == 200
    eventually(lambda: "field type conflict" in outbox_command(collector, "dead"))
    listed = outbox_command(collector, "dead")
    assert listed.count("field type conflict") == listed.count("node_report,arch=x86_64") == 2
    assert databases.server.count(databases.raw, "server_report", "nodes") == 1
    eventually(lambda: "reason=dead-letter" in collector.logs())
    eventually(lambda: metric(collector.metrics_url, "collector_dead_letters") == 2)

    databases.server.query('DROP MEASUREMENT "node_report"', databases.raw)
    assert outbox_command(collector, "retry").strip() == "2 dead letters are queued again"
    eventually(lambda: databases.server.count(databases.raw, "node_report", "node") == 2)
    assert "field type conflict" not in outbox_command(collector, "dead")


async def test_denial_is_shouted_and_reports_are_taken_all_the_same(serve: StartServe) -> None:
    async with Upstream(always=Answer(401, "authorization failed")).running() as upstream:

        def denied() -> Serve:
            collector = serve({"COLLECTOR_INFLUX_URL": upstream.url})
            assert post(collector.url, encoded(report([2001]))).status == 200
            labels = {"target": "influx", "reason": "denied"}
            eventually(
                lambda: metric(collector.metrics_url, "collector_writer_blocked", **labels) == 1
            )
            assert get(collector.metrics_url, "/readyz").status == 200
            shown = command(collector.environment, "status").out
            assert "no progress to influx: denied" in shown
            assert "Needs attention: delivery" in shown
            return collector

        collector = await asyncio.to_thread(denied)
        await upstream.wait_seen(2)
        shouts = [line for line in collector.logs().splitlines() if "reason=denied" in line]
        assert len(shouts) == 1
        assert "level=error" in shouts[0]
        assert "authorization failed" in shouts[0]
        upstream.always = Answer()
        await upstream.wait_stored(2)
