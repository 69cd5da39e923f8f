"""Raw data on one InfluxDB and the published series on another: each works by itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.influx import RAW_VARIABLES, Influx, InfluxError, InfluxUnavailable
from collector.influx.access import works
from collector.metrics import Metrics
from collector.outbox import FILE, OutboxFile
from collector.rollup.schedule import Schedule
from collector.schema import DAILY, OWNERS, RAW
from tests.certificates import self_signed
from tests.command import Done, command
from tests.conftest import Databases, InfluxServer, StartServe
from tests.cut_short import CuttingProxy
from tests.dates import open_day, start_ns
from tests.influx_two import OPERATOR, ORG, InfluxTwo
from tests.network import Network
from tests.owners import DAYS_BACK, NEIGHBOURS, OWNER, ask, body_of, holding, lay_past, uuid_of
from tests.sender import eventually, get, lay_key, post, server_name
from tests.service.test_check import run
from tests.service.test_check_influxdb import answering, checked, influxdb_3, serving
from tools.embedded import EmbeddedInflux

PRIVATE = {"usage_raw", "usage_owners"}
ADMIN = "admin:secret"


@dataclass(frozen=True)
class Two:
    """Two InfluxDBs: `raw` has all but the published series, which `published` has."""

    raw: EmbeddedInflux
    published: EmbeddedInflux

    @property
    def environment(self) -> dict[str, str]:
        return {
            "COLLECTOR_INFLUX_URL": self.published.url,
            "COLLECTOR_INFLUX_RAW_URL": self.raw.url,
        }

    @property
    def raw_server(self) -> InfluxServer:
        return InfluxServer(self.raw.url)

    @property
    def published_server(self) -> InfluxServer:
        return InfluxServer(self.published.url)

    def days(self) -> list[dict[str, Any]]:
        return self.published_server.query("SELECT * FROM daily_usage", "usage_daily")

    def lay_past(self) -> None:
        """Store reports of past days."""
        lay_past(Databases(self.raw_server, ""))
        self.raw_server.drop(DAILY)

    def run(self, settings: Mapping[str, str], *words: str | Path, columns: int = 100) -> Done:
        return command({**self.environment, **settings}, *words, columns=columns)


@pytest.fixture
def two(own_influx: EmbeddedInflux, tmp_path: Path) -> Iterator[Two]:
    published = EmbeddedInflux(tmp_path / "published-influxdb")
    published.start()
    yield Two(own_influx, published)
    published.kill()


def databases_of(server: InfluxServer) -> set[str]:
    return {name for name in server.databases() if name != "_internal"}


def raw_of(server: InfluxServer, *, own: bool) -> int:
    sign = "=" if own else "!="
    where = f"\"server\" {sign} '{OWNER}'"
    return len(server.query(f"SELECT nodes FROM server_report WHERE {where}", RAW))


def test_each_server_has_its_own_data_alone_and_an_erasure_reaches_both(
    serve: StartServe, two: Two, state_dir: Path
) -> None:
    two.lay_past()
    lay_key(state_dir)
    collector = serve(
        two.environment | {"COLLECTOR_K_ANONYMITY": "1", "COLLECTOR_STATE_DIR": str(state_dir)}
    )
    eventually(lambda: len(two.days()) >= DAYS_BACK)
    before = raw_of(two.raw_server, own=False)
    for number in range(3):
        assert post(collector.url, body_of(number)).status == 200
    eventually(lambda: raw_of(two.raw_server, own=False) == before + 2)
    assert databases_of(two.raw_server) == PRIVATE
    assert databases_of(two.published_server) == {"usage_daily"}
    assert get(collector.url, "/v1/daily.json").json["rows"]
    assert ask(collector.url, "/erase").status == 200
    eventually(lambda: raw_of(two.raw_server, own=True) == 0)
    eventually(lambda: any(row.get("erased_reports") for row in two.days()))
    assert raw_of(two.raw_server, own=False) == before + 2
    assert collector.terminate() == 0
    # Ended, both have written everything to their files.
    two.raw.terminate()
    two.published.terminate()
    # Compression may cut a name in two, but hardly all of them.
    neighbours = [server_name(uuid_of(number)) for number in range(1, NEIGHBOURS + 1)]
    assert any(holding(name, two.raw.directory) for name in neighbours)
    for trace in (OWNER, *neighbours, "server_report", "usage_raw"):
        assert holding(trace, two.published.directory) == [], trace
    for trace in ("daily_usage", "usage_daily"):
        assert holding(trace, two.raw.directory / "data", two.raw.directory / "wal") == [], trace


def test_while_one_server_is_away_the_other_is_used(
    serve: StartServe, two: Two, state_dir: Path
) -> None:
    lay_key(state_dir)
    environment = two.environment | {
        "COLLECTOR_K_ANONYMITY": "1",
        "COLLECTOR_STATE_DIR": str(state_dir),
    }
    two.published.terminate()
    collector = serve(environment)
    assert post(collector.url, body_of(0)).status == 200
    # Delivery makes its databases and goes on; nothing can be published.
    eventually(lambda: raw_of(two.raw_server, own=True) == 1)
    assert get(collector.metrics_url, "/readyz").status == 200
    assert collector.terminate() == 0
    two.published.start()
    collector = serve(environment)
    eventually(lambda: bool(two.days()))
    two.raw.terminate()
    assert post(collector.url, body_of(0)).status == 200
    assert get(collector.url, "/v1/daily.json").status == 200
    assert get(collector.metrics_url, "/readyz").status == 200
    assert ask(collector.url).status == 503
    two.raw.start()
    eventually(lambda: raw_of(two.raw_server, own=True) == 2)


def test_commands_reach_the_server_that_they_concern(two: Two, tmp_path: Path) -> None:
    two.lay_past()
    state = {"COLLECTOR_STATE_DIR": str(tmp_path / "state"), "COLLECTOR_K_ANONYMITY": "1"}

    def run(*words: str | Path) -> str:
        done = two.run(state, *words)
        assert done.code == 0, done.out + done.err
        return done.out

    version = str(
        two.raw_server.http.request("GET", f"{two.raw.url}/ping").headers["X-Influxdb-Version"]
    )
    well = run("check")
    for server in (two.raw, two.published):
        assert f"ok    InfluxDB {version} answers at {server.url}" in well
    # It makes the databases, without a password for users.
    assert two.run(state, "provision", "--tokens-dir", tmp_path / "tokens").code == 0
    assert databases_of(two.raw_server) == PRIVATE
    assert databases_of(two.published_server) == {DAILY}
    first, last = open_day() - timedelta(days=DAYS_BACK - 1), str(open_day() - timedelta(days=1))
    run("rollup", "--from", str(first), "--to", last, "--force")
    rolled = {row["time"]: row["nodes"] for row in two.days()}
    assert rolled
    assert " good " in run("verify", "--from", str(first), "--to", last)
    run("retention", "set", "--raw", "100d", "--daily", "4000d", "--yes")
    assert two.raw_server.retention(RAW) == 100 * 86_400
    assert two.published_server.retention(DAILY) == 4000 * 86_400
    shown = json.loads(run("retention", "show", "--json"))
    assert {one["database"] for one in shown if one["points"]} == {RAW, DAILY}
    status = json.loads(run("status", "--json"))
    assert status["influxdb"]["url"] == two.published.url
    assert status["influxdb_raw"]["url"] == two.raw.url
    # A backup is of the published series, so both ways need their server alone.
    two.raw.terminate()
    run("backup", tmp_path / "backup")
    two.published_server.drop(DAILY)
    run("restore", tmp_path / "backup")
    assert {row["time"]: row["nodes"] for row in two.days()} == rolled
    away = two.run(state, "check")
    assert away.code == 1
    assert f"WRONG InfluxDB at {two.raw.url}: the InfluxDB of raw data cannot be" in away.out
    assert "start it or set COLLECTOR_INFLUX_RAW_URL (reports are taken in" in away.out
    assert f"ok    InfluxDB {version} answers at {two.published.url}" in away.out
    shown = two.run(state, "status", columns=200).out
    assert f"InfluxDB at {two.raw.url} (raw data): the InfluxDB of raw data cannot be" in shown
    two.raw.start()
    two.published.terminate()
    away = two.run(state, "check")
    assert away.code == 1
    assert "start it or set COLLECTOR_INFLUX_URL (reports are taken in and stored" in away.out
    assert f"ok    InfluxDB {version} answers at {two.raw.url}" in away.out


def test_both_parts_move_to_servers_of_their_own(
    two: Two, databases: Databases, state_dir: Path
) -> None:
    """From one server to two, a part at a time."""
    lay_past(databases)
    databases.server.write(
        databases.daily, f"daily_usage nodes=1i,reports=1i {start_ns(open_day())}"
    )
    one = databases.environment | {"COLLECTOR_STATE_DIR": str(state_dir)}
    state_dir.mkdir()
    with OutboxFile(state_dir / FILE):
        pass
    raw_count = databases.server.count(databases.raw, "server_report", "nodes")

    def move(environment: Mapping[str, str], to: EmbeddedInflux, only: str) -> Done:
        done = command(environment, "move", "--to", to.url, "--only", only, "--switch", answer="\n")
        assert done.code == 0, done.out + done.err
        return done

    done = move(one, two.published, "published")
    assert f"Set COLLECTOR_INFLUX_URL={two.published.url}" in done.out
    assert f"COLLECTOR_INFLUX_RAW_URL={databases.server.url}" in done.out
    split = one | {
        "COLLECTOR_INFLUX_URL": two.published.url,
        "COLLECTOR_INFLUX_RAW_URL": databases.server.url,
    }
    assert databases_of(two.published_server) == {databases.daily}
    done = move(split, two.raw, "raw")
    assert f"Set COLLECTOR_INFLUX_RAW_URL={two.raw.url}" in done.out
    assert databases_of(two.raw_server) == {databases.raw}
    assert two.raw_server.count(databases.raw, "server_report", "nodes") == raw_count
    assert two.published_server.count(databases.daily, "daily_usage", "nodes") == 1
    again = split | {"COLLECTOR_INFLUX_RAW_URL": two.raw.url}
    assert "nothing to move" in command(again, "move", "--to", two.raw.url, "--only", "raw").err
    refused = command(again, "move", "--to", two.raw.url, "--only", "raw", "--prefix", "other_")
    assert "--prefix cannot differ" in refused.err
    # What has stayed behind is named, wherever the settings do not place it.
    checked = command(split, "check").out
    assert f"InfluxDB at {databases.server.url} holds {databases.daily} too" in checked
    assert f"InfluxDB at {two.published.url} holds" not in checked
    databases.server.drop(databases.daily)
    assert "holds" not in command(split, "check").out.partition("InfluxDB 1")[2]
    # And back to one.
    back = command(again, "move", "--to", two.published.url, "--switch", answer="\n")
    assert back.code == 1
    assert "holds points that this move has not written" in back.err
    back = command(again, "move", "--to", two.published.url, "--switch", "--overwrite", answer="\n")
    assert "unset COLLECTOR_INFLUX_RAW_URL" in back.out, back.err
    assert two.published_server.count(databases.raw, "server_report", "nodes") == raw_count


@pytest.fixture
def guarded(tmp_path: Path) -> Iterator[Two]:
    """Two real InfluxDBs 1.x that ask everybody for a password."""
    auth = {"INFLUXDB_HTTP_AUTH_ENABLED": "true"}
    both = Two(*(EmbeddedInflux(tmp_path / name, overrides=auth) for name in ("raw", "published")))
    for server in (both.raw, both.published):
        server.start()
        InfluxServer(server.url).query(
            "CREATE USER admin WITH PASSWORD 'secret' WITH ALL PRIVILEGES"
        )
    yield both
    both.raw.kill()
    both.published.kill()


SCOPES = {
    "collector": {DAILY},
    "collector-raw": {RAW, OWNERS},
    "grafana-community": {DAILY},
    "grafana-ops": {DAILY},
    "grafana-ops-raw": {RAW},
}


def test_each_server_gets_users_for_its_own_databases_alone(guarded: Two, tmp_path: Path) -> None:
    directory = tmp_path / "tokens"
    settings = {"COLLECTOR_INFLUX_TOKEN": ADMIN}

    async def scopes() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {name: set() for name in SCOPES}
        for name in SCOPES:
            token = (directory / f"{name}.token").read_text()
            for server in (guarded.raw, guarded.published):
                async with Influx(server.url) as influx:
                    for database in (RAW, OWNERS, DAILY):
                        if await works(influx, token, database):
                            found[name].add(database)
        return found

    def provision(*options: str) -> str:
        done = guarded.run(settings, "provision", "--tokens-dir", directory, *options)
        assert done.code == 0, done.out + done.err
        return done.out

    provision()
    assert asyncio.run(scopes()) == SCOPES
    assert sorted(file.stem for file in directory.glob("*.token")) == sorted(SCOPES)
    old = {name: (directory / f"{name}.token").read_text() for name in SCOPES}
    provision("--rotate")
    assert "5 old credentials were deleted" in provision("--finish")
    assert asyncio.run(scopes()) == SCOPES
    assert not set(old.values()) & {(directory / f"{name}.token").read_text() for name in SCOPES}
    # The collector's own two are enough for it to work.
    own = {
        f"{prefix}_TOKEN_FILE": str(directory / f"{name}.token")
        for prefix, name in (("COLLECTOR_INFLUX", "collector"), (RAW_VARIABLES, "collector-raw"))
    }
    state = {"COLLECTOR_STATE_DIR": str(tmp_path / "state")}
    checked = guarded.run(own | state, "check")
    assert checked.code == 0, checked.out
    wrong = guarded.run(own | state | {"COLLECTOR_INFLUX_RAW_ORG": "x"}, "check")
    assert wrong.code == 0
    swapped = own | {f"{RAW_VARIABLES}_TOKEN_FILE": own["COLLECTOR_INFLUX_TOKEN_FILE"]}
    refused = guarded.run(swapped | state, "check")
    assert refused.code == 1
    assert "check COLLECTOR_INFLUX_RAW_TOKEN" in refused.out
    assert "check COLLECTOR_INFLUX_TOKEN" not in refused.out


async def test_tokens_of_influxdb_2_are_made_on_each_server(tmp_path: Path) -> None:
    raw, published = InfluxTwo(), InfluxTwo()
    async with serving(raw.application()) as raw_url, serving(published.application()) as url:
        settings = {
            "COLLECTOR_INFLUX_URL": url,
            "COLLECTOR_INFLUX_TOKEN": OPERATOR,
            "COLLECTOR_INFLUX_ORG": ORG,
            "COLLECTOR_INFLUX_RAW_URL": raw_url,
        }
        arguments = ("provision", "--tokens-dir", tmp_path / "tokens")
        done = await asyncio.to_thread(command, settings, *arguments)
        wrong = settings | {"COLLECTOR_INFLUX_RAW_ORG": "nobody"}
        refused = await asyncio.to_thread(command, wrong, *arguments)
    assert done.code == 0, done.err
    assert {one["name"] for one in published.buckets.values()} == {DAILY}
    assert {one["name"] for one in raw.buckets.values()} == PRIVATE
    made = [
        sorted(one["description"] for one in server.authorizations.values())
        for server in (raw, published)
    ]
    assert made == [
        ["usage-collector-raw", "usage-grafana-ops-raw"],
        ["usage-collector", "usage-grafana-community", "usage-grafana-ops"],
    ]
    assert refused.code == 1
    assert "no organisation 'nobody'" in refused.err
    assert "check COLLECTOR_INFLUX_RAW_ORG and COLLECTOR_INFLUX_RAW_TOKEN" in refused.err


async def test_words_name_the_settings_of_raw_datas_server(
    own_influx: EmbeddedInflux, state_dir: Path, tmp_path: Path
) -> None:
    certificate = self_signed(tmp_path)
    own = {"COLLECTOR_INFLUX_URL": own_influx.url}
    async with CuttingProxy(own_influx.url, tls=certificate.server()).open() as proxy:
        tls = own | {"COLLECTOR_INFLUX_RAW_URL": f"https://127.0.0.1:{proxy.port}"}
        code, out = await checked(tls, state_dir)
        assert code == 1
        assert "set COLLECTOR_INFLUX_RAW_CA_FILE" in out
        trusted = tls | {"COLLECTOR_INFLUX_RAW_CA_FILE": str(certificate.file)}
        assert (await checked(trusted, state_dir))[0] == 0
        plain = own | {"COLLECTOR_INFLUX_RAW_URL": f"http://127.0.0.1:{proxy.port}"}
        assert "set COLLECTOR_INFLUX_RAW_URL to https://" in (await checked(plain, state_dir))[1]
    async with answering(influxdb_3) as url:
        three = own | {"COLLECTOR_INFLUX_RAW_URL": url}
        code, _, err = await asyncio.to_thread(run, "serve", three, state_dir)
        assert code == 2
        assert f"COLLECTOR_INFLUX_RAW_URL={url}: InfluxDB 3.10.0 is not supported" in err


async def test_rollup_goes_on_where_its_token_may_make_no_database(
    databases: Databases, state_dir: Path
) -> None:
    network = Network(databases)
    network.create()
    answers: list[InfluxError | None] = [InfluxUnavailable("away"), InfluxError("no"), None]
    asked = 0

    async def make() -> None:
        nonlocal asked
        asked += 1
        if (error := answers.pop(0)) is not None:
            raise error

    async with network.rollup(state_dir) as rollup:
        schedule = Schedule(
            rollup.daily(),
            rollup.reconciler(),
            Metrics(),
            changed=lambda: None,
            make_database=make,
        )
        assert [await schedule.once() for _ in range(3)] == [False, True, True]
    # It is asked again while InfluxDB is away, and not after a refusal.
    assert asked == 2
