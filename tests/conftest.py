"""Fixtures on the real things: an InfluxDB, a disk, a collector as a process of its own.

InfluxDB is Debian's 1.x, started by the tests, unless TEST_INFLUX_URL names another; with
TEST_INFLUX_TOKEN and TEST_INFLUX_ORG that may be a 2.x.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest
import urllib3
from influxdb_client.client.influxdb_client import InfluxDBClient

from tests import length
from tools import embedded

length.set_up_hypothesis()

pytest_plugins = ["tests.disks"]

URL = "TEST_INFLUX_URL"
TOKEN = "TEST_INFLUX_TOKEN"
ORG = "TEST_INFLUX_ORG"

READY_TIMEOUT = 90.0
STOP_TIMEOUT = 30.0
LOG_TAIL = 4000

Row = dict[str, Any]


@dataclass(frozen=True)
class InfluxServer:
    """A real InfluxDB, spoken to with no line of the product's code."""

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
        """Send InfluxQL; every row as columns and tags by name, `time` in nanoseconds.

        A database that does not exist has no rows.
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
        """Return how many points of the measurement have the field."""
        rows = self.query(f'SELECT count("{column}") AS n FROM "{measurement}"', database)
        return int(rows[0]["n"]) if rows else 0

    def databases(self) -> list[str]:
        """Return the names of all databases, on 2.x of the buckets."""
        if not self.is_2:
            return [row["name"] for row in self.query("SHOW DATABASES")]
        with self._client() as client:
            buckets = client.buckets_api().find_buckets_iter(limit=100)
            return [str(bucket.name) for bucket in buckets]

    def create(self, database: str) -> None:
        """Make a database, on 2.x a bucket, that keeps its points for ever."""
        if not self.is_2:
            self.query(f'CREATE DATABASE "{database}"')
            return
        with self._client() as client:
            client.buckets_api().create_bucket(bucket_name=database, org=self.org)

    def retention(self, database: str) -> int:
        """How long a database, on 2.x a bucket, keeps its points, in seconds; 0: for ever."""
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
        """Remove a database, on 2.x a bucket, and all that is in it."""
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
    """The pair of databases of one test."""

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
    """The influxd 1.x of this machine; `make test` has seen to one."""
    return embedded.find_influxd()


@pytest.fixture(scope="session")
def influx_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[InfluxServer]:
    """The InfluxDB that all tests share; no test may stop it."""
    if given := os.environ.get(URL, ""):
        server = InfluxServer(given.rstrip("/"), os.environ.get(TOKEN, ""), os.environ.get(ORG, ""))
        yield server
        server.http.clear()
        return
    influx = embedded.EmbeddedInflux(tmp_path_factory.mktemp("influxdb"))
    influx.start()
    server = InfluxServer(influx.url)
    yield server
    server.http.clear()
    influx.terminate()


@pytest.fixture
def databases(influx_server: InfluxServer) -> Iterator[Databases]:
    """Names for this test's databases on the shared server; nothing is created, all is dropped."""
    pair = Databases(influx_server, f"t{secrets.token_hex(6)}_")
    yield pair
    for name in influx_server.databases():
        if name.startswith(pair.prefix):
            influx_server.drop(name)


@pytest.fixture
def influx_prefix(databases: Databases) -> str:
    """What stands before the names of this test's databases."""
    return databases.prefix


@pytest.fixture
def own_influx(tmp_path: Path) -> Iterator[embedded.EmbeddedInflux]:
    """A running InfluxDB 1.x of the test's own, which it may stop, kill and restart."""
    influx = embedded.EmbeddedInflux(tmp_path / "own-influxdb")
    influx.start()
    yield influx
    influx.kill()


@pytest.fixture
def own_databases(own_influx: embedded.EmbeddedInflux) -> Iterator[Databases]:
    """The databases on the test's own InfluxDB, by their plain names."""
    server = InfluxServer(own_influx.url)
    yield Databases(server, "")
    server.http.clear()


@pytest.fixture
def state_dir(tmp_path: Path) -> Path:
    """A state directory that does not exist yet."""
    return tmp_path / "state"


@pytest.fixture
def free_port() -> Callable[[], int]:
    """Give a loopback port on which nothing listens, another at each call."""
    return embedded.free_port


@dataclass
class Serve:
    """One `collector serve` process with addresses, state directory and environment of its own."""

    environment: dict[str, str]
    log: Path
    process: subprocess.Popen[bytes]

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
        """The process ids of its workers by number."""
        found = {}
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        for pid in [int(word) for task in tasks for word in task.read_text().split()]:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            if b"worker" in words:
                found[int(words[words.index(b"worker") + 1])] = pid
        return found

    def logs(self) -> str:
        """Return all that it has written to standard output and error."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it with SIGKILL."""
        self.process.kill()
        self.process.wait()

    def terminate(self) -> int:
        """Ask it to stop as a service manager would; return its exit code."""
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
        """Return once /readyz answers 200; fail with the log if that never happens."""
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
    """Start `collector serve` with these settings over the defaults of the tests."""

    def __call__(
        self, settings: Mapping[str, str], *, ready: bool = True, under: Sequence[str] = ()
    ) -> Serve: ...


def clean_environment() -> dict[str, str]:
    """Return this process's environment without any setting of a collector."""
    return {name: value for name, value in os.environ.items() if not name.startswith("COLLECTOR_")}


@dataclass(frozen=True)
class MachineClock:
    """The clock that processes with this environment have, by Debian's libfaketime."""

    file: Path
    library: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "LD_PRELOAD": str(self.library),
            "FAKETIME_TIMESTAMP_FILE": str(self.file),
            "FAKETIME_NO_CACHE": "1",
            # A clock that is set moves neither the monotonic one nor the time since boot.
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, ahead_s: int) -> None:
        """Have it so many seconds ahead of ours."""
        self.file.write_text(f"{ahead_s:+d}")


@pytest.fixture
def machine_clock(tmp_path: Path) -> MachineClock:
    """A clock that a test sets; right at first. `make dev` has seen to the library."""
    root = Path(__file__).parents[1] / ".local" / "libfaketime"
    found = sorted(root.glob("usr/lib/*/faketime/libfaketimeMT.so.1"))
    if not found:
        pytest.skip("there is no libfaketime")
    clock = MachineClock(tmp_path / "clock", found[0])
    clock.set(0)
    return clock


@pytest.fixture
def serve(tmp_path: Path, state_dir: Path, request: pytest.FixtureRequest) -> Iterator[StartServe]:
    """Start `collector serve` as often as a test likes; all of them are ended afterwards.

    Defaults: free ports, `state_dir`. The same settings given again (`environment` of the one
    before) make the restart of a collector. With `ready=False` it is not waited for; `under` is a
    command that runs it.
    """
    # Made before this fixture, they are undone after it: a collector still running would make
    # its databases again, or wait long for an InfluxDB that has gone.
    for earlier in ("databases", "own_databases", "own_influx"):
        if earlier in request.fixturenames:
            request.getfixturevalue(earlier)
    started: list[Serve] = []

    def start(
        settings: Mapping[str, str], *, ready: bool = True, under: Sequence[str] = ()
    ) -> Serve:
        chosen = {
            "COLLECTOR_LISTEN": f"{embedded.HOST}:{embedded.free_port()}",
            "COLLECTOR_METRICS_LISTEN": f"{embedded.HOST}:{embedded.free_port()}",
            "COLLECTOR_STATE_DIR": str(state_dir),
            **settings,
        }
        log = tmp_path / f"serve-{len(started)}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [*under, sys.executable, "-m", "collector", "serve"],
                env=clean_environment() | chosen,
                cwd=tmp_path,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        collector = Serve(chosen, log, process)
        started.append(collector)
        if ready:
            collector.wait_ready()
        return collector

    yield start
    for collector in started:
        if collector.running:
            # Asked before it is killed, so that what it ran is counted as covered.
            collector.process.terminate()
            try:
                collector.process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                collector.kill()
