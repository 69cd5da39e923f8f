from __future__ import annotations

import json
import stat
from collections.abc import Callable
from datetime import date
from pathlib import Path

import pytest
import structlog

from collector.rollup.cache import FactsCache, RawCount
from collector.rollup.facts import DayFacts, DayUnits
from collector.rollup.ranges import WHOLE
from tests.days import One, day

DAY = date(2026, 3, 1)
COUNT = RawCount(2, 3)
FACTS = day(One((1, 2), server=1, asl="asl3-1"), One((1,), server=2, hour=5, packages='{"a":"1"}'))
BASIS = {DAY: COUNT, date(2026, 2, 28): RawCount(1, 1)}


@pytest.fixture
def cache(tmp_path: Path) -> FactsCache:
    return FactsCache(tmp_path, k=5)


def frames_of(cache: FactsCache, count: RawCount = COUNT) -> list[list[tuple[object, ...]]] | None:
    units = cache.load(DAY, count)
    if units is None:
        return None
    return rows_of(units)


def rows_of(units: DayUnits) -> list[list[tuple[object, ...]]]:
    return [sorted(getattr(units, name).rows()) for name in units.names()]


def save(cache: FactsCache, day: date, count: RawCount, facts: DayFacts) -> None:
    with cache.replace(day) as new:
        new.add(WHOLE, facts.units)
        new.commit(count)


def test_facts_are_loaded_as_they_were_saved(cache: FactsCache) -> None:
    save(cache, DAY, COUNT, FACTS)
    assert frames_of(cache) == rows_of(FACTS.units)


def test_facts_that_were_never_kept_are_none(cache: FactsCache) -> None:
    assert cache.load(DAY, COUNT) is None


@pytest.mark.parametrize("count", [RawCount(2, 4), RawCount(1, 3), RawCount()])
def test_facts_of_another_count_are_none(cache: FactsCache, count: RawCount) -> None:
    save(cache, DAY, COUNT, FACTS)
    assert frames_of(cache, count) is None


def test_facts_saved_again_replace_the_older_ones(cache: FactsCache) -> None:
    save(cache, DAY, RawCount(1, 1), day(One((9,))))
    save(cache, DAY, COUNT, FACTS)
    assert cache.load(DAY, RawCount(1, 1)) is None
    assert frames_of(cache) is not None


def cut(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-5])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def empty(file: Path) -> None:
    file.write_bytes(b"")


def text(file: Path) -> None:
    file.write_text("[1, 2]")


def null(file: Path) -> None:
    file.write_text("null")


def folder(file: Path) -> None:
    file.unlink()
    file.mkdir()


HARMS = [cut, flip, empty, text, null, folder]


@pytest.mark.parametrize("harm", HARMS)
@pytest.mark.parametrize("name", ["index.json", "nodes-0.parquet", "servers-0.parquet"])
def test_damaged_facts_are_none_and_are_told(
    cache: FactsCache, tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    save(cache, DAY, COUNT, FACTS)
    harm(tmp_path / "rollup" / DAY.isoformat() / name)
    with structlog.testing.capture_logs() as logs:
        facts = cache.load(DAY, COUNT)
    if facts is None:
        assert [entry["event"] for entry in logs] in ([], ["cached facts are damaged"])
    else:
        # One bit of the index may say the same in other words.
        assert name == "index.json"


def test_a_lost_frame_is_as_if_nothing_were_kept(cache: FactsCache, tmp_path: Path) -> None:
    save(cache, DAY, COUNT, FACTS)
    (tmp_path / "rollup" / DAY.isoformat() / "moves-0.parquet").unlink()
    assert cache.load(DAY, COUNT) is None


def test_a_basis_is_given_back_as_it_was_recorded(cache: FactsCache) -> None:
    assert cache.basis(DAY) is None
    cache.save_basis(DAY, BASIS)
    assert cache.basis(DAY) == BASIS
    cache.save_basis(DAY, {})
    assert cache.basis(DAY) == {}


def test_what_was_computed_under_another_k_has_no_basis(cache: FactsCache, tmp_path: Path) -> None:
    cache.save_basis(DAY, BASIS)
    assert FactsCache(tmp_path, k=1).basis(DAY) is None


def test_what_was_kept_under_other_rules_counts_as_lost(cache: FactsCache, tmp_path: Path) -> None:
    save(cache, DAY, COUNT, FACTS)
    cache.save_basis(DAY, BASIS)
    kept = [
        tmp_path / "rollup" / DAY.isoformat() / "index.json",
        tmp_path / "rollup" / f"{DAY}.basis",
    ]
    for file in kept:
        said = json.loads(file.read_text())
        del said["rules"]
        file.write_text(json.dumps(said))
    with structlog.testing.capture_logs() as logs:
        assert cache.load(DAY, COUNT) is None
        assert cache.basis(DAY) is None
    assert logs == []


def test_a_dropped_basis_is_not_known(cache: FactsCache) -> None:
    cache.delete_basis(DAY)
    cache.save_basis(DAY, BASIS)
    cache.delete_basis(DAY)
    assert cache.basis(DAY) is None


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_basis_is_not_known(
    cache: FactsCache, tmp_path: Path, harm: Callable[[Path], None]
) -> None:
    cache.save_basis(DAY, BASIS)
    harm(tmp_path / "rollup" / f"{DAY}.basis")
    with structlog.testing.capture_logs() as logs:
        assert cache.basis(DAY) is None
    assert [entry["event"] for entry in logs] == ["cached basis is damaged"]


def test_what_cannot_be_written_is_told_and_stops_nothing(
    cache: FactsCache, tmp_path: Path
) -> None:
    (tmp_path / "rollup").write_text("no directory")
    with structlog.testing.capture_logs() as logs:
        save(cache, DAY, COUNT, FACTS)
        cache.save_basis(DAY, BASIS)
    assert [entry["log_level"] for entry in logs] == ["warning", "warning"]
    assert cache.load(DAY, COUNT) is None
    assert cache.basis(DAY) is None


def test_days_before_a_day_are_dropped_and_no_others(cache: FactsCache, tmp_path: Path) -> None:
    days = [date(2026, 2, 27), date(2026, 2, 28), DAY]
    for each in days:
        save(cache, each, COUNT, FACTS)
        cache.save_basis(each, BASIS)
    # What a killed process left half-written goes too.
    (tmp_path / "rollup" / "2026-02-27.new").mkdir()

    cache.drop_before(facts_from=DAY, bases_from=date(2026, 2, 28))

    assert [each for each in days if cache.load(each, COUNT)] == [DAY]
    assert [each for each in days if cache.basis(each)] == days[1:]
    assert not (tmp_path / "rollup" / "2026-02-27.new").exists()


def test_facts_may_be_dropped_where_none_were_ever_kept(cache: FactsCache) -> None:
    cache.drop_before(DAY, DAY)


def test_a_day_s_facts_are_forgotten_with_all_that_was_half_written(
    cache: FactsCache, tmp_path: Path
) -> None:
    save(cache, DAY, COUNT, FACTS)
    (tmp_path / "rollup" / f"{DAY}.new").mkdir()
    cache.forget(DAY)
    assert cache.load(DAY, COUNT) is None
    assert not list((tmp_path / "rollup").iterdir())


def test_nobody_else_may_look_into_the_directory(cache: FactsCache, tmp_path: Path) -> None:
    cache.save_basis(DAY, BASIS)
    save(cache, DAY, COUNT, FACTS)
    for directory in (tmp_path / "rollup", tmp_path / "rollup" / DAY.isoformat()):
        assert stat.S_IMODE(directory.stat().st_mode) & 0o077 == 0
