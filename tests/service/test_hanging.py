"""Readers of an InfluxDB that takes questions and never answers."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

from tests.busy import measured
from tests.conftest import Databases, StartServe
from tests.faulty import FaultyProxy, hanging
from tests.owners import OWN, ask
from tests.public_site import served
from tests.sender import Reply, eventually, get, post, until

ANSWER_S = 5.0
OF_NUMBERS = (
    "/",
    "/es",
    "/reports/basic",
    "/reports/daily",
    "/badge/nodes.json",
    "/badge/nodes.svg",
    "/v1/freshness",
    "/v1/freshness.csv",
    "/v1/daily",
    "/v1/daily.csv",
)
DOWNLOADS = ("/v1/daily/nodes", "/v1/daily/servers.csv", "/v1/daily/packages", "/v1/upgrades")
OTHERS = ("/privacy", "/method", "/my-data", "/api", "/es/privacy", "/openapi.json")


async def answers(url: str, paths: tuple[str, ...], *processes: int) -> dict[str, Reply]:
    """All at once, each in time; `processes` are those that answer, beside this one."""
    with measured(*processes) as spent:
        found = await asyncio.gather(*(asyncio.to_thread(get, url, path) for path in paths))
    assert spent.own_s < ANSWER_S
    return dict(zip(paths, found, strict=True))


def as_of(url: str) -> object:
    return get(url, "/v1/freshness").json["as_of"]


def is_a_refusal(reply: Reply) -> bool:
    said = reply.headers["content-type"].partition(";")[0]
    return (
        reply.status == 503
        and int(reply.headers["retry-after"]) > 0
        and said in ("application/problem+json", "text/html")
    )


def write_days(databases: Databases, nodes: int) -> None:
    databases.server.create(databases.daily)
    midnight = int(time.time()) // 86_400 * 86_400
    lines = [
        f"daily_usage nodes={nodes}i,servers=7i,reports=9i,final=1i {midnight - back * 86_400}"
        for back in range(1, 10)
    ]
    databases.server.write(databases.daily, "\n".join(f"{line}000000000" for line in lines))


async def test_every_answer_comes_in_time_with_the_last_numbers_and_their_moment(
    databases: Databases,
) -> None:
    write_days(databases, nodes=4321)
    begun = datetime.now(UTC) - timedelta(seconds=1)
    async with FaultyProxy(databases.server.url).open() as proxy:
        between = replace(databases, server=replace(databases.server, url=proxy.url))
        with served(between, memory_s=0.0, patient=False) as url:
            fresh = await answers(url, OF_NUMBERS)
            assert {reply.status for reply in fresh.values()} == {200}
            assert not [p for p, reply in fresh.items() if "last-modified" in reply.headers]
            proxy.query_fault = hanging
            stale = await answers(url, OF_NUMBERS)
            for path, reply in stale.items():
                assert reply.status == 200, path
                assert reply.headers["cache-control"] == "no-cache", path
                assert begun < parsedate_to_datetime(reply.headers["last-modified"]), path
                if "freshness" not in path and len(path) > 3:
                    assert reply.body == fresh[path].body, path
            for path in ("/", "/es"):
                assert b"4321" in stale[path].body.replace(b",", b"").replace(b".", b"")
            assert b"The database cannot be read now" in stale["/"].body
            assert datetime.fromisoformat(str(stale["/v1/freshness"].json["as_of"])) > begun
            # Nothing is known of these.
            for path, reply in (await answers(url, DOWNLOADS)).items():
                assert is_a_refusal(reply), path
            assert {r.status for r in (await answers(url, OTHERS)).values()} == {200}
            proxy.query_fault = None
            write_days(databases, nodes=5432)
            await asyncio.to_thread(
                eventually, lambda: get(url, "/v1/freshness").json["as_of"] is None
            )
            badge = await asyncio.to_thread(get, url, "/badge/nodes.json")
            assert badge.json["message"] == "5,432"


async def test_what_is_not_known_is_503_in_time_and_reports_are_taken(
    databases: Databases, serve: StartServe
) -> None:
    async with FaultyProxy(databases.server.url).open() as proxy:
        proxy.query_fault = hanging
        collector = serve(databases.environment | {"COLLECTOR_INFLUX_URL": proxy.url})
        await until(lambda: proxy.met["hanging"] > 0)
        serving = collector.process.pid
        refused = await answers(collector.url, OF_NUMBERS + DOWNLOADS, serving)
        for path, reply in refused.items():
            assert is_a_refusal(reply), path
        with measured(serving) as spent:
            assert (await asyncio.to_thread(post, collector.url, OWN)).status == 200
            shown = await asyncio.to_thread(ask, collector.url)
        assert spent.own_s < ANSWER_S
        assert shown.status == 503
        collector.kill()
