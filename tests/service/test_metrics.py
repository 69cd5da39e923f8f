"""/metrics, /healthz and /readyz of a real collector."""

from __future__ import annotations

from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families

import collector as collector_package
from collector.metrics import Metrics
from tests.conftest import Serve, StartServe
from tests.sender import encoded, get, post, report

DECLARED = {
    name: metric
    for name, metric in vars(Metrics()).items()
    if isinstance(metric, MetricWrapperBase)
}


@pytest.mark.parametrize("name", DECLARED)
def test_declared_metric_is_on_the_page(collector: Serve, name: str) -> None:
    page = get(collector.metrics_url, "/metrics").body.decode()
    (family,) = DECLARED[name].describe()
    assert f"# HELP {family.name}" in page
    assert f"# TYPE {family.name}" in page


@pytest.mark.parametrize("name", DECLARED)
def test_metric_has_our_prefix_and_says_what_it_counts(name: str) -> None:
    (family,) = DECLARED[name].describe()
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
