"""The page of a month: made once from the published series, kept as it was, and served."""

from __future__ import annotations

import asyncio
import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from collector.backup.manifest import read_manifest
from collector.backup.restore import Restore
from collector.backup.save import save
from collector.months.stored import read_report, stored_months
from collector.parts import other_days_of
from collector.rollup.months import Months
from collector.settings import Settings
from tests import dates
from tests.conftest import Databases
from tests.network import Network, influx_of
from tests.public_site import served
from tests.sender import get, request

SEPTEMBER, OCTOBER = date(2024, 9, 1), date(2024, 10, 1)
NOW = datetime(2024, 11, 1, 1, 15, tzinfo=UTC)
ATOM = "{http://www.w3.org/2005/Atom}"


def lines(first: date, last: date, *, nodes: int = 1000) -> list[str]:
    """Published days as the rollup writes them; a version rises by a node a day."""
    found = []
    for n in range((last - first).days + 1):
        time = dates.start_ns(first + timedelta(days=n))
        found.append(
            f"daily_usage nodes={nodes + n}i,servers={700 + n}i,reports=900i,nodes_30d=1200i,"
            f"new_nodes=3i,lapsed_nodes=2i,final=1i {time}"
        )
        for value, count in (("asl3-1", nodes - 100), ("asl3-2<b>", 60 + n), ("other", 40)):
            tags = f"dimension=asl_version,value={value},within=all,within_value=all"
            found.append(f"daily_nodes,{tags} nodes={count}i,final=1i {time}")
        found.append(
            f"daily_upgrades,from_version=asl3-1,to_version=asl3-2 nodes=5i,final=1i {time}"
        )
    return found


async def made(databases: Databases, now: datetime = NOW) -> list[date]:
    """Make what is due; return the months that have a report."""
    async with influx_of(databases) as influx:
        months = Months(influx)
        for day in await months.due(now):
            assert (await months.roll(day, now)).outcome == "written"
        assert await months.due(now) == []
        return [month.first for month in await stored_months(influx)]


async def test_a_month_is_made_once_and_stays_when_its_days_change_or_expire(
    databases: Databases,
) -> None:
    network = Network(databases)
    network.create()
    network.publish(lines(date(2024, 9, 12), date(2024, 10, 31)))
    assert await made(databases, NOW - timedelta(hours=1)) == [SEPTEMBER]
    assert await made(databases) == [SEPTEMBER, OCTOBER]
    async with influx_of(databases) as influx:
        before = await read_report(influx, OCTOBER)
        assert before is not None
        ends = [before.nodes_on(day) for day in (before.begin, before.end)]
        assert (*ends, before.made) == (1019, 1049, NOW)
        assert before.upgraded == 31 * 5

    network.publish(lines(OCTOBER, date(2024, 10, 31), nodes=5000))
    for measurement in ("daily_nodes", "daily_upgrades"):
        databases.server.query(f"DELETE FROM {measurement}", databases.daily)
    assert await made(databases, NOW + timedelta(days=9)) == [SEPTEMBER, OCTOBER]
    async with influx_of(databases) as influx:
        assert await read_report(influx, OCTOBER) == before
        assert await read_report(influx, date(2024, 8, 1)) is None


async def test_a_backup_brings_a_month_back_as_it_was(databases: Databases, tmp_path: Path) -> None:
    network = Network(databases)
    network.create()
    network.publish(lines(OCTOBER, date(2024, 10, 31)))
    await made(databases)
    directory = tmp_path / "backup"
    async with influx_of(databases) as influx:
        before = await read_report(influx, OCTOBER)
        assert before is not None
        await save(influx, directory, settings={}, key=None, progress=lambda *_: None)
        databases.server.drop(databases.daily)
        databases.server.create(databases.daily)
        restore = Restore(influx, directory, read_manifest(directory), lambda *_: None)
        await restore.write(await restore.compare())
        assert await read_report(influx, OCTOBER) == before
    assert await made(databases) == [OCTOBER]


async def test_the_rollup_makes_months_after_the_days_and_their_events(
    databases: Databases,
) -> None:
    async with influx_of(databases) as influx:
        series = other_days_of(Settings(), influx)
    assert [each.name for each in series] == ["event", "month"]


@pytest.fixture(scope="module")
def site(module_databases: Databases) -> Iterator[str]:
    server = module_databases.server
    server.create(module_databases.daily)
    server.write(module_databases.daily, "\n".join(lines(date(2024, 8, 20), date(2024, 10, 31))))
    asyncio.run(made(module_databases))
    with served(module_databases, public_url="https://usage.example.org") as url:
        yield url


def test_the_page_tells_the_month_in_both_languages_with_three_charts(site: str) -> None:
    for path, heading, gain in (
        (
            "/month/2024-10",
            "October 2024 in numbers",
            "gains: asl3-2&lt;b&gt; (+30, to 132)",
        ),
        (
            "/es/month/2024-10",
            "Octubre de 2024 en números",
            "aumentos: asl3-2&lt;b&gt; (+30",
        ),
    ):
        reply = get(site, path)
        html = reply.body.decode()
        assert reply.status == 200
        assert f"<h1>{heading}" in html
        assert gain in html
        assert html.count('role="img"') == 3
        assert "<script" not in html
        assert "style=" not in html
        assert len(reply.body) < 100_000
        assert 'href="../month' in html or 'href="../../month' in html


def test_the_page_may_be_kept_for_a_day_and_is_not_sent_twice(site: str) -> None:
    reply = get(site, "/month/2024-10")
    assert reply.headers["cache-control"] == "public, max-age=86400"
    again = request(site, "GET", "/month/2024-10", headers={"If-None-Match": reply.headers["etag"]})
    assert (again.status, again.body) == (304, b"")


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("/month/2024-13", "There is no such month"),
        ("/month/last", "There is no such month"),
        ("/month/2024-1", "There is no such month"),
        ("/month/2019-02", "No day of February 2019 has numbers"),
        ("/month/9999-12", "December 9999 has not begun"),
        ("/es/month/2019-02", "Ningún día de febrero de 2019 tiene números"),
    ],
)
def test_a_month_without_a_page_is_404_with_the_reason(site: str, path: str, why: str) -> None:
    reply = get(site, path)
    assert reply.status == 404
    assert why in reply.body.decode()
    assert "month" in reply.body.decode()


def test_the_month_that_runs_says_when_its_page_is_made(site: str) -> None:
    today = dates.today()
    reply = get(site, f"/month/{today:%Y-%m}")
    assert reply.status == 404
    following = (today.replace(day=1) + timedelta(days=32)).replace(day=1)
    assert f"its page is made on {following.day} {following:%B %Y}" in reply.body.decode()


def test_the_index_lists_the_months_newest_first_and_leads_to_them(site: str) -> None:
    html = get(site, "/month").body.decode()
    assert re.findall(r'href="\./month/(\d{4}-\d{2})"', html) == ["2024-10", "2024-09", "2024-08"]
    assert "/month/2024-10" in get(site, "/").body.decode()


def test_the_feed_has_an_entry_for_each_month(site: str) -> None:
    for path, prefix in (("/month/feed.atom", ""), ("/es/month/feed.atom", "/es")):
        reply = get(site, path)
        assert reply.headers["content-type"] == "application/atom+xml; charset=utf-8"
        feed = ET.fromstring(reply.body)  # noqa: S314 - our own document
        assert feed.findtext(f"{ATOM}updated") == "2024-11-01T01:15:00Z"
        entries = feed.findall(f"{ATOM}entry")
        links = [entry.find(f"{ATOM}link") for entry in entries]
        assert [link.get("href") for link in links if link is not None] == [
            f"https://usage.example.org{prefix}/month/{month}"
            for month in ("2024-10", "2024-09", "2024-08")
        ]
        ids = [entry.findtext(f"{ATOM}id") or "" for entry in entries]
        assert len(set(ids)) == 3
        assert all(each.startswith("urn:uuid:") for each in ids)
        assert "1,072" in (entries[0].findtext(f"{ATOM}summary") or "") or prefix


def test_pages_name_the_feed(site: str) -> None:
    for path in ("/", "/month", "/month/2024-10"):
        assert 'type="application/atom+xml"' in get(site, path).body.decode(), path


async def test_without_months_there_is_an_empty_index_and_an_empty_feed(
    databases: Databases,
) -> None:
    databases.server.create(databases.daily)
    with served(databases) as url:
        assert "There is no month yet" in get(url, "/month").body.decode()
        feed = ET.fromstring(get(url, "/month/feed.atom").body)  # noqa: S314 - our own document
        assert feed.findall(f"{ATOM}entry") == []
        own = [link.get("href") for link in feed.findall(f"{ATOM}link")]
        assert own == ["../month/feed.atom", "../month"]
