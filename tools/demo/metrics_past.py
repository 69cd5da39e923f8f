"""Makes up the collector's metrics of the past days, so that Prometheus has a history to show.

The series are those that the running collector exposes. Counters that requests drive follow the
reports of the simulated fleet, others rise steadily, and gauges stay as they are. Pure.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Final

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from collector.rollup.schedule import EVERY
from tools.prometheus import Sample

DAYS: Final = 8.1
"""Days of history: rules compare with the same hour of a week before."""
_STEP_S: Final = 240
"""Interval between samples: under the 5 minutes after which Prometheus calls a series stale."""
_NS: Final = 10**9
_REPORTS: Final = "collector_reports_total"
_REQUESTS: Final = "collector_request_seconds_count"
_OF_INTAKE: Final = ("collector_nodes_total", "collector_repaired_bodies_total")
"""Counters that the intake of the simulated past has counted itself."""
_WITH_REQUESTS: Final = (
    "collector_reports",
    "collector_request_seconds",
    "collector_writer",
    "collector_outbox_commits",
)
"""Beginnings of the names of what requests drive."""
_WITH_RUNS: Final = "collector_rollup_seconds"
_RUNS: Final = "collector_rollup_runs_total"
_LAST_RUN: Final = "collector_rollup_last_success_timestamp_seconds"
_ACCEPTING: Final = "collector_outbox_accepting"
_SKIPPED: Final = ("collector_ami_", "collector_statsd_")
"""Beginnings of names without a past: the Asterisks begin with the demo."""


_Heard = tuple[int, int]
_Value = Callable[[float, _Heard], float]
"""A series' value at a time, with the reports accepted and refused until then."""


@dataclass(frozen=True, kw_only=True)
class Past:
    """The past to make up: reports arrived at `arrivals` (ns, in order), up to `until_s`.

    From `refused_s` on, if given, the collector refused them all. `instance` is the label that
    Prometheus gives to the collector; it is scraped under `job`. A day's rollup takes `roll_s`.
    """

    arrivals: Sequence[int]
    until_s: float
    started_s: float
    instance: str
    refused_s: float | None = None
    roll_s: float = 0.1
    job: str = "collector"

    @cached_property
    def _times(self) -> list[float]:
        steps = int(DAYS * 86_400 / _STEP_S)
        return [self.until_s - _STEP_S * n for n in reversed(range(steps))]

    @cached_property
    def _all_heard(self) -> list[_Heard]:
        return [self._heard(at) for at in self._times]

    def _heard(self, at: float) -> _Heard:
        """Reports accepted and refused between the beginning of the history and a time."""
        first = bisect_left(self.arrivals, int(self._times[0] * _NS))
        until = bisect_left(self.arrivals, int(at * _NS))
        if self.refused_s is None or at < self.refused_s:
            return until - first, 0
        broken = max(first, bisect_left(self.arrivals, int(self.refused_s * _NS)))
        return broken - first, until - broken

    def samples(self, live: str, intake: str, wanted: Collection[str]) -> Iterator[Sample]:
        """Samples of `up`, and of the metrics of the `wanted` names.

        `live` is the exposition (`/metrics`) of the running collector, `intake` that of the intake
        which took the simulated past.
        """
        target = {"job": self.job, "instance": self.instance}
        for name, labels, past in self._pasts(live, intake, wanted):
            for at, heard in zip(self._times, self._all_heard, strict=True):
                yield name, target | labels, at, past(at, heard)

    def _pasts(
        self, live: str, intake: str, wanted: Collection[str]
    ) -> Iterator[tuple[str, dict[str, str], _Value]]:
        """Name, labels and value of each series."""
        yield "up", {}, lambda _at, _heard: 1
        for place, outcome in enumerate(("accepted", "unavailable")):
            if place == 0 or self.refused_s is not None:
                labels = {"intake": "asl", "outcome": outcome}
                yield _REPORTS, labels, partial(_share, 1, place)
        yield _RUNS, {"outcome": "written"}, lambda at, _heard: self._runs(at)
        counted = list(text_string_to_metric_families(intake))
        for name, labels, now in _series(counted, {*_OF_INTAKE} & {*wanted}):
            yield name, labels, partial(_share, now / len(self.arrivals), 0)
        families = list(text_string_to_metric_families(live))
        requests = sum(now for *_, now in _series(families, {_REQUESTS})) or 1
        kinds = {sample.name: family.type for family in families for sample in family.samples}
        for name, labels, now in _series(families, {*wanted} - {*_OF_INTAKE, _RUNS}):
            if name.startswith(_SKIPPED) or (name == _REPORTS and labels["intake"] == "asl"):
                continue
            if kinds[name] not in ("counter", "histogram"):
                yield name, labels, partial(self._stood, name, now)
            elif name.startswith(_WITH_RUNS):
                yield name, labels, partial(self._rolled, name, labels)
            elif name.startswith(_WITH_REQUESTS):
                yield name, labels, partial(_share, now / requests, 0)
            else:
                yield name, labels, partial(self._risen, now)

    def _runs(self, at: float) -> float:
        """The runs of the rollup between the beginning and a time."""
        return (at - self._times[0]) // EVERY.total_seconds()

    def _rolled(self, name: str, labels: Mapping[str, str], at: float, _heard: _Heard) -> float:
        """The value at a time of a series of the histogram of the rollup's times."""
        runs = self._runs(at)
        if name.endswith("_sum"):
            return runs * self.roll_s
        return runs if float(labels.get("le", "inf")) >= self.roll_s else 0

    def _risen(self, now: float, at: float, _heard: _Heard) -> float:
        """The value at a time of a counter that is `now` in the end."""
        return now * (at - self._times[0]) / max(1.0, self.until_s - self.started_s)

    def _stood(self, name: str, now: float, at: float, _heard: _Heard) -> float:
        """The value at a time of a gauge that is `now` in the end."""
        if name == _LAST_RUN:
            return at // EVERY.total_seconds() * EVERY.total_seconds()
        if name.endswith("_timestamp_seconds"):
            return now - (self.until_s - at)
        if name == _ACCEPTING and self.refused_s is not None and at >= self.refused_s:
            return 0
        return now


def _share(each: float, place: int, _at: float, heard: _Heard) -> float:
    """A counter that rises by `each` with each report, accepted (0) or refused (1)."""
    return each * heard[place]


def _series(
    families: Iterable[Metric], names: Collection[str]
) -> Iterator[tuple[str, dict[str, str], float]]:
    """Name, labels and value of the series of these names."""
    for family in families:
        for sample in family.samples:
            if sample.name in names and math.isfinite(sample.value):
                yield sample.name, dict(sample.labels), sample.value
