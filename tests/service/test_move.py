"""`collector move` copies everything to another InfluxDB, and loses and doubles nothing.

The target is another database prefix of the shared server, a second InfluxDB 1.x, and, with
TEST_INFLUX2_URL, TEST_INFLUX2_TOKEN and TEST_INFLUX2_ORG, an InfluxDB 2.
"""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from collector.move import copy
from tests.command import Done, command
from tests.conftest import Databases, InfluxServer, Serve, StartServe, clean_environment
from tests.owners import DAYS_BACK, NEIGHBOURS, body_of, lay_past, midnight, uuid_of
from tests.releases import releases, stored_lines
from tests.sender import GUARD_S, eventually, lay_key, post, server_name
from tools import embedded

ROOT = Path(__file__).parents[2]
DAY_S = 86_400
KILLED = """
import os, sys
from collector.cli import main
from collector.move.journal import Journal
spans, add = int(sys.argv.pop(1)), Journal.add

def dying(*args):
    global spans
    if not spans:
        os.kill(os.getpid(), 9)
    spans -= 1
    add(*args)

Journal.add = dying
main()
"""
AWKWARD = (
    "statsd_gauge,asterisk=a\\ b\\,c\\=d,name=x value=5,uncertain=0 {time}\n"
    "statsd_gauge,asterisk=default,name=y value=0.1 {time}\n"
    'sip,asterisk=default text="a \\"quoted\\" \\\\ text, with=signs ü",count=5i {time}'
)


@pytest.fixture
def target(databases: Databases) -> Databases:
    """Databases with another prefix on the shared server, which do not exist yet."""
    return Databases(databases.server, f"{databases.prefix}to_")


def run(
    source: Databases, state: Path, target: Databases, *options: str, retention: str = "90d"
) -> Done:
    environment = source.environment | {
        "COLLECTOR_STATE_DIR": str(state),
        "COLLECTOR_RETENTION_RAW": retention,
    }
    return command(environment, *arguments(target), *options)


def arguments(target: Databases) -> list[str]:
    return ["move", "--to", target.server.url, "--prefix", target.prefix]


def contents(databases: Databases) -> dict[str, list[str]]:
    """Every point of every database of a prefix, as line protocol, read without the product."""
    found = {}
    for name in databases.server.databases():
        own = name.removeprefix(databases.prefix)
        if name.startswith(databases.prefix) and "to_" not in own:
            found[own] = sorted(stored_lines(databases.server, name))
    return found


def test_all_databases_of_a_release_arrive_as_they_are_with_their_retention(
    databases: Databases, target: Databases, state_dir: Path
) -> None:
    (release, *_) = releases()
    release.lay_influx(databases)
    live = f"{databases.prefix}asterisk_live"
    databases.server.write(live, AWKWARD.format(time=midnight()))
    databases.server.query(f'ALTER RETENTION POLICY autogen ON "{live}" DURATION 36500d')
    done = run(databases, state_dir, target)
    assert done.code == 0, done.err
    wanted = contents(databases)
    assert contents(target) == wanted
    assert sum(map(len, wanted.values())) > 500
    assert target.server.retention(f"{target.prefix}asterisk_live") == 36_500 * DAY_S
    assert target.server.retention(target.daily) == 0
    assert f"{target.prefix}usage_raw: {len(wanted['usage_raw'])} points" in done.out
    assert "0 of them written now" in run(databases, state_dir, target).out


def test_later_run_copies_what_has_changed_and_deletes_what_has_gone(
    databases: Databases, target: Databases, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Days are halved until few points are left, so that all of them go through that.
    monkeypatch.setattr(copy, "MOST_POINTS", 5)
    lay_past(databases)
    assert run(databases, state_dir, target).code == 0
    assert contents(target) == contents(databases)
    server, raw = databases.server, databases.raw
    (first, *_, last) = server.query("SELECT nodes FROM server_report", raw)
    # An erasure, a late report, a changed value, and a day that is deleted whole.
    server.query(f"DELETE FROM server_report WHERE time = {first['time']}", raw)
    server.write(raw, f"server_report nodes=3i {first['time'] + 1}")
    (tagged,) = server.query(f"SELECT * FROM node_report WHERE time > {last['time']} LIMIT 1", raw)
    server.query(f"DELETE FROM node_report WHERE time = {tagged['time']}", raw)
    whole = midnight() - 2 * DAY_S * 10**9
    where = f"time >= {whole} AND time < {whole + DAY_S * 10**9}"
    for measurement in ("node_report", "server_report"):
        server.query(f"DELETE FROM {measurement} WHERE {where}", raw)
    server.write(databases.daily, f"daily_usage nodes=1i {whole}")
    assert run(databases, state_dir, target).code == 0
    assert contents(target) == contents(databases)
    # The same again by a machine that has no journal; it may replace what it finds.
    server.write(target.raw, f"server_report nodes=9i {whole}")
    refused = run(databases, state_dir / "other", target)
    assert refused.code == 1
    assert "holds points that this move has not written" in refused.err
    assert run(databases, state_dir / "other", target, "--overwrite").code == 0
    assert contents(target) == contents(databases)


def test_points_about_to_expire_stay_behind(
    databases: Databases, target: Databases, state_dir: Path
) -> None:
    lay_past(databases)
    kept_days = 3
    databases.server.query(
        f'ALTER RETENTION POLICY autogen ON "{databases.raw}" DURATION {kept_days}d'
        " SHARD DURATION 1d"
    )
    assert run(databases, state_dir, target).code == 0
    days = {
        row["time"] // (DAY_S * 10**9)
        for row in target.server.query("SELECT nodes FROM server_report", target.raw)
    }
    assert 0 < len(days) < DAYS_BACK
    assert max(days) * DAY_S * 10**9 == midnight()


def test_what_cannot_be_moved_is_refused_with_the_remedy(
    databases: Databases, target: Databases, state_dir: Path
) -> None:
    assert "nothing to move" in run(databases, state_dir, databases).err
    assert "has none of the databases" in run(databases, state_dir, target).err
    lay_past(databases)
    target.server.query(f'CREATE DATABASE "{target.raw}" WITH DURATION 2d')
    refused = run(databases, state_dir, target)
    assert refused.code == 1
    assert "keeps points for 2 days, the source for ever" in refused.err
    assert target.server.count(target.raw, "server_report", "nodes") == 0
    nowhere = command(databases.environment, "move", "--to", "http://127.0.0.1:1")
    assert nowhere.code == 1
    assert "run it again" in nowhere.err
    assert command(databases.environment, "move", "--to", "influx.lan").code == 2


@pytest.fixture(params=["1.x", "2.x"])
def other(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Databases]:
    """Databases on a second server."""
    if request.param == "2.x":
        url, token, org = (
            os.environ.get(f"TEST_INFLUX2_{name}", "") for name in ("URL", "TOKEN", "ORG")
        )
        if not (url and token and org):
            pytest.skip("TEST_INFLUX2_URL, TEST_INFLUX2_TOKEN and TEST_INFLUX2_ORG are not set")
        server = InfluxServer(url, token, org)
        yield Databases(server, f"t{os.getpid()}_move_")
        for name in server.databases():
            if name.startswith(f"t{os.getpid()}_move_"):
                server.drop(name)
        return
    influx = embedded.EmbeddedInflux(tmp_path / "other-influxdb")
    influx.start()
    yield Databases(InfluxServer(influx.url), "")
    influx.kill()


class Load:
    """Sends a report of a new server every few ms, and notes those that were accepted."""

    def __init__(self, collector: Serve) -> None:
        self.collector = collector
        self.accepted: list[str] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def end(self) -> None:
        self._ended.set()
        self._thread.join()

    def _run(self) -> None:
        number = NEIGHBOURS + 1
        while not self._ended.wait(0.02):
            number += 1
            try:
                status = post(self.collector.url, body_of(number)).status
            except OSError:
                # The collector is starting again; this sender's report comes on another day.
                continue
            if status == 200:
                self.accepted.append(server_name(uuid_of(number)))


def test_move_under_load_killed_twice_and_switched_loses_and_doubles_nothing(
    serve: StartServe, own_databases: Databases, other: Databases, state_dir: Path, tmp_path: Path
) -> None:
    source = own_databases
    lay_past(source)
    lay_key(state_dir)
    before = len(source.server.query("SELECT nodes FROM server_report", source.raw))
    token = tmp_path / "token"
    token.write_text(other.server.token)
    options = [*arguments(other), "--org", other.server.org]
    options += ["--token-file", str(token)] if other.server.token else []
    collector = serve(source.environment | {"COLLECTOR_K_ANONYMITY": "1"})
    eventually(lambda: source.server.count(source.daily, "daily_usage", "nodes") >= DAYS_BACK)
    load = Load(collector)
    try:
        for spans in (4, 9):
            # Its points are written, and the journal does not say so yet.
            process = start(collector, options, tmp_path, code=KILLED, before=(str(spans),))
            assert finished(process) == -9
            assert journal_lines(state_dir) >= spans
        assert finished(start(collector, options, tmp_path)) == 0
        # An owner erases between two runs: the new InfluxDB must not bring the reports back.
        assert command(collector.environment, "my-data", "erase", uuid_of(0)).code == 0
        process = start(collector, [*options, "--switch"], tmp_path)
        eventually(lambda: "press Enter" in (tmp_path / "move.log").read_text())
        got = len(load.accepted)
        eventually(lambda: len(load.accepted) > got + 20)
        collector.terminate()
        load.collector = serve(collector.environment | other.environment)
        got = len(load.accepted)
        eventually(lambda: len(load.accepted) > got + 20)
        assert process.stdin is not None
        process.stdin.write(b"\n")
        process.stdin.close()
        assert process.wait(GUARD_S) == 0
    finally:
        load.end()
    own = server_name(uuid_of(0))

    def stored() -> list[str]:
        rows = other.server.query('SELECT "server", nodes FROM server_report', other.raw)
        return [row["server"] for row in rows]

    eventually(lambda: set(load.accepted) <= set(stored()))
    names = stored()
    assert own not in names
    assert len(names) == before - (DAYS_BACK + 1) + len(load.accepted)
    assert sorted(name for name in names if name in set(load.accepted)) == sorted(load.accepted)
    final = f"time < {midnight()}"
    query = f"SELECT * FROM daily_nodes WHERE {final}"
    published = [sorted(map(str, one.server.query(query, one.daily))) for one in (source, other)]
    assert published[0]
    assert published[0] == published[1]
    assert journal_lines(state_dir) == 0


def start(
    collector: Serve, options: list[str], place: Path, *, code: str = "", before: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start the command; with `code`, a program that runs it, with these arguments before it."""
    program = ["-c", code, *before] if code else ["-m", "collector"]
    with (place / "move.log").open("wb") as log:
        return subprocess.Popen(
            [sys.executable, *program, *options],
            cwd=ROOT,
            env=clean_environment() | collector.environment,
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
        )


def finished(process: subprocess.Popen[bytes]) -> int:
    process.communicate()
    return process.returncode


def journal_lines(state: Path) -> int:
    return sum(path.read_text().count("\n{") for path in state.glob("move-*.jsonl"))
