"""Owners' rights with several workers: one memory, and every outbox is seen and erased."""

from __future__ import annotations

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from collector.memory import Memory, State
from collector.outbox import FILE, OutboxFile, OutboxUnavailable
from collector.privacy import ServerPseudonym
from collector.worker import directories
from tests.conftest import Databases, StartServe
from tests.owners import OWN, OWNER, World, ask, body_of, uuid_of
from tests.remains import contents
from tests.sender import eventually, lay_key, metric, post, server_name

pytestmark = [
    # Each starts several processes, and the machine may be busy with others.
    pytest.mark.timeout(300),
    pytest.mark.no_cover,  # what other tests cover, in whole processes
]

JSON = {"Accept": "application/json"}
WORKERS = {"COLLECTOR_WORKERS": "2", "COLLECTOR_K_ANONYMITY": "1", "COLLECTOR_RATE_LIMIT": "0"}


def start(serve: StartServe, databases: Databases, state: Path, **settings: str) -> World:
    if not state.exists():
        lay_key(state)
    chosen = {**databases.environment, **WORKERS, "COLLECTOR_STATE_DIR": str(state), **settings}
    return World(databases, serve(chosen))


def outboxes_with(state: Path, server: str) -> int:
    """How many outboxes hold a row of a server."""
    count = 0
    for own in directories(state):
        try:
            with OutboxFile(own / FILE) as file:
                count += ServerPseudonym(server) in file.servers()
        except OutboxUnavailable:
            # The collector deletes the directory of a worker that is no more, once it is empty.
            if own.exists():
                raise
    return count


def waiting(state: Path) -> int:
    """How many reports wait in all outboxes."""
    count = 0
    for own in directories(state):
        with OutboxFile(own / FILE) as file:
            count += file.stats().reports
    return count


def spread(world: World, state: Path, number: int) -> int:
    """Send reports of a server until every outbox holds one; how many."""
    sent = 0
    while outboxes_with(state, server_name(uuid_of(number))) < 2:
        for _ in range(10):
            assert post(world.url, body_of(number)).status == 200
            sent += 1
        assert sent < 200
    return sent


def bytes_of(state: Path) -> bytes:
    return b"".join(contents(state).values())


def test_every_worker_counts_the_same_and_an_erasure_reaches_every_outbox(
    serve: StartServe, databases: Databases, state_dir: Path
) -> None:
    world = start(serve, databases, state_dir)
    sent = spread(world, state_dir, 0)
    spread(world, state_dir, 1)
    eventually(lambda: waiting(state_dir) == 0)
    answers = {
        json.dumps(ask(world.url, headers=JSON, source=f"127.0.0.{n + 2}").json["held"])
        for n in range(12)
    }
    (held,) = map(json.loads, answers)
    assert (held["reports"], held["in_database"], held["copies"]) == (sent, sent, sent)
    assert f"{sent} reports" in world.command("my-data", "show", uuid_of(0)).out

    erased = ask(world.url, "/erase", headers=JSON).json["erased"]
    assert (erased["reports"], erased["copies"], erased["waiting"]) == (sent, sent, 0)
    assert world.raw(own=True) == []
    assert outboxes_with(state_dir, OWNER) == 0
    assert outboxes_with(state_dir, server_name(uuid_of(1))) == 2
    world.collector.terminate()
    assert OWNER.encode() not in bytes_of(state_dir)


def test_opt_out_is_honoured_by_every_worker_within_a_second(
    serve: StartServe, databases: Databases, state_dir: Path
) -> None:
    world = start(serve, databases, state_dir)
    spread(world, state_dir, 0)
    with ThreadPoolExecutor(4) as threads:
        asked = threads.submit(ask, world.url, "/opt-out", headers=JSON)
        # Meanwhile the server goes on: whatever was taken by then is erased too.
        while not asked.done():
            post(world.url, OWN)
        assert asked.result().json["opted_out"] is True
    for _ in range(30):
        assert post(world.url, OWN).json["ignored"] == {"opted-out": 2}
    assert world.raw(own=True) == []
    assert outboxes_with(state_dir, OWNER) == 0
    world.command("my-data", "opt-in", uuid_of(0))
    eventually(lambda: all(post(world.url, OWN).json["nodes"] == 2 for _ in range(5)))


def test_brake_counts_once_for_all_workers_and_the_command_sees_the_whole_queue(
    serve: StartServe, databases: Databases, state_dir: Path
) -> None:
    world = start(serve, databases, state_dir, COLLECTOR_ERASURES_PER_HOUR="3")
    for number in range(1, 13):
        assert post(world.url, body_of(number)).status == 200
    eventually(lambda: len(world.raw(own=False)) == 3 * 12)
    with ThreadPoolExecutor(6) as threads:
        answers = Counter(
            threads.map(
                lambda n: ask(world.url, "/erase", body_of(n), source=f"127.0.0.{n + 2}").status,
                range(1, 13),
            )
        )
    assert answers == {200: 3, 202: 9}
    listed = world.command("my-data", "queue").out
    assert listed.count(" erase ") == 9
    eventually(lambda: metric(world.collector.metrics_url, "collector_erasures_queued") == 9)
    assert "9 released" in world.command("my-data", "release", "--all").out
    eventually(lambda: world.raw(own=False) == [])
    eventually(lambda: Memory(state_dir).erasures.all(State.ACCEPTED, State.PLANNED) == [])


def test_with_fewer_workers_wishes_are_kept_and_leftovers_are_erased_and_go(
    serve: StartServe, databases: Databases, state_dir: Path
) -> None:
    away = {"COLLECTOR_INFLUX_URL": "http://127.0.0.1:9", "COLLECTOR_ERASURES_PER_HOUR": "2"}
    world = start(serve, databases, state_dir, **away)
    for number in range(3):
        spread(world, state_dir, number)
    assert ask(world.url, "/erase", headers=JSON).json == {"status": "delayed"}
    assert ask(world.url, "/opt-out", body_of(1), headers=JSON).json == {"status": "delayed"}
    assert ask(world.url, "/erase", body_of(2), headers=JSON).json == {"status": "queued"}
    # Asked to stop, it would look for InfluxDB for ten seconds.
    workers = world.collector.workers().values()
    world.collector.kill()
    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))

    fewer = {**world.collector.environment, **databases.environment, "COLLECTOR_WORKERS": "1"}
    world = World(databases, serve(fewer))
    assert post(world.url, body_of(1)).json["ignored"] == {"opted-out": 2}
    # Not by the gauge of waiting erasures, which is 0 before the first look too.
    eventually(lambda: outboxes_with(state_dir, OWNER) == 0)
    eventually(lambda: outboxes_with(state_dir, server_name(uuid_of(1))) == 0)
    assert "1 released" in world.command("my-data", "release", "--all").out
    eventually(lambda: outboxes_with(state_dir, server_name(uuid_of(2))) == 0)
    eventually(lambda: world.raw(own=False) == [] and world.raw(own=True) == [])
    # All that they held is erased: nothing is left to keep.
    eventually(lambda: directories(state_dir) == [state_dir])
    world.collector.terminate()
    for number in range(3):
        assert server_name(uuid_of(number)).encode() not in bytes_of(state_dir)
