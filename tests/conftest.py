"""Fixtures with real parts: InfluxDB, a disk, the collector as a separate process.

InfluxDB is Debian's 1.x, started by the tests, unless TEST_INFLUX_URL names another server, which
may be a 2.x with TEST_INFLUX_TOKEN and TEST_INFLUX_ORG.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import secrets
import subprocess
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient

from tests import length, preloaded
from tests.preloaded import Process
from tools import embedded

length.set_up_hypothesis()

# Processes of all tests take turns: one could else get a port that another is about to use.
os.environ.setdefault(
    embedded.PORTS_VARIABLE, str(Path(tempfile.gettempdir()) / f"usage-test-ports-{os.getuid()}")
)

pytest_plugins = [
    "tests.disks",
    "tests.garbage",
    "tests.nats_servers",
    "tests.new_day",
    "tests.uncovered",
]


def pytest_unconfigure() -> None:
    """End the process that forks collectors, after the last test."""
    preloaded.stop()


URL = "TEST_INFLUX_URL"
TOKEN = "TEST_INFLUX_TOKEN"
ORG = "TEST_INFLUX_ORG"

SPARING = {"INFLUXDB_DATA_INDEX_VERSION": "inmem", "GOGC": "400"}
"""Environment with which influxd takes two thirds of the processor time, and more memory.

The index in memory is the default of InfluxDB 1.x; a test's own InfluxDB has its index on disk.
"""

READY_TIMEOUT = 120.0
STOP_TIMEOUT = 120.0
LOG_TAIL = 4000

Row = dict[str, Any]


@dataclass(frozen=True)
class InfluxServer:
    """A client of a real InfluxDB that uses no code of the product."""

    url: str
    token: str = ""
    org: str = ""
    http: urllib3.PoolManager = field(default_factory=urllib3.PoolManager, repr=False)

    @property
    def is_2(self) -> bool:
        return bool(self.token and self.org)

    @property
    def environment(self) -> dict[str, str]:
        """The collector's settings for this server."""
        settings = {
            "COLLECTOR_INFLUX_URL": self.url,
            "COLLECTOR_INFLUX_TOKEN": self.token,
            "COLLECTOR_INFLUX_ORG": self.org,
        }
        return {name: value for name, value in settings.items() if value}

    def query(self, statement: str, database: str = "") -> list[Row]:
        """Run InfluxQL; each row maps names of columns and tags to values, `time` is in ns.

        A database that does not exist gives no rows.
        """
        fields = {"q": statement, "db": database, "epoch": "ns"}
        status, body = self._request("POST", "/query", fields)
        if status == 404:
            return []
        assert status == 200, f"{statement}: HTTP {status} {body!r}"
        rows: list[Row] = []
        for result in json.loads(body).get("results", []):
            if str(result.get("error", "")).startswith("database not found"):
                return []
            assert "error" not in result, f"{statement}: {result['error']}"
            for series in result.get("series", ()):
                tags = series.get("tags", {})
                columns = series["columns"]
                rows.extend(
                    tags | dict(zip(columns, values, strict=True))
                    for values in series.get("values", ())
                )
        return rows

    def write(self, database: str, lines: str) -> None:
        """Write line protocol with nanosecond times."""
        where = urllib.parse.urlencode({"db": database, "precision": "ns"})
        status, body = self._request("POST", f"/write?{where}", lines.encode())
        assert status == 204, f"HTTP {status} {body!r}"

    def count(self, database: str, measurement: str, column: str) -> int:
        """Return the number of points of the measurement that have the field."""
        rows = self.query(f'SELECT count("{column}") AS n FROM "{measurement}"', database)
        return int(rows[0]["n"]) if rows else 0

    def databases(self) -> list[str]:
        """Return the names of all databases (2.x: buckets)."""
        if not self.is_2:
            return [row["name"] for row in self.query("SHOW DATABASES")]
        with self._client() as client:
            buckets = client.buckets_api().find_buckets_iter(limit=100)
            return [str(bucket.name) for bucket in buckets]

    def create(self, database: str) -> None:
        """Create a database (2.x: bucket) with unlimited retention."""
        if not self.is_2:
            self.query(f'CREATE DATABASE "{database}"')
            return
        with self._client() as client:
            client.buckets_api().create_bucket(bucket_name=database, org=self.org)

    def retention(self, database: str) -> int:
        """Return the retention of a database (2.x: bucket) in seconds; 0 is unlimited."""
        if self.is_2:
            with self._client() as client:
                bucket = client.buckets_api().find_bucket_by_name(database)
                assert bucket is not None
                return int(sum(rule.every_seconds for rule in bucket.retention_rules))
        (policy,) = self.query(f'SHOW RETENTION POLICIES ON "{database}"')
        assert policy["default"]
        parts: dict[str, int] = dict.fromkeys("hms", 0) | {
            unit: int(number) for number, unit in re.findall(r"(\d+)([hms])", policy["duration"])
        }
        return parts["h"] * 3600 + parts["m"] * 60 + parts["s"]

    def drop(self, database: str) -> None:
        """Delete a database (2.x: bucket)."""
        if not self.is_2:
            self.query(f'DROP DATABASE "{database}"')
            return
        with self._client() as client:
            buckets = client.buckets_api()
            bucket = buckets.find_bucket_by_name(database)
            if bucket is not None:
                buckets.delete_bucket(bucket)

    def _client(self) -> InfluxDBClient:
        return InfluxDBClient(self.url, self.token, org=self.org)

    def _request(
        self, method: str, path: str, content: Mapping[str, str] | bytes
    ) -> tuple[int, bytes]:
        headers = {"Content-Type": "application/octet-stream"}
        if self.token and not self.is_2:
            headers["Authorization"] = urllib3.make_headers(basic_auth=self.token)["authorization"]
        elif self.token:
            headers["Authorization"] = f"Token {self.token}"
        body = content
        if not isinstance(body, bytes):
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            body = urllib.parse.urlencode(body).encode()
        answer = self.http.request(method, self.url + path, body=body, headers=headers)
        return answer.status, answer.data


@dataclass(frozen=True)
class Databases:
    """The databases of one test."""

    server: InfluxServer
    prefix: str

    @property
    def raw(self) -> str:
        return f"{self.prefix}usage_raw"

    @property
    def daily(self) -> str:
        return f"{self.prefix}usage_daily"

    @property
    def environment(self) -> dict[str, str]:
        """The collector's settings for this server and these databases."""
        return self.server.environment | {"COLLECTOR_INFLUX_PREFIX": self.prefix}


@pytest.fixture(scope="session")
def influxd() -> Path:
    """The influxd 1.x of this machine; `make test` installs one."""
    return embedded.find_influxd()


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """An InfluxDB that all tests share; no test may stop it."""
    if given := os.environ.get(URL, ""):
        server = InfluxServer(given.rstrip("/"), os.environ.get(TOKEN, ""), os.environ.get(ORG, ""))
        yield server
        server.http.clear()
        return
    influx = embedded.EmbeddedInflux(tmp_path_factory.mktemp("influxdb"), overrides=SPARING)
    influx.start()
    server = InfluxServer(influx.url)
    yield server
    server.http.clear()
    influx.terminate()


@pytest.fixture
def databases(influx_server: InfluxServer) -> Iterator[Databases]:
    """Databases of a test on the shared server; they are not created, but deleted afterwards."""
    pair = Databases(influx_server, f"t{secrets.token_hex(6)}_")
    yield pair
    for name in influx_server.databases():
        if name.startswith(pair.prefix):
            influx_server.drop(name)


@pytest.fixture
def influx_prefix(databases: Databases) -> str:
    """The prefix of the names of this test's databases."""
    return databases.prefix


@pytest.fixture
def own_influx(tmp_path: Path) -> Iterator[embedded.EmbeddedInflux]:
    """A running InfluxDB 1.x for one test, which may stop, kill and restart it."""
    influx = embedded.EmbeddedInflux(tmp_path / "own-influxdb")
    influx.start()
    yield influx
    influx.kill()


@pytest.fixture
def own_databases(own_influx: embedded.EmbeddedInflux) -> Iterator[Databases]:
    """Databases without a prefix on the test's own InfluxDB."""
    server = InfluxServer(own_influx.url)
    yield Databases(server, "")
    server.http.clear()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state directory that does not exist yet."""
    return tmp_path / "state"


@pytest.fixture
def brief_stop(monkeypatch: pytest.MonkeyPatch) -> None:
    """A collector in this process looks for servers that are away only briefly when it stops."""
    monkeypatch.setattr("collector.delivery.loop._DRAIN_S", 0.2)


@pytest.fixture
def brief_retries(monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests of this process to an InfluxDB that is away are repeated once, and at once."""
    monkeypatch.setattr("collector.influx.retry.PAUSES_S", (0.01,))


@pytest.fixture
def free_port() -> Callable[[], int]:
    """A function that returns another unused loopback port at each call."""
    return embedded.free_port


@dataclass
class Serve:
    """A `collector serve` process with its own addresses, state directory and environment."""

    environment: dict[str, str]
    log: Path
    process: Process

    @property
    def url(self) -> str:
        """The public address, as `http://HOST:PORT`."""
        return f"http://{self.environment['COLLECTOR_LISTEN']}"

    @property
    def metrics_url(self) -> str:
        """The address of /metrics, /healthz and /readyz, as `http://HOST:PORT`."""
        return f"http://{self.environment['COLLECTOR_METRICS_LISTEN']}"

    @property
    def state_dir(self) -> Path:
        return Path(self.environment["COLLECTOR_STATE_DIR"])

    @property
    def running(self) -> bool:
        return self.process.poll() is None

    def workers(self) -> dict[int, int]:
        """The process ids of its workers by number; one that ends meanwhile may be left out."""
        found = {}
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        for pid in [int(word) for task in tasks for word in task.read_text().split()]:
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"worker" in words:
                    found[int(words[words.index(b"worker") + 1])] = pid
        return found

    def logs(self) -> str:
        """Return its standard output and error so far."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Stop it with SIGTERM, like a service manager; return its exit code."""
        if self.running:
            self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"`collector serve` did not stop in {STOP_TIMEOUT} s:\n{self.tail()}")

    def tail(self) -> str:
        return self.logs()[-LOG_TAIL:]

    def wait_ready(self) -> None:
        """Wait until /readyz answers 200; fail with the log if it never does."""
        deadline = time.monotonic() + READY_TIMEOUT
        with urllib3.PoolManager(retries=False, timeout=2) as http:
            while time.monotonic() < deadline:
                if not self.running:
                    code = self.process.returncode
                    pytest.fail(f"`collector serve` ended with {code}:\n{self.tail()}")
                try:
                    if http.request("GET", f"{self.metrics_url}/readyz").status == 200:
                        return
                except urllib3.exceptions.HTTPError:
                    pass
                time.sleep(0.05)
        pytest.fail(f"`collector serve` was not ready in {READY_TIMEOUT} s:\n{self.tail()}")


class StartServe(Protocol):
    """A function that starts `collector serve` with settings that override the tests' defaults."""

    def __call__(
        self,
        settings: Mapping[str, str],
        *,
        ready: bool = True,
        under: Sequence[str] = (),
        role: str = "serve",
    ) -> Serve: ...


def clean_environment() -> dict[str, str]:
    """Return the environment of this process without settings of a collector."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COLLECTOR_")}


def start_collector(
    settings: Mapping[str, str], log: Path, *, role: str = "serve", under: Sequence[str] = ()
) -> Serve:
    """Start a collector in the directory of its log.

    By default it has free ports, and the state directory `state` beside its log.
    """
    environment = {
        "COLLECTOR_LISTEN": f"{embedded.HOST}:{embedded.free_port()}",
        "COLLECTOR_METRICS_LISTEN": f"{embedded.HOST}:{embedded.free_port()}",
        "COLLECTOR_STATE_DIR": str(log.parent / "state"),
        **settings,
    }
    with log.open("wb") as output:
        process = preloaded.collector(
            [role], {**clean_environment(), **environment}, log.parent, output, under=under
        )
    return Serve(environment, log, process)


@dataclass(frozen=True)
class MachineClock:
    """A settable clock for processes with this environment, made by Debian's libfaketime."""

    file: Path
    library: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            # Setting a real clock changes neither the monotonic clock nor the time since boot.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead_s: int) -> None:
        """Set it this many seconds ahead of the real clock."""
        # In one step: a process that reads an empty file is ended by the library.
        new = self.file.with_suffix(".new")
        new.write_text(f"{ahead_s:+d}")
        new.replace(self.file)


@pytest.fixture
def machine_clock(tmp_path: Path) -> MachineClock:
    """A clock that a test can set; it is right at first. `make dev` installs the library."""
    root = Path(__file__).parents[1] / ".local" / "libfaketime"
    found = sorted(root.glob("usr/lib/*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("there is no libfaketime")
    clock = MachineClock(tmp_path / "clock", found[0])
    clock.set(0)
    return clock


@pytest.fixture
def serve(tmp_path: Path, state_dir: Path, request: pytest.FixtureRequest) -> Iterator[StartServe]:
    """A function that starts `collector serve`; all its processes are stopped afterwards.

    By default they have free ports and `state_dir`. To restart a collector, pass the `environment`
    of its process. `ready=False` does not wait until it is ready; `under` is a command that runs
    it. `role` is the command.
    """
    # Requested first, they are torn down after this fixture: a collector still running would make
    # its databases again, or wait long for an InfluxDB that has ended.
    for earlier in ("databases", "own_databases", "own_influx"):
        if earlier in request.fixturenames:
            request.getfixturevalue(earlier)
    started: list[Serve] = []

    def start(
        settings: Mapping[str, str],
        *,
        ready: bool = True,
        under: Sequence[str] = (),
        role: str = "serve",
    ) -> Serve:
        log = tmp_path / f"serve-{len(started)}.log"
        chosen = {"COLLECTOR_STATE_DIR": str(state_dir), **settings}
        collector = start_collector(chosen, log, role=role, under=under)
        started.append(collector)
        if ready:
            collector.wait_ready()
        return collector

    yield start
    running = [collector for collector in started if collector.running]
    for collector in running:
        # SIGTERM before SIGKILL, so that its coverage data is written.
        collector.process.terminate()
    for collector in running:
        try:
            collector.process.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            collector.kill()
