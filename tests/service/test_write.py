"""`collector write` behind a real stream: what it acknowledges is stored, once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from pathlib import Path

import pytest

from collector.jetstream.publishing import Message
from collector.outbox import FILE, Entry, OutboxFile
from collector.privacy import ServerPseudonym
from tests.command import command
from tests.conftest import Databases, Serve, StartServe
from tests.hops import STREAM, Hops
from tests.ledger import Ledger, delivered
from tests.sender import get, metric, until
from tools.embedded import EmbeddedInflux
from tools.nats import NatsServer

SERVER = ServerPseudonym("0123456789abcdef")
LINE = 'node_report node="{n}",n={n}i'
BEGUN_NS = time.time_ns()
LINES = "collector_writer_lines_total"


def entries(first: int, last: int, *, line: str = LINE) -> list[Entry]:
    """Entries of one line each; numbers are in field and timestamp."""
    lines = [f"{line.format(n=n)} {BEGUN_NS + n}".encode() for n in range(first, last)]
    return [Entry(BEGUN_NS, SERVER, 1, line, "usage_raw", "asl") for line in lines]


def stored(databases: Databases) -> Counter[int]:
    rows = databases.server.query('SELECT "n" FROM "node_report"', databases.raw)
    return Counter(int(row["n"]) for row in rows)


@pytest.fixture
def hops(nats_server: NatsServer, databases: Databases, serve: StartServe, tmp_path: Path) -> Hops:
    return Hops(nats_server, databases, serve, tmp_path)


async def test_report_reaches_influxdb_through_the_stream(hops: Hops, databases: Databases) -> None:
    receiver = await asyncio.to_thread(hops.receiver)
    writer = await asyncio.to_thread(hops.writer)
    ledger = Ledger(receiver.url)
    await ledger.send_all(100)
    assert len(ledger.acknowledged) == 100
    points = await delivered(databases, receiver, ledger.acknowledged)
    assert set(points.values()) == {1}
    await hops.written()
    written = {"target": "influx", "outcome": "written"}
    await until(lambda: metric(writer.metrics_url, LINES, **written) >= 200)
    assert await asyncio.to_thread(writer.terminate) == 0
    assert await asyncio.to_thread(receiver.terminate) == 0


async def test_replay_is_stored_though_the_stream_had_the_same_reports_a_moment_ago(
    hops: Hops, databases: Databases
) -> None:
    receiver = await asyncio.to_thread(hops.receiver)
    await asyncio.to_thread(hops.writer)
    ledger = Ledger(receiver.url)
    await ledger.send_all(20)
    await delivered(databases, receiver, ledger.acknowledged)
    await hops.written()
    databases.server.query('DROP MEASUREMENT "node_report"', databases.raw)
    replayed = command(receiver.environment, "outbox", "replay", "--since", "1h")
    assert "20 reports wait for delivery" in replayed.out
    points = await delivered(databases, receiver, ledger.acknowledged)
    assert set(points.values()) == {1}


async def test_writers_share_the_work_and_store_each_entry_once(
    hops: Hops, databases: Databases
) -> None:
    await hops.put(entries(1, 5001))
    writers = [await asyncio.to_thread(hops.writer) for _ in range(2)]
    await hops.put(entries(5001, 15001))
    await hops.written()
    assert stored(databases) == Counter(range(1, 15001))
    for writer in writers:
        assert await asyncio.to_thread(writer.terminate) == 0


async def test_refused_lines_are_dead_letters_of_the_writer_and_the_others_are_stored(
    hops: Hops, databases: Databases
) -> None:
    wrong = entries(7, 8, line="node_report n=much")
    await hops.put([*entries(1, 6), *wrong, *entries(8, 11)])
    foreign = Message(f"{STREAM}.influx.usage_raw.none", "foreign", b"what is this?")
    await hops.put_messages([foreign])
    writer = await asyncio.to_thread(hops.writer)
    await hops.written()
    assert stored(databases) == Counter([1, 2, 3, 4, 5, 8, 9, 10])
    with OutboxFile(writer.state_dir / FILE) as file:
        letters = {letter.line: letter for letter in file.dead_letters()}
    assert letters.keys() == {wrong[0].lines, b"what is this?"}
    assert letters[wrong[0].lines].server == SERVER
    assert letters[b"what is this?"].reason == "no entry: not in the form of an entry"
    shown = command(writer.environment, "outbox", "dead", columns=200).out
    assert "n=much" in shown
    # Delivered again, the same line is set aside once.
    await hops.put_messages([Message(f"{STREAM}.influx.usage_raw.01", "again", foreign.body)])
    await hops.written()
    with OutboxFile(writer.state_dir / FILE) as file:
        assert len(file.dead_letters()) == 2
    dead = {"target": "influx", "outcome": "dead-letter"}
    await until(lambda: metric(writer.metrics_url, LINES, **dead) >= 3)


async def test_dead_letter_that_is_retried_is_stored_by_the_writer(
    hops: Hops, databases: Databases
) -> None:
    writer = await asyncio.to_thread(hops.writer)
    await hops.put([*entries(1, 3), *entries(5, 6, line='node_report n="text"')])
    await hops.written()
    await until(lambda: stored(databases) == Counter([1, 2]))
    databases.server.query('DROP MEASUREMENT "node_report"', databases.raw)
    assert "1 dead letters" in command(writer.environment, "outbox", "retry").out
    await until(
        lambda: bool(databases.server.query('SELECT "n" FROM "node_report"', databases.raw))
    )


async def _blocked(writer: Serve) -> None:
    """Wait until a writer says that InfluxDB does not answer."""
    blocked = {"target": "influx", "reason": "unavailable"}
    await until(lambda: metric(writer.metrics_url, "collector_writer_blocked", **blocked) == 1)


async def test_nothing_is_acknowledged_while_influxdb_is_away(
    nats_server: NatsServer,
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    tmp_path: Path,
) -> None:
    hops = Hops(nats_server, own_databases, serve, tmp_path)
    writer = await asyncio.to_thread(hops.writer)
    own_influx.kill()
    await hops.put(entries(1, 301))
    await _blocked(writer)
    assert hops.waiting() == 300
    waiting = "collector_stream_waiting"
    await until(lambda: metric(writer.metrics_url, waiting, target="influx") == 300)
    # It is looked at before the number that waits.
    await until(lambda: metric(writer.metrics_url, "collector_stream_bytes") > 0)
    page = await asyncio.to_thread(get, writer.metrics_url, "/readyz")
    assert page.status == 503
    assert b"write-influx: unavailable" in page.body
    assert (await asyncio.to_thread(get, writer.metrics_url, "/healthz")).status == 200
    own_influx.start()
    await hops.written()
    assert stored(own_databases) == Counter(range(1, 301))
    await asyncio.to_thread(writer.wait_ready)


async def test_what_a_killed_writer_had_in_hand_is_stored_by_another(
    nats_server: NatsServer,
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    tmp_path: Path,
) -> None:
    hops = Hops(nats_server, own_databases, serve, tmp_path)
    first = await asyncio.to_thread(hops.writer)
    await hops.put(entries(1, 2))
    await hops.written()
    assert own_influx.pid is not None
    os.kill(own_influx.pid, signal.SIGSTOP)
    try:
        await hops.put(entries(2, 501))
        # It has them in hand, and InfluxDB does not answer.
        await until(lambda: _unacknowledged(nats_server) > 0)
        first.kill()
    finally:
        os.kill(own_influx.pid, signal.SIGCONT)
    second = await asyncio.to_thread(hops.writer)
    await hops.written()
    assert stored(own_databases) == Counter(range(1, 501))
    assert metric(second.metrics_url, "collector_stream_redelivered_total", target="influx") > 0


def _unacknowledged(server: NatsServer) -> int:
    accounts = server.monitor("jsz?consumers=true").get("account_details") or ()
    streams = [stream for account in accounts for stream in account["stream_detail"]]
    consumers = [one for stream in streams for one in stream.get("consumer_detail") or ()]
    return sum(int(one["num_ack_pending"]) for one in consumers)


async def test_orderly_stop_gives_back_what_is_not_stored(
    nats_server: NatsServer,
    own_influx: EmbeddedInflux,
    own_databases: Databases,
    serve: StartServe,
    tmp_path: Path,
) -> None:
    hops = Hops(nats_server, own_databases, serve, tmp_path)
    writer = await asyncio.to_thread(hops.writer)
    own_influx.kill()
    await hops.put(entries(1, 101))
    await _blocked(writer)
    assert await asyncio.to_thread(writer.terminate) == 0
    own_influx.start()
    await asyncio.to_thread(hops.writer)
    await hops.written()
    assert stored(own_databases) == Counter(range(1, 101))


async def test_writer_waits_for_servers_that_are_away(hops: Hops, databases: Databases) -> None:
    assert isinstance(hops.nats, NatsServer)
    hops.nats.kill()
    writer = await asyncio.to_thread(hops.writer, ready=False)
    blocked = {"target": "influx", "reason": "stream"}
    await until(lambda: "serving" in writer.logs())
    # The loop of another part may be the first to log that the servers are away.
    await until(lambda: metric(writer.metrics_url, "collector_writer_blocked", **blocked) == 1)
    await until(lambda: "no NATS server of" in writer.logs())
    hops.nats.start()
    await hops.put(entries(1, 11))
    await until(lambda: stored(databases) == Counter(range(1, 11)))
    await asyncio.to_thread(writer.wait_ready)


def test_writer_without_a_stream_to_write_from_says_what_is_missing(tmp_path: Path) -> None:
    done = command({"COLLECTOR_STATE_DIR": str(tmp_path)}, "write")
    assert done.code == 2
    assert "COLLECTOR_NATS_URL is not set" in done.err
