"""/metrics, /healthz and /readyz of a real collector."""

from __future__ import annotations

import asyncio
import socket
import urllib.parse
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from prometheus_client import Metric
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

import collector as collector_package
from collector.metrics import Metrics
from tests.conftest import Databases, Serve, StartServe
from tests.sender import encoded, eventually, get, post, report
from tests.servers import stop

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

DECLARED = {
    name: metric
    for name, metric in vars(Metrics()).items()
    if isinstance(metric, MetricWrapperBase)
}

TESTS = Path(__file__).parent.parent
ROLLUP = {"rollup_runs", "rollup_seconds"}
HEALTHY = {
    "reports",
    "nodes",
    "tag_values",
    "tag_budget",
    "request_seconds",
    "http_refusals",
    "connections",
    "rate_limited_addresses",
    "outbox_bytes",
    "disk_free_bytes",
    "disk_size_bytes",
    "outbox_accepting",
    "outbox_commits",
    "writer_lines",
    "writer_requests",
    "writer_seconds",
    "nodelist_nodes",
    "nodelist_fetches",
    "nodelist_age_seconds",
    "rollup_last_success",
    *ROLLUP,
}
"""Metrics that move in a collector with nothing wrong; others move with a fault, or an owner."""


def family_of(name: str) -> Metric:
    (family,) = DECLARED[name].describe()
    return family


def exchanged(url: str, sent: bytes) -> bytes:
    """Send bytes on a connection of their own; what comes back."""
    parts = urllib.parse.urlsplit(url)
    with socket.create_connection((str(parts.hostname), parts.port or 0)) as connection:
        connection.sendall(sent)
        return connection.recv(1 << 16)


@asynccontextmanager
async def serving_list() -> AsyncIterator[str]:
    """Serve a list of public nodes; its address."""

    async def answer(_: web.Request) -> web.Response:
        lines = "".join(f"{node}|CALL|Hub|Town\n" for node in range(2000, 2100))
        return web.Response(text=lines)

    application = web.Application()
    application.router.add_get("/list", answer)
    runner = web.AppRunner(application)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/list"
    finally:
        await stop(runner)


async def test_every_metric_of_a_healthy_day_moves(databases: Databases, serve: StartServe) -> None:
    """A report that is stored, one that is refused, a list of nodes, and a day that is computed."""

    def told(nodelist: str) -> None:
        moved: set[str] = set()

        def all_moved(names: set[str]) -> bool:
            page = get(collector.metrics_url, "/metrics").body.decode()
            moved.update(
                family.name
                for family in text_string_to_metric_families(page)
                if any(sample.value for sample in family.samples)
            )
            return {family_of(name).name for name in names} <= moved

        collector = serve(databases.environment | {"COLLECTOR_NODELIST_URL": nodelist})
        assert post(collector.url, encoded(report([2001]))).status == 200
        assert post(collector.url, b"{}").status == 400
        assert exchanged(collector.url, b"no HTTP\r\n\r\n").partition(b" ")[2].startswith(b"400 ")
        try:
            eventually(lambda: all_moved(HEALTHY - ROLLUP))
            # A start computes the days of stored reports; without it the next quarter of an hour.
            collector.terminate()
            collector = serve(collector.environment)
            eventually(lambda: all_moved(HEALTHY))
        except AssertionError:
            still = {name for name in HEALTHY if family_of(name).name not in moved}
            pytest.fail(f"these stayed at 0: {sorted(still)}")
        # Before the list's server ends, which can't close a connection that just arrives.
        collector.terminate()

    async with serving_list() as nodelist:
        await asyncio.to_thread(told, nodelist)


def test_gauges_of_what_is_kept_say_the_same_after_a_restart(
    databases: Databases, serve: StartServe
) -> None:
    """Without a report since: alerts look at them."""
    of_now = {"collector_connections", "collector_rate_limit_addresses"}

    def gauges() -> dict[tuple[str, str], bool]:
        """Whether each is above 0, by name and labels."""
        page = get(collector.metrics_url, "/metrics").body.decode()
        return {
            (sample.name, str(sample.labels)): sample.value > 0
            for family in text_string_to_metric_families(page)
            if family.type == "gauge" and family.name not in of_now
            for sample in family.samples
        }

    collector = serve(databases.environment)
    assert post(collector.url, encoded(report([2001]))).status == 200
    eventually(lambda: databases.server.count(databases.raw, "server_report", "server") == 1)
    collector.terminate()
    # Started again, it computes the day, as it does after the next start.
    collector = serve(collector.environment)
    eventually(lambda: gauges()["collector_rollup_last_success_timestamp_seconds", "{}"])
    before = gauges()
    assert before["collector_tag_values", "{'tag': 'arch'}"]
    collector.terminate()
    collector = serve(collector.environment)
    eventually(lambda: gauges() == before)


def test_every_other_metric_is_asked_for_by_the_test_of_its_fault() -> None:
    others = "".join(
        path.read_text(encoding="utf-8")
        for path in TESTS.rglob("test_*.py")
        if path.name != Path(__file__).name
    )
    unasked = {name for name in DECLARED if family_of(name).name not in others}
    assert unasked <= HEALTHY, "no test would see these stuck at 0"


def test_every_metric_is_on_the_page_with_our_prefix_and_what_it_counts(collector: Serve) -> None:
    page = get(collector.metrics_url, "/metrics").body.decode()
    for name in DECLARED:
        family = family_of(name)
        assert f"# HELP {family.name}" in page
        assert f"# TYPE {family.name}" in page
        assert family.name.startswith("collector_")
        assert family.documentation.endswith(".")


def test_no_gauge_has_a_function_that_other_processes_cannot_read() -> None:
    """`Metrics.follow` is for that: `set_function` reads 0 with several workers."""
    for source in Path(collector_package.__file__).parent.rglob("*.py"):
        assert ".set_function(" not in source.read_text(encoding="utf-8"), source


def test_page_has_no_metric_that_is_not_declared(collector: Serve) -> None:
    page = get(collector.metrics_url, "/metrics").body.decode()
    declared = {family.name for metric in DECLARED.values() for family in metric.describe()}
    assert {family.name for family in text_string_to_metric_families(page)} <= declared


def test_public_address_has_neither_metrics_nor_health(collector: Serve) -> None:
    for path in ("/metrics", "/healthz", "/readyz"):
        assert get(collector.url, path).status == 404


def test_metrics_address_takes_no_reports(collector: Serve) -> None:
    assert post(collector.metrics_url, encoded(report([2001]))).status == 404


def test_collector_without_influxdb_is_healthy_and_ready(serve: StartServe) -> None:
    collector = serve({"COLLECTOR_INFLUX_URL": "http://127.0.0.1:9"})
    assert get(collector.metrics_url, "/healthz").status == 200
    assert get(collector.metrics_url, "/readyz").status == 200
    assert post(collector.url, encoded(report([2001]))).status == 200
    assert get(collector.metrics_url, "/readyz").status == 200
    # Asked to stop, it would look for InfluxDB for ten seconds.
    collector.kill()
