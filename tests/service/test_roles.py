"""Roles: a receiver and a publisher beside each other on one InfluxDB, without anything else."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from collector.app.roles import PUBLISH, RECEIVE, ROLES, SERVE
from collector.intakes import INTAKES
from collector.metrics import Metrics
from collector.owners.notices import Follower, Notices, forget_facts
from collector.schema import OWNERS
from collector.settings import Settings
from tests.command import command
from tests.conftest import Databases, StartServe
from tests.dates import last_final_day, start_ns
from tests.network import Network, influx_of
from tests.owners import (
    DAY,
    DAYS_BACK,
    NEIGHBOURS,
    OWN,
    World,
    ask,
    body_of,
    lay_past,
    midnight,
)
from tests.sender import (
    GUARD_S,
    Reply,
    encoded,
    eventually,
    get,
    lay_key,
    metric,
    post,
    report,
)

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

READERS = ("/", "/es", "/v1/daily.json", "/v1/daily/nodes", "/badge/nodes.svg", "/method")


def reports_by_day(databases: Databases) -> dict[int, int]:
    rows = databases.server.query("SELECT reports FROM daily_usage", databases.daily)
    return {row["time"]: row["reports"] for row in rows}


def routes(reply: Reply) -> set[tuple[str, str]]:
    """The methods and paths in an OpenAPI document."""
    paths: dict[str, dict[str, Any]] = reply.json["paths"]
    return {(method, path) for path, methods in paths.items() for method in methods}


def test_in_one_state_directory_an_erasure_reaches_the_published_days_at_once(
    databases: Databases, serve: StartServe, state_dir: Path
) -> None:
    opens = midnight()
    lay_past(databases)
    lay_key(state_dir)
    environment = databases.environment | {
        "COLLECTOR_STATE_DIR": str(state_dir),
        "COLLECTOR_K_ANONYMITY": "1",
    }
    receiver = serve(environment, role="receive")
    assert post(receiver.url, body_of(NEIGHBOURS + 1)).status == 200
    laid = (DAYS_BACK + 1) * (NEIGHBOURS + 1)
    world = World(databases, receiver)
    world.wait_delivered(laid + 1)
    assert reports_by_day(databases) == {}
    publisher = serve(environment, role="publish")
    eventually(lambda: sum(reports_by_day(databases).values()) == laid + 1)
    final = {day: count for day, count in reports_by_day(databases).items() if day < opens}
    assert len(final) >= DAYS_BACK

    # The receiver tells the publisher, whose own next run is up to a quarter of an hour away.
    assert ask(receiver.url, "/erase", body_of(NEIGHBOURS + 1)).status == 200
    eventually(lambda: sum(reports_by_day(databases).values()) == laid)
    assert ask(receiver.url, "/erase").status == 200
    assert (
        command(publisher.environment, "rollup", "--from", "yesterday", "--to", "today").code == 0
    )
    kept = reports_by_day(databases)
    assert {day: kept[day] for day in final} == final
    assert world.raw(own=True) == []

    for collector, words in ((receiver, "takes reports"), (publisher, "takes no reports")):
        assert words in command(collector.environment, "status").out
    for role in ROLES:
        refused = serve(environment, role=role, ready=False)
        assert refused.process.wait(GUARD_S) == 1
        assert "is in use by another collector" in refused.logs()
    for collector in (receiver, publisher):
        assert collector.terminate() == 0


def test_each_serves_its_own_routes_and_says_where_the_others_are(
    databases: Databases, serve: StartServe, tmp_path: Path
) -> None:
    pages = {"COLLECTOR_PUBLIC_URL": "https://usage.example.org"}
    receiver = serve(databases.environment | pages | {"COLLECTOR_WORKERS": "2"}, role="receive")
    # It has neither the key nor anything else of a receiver, and one process whatever it is told.
    elsewhere = {
        "COLLECTOR_STATE_DIR": str(tmp_path / "publisher"),
        "COLLECTOR_NODELIST_URL": "http://127.0.0.1:9/nodes",
        "COLLECTOR_WORKERS": "2",
    }
    publisher = serve(databases.environment | elsewhere, role="publish")

    for _ in range(20):
        assert post(receiver.url, encoded(report([2000]))).status == 200
    eventually(lambda: databases.server.count(databases.raw, "node_report", "node") == 20)
    rows = databases.server.query("SELECT node FROM node_report", databases.raw)
    assert {row["time"] % 1000 for row in rows} == {0, 1}
    for path in READERS:
        reply = get(receiver.url, path)
        assert (reply.status, reply.reason) == (404, "not-found"), path
        assert "the pages are at https://usage.example.org" in reply.json["detail"]
    counted = "collector_http_refusals_total"
    eventually(lambda: metric(receiver.metrics_url, counted, reason="not-found") == len(READERS))

    senders = ("/usage", "/usage/usage", "/v1/my-data/erase")
    for path in senders:
        reply = post(publisher.url, OWN, path=path)
        assert (reply.status, reply.reason) == (503, "wrong-role"), path
        assert reply.headers["retry-after"] == "60"
        assert "collector receive" in reply.json["detail"]
    assert metric(publisher.metrics_url, counted, reason="wrong-role") == len(senders)
    assert "a request for another role" in publisher.logs()
    assert "days are published without" in publisher.logs()
    assert not (tmp_path / "publisher" / "pseudonym.key").exists()
    assert get(publisher.url, "/").status == 200
    for collector, role in ((receiver, "receive"), (publisher, "publish")):
        assert metric(collector.metrics_url, "collector_role", role=role) == 1
        assert get(collector.metrics_url, "/healthz").status == 200
        for page in ("/privacy", "/es/my-data"):
            assert get(collector.url, page).status == 200
    both = routes(get(receiver.url, "/openapi.json")) & routes(get(publisher.url, "/openapi.json"))
    assert {path.rpartition("/")[2] for _, path in both} == {"openapi.json", "privacy", "my-data"}
    # The menu of a receiver's pages links to what it serves.
    assert b"month" not in get(receiver.url, "/privacy").body.partition(b"<main")[0]


def test_every_route_of_serve_is_served_or_refused_by_each_role() -> None:
    settings = Settings(asl=True, librenms=True, telemetrics=True)
    whole = {(each.method, each.path) for each in SERVE.operations(settings, INTAKES)}
    assert ("post", "/usage") in whole
    assert ("get", "/v1/daily") in whole
    assert list(SERVE.elsewhere(settings, Metrics())) == []
    for role in (RECEIVE, PUBLISH):
        served = {(each.method, each.path) for each in role.operations(settings, INTAKES)}
        # Of senders that are off too.
        refused = {
            (route.method.lower(), route.path) for route in role.elsewhere(Settings(), Metrics())
        }
        assert served | refused == whole
        assert not served & refused


async def test_a_publisher_forgets_the_facts_of_days_on_which_a_receiver_has_erased(
    databases: Databases, state_dir: Path
) -> None:
    network = Network(databases)
    network.create()
    day = last_final_day()
    received = [(start_ns(day) + number, body_of(number)) for number in range(3)]
    network.lay_received(received)
    now = start_ns(day + timedelta(days=2))
    owners = f"{databases.prefix}{OWNERS}"
    async with network.rollup(state_dir) as rollup, influx_of(databases) as influx:
        await rollup.roll([start_ns(day) // DAY], now)
        facts = state_dir / "rollup" / day.isoformat()
        assert facts.exists()
        notices = Notices(influx, keep_seconds=86_400)
        databases.server.create(owners)
        at = time.time_ns()
        databases.server.write(
            owners,
            f'erasure_notice owner="a",days="{day}" {at}\n'
            f'erasure_notice owner="b",days="{day}" {at - 2 * DAY}',
        )
        forget = partial(forget_facts, rollup.daily(), asyncio.Lock())
        task = asyncio.create_task(Follower(notices, forget).run())
        # The expired notice is deleted, the other is handled.
        async with asyncio.timeout(GUARD_S):
            while await notices.unseen():  # noqa: ASYNC110 - it is read from InfluxDB
                await asyncio.sleep(0.05)
        assert not facts.exists()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        rows = databases.server.query("SELECT owner FROM erasure_notice", owners)
        assert [row["owner"] for row in rows] == ["a"]
