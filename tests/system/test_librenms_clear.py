"""After LibreNMS's *Clear remote stats* there is no trace of the install, whatever went wrong."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.outbox import FILE, OutboxFile
from tests.conftest import Databases, InfluxServer, Serve, StartServe
from tests.librenms import FORM, UUID, clearing, earlier, report, today, uuid_of
from tests.owners import holding
from tests.sender import Reply, eventually, lay_key, metric, post, server_name
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

OWNER = server_name(UUID)
NEIGHBOUR = server_name(uuid_of(1))
DISTINCT = "WS-Only-Here-9000"


@pytest.fixture
def tidy_influx(tmp_path: Path) -> Iterator[EmbeddedInflux]:
    """An InfluxDB that compacts what was not written to for a second."""
    influx = EmbeddedInflux(tmp_path / "tidy-influxdb", compact_after="1s")
    influx.start()
    yield influx
    influx.kill()


def send(collector: Serve, page: str, body: bytes) -> Reply:
    return post(collector.url, body, path=f"/{page}.php", headers=FORM)


def stored(databases: Databases) -> set[str]:
    rows = databases.server.query("SELECT server FROM librenms_report", "librenms")
    return {row["server"] for row in rows}


def owned(uuid: str) -> bytes:
    """A report with a kind of device that no other install has, as a client of long ago sent it."""
    return earlier(report(uuid, hardware=[{"total": 1, "hardware": DISTINCT}]))


def test_no_byte_of_the_install_is_left_after_clear(
    serve: StartServe, tidy_influx: EmbeddedInflux, tmp_path: Path
) -> None:
    state = tmp_path / "state"
    lay_key(state)
    databases = Databases(InfluxServer(tidy_influx.url), "")
    collector = serve(databases.environment | {"COLLECTOR_LIBRENMS": "1"})
    for _ in range(3):
        assert send(collector, "log", owned(UUID)).status == 200
    assert send(collector, "log", today(report(uuid_of(1)))).status == 200
    eventually(lambda: stored(databases) == {OWNER, NEIGHBOUR})
    eventually(lambda: bool(holding(OWNER, tidy_influx.directory / "data")))
    assert holding(OWNER, state)
    answer = send(collector, "clear", clearing())
    assert (answer.status, answer.json) == (200, {"status": "erased"})
    assert stored(databases) == {NEIGHBOUR}
    eventually(lambda: not holding(OWNER, tidy_influx.directory))
    # Other programs' reading of its files costs a process its locks: it is stopped before.
    collector.terminate()
    places = (tidy_influx.directory, state, collector.log)
    for trace in (UUID, UUID.replace("-", ""), OWNER, DISTINCT):
        assert holding(trace, *places) == [], trace
    for place in (tidy_influx.directory, state):
        assert holding(NEIGHBOUR, place)
    databases.server.http.clear()


def test_clear_while_influxdb_is_away_is_answered_2xx_and_done_on_return(
    serve: StartServe, own_influx: EmbeddedInflux, own_databases: Databases, state_dir: Path
) -> None:
    lay_key(state_dir)
    collector = serve(own_databases.environment | {"COLLECTOR_LIBRENMS": "1"})
    assert send(collector, "log", owned(UUID)).status == 200
    assert send(collector, "log", today(report(uuid_of(1)))).status == 200
    eventually(lambda: stored(own_databases) == {OWNER, NEIGHBOUR})
    own_influx.terminate()
    assert send(collector, "log", owned(UUID)).status == 200
    assert send(collector, "log", today(report(uuid_of(2)))).status == 200
    answer = send(collector, "clear", clearing())
    assert (answer.status, answer.json) == (202, {"status": "delayed"})
    collector.kill()
    # What waited in the outbox is gone already, and the request outlives the process.
    with OutboxFile(collector.state_dir / FILE) as outbox:
        assert OWNER not in outbox.servers()
        assert NEIGHBOUR in outbox.servers()
    again = serve(collector.environment)
    # The install opts in again meanwhile, under the new UUID that its client makes.
    assert send(again, "log", today(report(uuid_of(3)))).status == 200
    own_influx.start()
    eventually(
        lambda: stored(own_databases) == {NEIGHBOUR, *(server_name(uuid_of(n)) for n in (2, 3))},
    )
    eventually(lambda: metric(again.metrics_url, "collector_erasures_waiting") == 0)
    again.terminate()
    assert holding(DISTINCT, again.state_dir) == []


def test_lines_that_influxdb_refuses_are_cleared_too(
    serve: StartServe, own_databases: Databases, state_dir: Path
) -> None:
    # A field of another type than ours, written by somebody else, makes InfluxDB refuse our lines.
    own_databases.server.create("librenms")
    for strange in ("librenms_content totals=1i", "librenms_report versions=1i"):
        own_databases.server.write("librenms", f'{strange},server="00" {time.time_ns()}')
    lay_key(state_dir)
    collector = serve(own_databases.environment | {"COLLECTOR_LIBRENMS": "1"})
    assert send(collector, "log", owned(UUID)).status == 200
    eventually(lambda: metric(collector.metrics_url, "collector_dead_letters") == 2)
    assert holding(DISTINCT, collector.state_dir)
    shown = post(
        collector.url,
        clearing(),
        path="/v1/my-data",
        headers=FORM | {"Accept": "application/json"},
    )
    assert shown.json["held"]["set_aside"] == 1
    assert send(collector, "clear", clearing()).json == {"status": "erased"}
    eventually(lambda: metric(collector.metrics_url, "collector_dead_letters") == 0)
    collector.terminate()
    for trace in (OWNER, DISTINCT, UUID):
        assert holding(trace, collector.state_dir, collector.log) == [], trace
