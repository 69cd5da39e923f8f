from __future__ import annotations

import asyncio
import random
from itertools import pairwise
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.influx.contents import Span
from collector.rollup import compute
from collector.rollup.cache import FactsCache, RawCount
from collector.rollup.facts import DayFacts, DayTables, Rows
from collector.rollup.ranges import WHOLE, Plan, Range, plan, ranges_of, slices, split
from collector.rollup.spill import DayRows
from collector.schema import NODE_REPORT, SERVER_REPORT
from tests.days import One, answer, node_rows, server_rows
from tests.disks import open_files
from tests.network import day_of

GIB = 1 << 30
PSEUDONYMS = st.integers(0, 2**64 - 1)
NUMBERS = st.integers(1, 300)
DAY = day_of(20_000)


@given(PSEUDONYMS, NUMBERS)
def test_each_pseudonym_is_in_one_range(pseudonym: int, of: int) -> None:
    frame = pl.DataFrame({"node": [pseudonym]}, schema={"node": pl.UInt64()})
    [number] = split(frame, "node", of)
    first, last = Range(number, of).bounds
    assert first <= pseudonym <= last
    assert frame.filter(Range(number, of).contains("node")).height == 1


@given(NUMBERS)
def test_ranges_follow_each_other_from_the_first_pseudonym_to_the_last(of: int) -> None:
    bounds = [each.bounds for each in ranges_of(of)]
    assert (bounds[0][0], bounds[-1][1]) == (0, 2**64 - 1)
    assert all(last + 1 == first for (_, last), (first, _) in pairwise(bounds))


@given(NUMBERS, NUMBERS, st.data())
def test_overlapping_ranges_are_all_that_share_a_pseudonym(
    of: int, other: int, data: st.DataObject
) -> None:
    part = Range(data.draw(st.integers(0, of - 1)), of)
    first, last = part.bounds
    found = part.overlapping(other)
    assert found[0].bounds[0] <= first
    assert found[-1].bounds[1] >= last
    assert all(each.bounds[0] <= last and each.bounds[1] >= first for each in found)


@given(st.dictionaries(st.integers(0, 99), st.integers(1, 50), max_size=30), st.integers(1, 100))
def test_slices_cover_the_span_and_hold_no_more_than_their_rows(
    counts: dict[int, int], most: int
) -> None:
    found = slices(counts, Span(0, 100), most)
    assert (found[0][0].start, found[-1][0].end) == (0, 100)
    for (span, rows), (after, _) in pairwise(found):
        assert span.end == after.start
        assert rows > 0
    for span, rows in found:
        inside = [count for at, count in counts.items() if span.start <= at < span.end]
        assert rows == sum(inside)
        assert rows <= most or len(inside) == 1


@pytest.mark.parametrize(
    ("rows", "units", "ranges"), [(0, 0, 1), (20_000, 20_000, 1), (500_000, 300_000, 1)]
)
def test_a_day_that_fits_is_one_range(rows: int, units: int, ranges: int) -> None:
    assert plan(GIB, rows, units).ranges == ranges


def test_a_larger_day_and_a_smaller_memory_make_more_ranges() -> None:
    found = [plan(GIB, rows, rows).ranges for rows in (10**6, 10**7, 10**8)]
    assert found == sorted(set(found))
    assert plan(GIB // 4, 10**7, 10**7).ranges > found[1]
    assert plan(1, 10**6, 10**6).ranges < 1000


def random_day(seed: int) -> list[One]:
    """Reports of few nodes and servers with any pseudonyms, which change and move about."""
    rng = random.Random(seed)
    nodes = [rng.getrandbits(64) for _ in range(12)]
    servers = [rng.getrandbits(64) for _ in range(5)]
    hours = sorted(rng.choices(range(24), k=40))
    return [
        One(
            tuple(rng.sample(nodes, rng.randint(1, 3))),
            server=rng.choice(servers),
            hour=hour,
            asl=rng.choice(("asl3-1", "asl3-2", "asl3-3", "unknown")),
            arch=rng.choice(("x86_64", "aarch64")),
            uptime=rng.choice(("", "5", "7200")),
            packages=rng.choice(("{}", '{"a":"1"}')),
        )
        for hour in hours
    ]


def facts_of(reports: list[One], plan: Plan, directory: Path) -> list[DayFacts]:
    """The facts of each range of a day, whose rows come in slices of seven."""
    with DayRows(plan, directory) as rows:
        for measurement, cells in (
            (NODE_REPORT, node_rows(reports)),
            (SERVER_REPORT, server_rows(reports)),
        ):
            for first in range(0, len(cells), 7):
                text = answer(measurement, cells[first : first + 7])
                rows.add(measurement, Rows(measurement).add(text).frame())
        assert rows.reports == len(reports)
        return [rows.facts(part) for part in rows.ranges]


def rows_of(frame: pl.DataFrame) -> list[tuple[object, ...]]:
    return sorted(frame.select(pl.all().cast(pl.String).fill_null("-")).rows())


def content(tables: DayTables) -> list[object]:
    frames = ("node_profiles", "server_profiles", "kernels", "uptimes", "package_sets", "hourly")
    return [tables.nodes, tables.servers, *(rows_of(getattr(tables, name)) for name in frames)]


@pytest.mark.parametrize("ranges", [2, 7])
def test_facts_of_all_ranges_together_are_those_of_the_day(ranges: int, tmp_path: Path) -> None:
    for seed in range(3):
        reports = random_day(seed)
        [whole] = facts_of(reports, Plan(), tmp_path)
        parts = facts_of(reports, Plan(ranges), tmp_path)
        added = parts[0].tables
        for part in parts[1:]:
            added += part.tables
        assert content(added) == content(whole.tables)
        for name in whole.units.names():
            together = pl.concat([getattr(part.units, name) for part in parts])
            assert rows_of(together) == rows_of(getattr(whole.units, name))


def test_spilled_rows_have_no_name_and_nobody_else_may_read_them(tmp_path: Path) -> None:
    directory = tmp_path / "rollup"
    reports = random_day(1)
    with DayRows(Plan(3), directory) as rows:
        text = answer(NODE_REPORT, node_rows(reports))
        rows.add(NODE_REPORT, Rows(NODE_REPORT).add(text).frame())
        files = [file.stat() for file in open_files(directory)]
        assert list(directory.iterdir()) == []
        assert [(file.st_nlink, file.st_mode & 0o077) for file in files] == [(0, 0)]
        assert directory.stat().st_mode & 0o077 == 0


def test_rows_added_after_the_end_are_given_up_and_open_no_file(tmp_path: Path) -> None:
    """As by a thread whose task was cancelled."""
    for ranges in (1, 3):
        with DayRows(Plan(ranges), tmp_path) as rows:
            pass
        text = answer(NODE_REPORT, node_rows(random_day(1)))
        rows.add(NODE_REPORT, Rows(NODE_REPORT).add(text).frame())
        assert open_files(tmp_path) == []


@pytest.mark.parametrize(("stored", "asked"), [(1, 3), (3, 1), (3, 7), (7, 3), (5, 5)])
def test_units_cached_by_some_ranges_are_loaded_by_any_others(
    stored: int, asked: int, tmp_path: Path
) -> None:
    cache, count = FactsCache(tmp_path, k=1), RawCount(40, 80)
    parts = facts_of(random_day(3), Plan(stored), tmp_path)
    [whole] = facts_of(random_day(3), Plan(), tmp_path)
    with cache.replace(DAY) as new:
        for part, facts in zip(ranges_of(stored), parts, strict=True):
            new.add(part, facts.units)
        new.commit(count)
    found = [cache.load(DAY, count, part) for part in ranges_of(asked)]
    for name in whole.units.names():
        together = pl.concat([getattr(units, name) for units in found])
        assert rows_of(together) == rows_of(getattr(whole.units, name))


def test_units_that_are_not_committed_leave_nothing_behind(tmp_path: Path) -> None:
    cache, count = FactsCache(tmp_path, k=1), RawCount(40, 80)
    [facts] = facts_of(random_day(3), Plan(), tmp_path)
    with cache.replace(DAY) as new:
        new.add(WHOLE, facts.units)
    assert cache.load(DAY, count) is None
    assert list(cache.directory.iterdir()) == []


async def test_an_error_in_one_step_of_a_day_is_raised_once_all_have_ended() -> None:
    failed, ended = asyncio.Event(), []

    async def fails() -> None:
        failed.set()
        raise ValueError("no space left")

    async def works() -> None:
        await failed.wait()
        await asyncio.sleep(0)
        ended.append("works")

    with pytest.raises(ValueError, match="no space left"):
        await compute._all([fails, works], side_by_side=True)  # noqa: SLF001
    assert ended == ["works"]
    with pytest.raises(ValueError, match="no space left"):
        await compute._all([works, fails, works], side_by_side=False)  # noqa: SLF001
    assert ended == ["works", "works"]
