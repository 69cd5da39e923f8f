"""Replay of a recorded AMI session into the pure state, with a plain parser of its own.

What the state stores is kept after every message, so that a truth of any moment can be compared.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from statistics import fmean

from collector.asterisk_names import Names
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.state import State
from collector.intakes.ami.state.wanted import RESPONSE, WANTED
from collector.lines import Point
from tools.replay.captures import Capture, Remark, Way

NS = 10**9
START_NS = 1_795_600_000 * NS
"""The time that second 0 of a recording has in a replay."""

QUESTIONS = frozenset(
    [
        *("CoreStatus", "CoreShowChannels", "QueueStatus", "ConfbridgeListRooms"),
        *("DeviceStateList", "PJSIPShowContacts", "PJSIPShowAors", "PJSIPShowEndpoints"),
        *("PJSIPShowRegistrationsOutbound", "IAXpeerlist", "IAXregistry"),
    ]
)
"""Actions that ask for the state."""

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


@lru_cache(maxsize=32)
def steps(capture: Capture) -> tuple[Step, ...]:
    """What a client of the recorded connection would see, in order."""
    return tuple(_steps(capture))


def _steps(capture: Capture) -> Iterator[Step]:
    actions: dict[bytes, str] = {}
    pending = b""
    answers: dict[bytes, tuple[str, Message, list[Message]]] = {}
    for one in capture.traffic:
        if one.way is Way.OUT:
            for raw in one.data.split(b"\r\n\r\n"):
                found = _headers(raw)
                # A question with a parameter, as about one queue, has another answer.
                if b"Action" in found and (len(found) == 2 or found[b"Action"] == b"Login"):
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


Value = int | float | str
Table = dict[tuple[str, str], dict[Tags, Value]]
"""Values by measurement and field, then by the tags of the series."""


@dataclass(frozen=True, slots=True)
class Stored:
    """What is stored at one moment: the last values of gauges, and sums of what was counted."""

    at: float
    values: Mapping[tuple[str, str], Mapping[Tags, Value]]

    def get(self, measurement: str, name: str, /, **tags: str) -> Value | None:
        """The value of one series; None if there is none."""
        return self.values.get((measurement, name), {}).get(tuple(sorted(tags.items())))

    def total(self, measurement: str, name: str, /, **tags: str) -> float:
        """The sum of a field over all series that have these tags."""
        wanted = set(tags.items())
        found = self.values.get((measurement, name), {})
        return sum(float(value) for series, value in found.items() if wanted <= set(series))

    def by(self, measurement: str, name: str, /, *tags: str) -> dict[tuple[str, ...], float]:
        """The sums of a field for each combination of values of these tags; no zeros."""
        sums: dict[tuple[str, ...], float] = {}
        for series, value in self.values.get((measurement, name), {}).items():
            if value:
                has = dict(series)
                key = tuple(has.get(tag, "") for tag in tags)
                sums[key] = sums.get(key, 0) + float(value)
        return sums


@dataclass(slots=True)
class Replay:
    """A recording, replayed: what is stored after each message, at increasing times."""

    state: State
    moments: list[Stored] = field(default_factory=list)
    points: list[Point] = field(default_factory=list)
    drops: Counter[str] = field(default_factory=Counter)
    _sums: Table = field(default_factory=dict)
    _reports: dict[Tags, list[tuple[float, float]]] = field(default_factory=dict)

    def flush(self, at: float) -> Stored:
        """Flush, and keep what is stored then."""
        values: Table = {}
        counted: Table = {}
        for point in self.state.flush(START_NS + round(at * NS)):
            self.points.append(point)
            tags = tuple(sorted((k, v) for k, v in point.tags.items() if k != "asterisk"))
            for name, value in point.fields.items():
                table = counted if is_summed(point, name) else values
                table.setdefault((point.measurement, name), {})[tags] = value
            if point.measurement == "rtp":
                report = (float(point.fields["loss_max"]), float(point.fields["jitter_max"]))
                self._reports.setdefault(tags, []).append(report)
        for tags, reports in self._reports.items():
            # One report a flush here: what a panel would compute over the time of the recording.
            values.setdefault(("mean", "loss"), {})[tags] = fmean(loss for loss, _ in reports)
            values.setdefault(("mean", "jitter_most"), {})[tags] = max(one for _, one in reports)
        self.drops += self.state.drops
        self.state.drops.clear()
        self._sums = _added(self._sums, counted)
        stored = Stored(at, {**values, **self._sums})
        self.moments.append(stored)
        return stored

    def around(self, at: float, within: float) -> Sequence[Stored]:
        """What was stored at some time from `within` s before a moment to as long after it."""
        first = max(0, bisect_right(self.moments, at - within, key=_at) - 1)
        return self.moments[first : bisect_left(self.moments, at + within, key=_at)]

    @property
    def last(self) -> Stored:
        """What is stored at the end."""
        return self.moments[-1]


def _at(stored: Stored) -> float:
    return stored.at


def _added(sums: Table, counted: Table) -> Table:
    """The sums with what was counted in a flush; what has not grown is shared."""
    added = dict(sums)
    for key, series in counted.items():
        grown = {tags: value for tags, value in series.items() if value}
        if grown or key not in added:
            before = added.get(key, {})
            added[key] = {
                **before,
                **{t: float(v) + float(before.get(t, 0)) for t, v in (grown or series).items()},
            }
    return added


def is_summed(point: Point, name: str) -> bool:
    """Whether a field counts what happened in a flush."""
    return name in SUMMED or (name == "count" and point.measurement in COUNTED)


Look = Callable[[Replay, Remark], None]
"""Called at each remark, when all that came before it is stored."""


def replay(
    capture: Capture,
    first: Sequence[Answer] = (),
    names: Names | None = None,
    look: Look = lambda _replay, _remark: None,
    without: Collection[str] = (),
) -> Replay:
    """Replay a recording.

    `first` are answers that are given, in Asterisk's place, right after the first login. Later ones
    are as recorded. Events in `without` are left out.
    """
    done = Replay(State("pbx", names))
    remarks = list(capture.remarks)
    end: float | None = None
    for at in follow(done.state, capture, first, without):
        if end is not None:
            done.flush(end)
        while remarks and remarks[0].at < at:
            done.flush(remarks[0].at)
            look(done, remarks.pop(0))
        end = at
    assert end is not None
    done.flush(end)
    for remark in remarks:
        done.flush(remark.at)
        look(done, remark)
    for later in (5, 10, 20):
        done.flush(end + later)
    return done


def follow(
    state: State, capture: Capture, first: Sequence[Answer] = (), without: Collection[str] = ()
) -> Iterator[float]:
    """Pass a recording on, step by step; yield the time of each step before it is taken."""
    all_steps = steps(capture)
    for number, step in enumerate(all_steps):
        yield step.at
        if isinstance(step, Answer) and step.action == "Login" and not step.is_error:
            _login(state, first, step.at, will_ask=_asks(all_steps[number + 1 :], step.at))
            first = ()
        elif not (isinstance(step, Event) and step.message.event in without):
            _take(state, step)


def _take(state: State, step: Step) -> None:
    """Pass on what a client has received; errors that only say that there is nothing are empty."""
    now = START_NS + round(step.at * NS)
    match step:
        case Lost():
            state.lost(now)
        case Event(_, message):
            state.take(message, now)
        case Answer(_, action, message, items, is_error):
            if not is_error or message.headers.get("Message", "").startswith("No "):
                state.answer(action, message, items, now)
                state.asked(now)


def _login(state: State, first: Sequence[Answer], at: float, *, will_ask: bool) -> None:
    now = START_NS + round(at * NS)
    for answer in first:
        state.answer(answer.action, answer.message, answer.items, now)
    if not will_ask:
        state.asked(now)


def _asks(following: Sequence[Step], at: float) -> bool:
    """Whether the recording client asks (again) for the state within the next 2 s."""
    soon = itertools.takewhile(lambda one: one.at <= at + 2, following)
    return any(isinstance(one, Answer) and one.action in QUESTIONS for one in soon)
