"""Every PromQL of every panel against a real Prometheus that holds each declared metric."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.metrics import MetricWrapperBase

from collector.metrics import Metrics
from tests.prometheus import MISSING, Sample, is_here, running
from tools.dashboards.asked import OPS, Span, boards, filled, queries

SINCE = 1_772_000_000
UNTIL = SINCE + 2 * 3600
OTHERS = {"storage_shard_disk_size"}
"""InfluxDB's own."""
LABELS = {
    "outcome": ("accepted", "unlisted", "rate-limited"),
    "intake": ("asl",),
    "reason": ("unavailable",),
    "tag": ("arch",),
}


def samples() -> Iterator[Sample]:
    """Prometheus's own `up`, and each metric with some value of each label, once a minute."""
    for at in range(SINCE, UNTIL, 60):
        yield "up", {"job": "collector", "instance": "a"}, at, 1
    declared = [each for each in vars(Metrics()).values() if isinstance(each, MetricWrapperBase)]
    for each in declared:
        metric = next(iter(each.describe()))
        combinations: list[dict[str, str]] = [{"job": "collector", "instance": "a"}]
        for label in each._labelnames:  # noqa: SLF001 - it has no public name
            combinations = [
                known | {label: value} for known in combinations for value in LABELS.get(label, "x")
            ]
        for labels in combinations:
            for number, at in enumerate(range(SINCE, UNTIL, 60), 1):
                if metric.type == "counter":
                    yield f"{metric.name}_total", labels, at, number
                elif metric.type == "histogram":
                    for le, value in (("0.1", number), ("1.0", 2 * number), ("+Inf", 3 * number)):
                        yield f"{metric.name}_bucket", labels | {"le": le}, at, value
                else:
                    yield metric.name, labels, at, number


def test_every_query_of_prometheus_is_understood_and_returns_rows(tmp_path: Path) -> None:
    if not is_here():
        pytest.skip(MISSING)
    asked = 0
    with running(tmp_path, list(samples())) as prometheus:
        for board in boards(OPS):
            for query in queries(board):
                if query.source != "prometheus":
                    continue
                asked += 1
                span = Span(SINCE * 1000, UNTIL * 1000)
                found = prometheus.range(filled(query.text, {}, span), SINCE + 1800, UNTIL - 60, 60)
                assert found or any(name in query.text for name in OTHERS), str(query)
    assert asked > 30
