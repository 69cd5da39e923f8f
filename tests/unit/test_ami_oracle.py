"""What a made-up Asterisk has done is what the state stores of its messages, exactly."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

from collector.asterisk_names import Names
from collector.intakes.ami.state.state import State
from collector.lines import Point
from tests.ami_world import NS, QUEUES, TRUNKS, World, close, nearest_rank
from tests.length import LONG

WORLDS = 200 if LONG else 12
STEPS = 400
SPREADS = {
    ("calls", "ring"): "ring",
    ("calls", "talk"): "talk",
    ("queues", "wait"): "wait",
    ("queues", "gave_up"): "gave_up",
    ("queues", "talk"): "queue_talk",
    ("user_events", "timer"): "timer",
}
"""The world's name of each distribution, by measurement and the beginning of its fields."""
QUEUE_COUNTS = (
    *("entered", "answered", "abandoned", "timed_out", "left_by_key", "lost", "completed"),
    *("within", "abandoned_within"),
)


class _Watch:
    """Compares the points of each flush with the world, and adds up what is counted."""

    def __init__(self, seed: int) -> None:
        self.state = State("pbx", Names(TRUNKS))
        self.world = World(seed, self.state.take)
        self.counts: Counter[tuple[Any, ...]] = Counter()
        self.ask()

    def ask(self) -> None:
        for action, answer, items in self.world.answers():
            self.state.answer(action, answer, items, self.world.now)
        self.state.asked(self.world.now)

    def flush(self) -> None:
        points = self.state.flush(self.world.now)
        for point in points:
            self._add(point)
            self._spreads(point)
        self.world.values.clear()
        self._gauges(points)
        assert set(self.state.drops) <= {"unknown-channel", "unknown-caller"}, self.state.drops

    def _add(self, point: Point) -> None:
        tags, fields = point.tags, point.fields
        route = (tags.get("direction"), tags.get("trunk"))
        ends = (route, tags.get("outcome"), tags.get("cause"), tags.get("tech_cause"))
        added: list[tuple[tuple[Any, ...], str]] = []
        match point.measurement:
            case "calls":
                added = [(("started",), "started"), (("call answered", route), "answered")]
                added += [(("ended", *ends), "ended"), (("attempts", *ends), "attempts")]
            case "queues":
                added = [((name, tags["queue"]), name) for name in QUEUE_COUNTS]
            case "conferences":
                added = [(("joined",), "joined")]
            case "dtmf":
                added = [(("dtmf", tags["direction"]), "count")]
            case "security":
                added = [(("security", tags["kind"], tags["service"]), "count")]
            case "user_events":
                name = tags["name"]
                added = [(("metric", name), "count"), (("sum", name), "sum")]
        for key, field in added:
            self.counts[key] += float(fields.get(field, 0))  # type: ignore[assignment]

    def _spreads(self, point: Point) -> None:
        key: Any = point.tags.get("queue") or point.tags.get("name")
        if point.measurement == "calls":
            key = (point.tags["direction"], point.tags["trunk"])
        for (measurement, name), of_world in SPREADS.items():
            if measurement != point.measurement or "outcome" in point.tags:
                continue
            values = self.world.values.get((of_world, key), [])
            for percent in (50, 90, 99):
                stored = point.fields.get(f"{name}_p{percent}")
                if values:
                    assert isinstance(stored, float)
                    assert close(stored, nearest_rank(values, percent))
                else:
                    assert stored is None
            assert not values or close(float(point.fields[f"{name}_max"]), max(values))

    def _gauges(self, points: list[Point]) -> None:
        world = self.world
        by_route = Counter(call.route for call in world.calls.values())
        legs = Counter[tuple[str, str]]()
        for call in world.calls.values():
            legs[call.route] += 1 + len(call.legs)
        for point in points:
            tags, fields = point.tags, point.fields
            match point.measurement:
                case "calls" if "outcome" not in tags:
                    route = (tags["direction"], tags["trunk"])
                    assert (fields["calls"], fields["channels"]) == (by_route[route], legs[route])
                case "queues":
                    self._queue(tags["queue"], fields)
                case "agents":
                    states = world.member_states(tags["queue"])
                    assert fields["count"] == states[tags["state"]]
                case "conferences":
                    people = [len(one) for one in world.rooms.values()]
                    assert fields["rooms"] == len(people)
                    assert fields["people"] == sum(people)
                    assert fields["largest"] == max(people, default=0)
                case "pjsip_contacts":
                    held = list(world.contacts.values())
                    assert fields["count"] == held.count(tags["state"])
                case "pjsip_registrations" if tags["state"] != "all":
                    status = list(world.registrations.values())
                    assert fields["count"] == status.count(tags["state"])
                case "user_events" if "value" in fields:
                    assert fields["value"] == world.gauges[tags["name"]]

    def _queue(self, queue: str, fields: Any) -> None:
        world = self.world
        waited = [
            (world.now - call.joined) / NS for call in world.calls.values() if call.waits(queue)
        ]
        assert fields["waiting"] == len(waited)
        assert close(fields["longest_wait"], max(waited, default=0.0))
        assert fields["service_level"] == QUEUES[queue]
        assert fields["members"] == len(world.members[queue])
        assert fields["available"] == world.member_states(queue)["available"]


def test_state_is_what_a_made_up_asterisk_has_done() -> None:
    for number in range(WORLDS):
        seed = random.randrange(10**9) if LONG else number
        watch = _Watch(seed)
        chance = random.Random(seed)
        for _ in range(STEPS):
            watch.world.step()
            if chance.random() < 0.1:
                watch.flush()
            if chance.random() < 0.01:
                watch.state.lost(watch.world.now)
                watch.world.away(chance.randrange(1, 40))
                watch.ask()
        for _ in range(2):
            watch.world.now += 5 * NS
            watch.flush()
        expected = {key: count for key, count in watch.world.counts.items() if count}
        stored = {key: count for key, count in watch.counts.items() if count}
        assert stored == expected, seed


def test_answers_that_are_as_expected_change_nothing() -> None:
    watch = _Watch(1)
    for _ in range(STEPS):
        watch.world.step()
        watch.ask()
    for _ in range(2):
        watch.world.now += 5 * NS
        watch.flush()
    stored = {key: count for key, count in watch.counts.items() if count}
    assert stored == {key: count for key, count in watch.world.counts.items() if count}
