"""Discrete simulation of a day of reports through receivers, outboxes and InfluxDB.

Time goes in steps; in each, reports arrive, receivers accept what they can and deliver with the
time that is left, and InfluxDB stores up to its rate. Pure: the same parameters give the same
result. `tools.scaling_page` makes docs/scaling.md with it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

DAY_S: Final = 86_400
_HOUR_S: Final = 3600


class Kind(StrEnum):
    """A kind of node that can die."""

    RECEIVER = "receiver"
    STREAM = "stream"
    WRITER = "writer"
    INFLUX = "InfluxDB"


@dataclass(frozen=True, slots=True)
class Stream:
    """A JetStream between receivers and writers: reports a second that it and one writer take.

    It goes on while a majority of its three servers is there.
    """

    publish_per_s: float
    writer_per_s: float
    servers: int = 3
    writers: int = 2


@dataclass(frozen=True, slots=True)
class Rates:
    """What a report costs, and what InfluxDB stores.

    `accept_s` and `deliver_s` are time of a receiver's core. `store_per_s` are the reports a second
    that one InfluxDB (or one data node of a cluster, copies included) stores. `outbox_bytes` is the
    size of a waiting report on a receiver's disk.
    """

    accept_s: float
    deliver_s: float
    store_per_s: float
    outbox_bytes: float


@dataclass(frozen=True, slots=True)
class Plant:
    """Machines: receivers with `connections` each, and InfluxDB's data nodes with their copies."""

    receivers: int
    influx_nodes: int
    copies: int
    connections: int = 2000
    outbox_max: float = float(1 << 30)


@dataclass(frozen=True, slots=True)
class Death:
    """A node of a kind is away from `start_s` for `seconds`; its disk comes back with it."""

    kind: Kind
    start_s: float
    seconds: float

    def holds(self, now: float) -> bool:
        """Whether the node is away at a time."""
        return self.start_s <= now < self.start_s + self.seconds


@dataclass(slots=True)
class Result:
    """What became of the reports; times in s, rates in reports a second."""

    arrived: float = 0.0
    accepted: float = 0.0
    lost: float = 0.0
    """Refused for want of connections or room in an outbox: clients do not send again."""
    stored: float = 0.0
    most_arriving: float = 0.0
    most_waiting_to_be_accepted: float = 0.0
    most_in_an_outbox: float = 0.0
    most_in_the_stream: float = 0.0
    longest_unstored_s: float = 0.0
    """Age of the oldest report that is accepted and not yet stored, at most."""
    drained_s: float = 0.0
    """When the last report was stored."""


Arrivals = Callable[[float], float]
"""Reports a second that arrive at a time of the day, in s."""


def simulate(
    arrivals: Arrivals,
    rates: Rates,
    plant: Plant,
    deaths: Sequence[Death] = (),
    *,
    seconds: float = DAY_S,
    step_s: float = 1.0,
    backlog: float = 0.0,
    stream: Stream | None = None,
) -> Result:
    """Simulate arrivals for `seconds`, then go on until everything is stored.

    `backlog` reports are in the outboxes at the start, shared equally. Receivers share arrivals
    equally; those of one that is away go to the others. Accepting has priority over delivery, since
    both need the same core.
    """
    result = Result()
    outboxes = [backlog / plant.receivers] * plant.receivers
    queues = [0.0] * plant.receivers
    history = _Ages(backlog)
    middle = _Middle(stream)
    now = 0.0
    limit = seconds + 30 * DAY_S
    while now < seconds or sum(outboxes) + sum(queues) + middle.waiting > 0.5:
        if now > limit:
            raise ValueError("it is never drained: the plant is too small for the load")
        away = {kind: sum(d.kind is kind and d.holds(now) for d in deaths) for kind in Kind}
        here = range(away[Kind.RECEIVER], plant.receivers)
        come = arrivals(now) * step_s if now < seconds else 0.0
        result.arrived += come
        result.most_arriving = max(result.most_arriving, come / step_s)
        if not here:
            result.lost += come
        left_s = [step_s] * plant.receivers
        for one in here:
            queues[one] += come / len(here)
            most = step_s / rates.accept_s
            room = max(0.0, plant.outbox_max / rates.outbox_bytes - outboxes[one])
            taken = min(queues[one], most, room)
            queues[one] -= taken
            outboxes[one] += taken
            result.accepted += taken
            history.add(now, taken)
            left_s[one] -= taken * rates.accept_s
            refused = max(0.0, queues[one] - plant.connections)
            queues[one] -= refused
            result.lost += refused
        result.most_waiting_to_be_accepted = max(result.most_waiting_to_be_accepted, *queues)
        most = _store_per_s(rates, plant, away[Kind.INFLUX]) * step_s
        capacity = middle.takes(most, step_s, away)
        ready = {one: min(outboxes[one], left_s[one] / rates.deliver_s) for one in here}
        share = min(1.0, capacity / total) if (total := sum(ready.values())) else 0.0
        for one, reports in ready.items():
            outboxes[one] -= reports * share
        stored = middle.passes(total * share, most, step_s, away)
        result.stored += stored
        history.remove(stored)
        now += step_s
        if stored > 0:
            result.drained_s = now
        result.most_in_the_stream = max(result.most_in_the_stream, middle.waiting)
        result.most_in_an_outbox = max(result.most_in_an_outbox, *outboxes)
        result.longest_unstored_s = max(result.longest_unstored_s, history.oldest(now))
    return result


def _store_per_s(rates: Rates, plant: Plant, away: int) -> float:
    """Each data node stores its share of all copies; with a node away, the others store theirs.

    With one copy, the shards of the node that is away have no other place: nothing is stored.
    """
    if away >= plant.copies:
        return 0.0
    return rates.store_per_s * (plant.influx_nodes - away) / plant.copies


class _Middle:
    """What is between the receivers and InfluxDB: a stream with its writers, or nothing."""

    def __init__(self, stream: Stream | None) -> None:
        self._stream = stream
        self.waiting = 0.0

    def takes(self, store: float, step_s: float, away: Mapping[Kind, int]) -> float:
        """Reports that receivers can deliver in a step, if InfluxDB stores `store` in it."""
        if self._stream is None:
            return store
        return self._stream.publish_per_s * step_s if self._has_majority(away) else 0.0

    def passes(
        self, delivered: float, store: float, step_s: float, away: Mapping[Kind, int]
    ) -> float:
        """Take what receivers delivered; return what InfluxDB gets in the step."""
        self.waiting += delivered
        passed = min(self.waiting, store)
        if self._stream is not None:
            writers = self._stream.writers - away[Kind.WRITER]
            written = self._stream.writer_per_s * max(0, writers) * step_s
            passed = min(passed, written) if self._has_majority(away) else 0.0
        self.waiting -= passed
        return passed

    def _has_majority(self, away: Mapping[Kind, int]) -> bool:
        return self._stream is not None and 2 * away[Kind.STREAM] < self._stream.servers


class _Ages:
    """Reports in all outboxes in order of their arrival, in pieces of a step."""

    def __init__(self, backlog: float) -> None:
        self._pieces: list[list[float]] = [[0.0, backlog]] if backlog else []
        self._first = 0

    def add(self, at: float, reports: float) -> None:
        if reports > 0:
            self._pieces.append([at, reports])

    def remove(self, reports: float) -> None:
        while reports > 0 and self._first < len(self._pieces):
            piece = self._pieces[self._first]
            gone = min(reports, piece[1])
            piece[1] -= gone
            reports -= gone
            if piece[1] > 1e-9:
                return
            self._first += 1

    def oldest(self, now: float) -> float:
        return now - self._pieces[self._first][0] if self._first < len(self._pieces) else 0.0


def day_of(reports: float, *, hourly: float = 0.2, boot: float = 0.05) -> Arrivals:
    """Arrivals of a day of real senders, which send 24 h after their last run without any delay.

    Most are spread evenly, since they began at any time. A share of `hourly` began at full hours,
    as schedules do, and comes within a minute of them. A share of `boot` began together after an
    outage of power or an update, and comes within ten minutes at 17:00. Both shares are assumed.
    """
    even = reports * (1 - hourly - boot) / DAY_S
    in_a_minute = reports * hourly / 24 / 60
    together = reports * boot / 600

    def at(now: float) -> float:
        found = even
        if now % _HOUR_S < 60:
            found += in_a_minute
        if 17 * _HOUR_S <= now < 17 * _HOUR_S + 600:
            found += together
        return found

    return at


def constant(per_s: float) -> Arrivals:
    """The same number of reports in every second."""
    return lambda _now: per_s


BUSY_S: Final = 16.9 * _HOUR_S
"""Start of the hour that has the most arrivals of `day_of`."""


def deaths_of(plant: Plant) -> tuple[Death, ...]:
    """One node of each kind that has others dies for an hour, in the busiest hour of `day_of`."""
    held = {
        Kind.RECEIVER: plant.receivers,
        Kind.STREAM: 3,
        Kind.WRITER: 2,
        Kind.INFLUX: plant.copies,
    }
    return tuple(Death(kind, BUSY_S, _HOUR_S) for kind, number in held.items() if number > 1)


def most_of_nats(_plant: Plant) -> tuple[Death, ...]:
    """Two of three NATS servers are away for the busiest hour: the stream has no majority."""
    return (Death(Kind.STREAM, BUSY_S, _HOUR_S),) * 2


def all_of_influxdb(plant: Plant) -> tuple[Death, ...]:
    """All of raw data's InfluxDB is away for the busiest hour."""
    return (Death(Kind.INFLUX, BUSY_S, _HOUR_S),) * plant.copies


def differs(found: float, measured: float) -> float:
    """The relative difference of a simulated from a measured value."""
    return abs(found - measured) / measured


def case(rounds: Iterable[dict[str, float]]) -> list[tuple[Result, dict[str, float]]]:
    """Simulate the measured small case: a backlog, reports that come in meanwhile, and the rest."""
    found = []
    for one in rounds:
        rates = Rates(
            one["accept_cpu_us"] / 1e6,
            one["deliver_cpu_us"] / 1e6,
            one["deliver_per_s"],
            one["outbox_bytes"],
        )
        result = simulate(
            constant(one["case_arrivals_per_s"]),
            rates,
            Plant(receivers=1, influx_nodes=1, copies=1, outbox_max=float(8 << 30)),
            seconds=one["case_load_s"],
            step_s=0.05,
            backlog=one["case_backlog"],
        )
        found.append((result, one))
    return found
