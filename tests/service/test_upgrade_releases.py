"""This version goes on from what each release left, and loses nothing of it.

tests/releases.py made the cases, with three workers and every sender, as each release ran.
"""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import pytest
import yaml
from sqlalchemy import select

from collector.memory import Memory, State
from collector.outbox import FILE, OutboxFile
from collector.records.store import RecordsStore
from collector.records.tables import RECORDS
from collector.settings import Settings, variable
from tests.command import command
from tests.conftest import Databases, Row, StartServe
from tests.owners import body_of, uuid_of
from tests.releases import CHOSEN, GAUGE, QUEUED, REFUSED, SETTINGS, Release, releases
from tests.sender import eventually, post, server_name
from tests.statsd import Sender, gauges
from tools import embedded

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

ROOT = Path(__file__).parents[2]
DAY = 86_400 * 10**9
each_release = pytest.mark.parametrize("release", releases(), ids=lambda one: one.directory.name)


@each_release
def test_state_and_influxdb_of_a_release_are_taken_over_whole(
    serve: StartServe, databases: Databases, state_dir: Path, release: Release
) -> None:
    server, expected = databases.server, release.expected
    release.lay_influx(databases)
    release.lay_state(state_dir)
    published = published_days(databases)
    statsd = f"{embedded.HOST}:{embedded.free_port()}"
    collector = serve(
        SETTINGS | databases.environment | {"COLLECTOR_STATSD_LISTEN": statsd},
    )
    settings = collector.environment

    # Reports that waited in the outboxes of all workers arrive, each once.
    new = [server_name(uuid_of(n)) for n in range(expected["first_new"], expected["last_new"] + 1)]
    rows = eventual_rows(databases, len(new), new)
    assert sorted(row["server"] for row in rows) == sorted(new)
    eventually(
        lambda: (
            server.count(f"{databases.prefix}librenms", "librenms_content", "pairs")
            == expected["librenms"]
        )
    )
    eventually(
        lambda: (
            server.count(f"{databases.prefix}telemetrics", "record", "external")
            == expected["records"]
        )
    )
    with closing(RecordsStore("", directory=state_dir)) as records:
        records.prepare()
        stored = records.rows(select(RECORDS.c.payload).order_by(RECORDS.c.id))
    assert [row["payload"] for row in stored] == [
        f"record {number}\n".encode() for number in range(expected["records"])
    ]
    # Dead letters, owners' choices and queued erasures are as they were.
    with OutboxFile(state_dir / FILE) as outbox:
        (letter,) = outbox.dead_letters()
        assert REFUSED in str(letter.line)
    memory = Memory(state_dir)
    assert {one.out for one in memory.choices.all()} == {True}
    assert {one.server for one in memory.erasures.all(State.QUEUED)} == {
        server_name(uuid_of(number)) for number in QUEUED
    }
    assert all(own_reports(databases, number) for number in QUEUED)
    for number in (CHOSEN, expected["last_new"] + 1):
        assert post(collector.url, body_of(number)).status == 200
    eventually(lambda: own_reports(databases, expected["last_new"] + 1) == 1)
    assert own_reports(databases, CHOSEN) == 0
    # A gauge that is only counted up goes on from its value.
    with Sender(statsd) as sender:
        sender.send(f"{GAUGE}:+1|g".encode())
    eventually(
        lambda: gauges(databases, "statsd_gauge", "value").get((GAUGE,)) == expected["gauge"] + 1
    )
    # What was published stays, and what was queued can be done.
    after = published_days(databases)
    for key, rows in published.items():
        # A later version may add fields to a day.
        assert all(any(row.items() <= new.items() for new in after[key]) for row in rows), key
        assert len(after[key]) == len(rows), key
    assert command(settings, "my-data", "release", "--all").code == 0
    eventually(lambda: not any(own_reports(databases, number) for number in QUEUED))


@each_release
def test_compose_file_of_a_release_names_only_settings_that_there_are(release: Release) -> None:
    """An operator who keeps their own compose file can start this version with it."""
    text = (release.directory / "docker-compose.yml").read_text(encoding="utf-8")
    known = {variable(name) for name in Settings.model_fields}
    known |= {f"{name}_FILE" for name in known}
    assert set(re.findall(r"^ +(COLLECTOR_\w+):", text, re.MULTILINE)) <= known
    then, now = (yaml.safe_load(by_default(one))["services"] for one in (text, current()))
    for name, service in then.items():
        assert name in now, f"{name} has gone: tell operators what to do"
        for key in ("volumes", "secrets", "user", "ports", "expose"):
            held = [str(one) for one in service.get(key, [])]
            assert set(held) <= {str(one) for one in now[name].get(key, [])}, f"{name}: {key}"


def by_default(text: str) -> str:
    """A compose file with the defaults of variables in their place."""
    return re.sub(r"\$\{\w+:-([^{}]*)\}", r"\1", text)


def current() -> str:
    return (ROOT / "docker-compose.yml").read_text(encoding="utf-8")


def eventual_rows(databases: Databases, count: int, names: list[str]) -> list[Row]:
    """The raw reports of these servers, once there are as many."""
    found: list[Row] = []

    def there() -> bool:
        found[:] = [
            row
            for row in databases.server.query('SELECT "server" FROM server_report', databases.raw)
            if row["server"] in names
        ]
        return len(found) >= count

    eventually(there)
    return found


def own_reports(databases: Databases, number: int) -> int:
    name = server_name(uuid_of(number))
    rows = databases.server.query(
        f"SELECT count(nodes) AS n FROM server_report WHERE \"server\" = '{name}'", databases.raw
    )
    return int(rows[0]["n"]) if rows else 0


def published_days(databases: Databases) -> dict[str, list[Row]]:
    """The points of the final days, by measurement and day."""
    query, daily = databases.server.query, databases.daily
    days = {
        row["time"] for row in query("SELECT final FROM daily_usage", daily) if row["final"] == 1
    }
    found: dict[str, list[Row]] = {}
    for measurement in ("daily_usage", "daily_nodes", "daily_servers", "daily_packages"):
        for row in query(f"SELECT * FROM {measurement}", daily):
            if row["time"] in days:
                own = {name: value for name, value in row.items() if value is not None}
                found.setdefault(f"{measurement} {row['time'] // DAY}", []).append(own)
    return found
