"""Where an Asterisk has both, what AMI knows sets StatsD's gauges right, and they stay right.

The recordings have both senders on one clock. The collector begins in the middle of them, when
calls are up and phones registered, of which StatsD's +1 and -1 tell nothing.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

from collector.intakes.ami.state.state import State
from collector.intakes.series import Series
from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.mapping import shipped
from tests.ami_answers import fresh
from tests.ami_claims import CONTACTS
from tests.ami_replay import NS, START_NS, follow
from tools.replay.captures import AMI, read_capture

GAUGES = ("channels", "pjsip_contacts", "pjsip_registrations")


@dataclass
class _Both:
    """A recording from both senders, whose collector begins at `begin` (s)."""

    path: Path
    begin: float
    told: float = 0.0
    state: State = field(default_factory=lambda: State("pbx"))
    statsd: Aggregator = field(default_factory=lambda: Aggregator("pbx", shipped()))

    def __post_init__(self) -> None:
        self.capture = read_capture(self.path)
        other = self.path.with_name(self.path.name.replace(".ami.", ".statsd."))
        self._datagrams = list(read_capture(other).received())
        self._steps = follow(self.state, self.capture, fresh(self.capture))
        self._next = next(self._steps)

    def advance(self, to: float) -> None:
        """Take all that came until `to`."""
        while self._next <= to:
            self._next = next(self._steps, math.inf)
        while self._datagrams and self._datagrams[0][0] <= to:
            at, datagram = self._datagrams.pop(0)
            if at >= self.begin:
                self.statsd.take(datagram, _ns(at))

    def tell(self, at: float) -> None:
        """Pass on what AMI knows after each round of questions, one every 10 s."""
        if at >= self.told + 10:
            self.told = at
            for series, value in self.state.truth().items():
                self.statsd.truth(Series(*series), value, _ns(at))

    def sure(self, at: float) -> dict[tuple[str, str], float]:
        """StatsD's gauges by measurement and state, but for those that may be wrong."""
        self.advance(at)
        self.tell(at)
        found = {}
        for point in self.statsd.flush(_ns(at)):
            if point.measurement in GAUGES and "uncertain" not in point.fields:
                count = point.fields["count"]
                assert isinstance(count, float)
                found[(point.measurement, point.tags.get("state", ""))] = count
        return found


def _ns(at: float) -> int:
    return START_NS + round(at * NS)


def _path(name: str) -> Path:
    (found,) = (path for path in AMI if path.name.startswith(name))
    return found


def test_channels_are_right_or_uncertain_and_right_after_a_round() -> None:
    both = _Both(_path("02a"), begin=30.0)
    both.advance(30.0)
    compared = 0
    for remark in both.capture.truths():
        found = re.match(r"poll channels=(\d+)", remark.text)
        if found is None or remark.at < both.begin:
            continue
        # A poll is no moment: what it tells is so within some ms of it.
        values = (both.sure(remark.at + after) for after in (-0.1, 0, 0.1))
        seen = {gauges[("channels", "")] for gauges in values if ("channels", "") in gauges}
        assert not seen or float(found[1]) in seen, remark
        compared += bool(seen)
    assert compared > 60


def test_without_answers_channels_are_uncertain() -> None:
    both = _Both(_path("02a"), begin=30.0)
    both.told = 1000.0
    assert both.sure(109.0) == {}


def test_contacts_and_registrations_are_right_or_uncertain_and_right_after_a_round() -> None:
    both = _Both(_path("05"), begin=30.0)
    both.advance(30.0)
    compared: Counter[str] = Counter()
    for remark in both.capture.truths():
        # From 163 s on contacts come and go by reloads: the answers to questions tell of them.
        if not remark.text.startswith("poll contacts=") or not both.begin < remark.at < 163:
            continue
        head, _, registrations, _ = remark.text.split(" | ")
        true = Counter(
            ("pjsip_contacts", CONTACTS[one]) for one in re.findall(r":(\w+):[\d.nan]+", head)
        )
        true.update(("pjsip_registrations", one) for one in re.findall(r":(\w+)", registrations))
        for series, count in both.sure(remark.at + 0.1).items():
            if series[1] in ("Removed", "all", "") or "Unknown" in head:
                # Removed only grows; and a contact expires in that moment.
                continue
            assert count == true[series], (remark.at, series)
            compared[series[0]] += 1
    assert compared["pjsip_contacts"] > 200
    assert compared["pjsip_registrations"] > 50
