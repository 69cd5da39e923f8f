"""Nothing is stored, shown or promised from an answer that InfluxDB cut short."""

from __future__ import annotations

import asyncio
import http.client
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from collector.backup.manifest import BackupError
from collector.backup.save import save
from collector.history.asl3_raw import stored_reports
from collector.history.asl3_rows import OldNode, OldReport, Skipped
from collector.influx import CutShort, Influx, InfluxError, InfluxUnavailable
from collector.influx.contents import Span
from collector.metrics import Metrics
from collector.public.series import PublicSeries
from collector.quarantine.pattern import Pattern
from collector.quarantine.quarantine import Quarantine
from collector.rollup.ranges import Plan
from collector.rollup.verify import Verdict, verify
from tests.conftest import Databases, InfluxServer, StartServe
from tests.cut_short import CuttingProxy
from tests.disks import open_files
from tests.network import Network, Rollup, day_of, influx_of
from tests.owners import (
    DAY,
    DAYS_BACK,
    NEIGHBOURS,
    OWNER,
    World,
    ask,
    lay_past,
    midnight,
    raw_points,
    start_world,
)
from tests.public_site import served
from tests.sender import get
from tools.embedded import EmbeddedInflux

JSON = {"Accept": "application/json"}
RETENTION_S = 90 * 86_400


@dataclass(frozen=True)
class Behind:
    """A network of a few days, and the way to its InfluxDB that cuts answers."""

    network: Network
    proxy: CuttingProxy
    rollup: Rollup
    midnight: int
    """The start of the open day, in ns since 1970; the days before it are final."""

    @property
    def last_day(self) -> int:
        """The last final day, in days since 1970."""
        return self.midnight // DAY - 1

    @property
    def now(self) -> datetime:
        return datetime.now(UTC)


@pytest.fixture
async def behind(databases: Databases, tmp_path: Path) -> AsyncIterator[Behind]:
    opens = midnight()
    await asyncio.to_thread(lay_past, databases)
    async with (
        CuttingProxy(databases.server.url).open() as proxy,
        influx_of(by(databases, proxy)) as influx,
    ):
        rollup = Rollup(influx, 1, RETENTION_S, tmp_path / "state")
        yield Behind(Network(databases), proxy, rollup, opens)


def by(databases: Databases, proxy: CuttingProxy) -> Databases:
    """The databases as they are reached on a way."""
    server = databases.server
    return Databases(InfluxServer(proxy.url, server.token, server.org), databases.prefix)


async def rolled(behind: Behind) -> None:
    today = behind.last_day + 1
    await behind.rollup.roll(range(today - DAYS_BACK, today), behind.midnight + DAY // 2)


@pytest.mark.parametrize("measurement", ["node_report", "server_report"])
async def test_day_whose_rows_are_cut_is_not_stored(behind: Behind, measurement: str) -> None:
    behind.proxy.only = f'"{measurement}"'
    behind.proxy.cutting = True
    schedule = behind.rollup.schedule(lambda: behind.midnight + DAY // 2, Metrics())
    await schedule.once()
    assert behind.proxy.cuts
    assert await asyncio.to_thread(behind.network.found, "daily_usage") == {}
    behind.proxy.cutting = False
    assert await schedule.once()
    stored = await asyncio.to_thread(behind.network.found, "daily_usage")
    assert stored[behind.midnight - DAY, ()]["reports"] == NEIGHBOURS + 1
    assert stored[behind.midnight - DAY, ()]["nodes"] == 2 * (NEIGHBOURS + 1)


async def test_day_is_computed_with_few_queries(behind: Behind) -> None:
    await rolled(behind)
    before = behind.proxy.met["queries"]
    [result] = await behind.rollup.roll([behind.last_day], behind.midnight + DAY // 2, force=True)
    assert result.reports == NEIGHBOURS + 1
    # It takes 8; InfluxDB may refuse some for a moment, and these are sent again.
    assert behind.proxy.met["queries"] - before <= 12


def by_ranges(behind: Behind) -> Rollup:
    """The rollup that computes each day by three ranges, and reads it in slices of a minute."""
    return replace(behind.rollup, planner=lambda *_: Plan(3, slice_rows=1))


async def test_day_of_which_one_slice_is_cut_is_not_stored(behind: Behind) -> None:
    # Of the day's slices, the last alone ends with the day.
    behind.proxy.only = f"time < {behind.midnight}"
    behind.proxy.json, behind.proxy.least, behind.proxy.cutting = bytes, 1, True
    rollup = by_ranges(behind)
    with pytest.raises(CutShort):
        await rollup.roll([behind.last_day], behind.midnight + DAY // 2)
    assert behind.proxy.cuts
    assert await asyncio.to_thread(behind.network.found, "daily_usage") == {}
    assert [*(rollup.state / "rollup").iterdir()] == []
    # No read goes on after the error.
    await asyncio.sleep(0.2)
    assert open_files(rollup.state) == []
    behind.proxy.cutting = False
    await rollup.roll([behind.last_day], behind.midnight + DAY // 2)
    stored = await asyncio.to_thread(behind.network.found, "daily_usage")
    assert stored[behind.midnight - DAY, ()]["nodes"] == 2 * (NEIGHBOURS + 1)


async def test_day_whose_rows_do_not_fit_on_the_disk_is_not_stored(behind: Behind) -> None:
    rollup = by_ranges(behind)
    in_the_way = rollup.state / "rollup"
    in_the_way.parent.mkdir()
    in_the_way.write_text("no directory\n")
    with pytest.raises(FileExistsError):
        await rollup.roll([behind.last_day], behind.midnight + DAY // 2)
    assert await asyncio.to_thread(behind.network.found, "daily_usage") == {}
    in_the_way.unlink()
    [result] = await rollup.roll([behind.last_day], behind.midnight + DAY // 2)
    assert result.nodes == 2 * (NEIGHBOURS + 1)


async def test_reports_that_come_and_go_between_two_slices_are_counted_at_the_next_look(
    behind: Behind,
) -> None:
    rollup, server = by_ranges(behind), behind.network.databases.server
    rows = server.query("SELECT node FROM node_report", behind.network.databases.raw)
    of_day = [row["time"] for row in rows if behind.midnight - DAY <= row["time"] < behind.midnight]
    changes: list[Callable[[], object]] = [
        lambda: behind.network.lay([f'server_report server="{"1" * 16}",nodes=1i {of_day[0] + 7}']),
        lambda: server.query(
            f"DELETE FROM node_report WHERE time = {of_day[0]}", behind.network.databases.raw
        ),
        lambda: server.query(
            f"DELETE FROM node_report WHERE time = {of_day[-1]}", behind.network.databases.raw
        ),
    ]

    def change(body: bytes) -> bytes:
        if changes:
            changes.pop()()
        return body

    behind.proxy.only, behind.proxy.csv = '"node_report"', change
    behind.proxy.json, behind.proxy.least, behind.proxy.cutting = bytes, 1, True
    now = behind.midnight + DAY // 2
    # A slice whose rows went since they were counted is read again.
    await rollup.roll([behind.last_day], now)
    assert not changes
    assert await rollup.schedule(lambda: now, Metrics()).once()
    healed = await asyncio.to_thread(behind.network.series)
    await behind.rollup.roll([behind.last_day], now, force=True)
    assert await asyncio.to_thread(behind.network.series) == healed
    [stored] = [
        fields
        for (time, _), fields in healed["daily_usage"].items()
        if time == behind.midnight - DAY
    ]
    assert (stored["reports"], stored["node_reports"]) == (NEIGHBOURS + 2, len(of_day) - 2)


async def test_published_points_that_are_read_short_are_neither_removed_nor_doubled(
    behind: Behind,
) -> None:
    await rolled(behind)
    before = await asyncio.to_thread(behind.network.series)
    behind.proxy.only, behind.proxy.cutting = '"daily_nodes"', True
    with pytest.raises(CutShort):
        await behind.rollup.roll([behind.last_day], behind.midnight + DAY // 2, force=True)
    assert await asyncio.to_thread(behind.network.series) == before


async def test_verify_makes_no_verdict_of_half_a_day(behind: Behind) -> None:
    await rolled(behind)
    day = day_of(behind.last_day)
    behind.proxy.cutting = True
    with pytest.raises(CutShort):
        await verify(behind.rollup.daily(), day, behind.now)
    behind.proxy.cutting = False
    assert (await verify(behind.rollup.daily(), day, behind.now)).verdict is Verdict.GOOD


async def test_pages_remember_no_half_series(behind: Behind) -> None:
    await rolled(behind)
    series = PublicSeries(behind.rollup.influx)
    for only in ("daily_usage", "daily_nodes"):
        behind.proxy.only, behind.proxy.cutting = f'"{only}"', True
        with pytest.raises(InfluxUnavailable) as told:
            await series.snapshot()
        assert isinstance(told.value.__cause__, CutShort)
        behind.proxy.cutting = False
    found = await series.snapshot()
    assert [day.day for day in found.days] == [
        day_of(behind.midnight // DAY - back) for back in (5, 4, 3, 2, 1)
    ]


async def test_download_that_is_cut_is_refused_or_visibly_broken(behind: Behind) -> None:
    """The first month: 503. A later one, when 200 was said: the connection breaks."""
    lines = []
    for month in (1, 2, 3):
        at = int(datetime(2020, month, 7, tzinfo=UTC).timestamp()) * 10**9
        lines.append(f"daily_usage nodes=9i,servers=9i,reports=9i,final=1i {at}")
        rows = 100 if month == 3 else 3
        lines += [
            f"daily_nodes,dimension=arch,within=all,within_value=all,value=v{row} nodes=1i {at}"
            for row in range(rows)
        ]
    await asyncio.to_thread(behind.network.publish, lines)
    behind.proxy.only, behind.proxy.least = '"within_value"', 50
    path = "/v1/daily/nodes.csv"
    with served(by(behind.network.databases, behind.proxy)) as url:
        behind.proxy.cutting = True
        for attempt in range(2):
            with pytest.raises((http.client.HTTPException, OSError)):
                await asyncio.to_thread(get, url, path)
            assert behind.proxy.cuts, attempt
        only_march = await asyncio.to_thread(get, url, f"{path}?from=2020-03-01")
        assert only_march.status == 503
        behind.proxy.cutting = False
        whole = await asyncio.to_thread(get, url, path)
        assert (whole.status, whole.body.count(b"\n")) == (200, 1 + 106)


async def test_quarantine_takes_no_part_of_a_pattern(behind: Behind) -> None:
    influx = behind.rollup.influx
    quarantine = Quarantine(
        influx, behind.rollup.daily(), behind.rollup.reconciler(), retention_s=RETENTION_S
    )
    span = Span(behind.midnight - DAY, behind.midnight)
    pattern = Pattern(tags=(("distro", "Debian"),))
    whole = await quarantine.preview(pattern, span, behind.now)
    behind.proxy.cutting = True
    with pytest.raises(CutShort):
        await quarantine.preview(pattern, span, behind.now)
    with pytest.raises(CutShort):
        await quarantine.add(pattern, span, "cut", behind.now)
    behind.proxy.cutting = False
    assert await quarantine.batches() == []
    assert await quarantine.preview(pattern, span, behind.now) == whole


async def test_import_does_not_take_a_report_for_missing(behind: Behind) -> None:
    influx = behind.rollup.influx
    behind.proxy.cutting = True
    with pytest.raises(CutShort):
        await stored_reports(influx, behind.last_day)
    behind.proxy.cutting = False
    there = await stored_reports(influx, behind.last_day)
    written = behind.last_day * 86_400
    old = OldReport((cast("OldNode", SimpleNamespace(written_s=written)),))
    assert there.skip_reason(OWNER, old) is Skipped.REPORTED_TO_US


async def test_backup_of_a_cut_answer_is_not_made(behind: Behind, tmp_path: Path) -> None:
    await rolled(behind)
    influx = behind.rollup.influx
    target = tmp_path / "backup"
    behind.proxy.cutting, behind.proxy.only = True, "GROUP BY *"

    async def make() -> int:
        made = await save(influx, target, settings={}, key=None, progress=lambda *_: None)
        return made.total

    with pytest.raises(CutShort):
        await make()
    assert not target.exists()
    behind.proxy.cutting = False
    total = sum(len(points) for points in (await asyncio.to_thread(behind.network.series)).values())
    assert await make() == total


async def test_owner_gets_neither_half_a_list_nor_a_receipt_for_half(
    databases: Databases, serve: StartServe, state_dir: Path
) -> None:
    async with CuttingProxy(databases.server.url).open() as proxy:
        settings = {"COLLECTOR_INFLUX_URL": proxy.url}
        world: World = await asyncio.to_thread(start_world, serve, databases, state_dir, settings)
        proxy.only, proxy.cutting = "=~", True
        async with influx_of(by(databases, proxy)) as influx:
            with pytest.raises(CutShort):
                await raw_points(influx)
        assert (await asyncio.to_thread(ask, world.url, headers=JSON)).status == 503
        answer = await asyncio.to_thread(ask, world.url, "/erase", headers=JSON)
        assert "erased" not in answer.json
        assert len(world.raw(own=True)) == 3 * (DAYS_BACK + 1)
        proxy.cutting = False
        answer = await asyncio.to_thread(ask, world.url, "/erase", headers=JSON)
        assert answer.json["erased"]["reports"] == DAYS_BACK + 1
        assert world.raw(own=True) == []


async def everything(
    influx: Influx, directory: Path, midnight: int
) -> dict[str, Callable[[], Awaitable[object]]]:
    """Every reading of rows there is, by name, to be begun one after the other.

    `midnight` is the start of the open day, in ns since 1970.
    """
    last_day = midnight // DAY - 1
    rollup = Rollup(influx, 1, RETENTION_S, directory / "state")
    span = Span(midnight - DAY, midnight)
    pattern = Pattern(tags=(("distro", "Debian"),))
    now = datetime.now(UTC)
    quarantine = Quarantine(influx, rollup.daily(), rollup.reconciler(), retention_s=RETENTION_S)

    async def backup() -> object:
        target = directory / f"backup-{secrets.token_hex(4)}"
        return (await save(influx, target, settings={}, key=None, progress=lambda *_: None)).points

    async def owner() -> object:
        rows = await raw_points(influx)
        return [(row.measurement, row.time) for row in rows]

    async def imported() -> object:
        return sorted((await stored_reports(influx, last_day)).imported)

    async def pages() -> object:
        return (await PublicSeries(influx).snapshot()).days

    async def verified() -> object:
        return await verify(rollup.daily(), day_of(last_day), now)

    async def rolled_up() -> object:
        return (await rollup.roll([last_day], midnight + DAY // 2, force=True))[0]

    return {
        "rollup": rolled_up,
        "verify": verified,
        "pages": pages,
        "quarantine": lambda: quarantine.preview(pattern, span, now),
        "my data": owner,
        "import": imported,
        "backup": backup,
    }


async def test_each_reading_is_whole_or_an_error_under_influxdbs_own_limits(
    own_influx: EmbeddedInflux, own_databases: Databases, tmp_path: Path
) -> None:
    opens = midnight()
    await asyncio.to_thread(lay_past, own_databases)
    # So many rows, of servers of their own, that a time-out of a few ms strikes in their midst.
    for first in range(0, 40_000, 5000):
        lines = [
            f'server_report,distro=Debian server="{number:016x}",nodes=0i,imported=1i'
            f" {opens - DAY + number * 2_000_000_000}"
            for number in range(first, first + 5000)
        ]
        text = "\n".join(lines)
        await asyncio.to_thread(own_databases.server.write, own_databases.raw, text)
    async with influx_of(own_databases) as influx:
        whole = {
            name: await reading()
            for name, reading in (await everything(influx, tmp_path, opens)).items()
        }
    for limit, value in (
        ("HTTP_MAX_ROW_LIMIT", "3"),
        ("COORDINATOR_QUERY_TIMEOUT", "4ms"),
        ("COORDINATOR_MAX_SELECT_SERIES", "1"),
    ):
        own_influx.overrides = {f"INFLUXDB_{limit}": value}
        await asyncio.to_thread(own_influx.restart)
        failed = set()
        async with influx_of(own_databases) as influx:
            for name, reading in (await everything(influx, tmp_path, opens)).items():
                try:
                    assert await reading() == whole[name], (limit, name)
                except (InfluxError, BackupError):
                    failed.add(name)
        # Rows are read in chunks, to which the row limit does not apply; the others strike.
        assert bool(failed) == (limit != "HTTP_MAX_ROW_LIMIT"), (limit, failed)
