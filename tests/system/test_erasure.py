"""After an erasure there is no trace, whatever happened in the middle of it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from collector.memory import Memory, State
from tests.conftest import Databases, InfluxServer, Serve, StartServe
from tests.length import seed
from tests.owners import (
    DAYS_BACK,
    OWN,
    OWNER,
    World,
    ask,
    body_of,
    holding,
    midnight,
    start_world,
    uuid_of,
)
from tests.sender import eventually, metric, node_name, post, server_name
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

JSON = {"Accept": "application/json"}
KILLS = 6
SEED = 20_261_122


def wait_begun(collector: Serve, before: int) -> None:
    """Until a collector remembers one erasure more than `before`."""

    def begun() -> bool:
        return len(Memory(collector.state_dir).erasures.all(*State)) > before

    eventually(begun)


@pytest.fixture
def tidy_influx(tmp_path: Path) -> Iterator[EmbeddedInflux]:
    """An InfluxDB that compacts what was not written to for a second."""
    influx = EmbeddedInflux(tmp_path / "tidy-influxdb", compact_after="1s")
    influx.start()
    yield influx
    influx.kill()


def test_no_byte_of_the_pseudonym_is_left_and_the_neighbours_are_whole(
    serve: StartServe, tidy_influx: EmbeddedInflux, tmp_path: Path
) -> None:
    databases = Databases(InfluxServer(tidy_influx.url), "")
    state = tmp_path / "state"
    world = start_world(serve, databases, state)
    for number in range(7):
        assert post(world.url, body_of(number)).status == 200
    received = 7 * (DAYS_BACK + 2)
    world.wait_delivered(received)
    # Its next look would be at the next quarter of an hour; a start looks at once.
    first_log = world.collector.log
    world.collector.terminate()
    world = World(databases, serve(world.collector.environment))
    eventually(lambda: sum(row["reports"] for row in world.days()) == received)
    neighbours, published = world.raw(own=False), world.published(final=True)
    places = (tidy_influx.directory, state, first_log, world.collector.log)
    eventually(lambda: bool(holding(OWNER, tidy_influx.directory / "data")))
    assert holding(OWNER, state)
    for what in ("", "/erase", ""):
        assert ask(world.url, what).status == 200
    eventually(lambda: not holding(OWNER, tidy_influx.directory))
    # Other programs' reading of its files costs a process its locks: it is stopped before.
    world.collector.terminate()
    for trace in (OWNER, uuid_of(0), node_name(100_000), node_name(100_001)):
        assert holding(trace, *places) == []
    assert holding(server_name(uuid_of(1)), tidy_influx.directory)
    assert holding(server_name(uuid_of(1)), state)
    assert world.raw(own=False) == neighbours
    assert world.published(final=True) == published
    for frame in (state / "rollup").rglob("servers-*.parquet"):
        assert int(OWNER, 16).to_bytes(8, "little") not in frame.read_bytes()
    databases.server.http.clear()


def test_asked_during_an_outage_it_is_remembered_and_done_on_return(
    serve: StartServe, own_influx: EmbeddedInflux, own_databases: Databases, tmp_path: Path
) -> None:
    world = start_world(serve, own_databases, tmp_path / "state")
    neighbours = len(world.raw(own=False))
    own_influx.terminate()
    assert post(world.url, OWN).status == 200
    assert post(world.url, body_of(1)).status == 200
    answer = ask(world.url, "/erase", headers=JSON)
    assert (answer.status, answer.json) == (202, {"status": "delayed"})
    assert "remembered" in ask(world.url, "/erase", body_of(50)).body.decode()
    eventually(lambda: metric(world.collector.metrics_url, "collector_erasures_waiting") == 2)
    world.collector.kill()
    again = World(own_databases, serve(world.collector.environment))
    own_influx.start()
    eventually(lambda: again.raw(own=True) == [])
    eventually(lambda: len(again.raw(own=False)) == neighbours + 3)
    eventually(lambda: metric(again.collector.metrics_url, "collector_erasures_waiting") == 0)
    again.command("verify")


def test_killed_at_random_moments_it_comes_to_the_same_end(
    serve: StartServe, own_databases: Databases, tmp_path: Path
) -> None:
    world = start_world(serve, own_databases, tmp_path / "state")
    last = server_name(uuid_of(KILLS))
    before = world.published(final=True)
    neighbour = [row for row in world.raw(own=False) if row["server"] == last]
    rng = random.Random(seed(SEED))
    collector: Serve = world.collector
    with ThreadPoolExecutor(1) as pool:
        for number in range(KILLS):
            asked = pool.submit(ask, collector.url, "/erase", body_of(number))
            wait_begun(collector, number)
            time.sleep(rng.uniform(0.0, 0.15))
            collector.kill()
            # On a slow machine it was answered before.
            assert asked.exception() is not None or asked.result().status in {200, 202}
            collector = serve(world.collector.environment)
    again = World(own_databases, collector)
    eventually(lambda: len([*again.raw(own=True), *again.raw(own=False)]) == len(neighbour))
    eventually(lambda: {row["time"]: row["reports"] for row in again.days()}.get(midnight()) == 1)
    assert again.raw(own=False) == neighbour
    assert again.published(final=True) == before
    final = [row["time"] for row in before["daily_usage"]]
    assert again.erased() == dict.fromkeys(final, (KILLS, 2 * KILLS))
    again.command("verify")
