"""`serve` as several processes: one address, one set of metrics, nothing lost meanwhile."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sqlite3
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path

import pytest
from prometheus_client import Gauge
from prometheus_client.parser import text_string_to_metric_families

from collector.metrics import Metrics
from tests.conftest import Databases, Serve, StartServe, clean_environment
from tests.ledger import Ledger, node_points
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
    until,
)
from tools.replay.ami_server import SECRET, USER, AmiServer

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

WORKERS = {"COLLECTOR_WORKERS": "3"}


def entries(state: Path) -> list[int]:
    """How many entries each worker's outbox holds."""
    counts = []
    for path in (state, state / "worker-1", state / "worker-2"):
        with sqlite3.connect(f"file:{path / 'outbox.sqlite3'}?mode=ro", uri=True) as database:
            counts += database.execute("SELECT count(*) FROM entries").fetchone()
        database.close()
    return counts


def expected(collector: Serve, numbers: set[int]) -> Counter[str]:
    key = key_of(collector.state_dir)
    return Counter(node_name(number, key) for number in numbers)


def test_all_take_reports_and_are_seen_as_one(databases: Databases, serve: StartServe) -> None:
    collector = serve(databases.environment | WORKERS)
    for number in range(60):
        assert post(collector.url, encoded(report([2000 + number]))).status == 200
    assert (
        metric(collector.metrics_url, "collector_reports_total", intake="asl", outcome="accepted")
        == 60
    )
    assert all(count > 0 for count in entries(collector.state_dir))
    assert sum(entries(collector.state_dir)) == 60
    eventually(lambda: sum(node_points(databases).values()) == 60)
    assert metric(collector.metrics_url, "collector_outbox_accepting") == 1
    assert metric(collector.metrics_url, "collector_tag_budget", tag="arch") == 40
    times = {
        row["time"] for row in databases.server.query("SELECT node FROM node_report", databases.raw)
    }
    assert {time % 1000 for time in times} == {0, 1, 2}
    # Days are rolled up by one of them, and every one shows them.
    eventually(lambda: get(collector.url, "/v1/freshness").status == 200)
    assert collector.terminate() == 0


async def test_started_anew_in_turn_while_reports_come_in(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | WORKERS)
    before = collector.workers()
    assert len(before) == 3
    ledger = Ledger(collector.url)
    async with ledger.sending():
        collector.process.send_signal(signal.SIGHUP)
        while "all workers are restarted" not in collector.logs():
            await ledger.more(20)
        await ledger.more(50)
    assert not set(before.values()) & set(collector.workers().values())
    assert not ledger.refused
    assert not ledger.unanswered
    wanted = expected(collector, ledger.acknowledged)
    eventually(lambda: node_points(databases) == wanted)
    # What was counted by those that are gone is counted still.
    taken = metric(
        collector.metrics_url, "collector_reports_total", intake="asl", outcome="accepted"
    )
    assert taken == len(ledger.acknowledged)


def test_a_worker_that_is_killed_comes_back(databases: Databases, serve: StartServe) -> None:
    collector = serve(databases.environment | WORKERS)
    killed = collector.workers()[1]
    os.kill(killed, signal.SIGKILL)

    def is_noticed() -> bool:
        # On a slow machine the new one may be ready before anybody has looked.
        told = b"worker 1 is not ready" in get(collector.metrics_url, "/readyz").body
        return told or collector.workers().get(1, killed) != killed

    eventually(is_noticed)
    eventually(lambda: collector.workers().get(1, killed) != killed)
    collector.wait_ready()
    assert "a worker has ended" in collector.logs()
    for number in range(20):
        assert post(collector.url, encoded(report([2000 + number]))).status == 200


def test_workers_end_with_their_parent(databases: Databases, serve: StartServe) -> None:
    collector = serve(databases.environment | WORKERS)
    pids = collector.workers().values()
    collector.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids))


def test_with_fewer_workers_every_waiting_report_is_delivered(
    databases: Databases, serve: StartServe
) -> None:
    away = databases.environment | WORKERS | {"COLLECTOR_INFLUX_URL": "http://127.0.0.1:9"}
    collector = serve(away)
    for number in range(60):
        assert post(collector.url, encoded(report([2000 + number]))).status == 200
    assert all(count > 0 for count in entries(collector.state_dir))
    assert collector.terminate() == 0
    collector = serve(databases.environment)
    wanted = expected(collector, set(range(2000, 2060)))
    eventually(lambda: node_points(databases) == wanted)


def run(settings: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "collector", "serve"],
        check=False,
        env=clean_environment() | settings,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
    )


def test_a_second_one_on_the_directory_or_the_address_is_told_so(
    databases: Databases, serve: StartServe, tmp_path: Path
) -> None:
    collector = serve(databases.environment | WORKERS)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        other = f"127.0.0.1:{free.getsockname()[1]}"
    same_directory = run(collector.environment | {"COLLECTOR_LISTEN": other})
    assert same_directory.returncode == 1
    assert "is in use by another collector" in same_directory.stderr
    same_address = run(collector.environment | {"COLLECTOR_STATE_DIR": str(tmp_path / "other")})
    assert same_address.returncode == 1
    assert "ddress already in use" in same_address.stderr
    collector.wait_ready()


@pytest.mark.parametrize("workers", ["0", "65", "many"])
def test_numbers_of_workers_that_cannot_be(workers: str, tmp_path: Path) -> None:
    done = run({"COLLECTOR_WORKERS": workers, "COLLECTOR_STATE_DIR": str(tmp_path)})
    assert done.returncode == 2
    assert "COLLECTOR_WORKERS" in done.stderr


GaugeName = tuple[str, frozenset[tuple[str, str]]]


def gauges(collector: Serve) -> dict[GaugeName, bool]:
    """Each sample of each gauge, by name and labels: whether it is other than 0."""
    page = get(collector.metrics_url, "/metrics").body.decode()
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value != 0
        for family in text_string_to_metric_families(page)
        if family.type == "gauge"
        for sample in family.samples
    }


def test_every_gauge_says_the_same_with_several_workers(
    databases: Databases, serve: StartServe, tmp_path: Path
) -> None:
    """Which gauges there are, and which are not 0: those that follow a function too."""
    not_zero = {
        ("collector_rate_limit_addresses", frozenset[tuple[str, str]]()),
        ("collector_connections", frozenset({("address", "public")})),
        ("collector_connections", frozenset({("address", "metrics")})),
        ("collector_outbox_bytes", frozenset()),
    }

    seen: list[dict[GaugeName, bool]] = []

    def settled(collector: Serve) -> bool:
        """Whether all is as it stays, and as it was with one worker."""
        found = gauges(collector)
        waiting = found["collector_outbox_reports", frozenset({("target", "influx")})]
        if waiting or not all(found.get(one) for one in not_zero):
            return False
        seen.append(found)
        # A worker learns of another one's tag values a moment later; when a day is rolled up is no
        # matter of the workers.
        one, now = (
            {k: v for k, v in found.items() if not k[0].startswith("collector_rollup_")}
            for found in (seen[0], found)
        )
        return one == now

    for workers in ("1", "3"):
        own = {
            "COLLECTOR_STATE_DIR": str(tmp_path / workers),
            # The second finds the first one's reports in InfluxDB: a new key would be refused.
            "COLLECTOR_PSEUDONYM_KEY_FILE": str(tmp_path / "pseudonym.key"),
            "COLLECTOR_WORKERS": workers,
        }
        collector = serve(databases.environment | own)
        host, port = collector.environment["COLLECTOR_LISTEN"].split(":")
        assert post(collector.url, encoded(report([2000]))).status == 200
        with socket.create_connection((host, int(port))):
            eventually(partial(settled, collector))
        assert collector.terminate() == 0
    declared = [one for one in vars(Metrics()).values() if isinstance(one, Gauge)]
    for gauge in declared:
        (family,) = gauge.describe()
        # One with labels has a sample once something has happened.
        assert family.name in {name for name, _ in seen[-1]} or gauge._labelnames, family.name  # noqa: SLF001


async def test_the_first_worker_alone_logs_in_to_an_asterisk_and_a_wrong_file_restarts_none(
    databases: Databases, serve: StartServe, tmp_path: Path
) -> None:
    file = tmp_path / "asterisks.toml"
    await asyncio.to_thread((tmp_path / "secret").write_text, SECRET)
    async with AmiServer().listening() as server:
        right = (
            f'[pbx]\nami = "127.0.0.1:{server.port}"\nami_user = "{USER}"\n'
            'ami_secret_file = "secret"\n'
        )
        await asyncio.to_thread(file.write_text, right)
        ami = {"COLLECTOR_ASTERISK_FILE": str(file), "COLLECTOR_STATSD_FLUSH": "1s"}
        collector = await asyncio.to_thread(serve, databases.environment | WORKERS | ami)

        def connected() -> bool:
            return metric(collector.metrics_url, "collector_ami_connected", asterisk="pbx") == 1

        await asyncio.to_thread(eventually, connected)
        assert server.connections == 1
        before = collector.workers()
        await asyncio.to_thread(file.write_text, "[broken")
        collector.process.send_signal(signal.SIGHUP)
        await until(lambda: "a file is wrong; no worker is restarted" in collector.logs())
        assert collector.workers() == before
        await asyncio.to_thread(file.write_text, right)
        collector.process.send_signal(signal.SIGHUP)
        await until(lambda: "all workers are restarted" in collector.logs())
        await until(lambda: server.logins == 2)
        await asyncio.to_thread(collector.terminate)
