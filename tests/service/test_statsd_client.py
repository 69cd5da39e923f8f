"""A sender that is not Asterisk: Datadog's public client library, into a running collector."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

import pytest
from datadog.dogstatsd.base import DogStatsd

from tests.conftest import Databases, StartServe
from tests.sender import eventually, metric
from tests.statsd import live, total

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes


@contextmanager
def client(port: int, *, buffered: bool) -> Iterator[DogStatsd]:
    """The library's client, without the metrics that it sends about itself."""
    statsd = DogStatsd(
        host="127.0.0.1",
        port=port,
        namespace="shop",
        constant_tags=["env:test"],
        disable_buffering=not buffered,
        disable_telemetry=True,
        origin_detection_enabled=False,
    )
    try:
        yield statsd
        statsd.flush()
    finally:
        statsd.stop()
        statsd.close_socket()


@pytest.mark.parametrize("buffered", [False, True], ids=["a metric a datagram", "many"])
def test_all_that_a_public_client_library_sends_is_stored_or_dropped_by_name(
    serve: StartServe, databases: Databases, free_port: Callable[[], int], *, buffered: bool
) -> None:
    port = free_port()
    collector = serve(
        databases.environment
        | {
            "COLLECTOR_STATSD_LISTEN": f"127.0.0.1:{port}",
            "COLLECTOR_STATSD_FLUSH": "1s",
            "COLLECTOR_ASL": "0",
        }
    )
    with client(port, buffered=buffered) as statsd:
        statsd.gauge("stock", 10)
        for _ in range(5):
            statsd.increment("orders")
        statsd.decrement("orders", 2)
        for ms in (100, 200, 300):
            statsd.timing("answer", ms, tags=["page:home"])
        for size in (-3, 4):
            statsd.histogram("size", size)
        statsd.distribution("spread", 0.5)
        for user in ("anna", "bert", "anna"):
            statsd.set("users", user)
        statsd.event("deployed", "version 7")
        statsd.service_check("db", DogStatsd.OK)
        statsd.gauge_with_timestamp("late", 3, 1_795_622_400)
    # What is sent last is stored last; a flush may come between any two of the values.
    late = "SELECT * FROM statsd_gauge WHERE \"name\" = 'shop.late'"
    eventually(lambda: bool(live(databases, late)))
    assert total(databases, "shop.orders") == 3
    answers = live(databases, "SELECT * FROM statsd_timer WHERE \"name\" = 'shop.answer'")
    assert sum(row["count"] for row in answers) == 3
    assert sum(row["sum"] for row in answers) == 600
    assert {(row["env"], row["page"]) for row in answers} == {("test", "home")}
    sizes = live(databases, "SELECT * FROM statsd_timer WHERE \"name\" = 'shop.size'")
    assert (min(row["min"] for row in sizes), max(row["max"] for row in sizes)) == (-3, 4)
    users = live(databases, "SELECT * FROM statsd_set WHERE \"name\" = 'shop.users'")
    assert 2 <= sum(row["count"] for row in users) <= 3
    stock = live(databases, "SELECT * FROM statsd_gauge WHERE \"name\" = 'shop.stock'")
    assert stock[-1]["value"] == 10
    dropped = partial(metric, collector.metrics_url, "collector_statsd_dropped_total")
    assert dropped(reason="event") == 1
    assert dropped(reason="service-check") == 1
    assert dropped(reason="malformed") == 0
    assert metric(collector.metrics_url, "collector_statsd_ignored_total", part="timestamp") == 1
