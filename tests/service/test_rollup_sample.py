"""Who the sample is: the nodes on the node list that were heard, and reports that were dropped."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from collector import nodelist, parts
from collector.nodelist import Copy
from collector.rollup.listed import ListedNodes, covered, sample_fields
from collector.settings import Settings
from tests.conftest import Databases
from tests.fleets import EPOCH
from tests.network import Network, influx_of, moment
from tests.oracle import DAY, HOUR
from tests.owners import uuid_of
from tests.sender import KEY, encoded, lay_key, node_name, report

URL = "https://nodelist.example/"


def save_list(directory: Path, *nodes: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    nodelist.save(directory / nodelist.FILE, Copy(frozenset(nodes), "", ""))


def settings(databases: Databases, state_dir: Path, *, url: str = URL, k: int = 1) -> Settings:
    return Settings(
        influx_url=databases.server.url,
        influx_prefix=databases.prefix,
        state_dir=state_dir,
        nodelist_url=url,
        k_anonymity=k,
    )


async def fields(
    databases: Databases, configured: Settings, day: int, now: int, *, force: bool = False
) -> dict[str, float]:
    """The stored fields of a day, after it was rolled up."""
    async with influx_of(databases) as influx:
        daily = parts.daily_of(configured, influx)
        result = await daily.roll(moment(day * DAY).date(), moment(now), force=force)
        assert result.failed is None
    rows = databases.server.query(
        f"SELECT * FROM daily_usage WHERE time = {day * DAY}", databases.daily
    )
    return dict(rows[0])


async def test_coverage_counts_listed_nodes_of_thirty_days_as_the_list_was_on_the_day(
    databases: Databases, state_dir: Path
) -> None:
    lay_key(state_dir)
    network = Network(databases)
    network.create()
    # Heard: one of the list 30 days ago, one of it 29 days ago, two today, of whom one is listed.
    heard = {EPOCH: 2000, EPOCH + 1: 2001, EPOCH + 30: 2002}
    network.lay_received(
        [(day * DAY, encoded(report([node], uuid_of(node)))) for day, node in heard.items()]
        + [((EPOCH + 30) * DAY + 5, encoded(report([2003], uuid_of(9))))]
    )
    # Private numbers are no public nodes, even if a list has some.
    save_list(state_dir, 1999, 2000, 2001, 2002, 2004, 2005)
    day, now = EPOCH + 30, (EPOCH + 30) * DAY + 12 * HOUR
    configured = settings(databases, state_dir)

    open_day = await fields(databases, configured, day, now)
    assert (open_day["listed_nodes"], open_day["coverage"]) == (5, 2)
    save_list(state_dir, 2000, 2001, 2002, 2003)
    final = await fields(databases, configured, day, now + DAY)
    assert (final["final"], final["listed_nodes"], final["coverage"]) == (1, 4, 3)
    # A final day keeps what was true on it, whatever the list is later.
    save_list(state_dir, 2003)
    assert await fields(databases, configured, day, now + DAY, force=True) == final
    later = await fields(databases, configured, day, now + 5 * DAY, force=True)
    assert later == final
    # A day that is computed long after has no list of its own.
    old = await fields(databases, configured, EPOCH + 1, now)
    assert not {"listed_nodes", "coverage"} & {name for name, value in old.items() if value}


async def test_without_a_list_in_use_nothing_is_said_of_coverage(
    databases: Databases, state_dir: Path
) -> None:
    lay_key(state_dir)
    network = Network(databases)
    network.create()
    network.lay_received([(EPOCH * DAY, encoded(report([2000], uuid_of(1))))])
    now = EPOCH * DAY + HOUR
    assert "listed_nodes" not in await fields(databases, settings(databases, state_dir), EPOCH, now)
    # A copy is left from before the operator switched the list off.
    save_list(state_dir, 2000)
    off = settings(databases, state_dir, url="")
    assert "listed_nodes" not in await fields(databases, off, EPOCH, now)
    on = settings(databases, state_dir)
    assert (await fields(databases, on, EPOCH, now))["listed_nodes"] == 1
    assert (await fields(databases, off, EPOCH, now)).get("listed_nodes") is None


@pytest.mark.parametrize(("k", "heard", "coverage"), [(1, 3, 3), (5, 4, None), (5, 14, 10)])
def test_coverage_is_a_multiple_of_k_and_absent_under_k(
    k: int, heard: int, coverage: int | None
) -> None:
    listed = pl.Series(range(1, 51), dtype=pl.UInt64)
    nodes = pl.Series([*range(1, heard + 1), *range(1000, 1007)], dtype=pl.UInt64)
    assert sample_fields(len(listed), covered(listed, nodes), k).get("coverage") == coverage


def test_pseudonyms_follow_the_copy_of_the_list(tmp_path: Path) -> None:
    keys = []

    def key() -> bytes:
        keys.append(KEY)
        return KEY

    listed = ListedNodes(tmp_path, key)
    assert listed.pseudonyms() is None
    save_list(tmp_path, 2000, 2001)
    for _ in range(2):
        found = listed.pseudonyms()
        assert found is not None
        assert set(found) == {int(node_name(node), 16) for node in (2000, 2001)}
    # Making them takes a while: it is done once for a copy.
    assert len(keys) == 1
    (tmp_path / nodelist.FILE).write_bytes(b"damaged")
    assert listed.pseudonyms() is None


@pytest.mark.parametrize(("k", "dropped", "published"), [(1, 3, 3), (5, 4, None), (5, 13, 10)])
async def test_dropped_reports_are_counted_for_their_day_under_k(
    databases: Databases, state_dir: Path, k: int, dropped: int, published: int | None
) -> None:
    network = Network(databases)
    network.create()
    network.lay_received([(EPOCH * DAY, encoded(report([2000], uuid_of(1))))])
    network.lay([f"opted_out_report reports=1i {EPOCH * DAY + n}" for n in range(dropped)])
    network.lay([f"opted_out_report reports=1i {EPOCH * DAY - 1}"])
    found = await fields(
        databases,
        settings(databases, state_dir, url="", k=k),
        EPOCH,
        EPOCH * DAY + DAY + 2 * HOUR,
    )
    assert found.get("opted_out_reports") == published
