"""A collector whose disk is short, full or taken: 503 in good time, and never a lost report."""

from __future__ import annotations

import resource
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.conftest import Databases, Serve, StartServe
from tests.disks import fill
from tests.sender import (
    GUARD_S,
    Reply,
    encoded,
    eventually,
    get,
    key_of,
    lay_key,
    metric,
    node_name,
    post,
    report,
)
from tools.embedded import EmbeddedInflux

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

FIRST = 100_000
WIDE = {f"p{n:03}": "x" * 200 for n in range(200)}
"""Packages that make a report some 40 KiB large."""


def send(collector: Serve, number: int, *, wide: bool = False) -> Reply:
    said = report([number]) | ({"pkgs": WIDE} if wide else {})
    return post(collector.url, encoded(said))


def send_until_refused(collector: Serve, most: int = 2000) -> tuple[list[int], Reply]:
    """The numbers of the reports acknowledged, and the first other answer."""
    acknowledged: list[int] = []
    for number in range(FIRST, FIRST + most):
        answer = send(collector, number, wide=True)
        if answer.status != 200:
            return acknowledged, answer
        acknowledged.append(number)
    pytest.fail(f"{most} reports were all accepted")


def expect_unavailable(collector: Serve, answer: Reply) -> None:
    assert (answer.status, answer.reason) == (503, "unavailable")
    assert answer.headers["content-type"] == "application/problem+json"
    assert int(answer.headers["retry-after"]) > 0

    def refuses() -> bool:
        return (
            send(collector, FIRST - 3, wide=True).status == 503
            and get(collector.metrics_url, "/readyz").status == 503
            and metric(collector.metrics_url, "collector_outbox_accepting") == 0
        )

    # For a moment it may try whether there is room again.
    eventually(refuses)
    assert get(collector.metrics_url, "/healthz").status == 200
    labels = {"intake": "asl", "outcome": "unavailable"}
    assert metric(collector.metrics_url, "collector_reports_total", **labels) >= 1
    assert "reason=unavailable" in collector.logs()


def accepts_again(collector: Serve, number: int) -> None:
    eventually(lambda: send(collector, number).status == 200)
    eventually(lambda: get(collector.metrics_url, "/readyz").status == 200)


def all_there(databases: Databases, collector: Serve, numbers: list[int]) -> None:
    key = key_of(collector.state_dir)
    wanted = {node_name(number, key) for number in numbers}

    def there() -> bool:
        rows = databases.server.query('SELECT "node" FROM "node_report"', databases.raw)
        return wanted <= {row["node"] for row in rows}

    eventually(there)


def test_outbox_over_its_limit_refuses_until_it_is_delivered(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe
) -> None:
    own_influx.terminate()
    collector = serve(own_databases.environment | {"COLLECTOR_OUTBOX_MAX": "1MiB"})
    acknowledged, answer = send_until_refused(collector)
    assert len(acknowledged) > 10
    expect_unavailable(collector, answer)
    assert "COLLECTOR_OUTBOX_MAX" in answer.json["detail"]
    own_influx.start()
    accepts_again(collector, FIRST - 1)
    all_there(own_databases, collector, [*acknowledged, FIRST - 1])


def test_full_disk_is_said_early_and_costs_no_acknowledged_report(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe, small_disk: Path
) -> None:
    own_influx.terminate()
    state = small_disk / "state"
    collector = serve(own_databases.environment | {"COLLECTOR_STATE_DIR": str(state)})
    (small_disk / "filler").write_bytes(b"x" * (12 << 20))
    acknowledged, answer = send_until_refused(collector)
    expect_unavailable(collector, answer)
    assert "disk is full" in answer.json["detail"]
    collector.kill()
    (small_disk / "filler").unlink()
    own_influx.start()
    restarted = serve(collector.environment)
    accepts_again(restarted, FIRST - 1)
    all_there(own_databases, restarted, [*acknowledged, FIRST - 1])


def test_disk_filled_by_others_to_the_last_byte_costs_no_acknowledged_report(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe, small_disk: Path
) -> None:
    own_influx.terminate()
    state = small_disk / "state"
    collector = serve(own_databases.environment | {"COLLECTOR_STATE_DIR": str(state)})
    assert send(collector, FIRST - 2).status == 200
    fill(small_disk / "filler")
    acknowledged, answer = send_until_refused(collector)
    expect_unavailable(collector, answer)
    (small_disk / "filler").unlink()
    accepts_again(collector, FIRST - 1)
    own_influx.start()
    all_there(own_databases, collector, [FIRST - 2, *acknowledged, FIRST - 1])


def test_disk_that_takes_no_more_writes_is_said_and_found_mended(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe
) -> None:
    own_influx.terminate()
    collector = serve(own_databases.environment)
    assert send(collector, FIRST - 2).status == 200
    pid = collector.process.pid
    soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    largest = max(path.stat().st_size for path in [*collector.state_dir.iterdir(), collector.log])
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (largest + 100_000, hard))
    acknowledged, answer = send_until_refused(collector)
    expect_unavailable(collector, answer)
    assert metric(collector.metrics_url, "collector_outbox_failures_total") >= 1
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))
    accepts_again(collector, FIRST - 1)
    own_influx.start()
    all_there(own_databases, collector, [FIRST - 2, *acknowledged, FIRST - 1])


def test_last_write_torn_by_the_crash_costs_nothing_acknowledged_before(
    own_influx: EmbeddedInflux, own_databases: Databases, serve: StartServe
) -> None:
    own_influx.terminate()
    collector = serve(own_databases.environment)
    numbers = list(range(FIRST, FIRST + 50))
    assert {send(collector, number).status for number in numbers} == {200}
    collector.kill()
    log = collector.state_dir / "outbox.sqlite3-wal"
    log.write_bytes(log.read_bytes()[:-10])
    own_influx.start()
    restarted = serve(collector.environment)
    all_there(own_databases, restarted, numbers[:-1])


def ends_with_words(serve: StartServe, collector: Serve | dict[str, str]) -> str:
    """Start a collector that must end with 1; what it says."""
    settings = collector if isinstance(collector, dict) else collector.environment
    environment = {name: value for name, value in settings.items() if not name.endswith("LISTEN")}
    ended = serve(environment, ready=False)
    assert ended.process.wait(GUARD_S) == 1
    assert "Traceback" not in ended.logs()
    return ended.logs()


def test_second_collector_on_a_state_directory_is_refused_in_words(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    said = ends_with_words(serve, collector)
    assert f"{collector.state_dir} is in use by another collector" in said
    assert "COLLECTOR_STATE_DIR" in said
    assert send(collector, FIRST).status == 200


def test_outbox_of_a_newer_version_is_refused_in_words(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    collector.terminate()
    with closing(sqlite3.connect(collector.state_dir / "outbox.sqlite3")) as database:
        database.execute("PRAGMA user_version=99")
    assert "version 99, newer" in ends_with_words(serve, collector)


def test_damaged_key_is_refused_and_left_alone(
    databases: Databases, serve: StartServe, state_dir: Path
) -> None:
    lay_key(state_dir)
    (state_dir / "pseudonym.key").write_text("not a key\n")
    said = ends_with_words(serve, databases.environment | {"COLLECTOR_STATE_DIR": str(state_dir)})
    assert "is no pseudonym key" in said
    assert (state_dir / "pseudonym.key").read_text() == "not a key\n"
