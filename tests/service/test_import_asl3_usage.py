"""`collector import asl3-usage` from a real MariaDB and its dumps into a real InfluxDB."""

from __future__ import annotations

import asyncio
import gzip
import io
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import web
from typer.testing import CliRunner, Result

from collector import nodelist
from collector.cli import cli
from collector.history.asl3_dump import Row, dump_rows
from collector.history.asl3_live import TABLES, DatabaseError, Dsn, live_rows
from collector.history.asl3_usage import Import, SourceTables
from collector.influx import Influx
from collector.lines import NS_PER_DAY
from collector.memory import Memory
from collector.privacy import Pseudonymiser
from collector.public.reports import basic_text, daily_text
from collector.public.series import PublicSeries, Snapshot
from collector.schema import DAILY, RAW
from collector.schema.budgets import ASL_BUDGETS
from collector.tag_budget import TagBudget, TagValue
from tests.command import same_log_afterwards
from tests.conftest import Databases, InfluxServer, clean_environment
from tests.conftest import Row as Point
from tests.dates import today
from tests.faulty import FaultyProxy
from tests.sender import GUARD_S, until
from tests.service.mariadb import MariaDb, running
from tools.simulation.sending import EveryNode

CASES = Path(__file__).resolve().parents[1] / "cases/asl3-usage"
SAMPLE = CASES / "dump.sql"
NO_RADIO = "ALTER TABLE asl_usage DROP COLUMN radio_count"
_LATEST = today() - timedelta(days=3)
D20, D21, D22 = (str(_LATEST - timedelta(days=back)) for back in (2, 1, 0))
"""Final days of late in the place of the sample's, which raw retention will reach one day.

A day more or less is the same to these tests, so a midnight during the run does no harm.
"""
UUID = "3f0e6c0e-6f0c-4c0f-9a86-6d6a3a1b0c11"
SCHEMA = """
CREATE TABLE asl_usage (
  id int AUTO_INCREMENT PRIMARY KEY, record_count int, server_count int, ast_count int,
  asl_count int, node_count int, dahdi_count int, simpleusb_count int, usbradio_count int,
  voter_count int, radio_count int, collected_time datetime
) CHARACTER SET utf8mb4;
CREATE TABLE nodes (
  uuid char(36), astversion varchar(50), aslversion varchar(50), aslpkgver varchar(50), node int,
  uptime int, reloadtime int, channeltype varchar(50), os varchar(50), distro varchar(50),
  relver varchar(50), kernel varchar(50), arch varchar(50), pkglist longtext, repdate datetime,
  fullastver varchar(100)
) CHARACTER SET utf8mb4;
"""


def moved(text: str) -> str:
    """The text of a sample, its dates moved to days of late."""
    late = {"2026-11-20": D20, "2026-11-21": D21, "2026-11-22": D22}
    # All at once: a day of late may be another one of the sample.
    return re.sub("|".join(late), lambda found: late[found[0]], text)


def sample_text() -> str:
    return moved(SAMPLE.read_text()) + "-- Dump completed\n"


@pytest.fixture(scope="session")
def mariadb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MariaDb]:
    """A MariaDB that the tests share, each with databases of its own."""
    with running(tmp_path_factory.mktemp("mariadb")) as server:
        yield server


@pytest.fixture
def sample(mariadb: MariaDb) -> Iterator[str]:
    """The name of a database with the sample in it."""
    with mariadb.database(sample_text()) as name:
        yield name


@dataclass
class Importer:
    """Runs the command against databases of its own, with a key that all of them share."""

    databases: Databases
    state: Path
    settings: dict[str, str] = field(default_factory=dict)

    @property
    def environment(self) -> dict[str, str]:
        return {
            **clean_environment(),
            **self.databases.environment,
            "COLLECTOR_STATE_DIR": str(self.state),
            "COLUMNS": "200",
            **self.settings,
        }

    def lay_key(self) -> None:
        self.state.mkdir(mode=0o700, exist_ok=True)
        key = self.state / "pseudonym.key"
        key.touch(mode=0o600)
        key.write_text("5a" * 32 + "\n")

    def create(self) -> None:
        """Make the databases before the first import does."""
        self.databases.server.create(self.databases.raw)
        self.databases.server.create(self.databases.daily)

    def command(self, *words: object, settings: Mapping[str, str] | None = None) -> Result:
        """Run `collector`; in the place of SAMPLE it is given one with dates of late."""
        environment = self.environment | dict(settings or {})
        if SAMPLE in words:
            copy = self.state.parent / "sample.sql"
            copy.write_text(sample_text())
            words = tuple(copy if word == SAMPLE else word for word in words)
        with same_log_afterwards():
            return CliRunner().invoke(cli, [str(word) for word in words], env=environment)

    def run(self, *words: object, settings: Mapping[str, str] | None = None) -> str:
        """Import; the output, once the command has ended well."""
        done = self.command("import", "asl3-usage", *words, settings=settings)
        assert done.exit_code == 0, done.output
        return done.output

    def refused(self, *words: object, settings: Mapping[str, str] | None = None) -> str:
        """The output of a command that ended badly, but in words."""
        done = self.command("import", "asl3-usage", *words, settings=settings)
        assert done.exit_code not in (0, None)
        assert isinstance(done.exception, SystemExit)
        return done.output

    def points(self) -> dict[str, list[Point]]:
        """All that is stored."""
        server = self.databases.server
        return {
            "daily": server.query("SELECT * FROM daily_usage", self.databases.daily),
            "servers": server.query("SELECT * FROM server_report", self.databases.raw),
            "nodes": server.query("SELECT * FROM node_report", self.databases.raw),
        }

    @property
    def days(self) -> dict[str, Point]:
        return {
            datetime.fromtimestamp(row["time"] // 10**9, UTC).date().isoformat(): row
            for row in self.points()["daily"]
        }


@pytest.fixture
def importer(databases: Databases, state_dir: Path) -> Importer:
    return Importer(databases, state_dir)


@pytest.fixture
def another(influx_server: InfluxServer, tmp_path: Path) -> Iterator[Callable[[], Importer]]:
    """Makes further importers, with the key of the first and databases of their own."""
    made: list[Importer] = []

    def make() -> Importer:
        prefix = f"i{os.urandom(6).hex()}_"
        one = Importer(Databases(influx_server, prefix), tmp_path / prefix)
        one.lay_key()
        made.append(one)
        return one

    yield make
    for one in made:
        for name in influx_server.databases():
            if name.startswith(one.databases.prefix):
                influx_server.drop(name)


def now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0, tzinfo=None)


def usage(when: object, nodes: int | None = 100, **changes: int | None) -> list[object]:
    channels = {"dahdi": 10, "simpleusb": 60, "usbradio": 20, "voter": 10} | changes
    return [None, nodes, 90, 3, 4, nodes, *channels.values(), 0, when]


def node(number: int | None, when: object, **changes: object) -> list[object]:
    row: dict[str, object] = {
        "uuid": f"3f0e6c0e-6f0c-4c0f-9a86-{(number or 0) // 2:012x}",
        "astversion": "22.2.0",
        "aslversion": "asl3-3.3.0",
        "aslpkgver": "1.deb12",
        "node": number,
        "uptime": 100,
        "reloadtime": 50,
        "channeltype": "SimpleUSB",
        "os": "Linux",
        "distro": "Debian",
        "relver": "12",
        "kernel": "6.1.0-31-amd64",
        "arch": "amd64",
        "pkglist": '{"asl3": "3.5.1-1.deb12"}',
        "repdate": when,
        "fullastver": "Asterisk 22.2.0+asl3-3.3.0-1.deb12",
    }
    return list((row | changes).values())


def test_dry_run_tells_all_and_writes_nothing(importer: Importer) -> None:
    output = importer.run("--dump", SAMPLE)
    for line in (
        f"asl_usage: 2 rows, {D20} to {D21}",
        "2 days to write",
        "0 days in conflict with the collector's own",
        f"nodes: 9 rows, {D22} to {D22}",
        "4 reports to write, of 8 nodes",
        "0 nodes outside of raw retention (90d)",
        "1 skipped (private)",
        "every node that the old server had ever seen",
        "do not compare the two",
        "Nothing was written",
    ):
        assert line in output
    ours = importer.databases.prefix
    assert not [n for n in importer.databases.server.databases() if n.startswith(ours)]
    assert not importer.state.exists()


def test_sample_becomes_days_and_pseudonymous_reports(importer: Importer) -> None:
    assert "Written: 2 days and 4 reports." in importer.run("--dump", SAMPLE, "--apply")
    days = importer.days
    assert list(days) == [D20, D21]
    del days[D21]["time"]
    assert days[D21] == {
        "reports": 4221,
        "servers": 3490,
        "nodes": 4221,
        "asterisk_versions": 9,
        "asl_versions": 14,
        "dahdi": 121,
        "simpleusb": 2908,
        "usbradio": 611,
        "voter": 140,
        "other_channels": 441,
        "final": 1,
        "imported": 1,
    }
    points = importer.points()
    assert len(points["servers"]) == 4
    assert sorted(row["channel"] for row in points["nodes"]) == sorted(
        ["usbradio", "voter", "dahdi", "simpleusb", "simpleusb", "dahdi", "simpleusb", "simpleusb"]
    )
    assert {row["arch"] for row in points["nodes"]} == {"x86_64", "aarch64"}
    assert {row["registration"] for row in points["nodes"]} == {"unknown"}
    assert {row["asl_version"] for row in points["servers"]} == {
        "asl3-1.3",
        "asl3-3.3.0",
        "asl3-3.5.0",
    }
    assert {row["imported"] for row in points["servers"]} == {1}
    second = int(datetime.fromisoformat(f"{D22}T01:44:39Z").timestamp())
    for row in points["servers"] + points["nodes"]:
        assert row["time"] // 10**9 == second
        assert row["time"] % 1000 == 999


def test_no_identity_is_stored_or_printed(importer: Importer) -> None:
    output = importer.run("--dump", SAMPLE, "--apply")
    stored = json.dumps(importer.points())
    assert output
    assert stored
    rows = sample_rows()
    for row in rows["nodes"]:
        for secret in (row["uuid"], row["node"]):
            assert secret is not None
            assert secret not in output
            assert f'"{secret}"' not in stored
            assert f" {secret}," not in stored


def sample_rows() -> dict[str, list[Row]]:
    found: dict[str, list[Row]] = {table: [] for table in TABLES}
    for table, row in dump_rows(io.StringIO(sample_text()), TABLES):
        found[table].append(row)
    return found


def test_daily_report_reads_on_to_the_column(importer: Importer) -> None:
    importer.run("--dump", SAMPLE, "--apply")
    snapshot = published(importer)
    assert daily_text(snapshot.days) == moved((CASES / "reports-daily.txt").read_text())


def published(importer: Importer) -> Snapshot:
    async def read() -> Snapshot:
        server = importer.databases.server
        prefix = importer.databases.prefix
        async with Influx(server.url, token=server.token, org=server.org, prefix=prefix) as influx:
            return await PublicSeries(influx).snapshot()

    return asyncio.run(read())


def test_basic_report_reads_on_but_for_the_private_node(importer: Importer) -> None:
    importer.settings["COLLECTOR_K_ANONYMITY"] = "1"
    importer.run("--dump", SAMPLE, "--apply")
    # A report of our own, so that the day is one; its node was reported to the old server too.
    stored = importer.points()
    own = importer.databases.server
    for name, fields in (("server_report", ("server", "nodes")), ("node_report", ("node",))):
        row = next(r for r in stored[name.split("_")[0] + "s"] if r["distro"] == "Ubuntu")
        tags = ",".join(
            f"{tag}={row[tag]}"
            for tag in ("arch", "asl_version", "asterisk_version", "channel", "distro", "release")
            if tag in row
        )
        values = ",".join(
            f"{f}={row[f]}i" if isinstance(row[f], int) else f'{f}="{row[f]}"' for f in fields
        )
        own.write(importer.databases.raw, f"{name},{tags} {values} {row['time'] + 10**9 + 1}")
    rolled = importer.command("rollup", "--from", D22, "--to", D22)
    assert rolled.exit_code == 0, rolled.output
    snapshot = published(importer)
    expected = (CASES / "reports-basic.txt").read_text().splitlines()
    # The one row of a private node, on no channel.
    expected.remove("                    :    1")
    text = "\n".join(expected) + "\n"
    text = text.replace("Distinct Nodes:    9", "Distinct Nodes:    8")
    text = text.replace("x86_64/amd64:    8", "x86_64/amd64:    7")
    assert basic_text(snapshot) == text


@pytest.mark.parametrize("scripts", [(), (NO_RADIO,)], ids=["radio_count", "no radio_count"])
def test_live_database_and_its_dumps_give_the_same_points(
    mariadb: MariaDb,
    another: Callable[[], Importer],
    tmp_path: Path,
    scripts: Sequence[str],
) -> None:
    live, plain, zipped, every = another(), another(), another(), another()
    with mariadb.database(sample_text(), *scripts) as name:
        dump = mariadb.dumped(name, tmp_path / "dump.sql")
        ansi = mariadb.dumped(
            name, tmp_path / "ansi.sql", "--compatible=ansi", "--complete-insert", "--hex-blob"
        )
        live.run(*("--dsn", mariadb.dsn(name), "--apply"), settings={"MYSQL_PWD": mariadb.password})
    packed = tmp_path / "dump.sql.gz"
    packed.write_bytes(gzip.compress(dump.read_bytes()))
    plain.run("--dump", dump, "--apply")
    zipped.run("--dump", packed, "--apply")
    every.run("--dump", ansi, "--apply")
    points = live.points()
    assert [len(points[kind]) for kind in ("daily", "servers", "nodes")] == [2, 4, 8]
    assert plain.points() == zipped.points() == every.points() == points


def odd_rows(today: datetime) -> tuple[list[list[object]], list[list[object]]]:
    """Rows of every odd kind, and more than a thousand ordinary ones."""
    early = today - timedelta(days=3)
    first = today.replace(hour=0, minute=0, second=0)
    usages = [usage(first - timedelta(days=n)) for n in range(1, 40)]
    usages += [
        usage("0000-00-00 00:00:00"),
        usage(None),
        usage(first - timedelta(days=50), None),
        usage(first - timedelta(days=51), dahdi=-1),
        usage(first - timedelta(days=52), voter=1000),
        usage(first - timedelta(days=1, hours=-5), 200),
        usage(first),
        usage(first + timedelta(days=2)),
    ]
    nodes = [node(n, early + timedelta(seconds=n % 600)) for n in range(2000, 3200)]
    nodes += [
        node(4000, "0000-00-00 00:00:00"),
        node(4001, None),
        node(None, early),
        node(4002, early, uuid=None),
        node(4004, early, uuid="O'Neill"),
        node(1999, early),
        node(4006, early, channeltype=None, pkglist="{", uptime=None, arch=None, kernel=None),
        node(4008, early, channeltype="Ünbekannt, 'x' \\ \"y\"\n;--", distro="Dëbiån '\\' 📻"),
        node(4010, early, pkglist='{"asl3": "it\'s \\"\\\\ 1"}', fullastver="", relver=""),
        node(4012, today - timedelta(days=400)),
        node(4014, today + timedelta(days=1)),
        node(4016, early, uptime=-5, reloadtime=2**31 - 1, fullastver="Asterisk GIT-master-a1b2"),
        node(4018, early, channeltype="Voter", uuid=UUID.upper()),
        node(4019, early, channeltype="", uuid=UUID),
    ]
    return usages, nodes


def test_odd_rows_are_read_alike_from_the_server_and_its_dump(
    mariadb: MariaDb, another: Callable[[], Importer], tmp_path: Path
) -> None:
    usages, nodes = odd_rows(now())
    with mariadb.database(SCHEMA) as name:
        mariadb.insert(name, "asl_usage", usages)
        mariadb.insert(name, "nodes", nodes)
        dump = mariadb.dumped(name, tmp_path / "dump.sql")
        live, dumped = another(), another()
        for one in (live, dumped):
            one.settings["COLLECTOR_RETENTION_RAW"] = "90d"
        settings = {"MYSQL_PWD": mariadb.password}
        told = live.run("--dsn", mariadb.dsn(name), "--apply", settings=settings)
    assert dumped.run("--dump", dump, "--apply") == told
    for line in (
        f"asl_usage: {len(usages)} rows",
        "40 days to write",
        "1 skipped (zero-date): the date is",
        "2 skipped (null-value)",
        "1 skipped (bad-number)",
        "2 skipped (not-ended)",
        "1 skipped (superseded)",
        "1 imported in part (channels-contradict)",
        f"nodes: {len(nodes)} rows",
        "605 reports to write, of 1206 nodes",
        "1 nodes outside of raw retention (90d)",
        "3 skipped (null-value)",
        "1 skipped (bad-uuid)",
        "1 skipped (private)",
        "1 skipped (in-the-future)",
        "2 imported in part (no-channel)",
        "1 imported in part (bad-packages)",
    ):
        assert line in told
    points = live.points()
    assert dumped.points() == points
    assert len(points["nodes"]) == 1206
    assert len({row["time"] for row in points["nodes"] + points["servers"]}) == 1206 + 605
    odd = next(row for row in points["nodes"] if row["channel"].startswith("ünbe"))
    assert odd["channel"] == "ünbekannt, 'x' / \"y\" ;--"
    assert odd["distro"] == "Dëbiån '/' 📻"
    assert {"GIT", "unknown", "22.2.0"} == {row["asterisk_version"] for row in points["nodes"]}
    packages = [row["packages"] for row in points["servers"]]
    assert json.dumps({"asl3": "it's \"\\ 1"}, separators=(",", ":")) in packages
    shown = [row["nodes"] for row in points["daily"]]
    assert shown.count(200) == 1


def test_import_again_changes_nothing(importer: Importer) -> None:
    importer.run("--dump", SAMPLE, "--apply")
    before = importer.points()
    output = importer.run("--dump", SAMPLE, "--apply")
    assert "0 days to write" in output
    assert "2 days unchanged" in output
    assert "0 reports to write" in output
    assert "8 skipped (already-imported)" in output
    assert importer.points() == before


def test_later_copy_of_the_table_adds_what_is_new_and_doubles_nothing(
    importer: Importer, mariadb: MariaDb, sample: str, tmp_path: Path
) -> None:
    importer.run("--dump", SAMPLE, "--apply")
    # One of the nodes of a server has moved on to another.
    mariadb.run(
        sample,
        f"UPDATE nodes SET repdate = '{D22} 02:00:00', uuid = UUID() WHERE node = 2001",
        "INSERT INTO asl_usage SELECT NULL, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, '2025-11-19 00:00:00'",
    )
    later = mariadb.dumped(sample, tmp_path / "later.sql")
    assert "Written: 1 days and 1 reports." in importer.run("--dump", later, "--apply")
    points = importer.points()
    assert [len(points[kind]) for kind in ("daily", "servers", "nodes")] == [3, 5, 9]
    assert len({row["node"] for row in points["nodes"]}) == 8


def test_narrower_k_takes_published_counts_back(importer: Importer, tmp_path: Path) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text(sample_text().replace(f",140,0,'{D20}", f",3,0,'{D20}"))
    importer.run("--dump", dump, "--apply", settings={"COLLECTOR_K_ANONYMITY": "1"})
    assert importer.days[D20]["voter"] == 3
    output = importer.run("--dump", dump, "--apply")
    assert "1 days to write, 1 of them replaced" in output
    day = importer.days[D20]
    assert day["voter"] is None
    assert day["other_channels"] == 4210 - 120 - 2900 - 610


def test_day_of_our_own_is_never_overwritten(importer: Importer) -> None:
    databases = importer.databases
    importer.create()
    time_ns = int(datetime.fromisoformat(f"{D20}T00:00:00Z").timestamp()) * 10**9
    databases.server.write(databases.daily, f"daily_usage reports=7i,nodes=7i,final=1i {time_ns}")
    before = importer.points()["daily"]
    output = importer.run("--dump", SAMPLE, "--apply")
    assert "1 days to write" in output
    assert (
        f"1 days in conflict with the collector's own, which stay unchanged\n    {D20}\n" in output
    )
    days = importer.days
    assert len(days) == 2
    own = {name: value for name, value in days[D20].items() if value is not None}
    assert own == before[0]


def test_day_with_reports_to_us_that_is_not_rolled_up_yet_is_our_own(importer: Importer) -> None:
    databases = importer.databases
    importer.create()
    time_ns = int(datetime.fromisoformat(f"{D21}T23:59:59Z").timestamp()) * 10**9
    databases.server.write(databases.raw, f'server_report server="x",nodes=1i {time_ns}')
    assert "1 days in conflict" in importer.run("--dump", SAMPLE, "--apply")
    assert list(importer.days) == [D20]


def test_many_days_in_conflict_are_listed_in_short(importer: Importer, tmp_path: Path) -> None:
    databases = importer.databases
    importer.create()
    first = int(datetime(2024, 1, 1, tzinfo=UTC).timestamp()) * 10**9
    days = [first + n * NS_PER_DAY for n in range(12)]
    databases.server.write(databases.daily, "\n".join(f"daily_usage nodes=1i {d}" for d in days))
    values = ",".join(f"({n},1,1,1,1,1,0,0,0,0,0,'2024-01-{n:02} 00:00:00')" for n in range(1, 13))
    dump = tmp_path / "dump.sql"
    text = re.sub(r"(INSERT INTO `asl_usage` VALUES)[^;]*;", rf"\1 {values};", sample_text())
    dump.write_text(text)
    output = importer.run("--dump", dump)
    assert "12 days in conflict" in output
    assert "2024-01-10\n    and 2 more, to 2024-01-12" in output


def test_imported_day_is_never_computed_from_the_reports_brought_with_it(
    importer: Importer, mariadb: MariaDb
) -> None:
    day = (now() - timedelta(days=5)).replace(hour=0, minute=0, second=0)
    with mariadb.database(SCHEMA) as name:
        mariadb.insert(name, "asl_usage", [usage(day)])
        mariadb.insert(name, "nodes", [node(2000, day + timedelta(hours=3))])
        settings = {"MYSQL_PWD": mariadb.password}
        importer.run("--dsn", mariadb.dsn(name), "--apply", settings=settings)
    before = importer.points()
    assert len(before["nodes"]) == 1
    text = day.date().isoformat()
    rolled = importer.command("rollup", "--from", text, "--to", text)
    assert rolled.exit_code == 0, rolled.output
    assert importer.points() == before


def test_report_that_we_had_too_is_not_counted_twice(
    importer: Importer, another: Callable[[], Importer]
) -> None:
    importer.lay_key()
    elsewhere = another()
    elsewhere.run("--dump", SAMPLE, "--apply")
    server = next(row for row in elsewhere.points()["servers"] if row["arch"] == "aarch64")
    databases = importer.databases
    importer.create()
    live = f'server_report server="{server["server"]}",nodes=1i {server["time"] + 10**12 + 1}'
    databases.server.write(databases.raw, live)
    output = importer.run("--dump", SAMPLE, "--apply")
    assert "3 reports to write, of 7 nodes" in output
    assert "1 skipped (reported-to-us)" in output
    assert len(importer.points()["servers"]) == 4


def test_kill_in_the_middle_then_again_gives_what_one_go_gives(
    another: Callable[[], Importer], mariadb: MariaDb, tmp_path: Path
) -> None:
    today = now()
    first = today.replace(hour=0, minute=0, second=0)
    with mariadb.database(SCHEMA) as name:
        mariadb.insert(name, "asl_usage", [usage(first - timedelta(days=n)) for n in range(1, 700)])
        # Many in one second, as after a change of the table that set every date.
        rows = [
            node(n, today - timedelta(days=2, seconds=n // 9000), arch=f"arch{n % 7}")
            for n in range(2000, 8000)
        ]
        mariadb.insert(name, "nodes", rows)
        dump = mariadb.dumped(name, tmp_path / "dump.sql")
    whole, torn = another(), another()
    whole.run("--dump", dump, "--apply")
    torn.create()
    server = torn.databases.server

    def stored() -> int:
        return server.count(torn.databases.raw, "server_report", "server")

    async def third_hangs(
        proxy: FaultyProxy, request: web.Request, body: bytes
    ) -> web.StreamResponse:
        """A fault that holds up what comes after two writes of reports."""
        if f"db={torn.databases.raw}" in request.query_string:
            proxy.met["writes"] += 1
            if proxy.met["writes"] > 2:
                await asyncio.sleep(GUARD_S)
        return await proxy.forward(request, body)

    program = (sys.executable, "-m", "collector", "import", "asl3-usage")

    async def torn_apart() -> None:
        async with FaultyProxy(server.url, fault=third_hangs).open() as proxy:
            process = subprocess.Popen(  # noqa: ASYNC220 - it does not wait
                [*program, "--dump", dump, "--apply"],
                env=torn.environment | {"COLLECTOR_INFLUX_URL": proxy.url},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            try:
                await until(lambda: proxy.met["writes"] > 2)
            finally:
                process.kill()
            assert await asyncio.to_thread(process.wait) == -9

    asyncio.run(torn_apart())
    assert 0 < stored() < 3000
    torn.run("--dump", dump, "--apply")
    points = whole.points()
    assert [len(points[kind]) for kind in ("daily", "servers", "nodes")] == [699, 3000, 6000]
    assert torn.points() == points


@pytest.mark.parametrize("kept", ["400d", "0"])
def test_days_older_than_the_daily_series_keeps_are_passed_over(
    importer: Importer, mariadb: MariaDb, kept: str
) -> None:
    importer.settings |= {"COLLECTOR_RETENTION_RAW": "90d", "COLLECTOR_RETENTION_DAILY": kept}
    first = now().replace(hour=0, minute=0, second=0)
    with mariadb.database(SCHEMA) as name:
        # Day 399 expires within the hour that the import leaves at the end of a day.
        days = [usage(first - timedelta(days=n)) for n in (398, 401, 4000)]
        mariadb.insert(name, "asl_usage", days)
        settings = {"MYSQL_PWD": mariadb.password}
        output = importer.run("--dsn", mariadb.dsn(name), "--apply", settings=settings)
    assert ("2 skipped (expired)" in output) is (kept == "400d")
    assert len(importer.points()["daily"]) == (1 if kept == "400d" else 3)


def test_times_are_read_in_the_zone_given(importer: Importer) -> None:
    importer.run("--dump", SAMPLE, "--apply", "--time-zone", "Asia/Tokyo")
    times = {row["time"] // 10**9 for row in importer.points()["servers"]}
    assert times == {int(datetime.fromisoformat(f"{D21}T16:44:39Z").timestamp())}
    assert list(importer.days) == [D20, D21]


def test_nodes_outside_the_public_list_do_not_count(importer: Importer) -> None:
    importer.settings["COLLECTOR_NODELIST_URL"] = "http://127.0.0.1:9/list"
    importer.lay_key()
    # As a running collector keeps it.
    nodelist.save(importer.state / nodelist.FILE, nodelist.Copy(frozenset({2001, 460181}), "", ""))
    output = importer.run("--dump", SAMPLE, "--apply")
    assert "2 reports to write, of 2 nodes" in output
    assert "3 skipped (unlisted)" in output
    assert "3 skipped (no-public-nodes)" in output
    assert len(importer.points()["nodes"]) == 2


def test_tag_values_of_a_collector_beside_are_minded(importer: Importer) -> None:
    importer.lay_key()
    values = tuple(TagValue("arch", f"arch{n}", 20_000_000, firm=True) for n in range(40))
    Memory(importer.state).tags.keep(values)
    importer.run("--dump", SAMPLE, "--apply")
    assert {row["arch"] for row in importer.points()["nodes"]} == {"other"}


async def test_reports_of_who_opted_out_are_not_brought(databases: Databases) -> None:
    pseudonyms = Pseudonymiser(bytes(32))
    server = databases.server
    async with Influx(
        server.url, token=server.token, org=server.org, prefix=databases.prefix
    ) as influx:
        importer = Import(
            influx,
            pseudonyms=pseudonyms,
            budget=TagBudget(ASL_BUDGETS, memory_days=90),
            listed=EveryNode(),
            k=5,
            retention={RAW: 0, DAILY: 0},
            now=datetime.now(UTC),
            opted_out={pseudonyms.server(UUID)}.__contains__,
        )
        rows = dump_rows(io.StringIO(sample_text()), TABLES)
        plan = await importer.plan(SourceTables.of(rows, UTC))
    assert plan.skipped_nodes["opted-out"] == 4
    assert (len(plan.reports), plan.nodes) == (3, 4)


# Where the database is, and who reads it


@pytest.mark.parametrize("way", ["variable", "file", "dsn", "socket"])
def test_password_may_come_from(
    way: str, importer: Importer, mariadb: MariaDb, sample: str, tmp_path: Path
) -> None:
    dsn, settings, words = mariadb.dsn(sample), {}, []
    if way == "variable":
        settings = {"MYSQL_PWD": mariadb.password}
    elif way == "file":
        file = tmp_path / "password"
        file.write_text(mariadb.password + "\n")
        words = ["--password-file", str(file)]
    elif way == "socket":
        dsn = f"mysql://root@localhost/{sample}?unix_socket={quote(str(mariadb.socket))}"
    else:
        dsn = dsn.replace("@", f":{quote(mariadb.password, safe='')}@", 1)
    output = importer.run("--dsn", dsn, *words, settings=settings)
    assert "2 days to write" in output
    assert ("list of processes" in output.replace("\n", " ")) is (way == "dsn")
    assert mariadb.password not in output


def test_wrong_password_is_said_and_not_shown(
    importer: Importer, mariadb: MariaDb, sample: str
) -> None:
    output = importer.refused("--dsn", mariadb.dsn(sample), settings={"MYSQL_PWD": "wr0ng-one"})
    assert "Access denied" in output
    assert "wr0ng-one" not in output


def test_server_that_is_not_there_is_said(importer: Importer, free_port: Callable[[], int]) -> None:
    output = importer.refused("--dsn", f"mysql://u@127.0.0.1:{free_port()}/db")
    assert "the database cannot be read" in output


@pytest.mark.parametrize(
    "dsn",
    [
        "127.0.0.1:3306",
        "postgres://u:hidden@h/db",
        "mysql://u:hidden@h:port/db",
        "mysql://u:hidden@h:3306",
        "mysql://:hidden@h/db",
        "mysql://u:hidden@h/db?what=ever",
        "mysql://u:hidden@h/db?what",
    ],
)
def test_dsn_of_another_form_is_refused_without_repeating_it(importer: Importer, dsn: str) -> None:
    output = importer.refused("--dsn", dsn)
    assert "DSN" in output
    assert "hidden" not in output


def test_parts_of_a_dsn() -> None:
    found = Dsn.parse("mariadb://a%40b:p%3A@[::1]/d%2Fb?ssl_ca=/ca.pem")
    assert found == Dsn("::1", 3306, "a@b", "d/b", "p:", ssl_ca="/ca.pem")
    assert "p:" not in repr(found)


def test_database_is_found_by_the_old_servers_own_settings(
    mariadb: MariaDb, sample: str, importer: Importer, tmp_path: Path
) -> None:
    ini = tmp_path / "web.ini"
    lines = {
        "DB_HOST": "127.0.0.1",
        "DB_PORT": mariadb.port,
        "DB_USER": mariadb.user,
        # As ASL3-Usage's own reader takes it.
        "DB_PASS": mariadb.password.replace("%", "%%"),
        "DB_DB": sample,
    }
    parts = [";; a comment", "[web]", "; HTTP_PORT = 16080"]
    ini.write_text("\n".join([*parts, *(f"{name} = {value}" for name, value in lines.items())]))
    output = importer.run("--web-ini", ini)
    assert f"the database is that of {ini}: {sample} at 127.0.0.1" in output
    assert mariadb.password not in output
    given = {"MYSQL_PWD": mariadb.password}
    assert output.endswith(importer.run("--dsn", mariadb.dsn(sample), settings=given))


def test_settings_that_name_no_database_are_refused_in_words(
    importer: Importer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ini = tmp_path / "web.ini"
    for text in ("", "hidden", "[web\n", "[web]\nDB_PORT = hidden", "[web]\nDB_PASS = hidden%"):
        ini.write_text(text)
        output = importer.refused("--web-ini", ini)
        assert f"{ini}: it is no web.ini of ASL3-Usage" in output
        assert "hidden" not in output
    ini.write_bytes(b"\xff")
    assert "cannot be read" in importer.refused("--web-ini", ini)
    assert "does not exist" in importer.refused("--web-ini", tmp_path / "nothing")
    monkeypatch.setattr("collector.cli.import_._WEB_INI", tmp_path / "nothing")
    assert "there is no" in importer.refused()
    assert "one of them" in importer.refused("--web-ini", ini, "--dsn", "mysql://u@h/db")


def test_defaults_of_a_web_ini_are_the_old_servers() -> None:
    assert Dsn.of_web_ini("[web]\n") == Dsn("localhost", 3306, "aslusage", "aslusage", "aslusage")


def test_session_can_not_write(mariadb: MariaDb, sample: str) -> None:
    before = mariadb_rows(mariadb, sample)
    mariadb.run(sample, f"GRANT ALL ON {sample}.* TO {mariadb.user}@'%'")
    rows = live_rows(Dsn("127.0.0.1", mariadb.port, mariadb.user, sample, mariadb.password))
    assert len(list(rows)) == 11
    assert mariadb_rows(mariadb, sample) == before


def mariadb_rows(mariadb: MariaDb, database: str) -> int:
    with closing(mariadb.connect(database)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM nodes")
        [(count,)] = cursor.fetchall()
        return int(count)


def test_rows_come_as_text_whatever_their_type(mariadb: MariaDb) -> None:
    with mariadb.database("CREATE TABLE nodes (a blob, b date, c bit(8), d int, e float)") as name:
        mariadb.insert(name, "nodes", [[b"x\xff", "0000-00-00", b"A", -1, 1.5]])
        dsn = Dsn("127.0.0.1", mariadb.port, mariadb.user, name, mariadb.password)
        [(table, row)] = live_rows(dsn)
    assert table == "nodes"
    assert row == {"a": "x\ufffd", "b": "0000-00-00", "c": "A", "d": "-1", "e": "1.5"}


def test_login_that_needs_another_package_is_said(
    mariadb: MariaDb, sample: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def needs_more(**_: object) -> None:
        raise RuntimeError("'cryptography' package is required")

    monkeypatch.setattr("pymysql.connect", needs_more)
    with pytest.raises(DatabaseError, match="cryptography"):
        list(live_rows(Dsn.parse(mariadb.dsn(sample))))


# What is said of what cannot be done


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "--dsn or --dump"),
        (("--dump", SAMPLE, "--dsn", "mysql://u@h/d"), "--dsn or --dump"),
        (("--dump", CASES / "none.sql"), "there is no file"),
        (("--dump", CASES), "there is no file"),
        (("--dump", SAMPLE, "--time-zone", "Mars/Olympus"), "time zone"),
    ],
)
def test_wrong_options_are_refused(importer: Importer, words: Sequence[object], said: str) -> None:
    assert said in importer.refused(*words)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda text: text[: text.index("(2,4221")], "not whole"),
        (lambda text: text.replace("`node_count`", "`other`"), "no column node_count"),
        (lambda text: text.replace("`repdate`", "`other`"), "no column repdate"),
    ],
)
def test_dump_that_cannot_be_trusted_is_refused_before_anything_is_written(
    importer: Importer, tmp_path: Path, change: Callable[[str], str], said: str
) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text(change(sample_text()))
    assert said in importer.refused("--dump", dump, "--apply")
    assert not importer.state.exists()


@pytest.mark.parametrize("damage", [slice(0, -20), slice(0, 40)])
def test_damaged_gzip_is_refused(importer: Importer, tmp_path: Path, damage: slice) -> None:
    dump = tmp_path / "dump.sql.gz"
    dump.write_bytes(gzip.compress(sample_text().encode())[damage])
    assert importer.refused("--dump", dump, "--apply").strip()


def test_dump_that_may_not_be_whole_is_written_only_with_yes(
    importer: Importer, tmp_path: Path
) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text(sample_text().replace("-- Dump completed\n", ""))
    assert "The dump may be incomplete: the dump does not end with" in importer.run("--dump", dump)
    refused = importer.refused("--dump", dump, "--apply")
    assert "Nothing was written." in refused
    assert "--apply --yes" in refused
    assert not importer.state.exists()
    assert "Written: 2 days and 4 reports." in importer.run("--dump", dump, "--apply", "--yes")


def test_dump_comes_through_pipes(importer: Importer, tmp_path: Path) -> None:
    """On standard input, and as the FIFO of `<(ssh … mariadb-dump)`; from PowerShell, packed."""
    data = gzip.compress(sample_text().replace("\n", "\r\n").encode("utf-16"))
    program = [sys.executable, "-m", "collector", "import", "asl3-usage"]
    done = subprocess.run(
        [*program, "--dump", "-"],
        input=data,
        env=importer.environment,
        capture_output=True,
        check=True,
    )
    assert b"2 days to write" in done.stdout
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    with subprocess.Popen(
        [*program, "--dump", fifo], env=importer.environment, stdout=subprocess.PIPE
    ) as reading:
        fifo.write_bytes(data)
        out, _ = reading.communicate(timeout=GUARD_S)
    assert reading.returncode == 0
    assert b"2 days to write" in out


def test_dump_without_either_table_brings_nothing(importer: Importer, tmp_path: Path) -> None:
    dump = tmp_path / "dump.sql"
    dump.write_text("CREATE TABLE `other` (`a` int);\n-- Dump completed\n")
    output = importer.run("--dump", dump, "--apply")
    assert "asl_usage: 0 rows\n" in output
    assert "Written: 0 days and 0 reports." in output


def test_instance_number_of_the_import_is_refused_to_a_collector(importer: Importer) -> None:
    output = importer.refused("--dump", SAMPLE, settings={"COLLECTOR_INSTANCE": "999"})
    assert "COLLECTOR_INSTANCE=999" in output


@pytest.mark.usefixtures("brief_retries")
def test_influxdb_that_is_not_there_is_said(
    importer: Importer, free_port: Callable[[], int]
) -> None:
    settings = {"COLLECTOR_INFLUX_URL": f"http://127.0.0.1:{free_port()}"}
    for words in ((), ("--apply",)):
        output = importer.refused("--dump", SAMPLE, *words, settings=settings)
        assert "InfluxDB" in output
