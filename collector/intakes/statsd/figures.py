"""Prometheus metrics of the StatsD intake, from the counters of its Asterisks."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Final

from prometheus_client import Counter as Metric

from collector.intakes.statsd.station import Station, Stations
from collector.metrics import Metrics

_NS_PER_S: Final = 1e9
_FAILED: Final = "failed"
"""Reason of datagrams and flushes that failed because of an error in this program."""


class Figures:
    """Updates the metrics from the counters of the Asterisks."""

    def __init__(self, metrics: Metrics, stations: Stations) -> None:
        self._metrics = metrics
        self._stations = stations
        self._told: Counter[tuple[Metric, str, str]] = Counter()

    def update(self) -> None:
        """Add the counts since the last call to the metrics."""
        metrics = self._metrics
        now: Counter[tuple[Metric, str, str]] = Counter()
        for station in self._stations.all:
            counts, name = station.aggregator.counts, station.name
            now[metrics.statsd_datagrams, name, name] = station.datagrams
            now[metrics.statsd_samples, name, name] = counts.samples
            now[metrics.statsd_underflows, name, name] = counts.underflows
            now[metrics.statsd_restarts, name, name] = counts.restarts
            now[metrics.statsd_renamed, name, name] = counts.meter_support
            for reason, count in counts.drops.items():
                now[metrics.statsd_dropped, str(reason), name] = count
            now[metrics.statsd_dropped, _FAILED, name] = station.failures
            for part, count in counts.ignored.items():
                now[metrics.statsd_ignored, str(part), name] = count
            self._gauges(station)
        for (metric, label, name), count in now.items():
            if new := count - self._told[metric, label, name]:
                metric.labels(label).inc(new)
        self._told = now

    def _gauges(self, station: Station) -> None:
        self._metrics.statsd_uncertain.labels(station.name).set(station.uncertain)
        if station.heard_ns is not None:
            self._metrics.statsd_heard.labels(station.name).set(station.heard_ns / _NS_PER_S)

    def forget(self, station: Station) -> None:
        """Remove the gauges of an Asterisk, which ends its alerts."""
        for gauge in (self._metrics.statsd_uncertain, self._metrics.statsd_heard):
            with contextlib.suppress(KeyError):
                gauge.remove(station.name)
