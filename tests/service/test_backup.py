"""The daily series in a directory and back, on a real InfluxDB."""

from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from collector.backup.manifest import KEY_FILE, MANIFEST_FILE, BackupError, read_manifest
from collector.backup.months import DailySeries, months_between
from collector.backup.restore import Comparison, Restore
from collector.backup.save import save
from collector.influx.contents import NotRepresentable
from collector.influx.databases import ensure
from collector.schema import DAILY, RAW
from tests.command import command
from tests.conftest import Databases
from tests.network import influx_of

NS = 10**9
FIRST = date(2023, 12, 30)
DAYS = 70


def ns(day: date, hour: int = 0) -> int:
    return int(datetime(day.year, day.month, day.day, hour, tzinfo=UTC).timestamp()) * NS


def lines_of(day: date) -> list[str]:
    """A day of every kind of measurement, with the oddest names that a tag may hold."""
    at = ns(day)
    cells = [r"dimension=distro,value=Debian\ 12", r"dimension=arch,value=a\,b\=c", "value=dä"]
    return [
        f"daily_usage reports={at % 97}i,nodes=3i,nodes_30d=7i,final=1i {at}",
        *(
            f"daily_nodes,{cell},within=all,within_value=all nodes={n}i {at}"
            for n, cell in enumerate(cells)
        ),
        f"daily_packages,package=asl3,version=3.1-1 servers=4i {at}",
        # A median that happens to be whole stays a float.
        f"hourly_usage reports=5i,expected_reports=5,expected_nodes_24h=2.5 {at + 3600 * NS}",
        f'later_version,kind=x words="say \\"so\\"",share=0.1,count=1i {at}',
    ]


@pytest.fixture
async def filled(databases: Databases) -> Databases:
    """70 days over four months of two years."""
    async with influx_of(databases) as influx:
        await ensure(influx, {RAW: 90 * 86_400, DAILY: 0})
    lines = [line for n in range(DAYS) for line in lines_of(FIRST + timedelta(days=n))]
    databases.server.write(databases.daily, "\n".join(lines))
    return databases


def silent(_done: object, _total: int) -> None:
    """Shows no progress."""


def content(databases: Databases) -> dict[str, Any]:
    """Every row and every field's type, as InfluxDB tells them."""
    names = [row["name"] for row in databases.server.query("SHOW MEASUREMENTS", databases.daily)]
    return {
        name: (
            databases.server.query(f'SELECT * FROM "{name}" GROUP BY *', databases.daily),
            databases.server.query(f'SHOW FIELD KEYS FROM "{name}"', databases.daily),
        )
        for name in names
    }


@pytest.fixture
def back_up(filled: Databases, state_dir: Path, tmp_path: Path) -> Callable[..., Path]:
    """Make a backup of the filled series and empty the database."""

    def make(*options: str) -> Path:
        directory = tmp_path / "backups" / "one"
        environment = filled.environment | {"COLLECTOR_STATE_DIR": str(state_dir)}
        done = command(environment, "backup", directory, *options)
        assert done.code == 0, done.err
        filled.server.drop(filled.daily)
        return directory

    return make


# the whole way


def test_restored_series_are_what_was_backed_up_types_too(
    filled: Databases, back_up: Callable[..., Path]
) -> None:
    before = content(filled)
    directory = back_up()
    assert content(filled) == {}
    done = command(filled.environment, "restore", directory)
    assert done.code == 0, done.err
    assert content(filled) == before
    assert f"restored {DAYS * 7} points" in done.out


def test_restore_moves_to_a_database_of_another_name(
    filled: Databases, back_up: Callable[..., Path]
) -> None:
    before = content(filled)
    directory = back_up()
    elsewhere = Databases(filled.server, f"{filled.prefix}moved_")
    assert command(elsewhere.environment, "restore", directory).code == 0
    assert content(elsewhere) == before


def test_second_restore_changes_nothing(filled: Databases, back_up: Callable[..., Path]) -> None:
    directory = back_up()
    command(filled.environment, "restore", directory)
    before = content(filled)
    done = command(filled.environment, "restore", directory)
    assert done.code == 0, done.err
    assert "0 times were missing, 0 overwritten" in done.out
    assert content(filled) == before


def test_manifest_tells_counts_range_and_a_checksum_of_each_file(
    back_up: Callable[..., Path],
) -> None:
    directory = back_up()
    manifest = json.loads((directory / MANIFEST_FILE).read_text())
    assert manifest["first"] == "2023-12-30"
    assert manifest["last"] == (FIRST + timedelta(days=DAYS - 1)).isoformat()
    assert manifest["points"]["daily_nodes"] == 3 * DAYS
    assert [month["file"] for month in manifest["months"]] == [
        f"usage_daily-{month}.lp.gz" for month in ("2023-12", "2024-01", "2024-02", "2024-03")
    ]
    files = {path.name for path in directory.iterdir()} - {MANIFEST_FILE}
    assert files == set(manifest["files"])
    for name, told in manifest["files"].items():
        held = (directory / name).read_bytes()
        assert (hashlib.sha256(held).hexdigest(), len(held)) == (told["sha256"], told["bytes"])
    lines = gzip.decompress((directory / "usage_daily-2023-12.lp.gz").read_bytes()).decode()
    assert sorted(lines.split("\n")[:-1]) == sorted(
        r.replace("expected_reports=5,", "expected_reports=5.0,") for r in _canonical()
    )


def _canonical() -> list[str]:
    """The lines of December as a backup writes them: tags and fields in order of name."""
    found = []
    for line in [*lines_of(FIRST), *lines_of(FIRST + timedelta(days=1))]:
        head, fields, at = line.replace(r"\ ", "\0").replace('say \\"so', 'say\0\\"so').split(" ")
        name, *tags = head.replace(r"\,", "\1").split(",")
        head = ",".join([name, *sorted(tags)])
        fields = ",".join(sorted(fields.split(",")))
        joined = f"{head} {fields} {at}"
        found.append(
            joined.replace('say\0\\"so', 'say \\"so').replace("\0", r"\ ").replace("\1", r"\,")
        )
    return found


def test_backup_of_a_database_that_is_not_there_is_refused(
    databases: Databases, tmp_path: Path
) -> None:
    done = command(databases.environment, "backup", tmp_path / "one")
    assert done.code == 1
    assert f"there is no {databases.daily}" in done.err
    assert not (tmp_path / "one").exists()


def test_trial_of_a_restore_makes_nothing(filled: Databases, back_up: Callable[..., Path]) -> None:
    directory = back_up()
    done = command(filled.environment, "restore", directory, "--dry-run")
    assert done.code == 0, done.err
    assert "all of it would be written" in done.out
    assert filled.daily not in filled.server.databases()


def test_backup_of_nothing_is_restored_to_nothing(databases: Databases, tmp_path: Path) -> None:
    done = command(databases.environment, "provision", "--tokens-dir", tmp_path / "tokens")
    assert done.code == 0, done.err
    done = command(databases.environment, "backup", tmp_path / "one")
    assert done.code == 0, done.err
    assert "no daily series yet" in done.out
    assert command(databases.environment, "restore", tmp_path / "one").code == 0


# what is in it


def test_backup_holds_settings_but_no_secret(filled: Databases, tmp_path: Path) -> None:
    environment = filled.environment | {
        "COLLECTOR_NODELIST_URL": "https://user:hush1@example.org/list?token=hush2",
        "COLLECTOR_RETENTION_RAW": "120d",
    }
    if not filled.server.is_2:
        environment |= {"COLLECTOR_INFLUX_TOKEN": "user:hush3"}
    done = command(environment, "backup", tmp_path / "one")
    assert done.code == 0, done.err
    text = (tmp_path / "one" / "settings.env").read_text()
    assert "COLLECTOR_RETENTION_RAW=120d\n" in text
    assert "COLLECTOR_NODELIST_URL=https://example.org/list\n" in text
    assert "TOKEN" not in text
    assert "hush" not in text + (tmp_path / "one" / MANIFEST_FILE).read_text()
    assert "raw reports" in done.out


def test_key_is_in_it_on_request_only_and_for_its_owner_only(
    filled: Databases, state_dir: Path, tmp_path: Path
) -> None:
    environment = filled.environment | {"COLLECTOR_STATE_DIR": str(state_dir)}
    state_dir.mkdir()
    (state_dir / "pseudonym.key").write_text("ab" * 32 + "\n")
    assert command(environment, "backup", tmp_path / "without").code == 0
    assert not (tmp_path / "without" / KEY_FILE).exists()
    assert command(environment, "backup", tmp_path / "with", "--with-key").code == 0
    key = tmp_path / "with" / KEY_FILE
    assert key.read_text() == "ab" * 32 + "\n"
    assert key.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "with").stat().st_mode & 0o777 == 0o700

    elsewhere = tmp_path / "elsewhere"
    moved = filled.environment | {"COLLECTOR_STATE_DIR": str(elsewhere)}
    assert command(moved, "restore", tmp_path / "with").code == 0
    assert (elsewhere / "pseudonym.key").read_text() == "ab" * 32 + "\n"
    assert (elsewhere / "pseudonym.key").stat().st_mode & 0o777 == 0o600
    again = command(moved, "restore", tmp_path / "with")
    assert "unchanged" in again.out

    (elsewhere / "pseudonym.key").write_text("cd" * 32 + "\n")
    filled.server.drop(filled.daily)
    refused = command(moved, "restore", tmp_path / "with")
    assert refused.code == 1
    assert "another pseudonym key" in refused.err
    assert content(filled) == {}


def test_key_that_is_not_there_is_said(filled: Databases, tmp_path: Path) -> None:
    environment = filled.environment | {"COLLECTOR_STATE_DIR": str(tmp_path / "none")}
    done = command(environment, "backup", tmp_path / "one", "--with-key")
    assert done.code == 1
    assert "pseudonym.key" in done.err
    assert not (tmp_path / "one").exists()


def test_backup_never_overwrites_and_leaves_nothing_half_made(
    filled: Databases, tmp_path: Path
) -> None:
    (tmp_path / "one").mkdir()
    done = command(filled.environment, "backup", tmp_path / "one")
    assert done.code == 1
    assert "never overwritten" in done.err
    away = filled.environment | {"COLLECTOR_INFLUX_URL": "http://127.0.0.1:1"}
    assert command(away, "backup", tmp_path / "two").code == 1
    assert [path.name for path in tmp_path.iterdir() if "two" in path.name] == []


# what is refused


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        pytest.param(
            "flip", "usage_daily-2024-01.lp.gz has changed since it was written", id="bit"
        ),
        pytest.param(
            "cut", "usage_daily-2024-01.lp.gz has changed since it was written", id="cut short"
        ),
        pytest.param("lose", "usage_daily-2024-01.lp.gz is missing", id="lost"),
        pytest.param("manifest", "manifest.json cannot be read", id="manifest"),
        pytest.param("newer", "newer version", id="newer"),
        pytest.param("outside", "outside it", id="file elsewhere"),
        pytest.param("empty", "is not a backup", id="no backup"),
    ],
)
def test_restore_refuses_and_writes_nothing(
    filled: Databases, back_up: Callable[..., Path], harm: str, words: str
) -> None:
    directory = back_up()
    file, manifest = directory / "usage_daily-2024-01.lp.gz", directory / MANIFEST_FILE
    told = json.loads(manifest.read_text())
    match harm:
        case "flip":
            held = bytearray(file.read_bytes())
            held[len(held) // 2] ^= 1
            file.write_bytes(held)
        case "cut":
            file.write_bytes(file.read_bytes()[:-10])
        case "lose":
            file.unlink()
        case "manifest":
            manifest.write_text("{")
        case "newer":
            manifest.write_text(json.dumps(told | {"format": 2, "more": True}))
        case "outside":
            told["files"]["../x"] = told["files"].pop(file.name)
            manifest.write_text(json.dumps(told))
        case "empty":
            manifest.unlink()
    done = command(filled.environment, "restore", directory)
    assert done.code == 1
    assert words in done.err
    assert content(filled) == {}


def test_days_that_differ_are_overwritten_by_force_only(
    filled: Databases, back_up: Callable[..., Path]
) -> None:
    before = content(filled)
    directory = back_up()
    assert command(filled.environment, "restore", directory).code == 0
    changed = FIRST + timedelta(days=40)
    filled.server.write(
        filled.daily,
        f"daily_usage nodes=99i {ns(changed)}\n"
        # With this cell beside the backup's, the day's table would add up to too much.
        f"daily_nodes,dimension=arch,value=new,within=all,within_value=all nodes=9i {ns(changed)}",
    )
    harmed = content(filled)
    done = command(filled.environment, "restore", directory)
    assert done.code == 1
    assert f"other numbers for {changed.isoformat()}" in done.err
    assert content(filled) == harmed
    assert (
        "2 overwritten"
        in command(filled.environment, "restore", directory, "--force", "--dry-run").out
    )
    assert content(filled) == harmed
    done = command(filled.environment, "restore", directory, "--force")
    assert done.code == 0, done.err
    assert content(filled) == before


def test_days_that_the_backup_has_not_stay(filled: Databases, back_up: Callable[..., Path]) -> None:
    directory = back_up()
    assert command(filled.environment, "restore", directory).code == 0
    # In a month that the backup has.
    newer = FIRST + timedelta(days=DAYS)
    filled.server.write(filled.daily, f"daily_usage nodes=99i {ns(newer)}")
    before = content(filled)
    assert command(filled.environment, "restore", directory).code == 0
    assert content(filled) == before


async def test_interrupted_restore_goes_on(filled: Databases, back_up: Callable[..., Path]) -> None:
    before = content(filled)
    directory = back_up()
    async with influx_of(filled) as influx:
        await ensure(influx, {DAILY: 0})
    part = [line for n in range(30) for line in lines_of(FIRST + timedelta(days=n))][:-3]
    filled.server.write(filled.daily, "\n".join(part))
    done = command(filled.environment, "restore", directory)
    assert done.code == 0, done.err
    assert content(filled) == before


async def test_retention_too_short_for_the_backup_is_said(
    filled: Databases, back_up: Callable[..., Path]
) -> None:
    directory = back_up()
    environment = filled.environment | {
        "COLLECTOR_RETENTION_DAILY": "60d",
        "COLLECTOR_RETENTION_RAW": "35d",
    }
    done = command(environment, "restore", directory)
    assert done.code == 1
    assert "retention" in done.err


# its parts


async def test_restore_compares_what_influxdb_gives_in_the_end(
    filled: Databases, back_up: Callable[..., Path]
) -> None:
    directory = back_up()
    async with influx_of(filled) as influx:
        await ensure(influx, {DAILY: 0})
        work = Restore(influx, directory, read_manifest(directory), silent)
        found = await work.compare()
        # As if nothing had been in conflict: the stranger's cell is not removed, and is seen.
        filled.server.write(filled.daily, f"daily_nodes,value=stranger nodes=1i {ns(FIRST)}")
        with pytest.raises(BackupError, match="1 of"):
            await work.write(Comparison(found.missing, []))


async def test_field_of_two_types_is_refused(filled: Databases, tmp_path: Path) -> None:
    if filled.server.is_2:
        pytest.skip("where shards are cut decides whether InfluxDB takes both types")
    # Shards of 28 days: far enough apart, InfluxDB takes another type.
    filled.server.write(filled.daily, f"daily_usage nodes=1.5 {ns(date(2020, 1, 1))}")
    async with influx_of(filled) as influx:
        with pytest.raises(NotRepresentable, match="two types"):
            await save(influx, tmp_path / "one", settings={}, key=None, progress=silent)


async def test_influxdb_counts_every_value_that_is_read(filled: Databases) -> None:
    async with influx_of(filled) as influx:
        series = DailySeries(influx)
        points, values = await series.read(date(2024, 1, 1))
        assert values == await series.count(date(2024, 1, 1))
        assert values["daily_usage", "nodes"] == 31
        assert len(points) == 31 * 5


@pytest.mark.parametrize(
    ("first", "last", "months"),
    [
        pytest.param(date(2024, 1, 31), date(2024, 1, 31), ["2024-01"], id="one"),
        pytest.param(date(2023, 12, 31), date(2024, 1, 1), ["2023-12", "2024-01"], id="years"),
        pytest.param(date(1969, 12, 31), date(1970, 1, 1), ["1969-12", "1970-01"], id="epoch"),
    ],
)
def test_months_between_times(first: date, last: date, months: list[str]) -> None:
    assert [f"{month:%Y-%m}" for month in months_between(ns(first), ns(last))] == months
