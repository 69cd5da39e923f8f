"""Replay of a recorded AMI session into the pure state, with a plain parser of its own.

What the state stores is kept after every message, so that a truth of any moment can be compared.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from collector.intakes.ami.message import Message
from collector.intakes.ami.state import RESPONSE, WANTED, Names, State
from collector.lines import Point
from tests.captures import Capture, Way

NS = 10**9
START_NS = 1_795_600_000 * NS
"""The time that second 0 of a recording has in a replay."""

Tags = tuple[tuple[str, str], ...]
SUMMED = frozenset(
    [
        *("started", "answered", "talks", "talk_sum", "ended", "attempts"),
        *("entered", "abandoned", "timed_out", "left_by_key", "lost", "completed"),
        *("unanswered", "within", "abandoned_within", "joined", "reports"),
        *("events", "dropped", "gap", "restarts", "sum"),
    ]
)
"""Fields that count what happened in a flush; the others are what is true at its end."""
COUNTED = frozenset({"security", "dtmf", "user_events"})
"""Measurements whose field `count` is of the flush too."""


def message_of(raw: bytes) -> Message:
    """Parse a message: the first header of a name counts; only wanted ones are kept."""
    headers: dict[str, str] = {}
    for line in raw.split(b"\r\n"):
        name, mark, value = line.partition(b":")
        if mark:
            headers.setdefault(name.decode(), value.decode(errors="replace").strip(" "))
    event = headers.get("Event", "")
    wanted = WANTED.get(event, frozenset()) if event else {*RESPONSE, "Response", "Message"}
    return Message(event, {name: value for name, value in headers.items() if name in wanted})


@dataclass(frozen=True, slots=True)
class Event:
    """An event at `at` (s)."""

    at: float
    message: Message


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole answer to an action; `is_error`: Asterisk refused, or there is nothing."""

    at: float
    action: str
    message: Message
    items: tuple[Message, ...]
    is_error: bool


@dataclass(frozen=True, slots=True)
class Lost:
    """The end of the connection."""

    at: float


Step = Event | Answer | Lost


def steps(capture: Capture) -> Iterator[Step]:
    """What a client of the recorded connection would see, in order."""
    actions: dict[bytes, str] = {}
    pending = b""
    answers: dict[bytes, tuple[str, Message, list[Message]]] = {}
    for one in capture.traffic:
        if one.way is Way.OUT:
            for raw in one.data.split(b"\r\n\r\n"):
                found = _headers(raw)
                if b"Action" in found:
                    actions[found.get(b"ActionID", b"")] = found[b"Action"].decode()
        elif one.way is Way.CONNECTION:
            pending, answers = b"", {}
            yield Lost(one.at)
        else:
            *whole, pending = (pending + one.data).split(b"\r\n\r\n")
            for raw in whole:
                yield from _step(one.at, raw, actions, answers)


def _headers(raw: bytes) -> dict[bytes, bytes]:
    found: dict[bytes, bytes] = {}
    for line in raw.split(b"\r\n"):
        name, mark, value = line.partition(b": ")
        if mark:
            found.setdefault(name, value)
    return found


def _step(
    at: float,
    raw: bytes,
    actions: Mapping[bytes, str],
    answers: dict[bytes, tuple[str, Message, list[Message]]],
) -> Iterator[Step]:
    found = _headers(raw)
    name = found.get(b"ActionID", b"")
    message = message_of(raw)
    if message.event:
        if b"Privilege" in found:
            if message.event in WANTED:
                yield Event(at, message)
        elif found.get(b"EventList", b"").startswith(b"Complete"):
            if name in answers:
                action, first, items = answers.pop(name)
                yield Answer(at, action, first, tuple(items), is_error=False)
        elif name in answers:
            answers[name][2].append(message)
        return
    action = actions.get(name, "")
    if b"EventList" in found:
        answers[name] = (action, message, [])
    else:
        yield Answer(at, action, message, (), is_error=found.get(b"Response") == b"Error")


@dataclass(slots=True)
class Stored:
    """What is stored at one moment: the last values of gauges, and sums of what was counted."""

    at: float
    values: dict[tuple[str, Tags, str], int | float | str]

    def get(self, measurement: str, name: str, **tags: str) -> int | float | str | None:
        """The value of one series; None if there is none."""
        return self.values.get((measurement, tuple(sorted(tags.items())), name))

    def total(self, measurement: str, name: str, **tags: str) -> float:
        """The sum of a field over all series that have these tags."""
        wanted = set(tags.items())
        return sum(
            float(value)
            for (one, found, field_name), value in self.values.items()
            if one == measurement and field_name == name and wanted <= set(found)
        )

    def by(self, measurement: str, name: str, *tags: str) -> dict[tuple[str, ...], float]:
        """The sums of a field for each combination of values of these tags; no zeros."""
        sums: Counter[tuple[str, ...]] = Counter()
        for (one, found, field_name), value in self.values.items():
            if one == measurement and field_name == name and value:
                has = dict(found)
                sums[tuple(has.get(tag, "") for tag in tags)] += float(value)  # type: ignore[assignment]
        return dict(sums)


@dataclass(slots=True)
class Replay:
    """A recording, replayed: what is stored after each message, at increasing times."""

    state: State
    moments: list[Stored] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    _sums: Counter[tuple[str, Tags, str]] = field(default_factory=Counter)

    def flush(self, at: float) -> Stored:
        """Flush, and keep what is stored then."""
        self.drops += self.state.drops
        values: dict[tuple[str, Tags, str], int | float | str] = {}
        for point in self.state.flush(START_NS + round(at * NS)):
            self.points.append(point)
            tags = tuple(sorted((k, v) for k, v in point.tags.items() if k != "asterisk"))
            for name, value in point.fields.items():
                key = (point.measurement, tags, name)
                if is_summed(point, name):
                    assert isinstance(value, int | float)
                    self._sums[key] += value  # type: ignore[assignment]
                else:
                    values[key] = value
        stored = Stored(at, {**values, **self._sums})
        self.moments.append(stored)
        return stored

    def around(self, at: float, within: float) -> Sequence[Stored]:
        """What was stored at some time from `within` s before a moment to as long after it."""
        times = [one.at for one in self.moments]
        first = max(0, bisect_right(times, at - within) - 1)
        return self.moments[first : bisect_left(times, at + within)]

    @property
    def last(self) -> Stored:
        """What is stored at the end."""
        return self.moments[-1]


def is_summed(point: Point, name: str) -> bool:
    """Whether a field counts what happened in a flush."""
    return name in SUMMED or (name == "count" and point.measurement in COUNTED)


def replay(capture: Capture, first: Sequence[Answer] = (), names: Names | None = None) -> Replay:
    """Replay a recording, asking (in its place) what `first` answers right after each login."""
    done = Replay(State("pbx", names))
    truths = sorted({remark.at for remark in capture.remarks})
    for step in steps(capture):
        while truths and truths[0] < step.at:
            done.flush(truths.pop(0))
        now = START_NS + round(step.at * NS)
        match step:
            case Lost():
                done.state.lost(now)
            case Event(_, message):
                done.state.take(message, now)
            case Answer(_, "Login", _, _, is_error) if not is_error:
                for answer in first:
                    done.state.answer(answer.action, answer.message, answer.items, now)
                done.state.asked(now)
            case Answer(_, action, message, items, is_error):
                if not is_error or message.headers.get("Message", "").startswith("No "):
                    done.state.answer(action, message, items, now)
        done.flush(step.at)
    end = done.moments[-1].at
    for at in (*truths, end + 10, end + 20):
        done.flush(at)
    return done
