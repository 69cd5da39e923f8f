"""A real InfluxDB is asked nothing that docs/influx-contract.md does not list."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from tests.command import command
from tests.conftest import Databases, InfluxServer, StartServe
from tests.dates import open_day
from tests.owners import DAYS_BACK, ask, start_world
from tests.sender import eventually
from tools.contract import PROMISES, kind_of
from tools.embedded import EmbeddedInflux

LOGGED = re.compile(r'msg="Executing query".*? query="((?:[^"\\]|\\.)*)"')
NOT_LOGGED = {
    # On a server that asks for passwords: tests/service/test_provision.py.
    *("SHOW USERS", "SHOW GRANTS", "CREATE USER", "DROP USER", "SET PASSWORD", "GRANT", "REVOKE"),
    # InfluxDB logs it as the SELECT that it makes of it.
    "SHOW FIELD KEYS",
}


@pytest.fixture
def telling(tmp_path: Path) -> Iterator[EmbeddedInflux]:
    """An InfluxDB that logs all statements."""
    settings = {
        "INFLUXDB_DATA_QUERY_LOG_ENABLED": "true",
        "INFLUXDB_LOGGING_LEVEL": "info",
        "INFLUXDB_LOGGING_FORMAT": "logfmt",
    }
    influx = EmbeddedInflux(tmp_path / "telling-influxdb", overrides=settings)
    influx.start()
    yield influx
    influx.kill()


def test_statements_that_influxdb_logs_are_of_the_kinds_that_are_listed(
    serve: StartServe, telling: EmbeddedInflux, tmp_path: Path
) -> None:
    databases = Databases(InfluxServer(telling.url), "")
    world = start_world(serve, databases, tmp_path / "state")
    assert ask(world.url, "").status == 200
    assert ask(world.url, "/erase").status == 200
    eventually(lambda: world.raw(own=True) == [])
    # Final days only: the collector may end before it has counted the open day again.
    first, last = (str(open_day() - timedelta(days=back)) for back in (DAYS_BACK - 1, 1))
    environment = world.collector.environment
    world.collector.terminate()
    for words in (
        ("check",),
        ("status",),
        ("verify", "--from", first, "--to", last),
        ("retention", "set", "--raw", "100d", "--yes"),
        ("retention", "show"),
        ("backup", str(tmp_path / "backup")),
        ("restore", str(tmp_path / "backup")),
        ("move", "--to", telling.url, "--prefix", "to_"),
    ):
        done = command(environment, *words)
        assert done.code == 0, done.out + done.err
    logged = LOGGED.findall(telling.log.read_text(errors="replace"))
    kinds = {kind_of(statement) or statement for statement in logged}
    assert kinds <= PROMISES.keys()
    statements = {kind for kind in PROMISES if not re.match(r"(GET|POST|/)", kind)}
    assert kinds >= statements - NOT_LOGGED
