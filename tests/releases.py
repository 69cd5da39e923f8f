"""What a release leaves on a machine, kept as text: `python -m tests.releases VERSION`.

The command runs this working tree's collector for real, with three workers and every sender, and
writes what is left after it has stopped to tests/cases/releases/VERSION: the state directory, the
contents of InfluxDB as line protocol, and docker-compose.yml. It is run once for each release, on
the release's own commit; each later version is tested on what all releases left.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from tests.conftest import Databases, InfluxServer, Serve, clean_environment
from tests.librenms import FORM, report, today, uuid_of
from tests.owners import NEIGHBOURS, ask, body_of, lay_past
from tests.sender import eventually, lay_key, post
from tests.statsd import Sender
from tools import embedded

CASES: Final = Path(__file__).parent / "cases" / "releases"
STATE: Final = "state"
INFLUX: Final = "influxdb"
WORKERS: Final = 3
RECORD: Final = json.loads((CASES.parent / "telemetrics" / "client-2.4.3.json").read_text())
TID: Final = {"X-Telemetry-TID": "6907c830-eed9-4ce9-81ae-76daf8d88f0f"}
SETTINGS: Final = {
    "COLLECTOR_WORKERS": str(WORKERS),
    "COLLECTOR_TELEMETRICS": "1",
    "COLLECTOR_LIBRENMS": "1",
    "COLLECTOR_STATSD_FLUSH": "1s",
    "COLLECTOR_K_ANONYMITY": "1",
    "COLLECTOR_ERASURES_PER_HOUR": "1",
    # The case stays the same while the years pass.
    **{f"COLLECTOR_RETENTION_{name}": "36500d" for name in ("RAW", "LIVE", "LIBRENMS", "RECORDS")},
}
REFUSED: Final = "dialplan.set"
"""A StatsD set whose points InfluxDB refuses: its field has another type there."""
GAUGE: Final = "dialplan.gauge"
CHOSEN: Final = NEIGHBOURS - 1
"""Number of the server that opted out; the erasures of the two before it are queued."""
QUEUED: Final = (NEIGHBOURS - 3, NEIGHBOURS - 2)
_WAITING: Final = (
    "SELECT count(*) FROM entries WHERE target = 'usage_raw' AND id >"
    " (SELECT delivered_id FROM cursors WHERE queue = 'influx')"
)


@dataclass(frozen=True)
class Release:
    """What a release left."""

    directory: Path

    @property
    def expected(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.directory / "expected.json").read_text())
        return found

    def lay_state(self, state: Path) -> None:
        """Make the state directory as the release left it."""
        for path in sorted((self.directory / STATE).rglob("*")):
            own = state / path.relative_to(self.directory / STATE)
            if path.is_dir():
                own.mkdir(mode=0o700, parents=True)
                continue
            own.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            if path.suffix == ".sql":
                with closing(sqlite3.connect(own.with_suffix(""))) as database:
                    database.executescript(path.read_text(encoding="utf-8"))
                own.with_suffix("").chmod(0o600)
            else:
                shutil.copyfile(path, own)
                own.chmod(0o600)

    def lay_influx(self, databases: Databases) -> None:
        """Write the contents of InfluxDB into databases with the test's prefix."""
        for path in sorted((self.directory / INFLUX).glob("*.txt")):
            name = f"{databases.prefix}{path.stem}"
            databases.server.create(name)
            databases.server.write(name, path.read_text(encoding="utf-8"))


def releases() -> list[Release]:
    """All releases that a version is tested on."""
    return [Release(path) for path in sorted(CASES.iterdir())]


def make(directory: Path) -> None:
    """Run a collector and write what it leaves to a directory that does not exist yet."""
    directory.mkdir(parents=True)
    with tempfile.TemporaryDirectory() as place:
        state = Path(place) / "state"
        lay_key(state)
        influx = embedded.EmbeddedInflux(Path(place) / "influx")
        influx.start()
        databases = Databases(InfluxServer(influx.url), "")
        settings = SETTINGS | {
            "COLLECTOR_LISTEN": f"{embedded.HOST}:{embedded.free_port()}",
            "COLLECTOR_METRICS_LISTEN": f"{embedded.HOST}:{embedded.free_port()}",
            "COLLECTOR_STATSD_LISTEN": f"{embedded.HOST}:{embedded.free_port()}",
            "COLLECTOR_STATE_DIR": str(state),
            **databases.environment,
        }
        lay_past(databases)
        databases.server.create("asterisk_live")
        with _serving(settings, Path(place)) as collector:
            collector.wait_ready()
            expected = _live_through(collector, databases, influx)
        influx.restart()
        _dump_state(state, directory / STATE)
        _dump_influx(databases.server, directory / INFLUX)
        influx.terminate()
    shutil.copyfile("docker-compose.yml", directory / "docker-compose.yml")
    (directory / "expected.json").write_text(json.dumps(expected, indent=2) + "\n")


@contextmanager
def _serving(settings: dict[str, str], place: Path) -> Iterator[Serve]:
    with (place / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "collector", "serve"],
            env=clean_environment() | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Serve(settings, place / "log", process)
    finally:
        process.terminate()
        process.wait()


def _live_through(
    collector: Serve, databases: Databases, influx: embedded.EmbeddedInflux
) -> dict[str, Any]:
    """Send everything, then more while InfluxDB is away; return what is to be found again."""
    server, url = databases.server, collector.url
    counts = {"server_report": server.count(databases.raw, "server_report", "nodes")}
    eventually(lambda: bool(server.query("SELECT final FROM daily_usage", databases.daily)))
    refused = f'statsd_set,name={REFUSED},asterisk=default count="text" {time.time_ns()}'
    server.write("asterisk_live", refused)
    statsd = Sender(collector.environment["COLLECTOR_STATSD_LISTEN"])
    statsd.send(f"{REFUSED}:1|s".encode(), f"{GAUGE}:40|g".encode())
    eventually(lambda: _count(collector.state_dir, "SELECT count(*) FROM dead_letters") > 0)
    for number in range(3):
        assert _librenms(url, number) == 200
        assert _record(url, number) == 201
    eventually(lambda: server.count("telemetrics", "record", "external") == 3)
    assert ask(url, "/opt-out", body_of(CHOSEN)).status == 200
    for number in QUEUED:
        assert ask(url, "/erase", body_of(number)).status in {200, 202}
    for number in range(NEIGHBOURS + 1, NEIGHBOURS + 4):
        assert post(url, body_of(number)).status == 200
    influx.kill()
    # Connections go to any of the workers: until each has reports that wait.
    number = NEIGHBOURS + 4
    own = [collector.state_dir, *(collector.state_dir / f"worker-{n}" for n in range(1, WORKERS))]
    while min(_count(path, _WAITING) for path in own) < 2:
        assert post(url, body_of(number)).status == 200
        number += 1
    assert _librenms(url, 3) == 200
    assert _record(url, 3) == 201
    statsd.send(f"{GAUGE}:+2|g".encode())
    before = time.time()
    eventually(lambda: time.time() > before + 3)
    return counts | {
        "first_new": NEIGHBOURS + 1,
        "last_new": number - 1,
        "librenms": 4,
        "records": 4,
        "gauge": 42,
    }


def _librenms(url: str, number: int) -> int:
    body = today(report(uuid_of(number)))
    return post(url, body, path="/log.php", headers=FORM).status


def _record(url: str, number: int) -> int:
    fields = RECORD | {"payload": f"record {number}\n", "machine_id": f"{number:032x}"}
    return post(url, json.dumps(fields).encode(), path="/v2/collector", headers=TID).status


def _count(state: Path, query: str) -> int:
    """The number that a query of the outbox in a state directory gives."""
    path = state / "outbox.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        (count,) = database.execute(query).fetchone()
    return int(count)


def _dump_state(state: Path, directory: Path) -> None:
    for path in sorted(path for path in state.rglob("*") if path.is_file()):
        # The rest is made anew at each start.
        if path.parent.name == "metrics" or path.name.endswith(("-wal", "-shm", "lock")):
            continue
        to = directory / path.relative_to(state)
        to.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix != ".sqlite3":
            shutil.copyfile(path, to)
            continue
        with closing(sqlite3.connect(path)) as database:
            (version,) = database.execute("PRAGMA user_version").fetchone()
            (vacuum,) = database.execute("PRAGMA auto_vacuum").fetchone()
            lines = [f"PRAGMA auto_vacuum={vacuum};", "PRAGMA journal_mode=WAL;"]
            lines += [*database.iterdump(), f"PRAGMA user_version={version};"]
        to.with_name(f"{to.name}.sql").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _dump_influx(server: InfluxServer, directory: Path) -> None:
    directory.mkdir()
    for database in server.databases():
        if lines := stored_lines(server, database):
            (directory / f"{database}.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")


def stored_lines(server: InfluxServer, database: str) -> list[str]:
    """All points of a database as line protocol."""
    return [
        line
        for row in server.query("SHOW MEASUREMENTS", database)
        for line in _lines(server, database, row["name"])
    ]


def _lines(server: InfluxServer, database: str, measurement: str) -> Iterator[str]:
    """The points of a measurement, each field of a type by itself if it has two."""
    types = server.query(f'SHOW FIELD KEYS FROM "{measurement}"', database)
    tags = {row["tagKey"] for row in server.query(f'SHOW TAG KEYS FROM "{measurement}"', database)}
    for row in server.query(f'SELECT * FROM "{measurement}" GROUP BY *', database):
        key = ",".join(
            [measurement, *(f"{tag}={_tag(row[tag])}" for tag in sorted(tags) if row.get(tag))]
        )
        fields = ",".join(
            f"{one['fieldKey']}={_field(row[one['fieldKey']], one['fieldType'])}"
            for one in types
            if row.get(one["fieldKey"]) is not None
        )
        yield f"{key} {fields} {row['time']}"


def _tag(text: str) -> str:
    for sign in (",", "=", " "):
        text = text.replace(sign, "\\" + sign)
    return text


def _field(value: Any, kind: str) -> str:
    if kind == "string":
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return f"{value}i" if kind == "integer" else str(value)


if __name__ == "__main__":
    make(CASES / sys.argv[1])
