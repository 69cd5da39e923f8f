"""Reader of the TRUTH lines of recorded AMI sessions: each becomes claims about stored values.

A line, or a part of one, that no stored value can show becomes `Unchecked` with a reason. A wording
that is not known raises ValueError: nothing is passed over.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

from tests.ami_claims import (
    CONTACTS,
    MEMBERS,
    NOT_STORED,
    THREADS,
    Claim,
    QueueTruth,
    Read,
    Unchecked,
    equals,
    grown,
    near,
    waits,
)
from tests.ami_cli import QUEUE, Cli
from tests.ami_replay import Stored
from tools.replay.captures import Capture, Remark

OUTCOMES = {
    "200": "answered",
    "480": "no_answer",
    "486": "busy",
    "487": "cancelled",
    "503": "failed",
    "603": "no_answer",
}
"""Outcome of a call by the SIP status that its caller saw; 404 before any channel is no call."""
_LOGGED = re.compile(r"(\w+) (\w+)=(\d+)")
_ANY_ROUTE = {"direction": "unknown", "trunk": "none"}
_REASONS = (
    (r"GET /metrics ", "what Asterisk's own exporter said is in another file"),
    (r"jitter units are|each client asked", "it explains the others"),
    (r"poll \(asterisk does not answer\)|no asterisk", "no connection: no gauges are stored"),
    (r"CLI \(|queue show |manager show connected:", "heading of the lines after it"),
    (r"\d+ users connected", NOT_STORED),
    (r"poll pjsip show channelstats", "sums since each call's start; reports of 5 s are stored"),
)


def read_truths(capture: Capture) -> list[Read]:
    """What the TRUTH lines of a recording claim. Raises ValueError for an unknown wording."""
    return list(_Reader(capture).read())


class _Reader:
    def __init__(self, capture: Capture) -> None:
        self._capture = capture
        self._cli = Cli(self._reset)
        self._outcomes: Counter[str] = Counter()
        self._attempts = 0
        self._pressed = 0
        self._step_from: float | None = None
        handlers: dict[str, Callable[[float, re.Match[str]], Iterator[Read]]] = {
            r"(?:call \d+|one of the \w+|caller's phone|agent's phone \w+): \S+ "
            r"(?P<what>dials|is called).*?: start (?P<start>\S+) ring_after=\S+ "
            r"answer_after=(?P<answer>\S+) talk=(?P<talk>\S+) end=(?P<end>\S+)"
            r" status=(?P<status>.*?) by=": self._call,
            r"poll channels=(\d+) calls=(\d+) processed=\d+$": self._channels,
            r"poll contacts=": self._devices,
            r"poll \S+ waiting=": self._queues,
            r"(?:.* \| security log since the last step|whole security log): (.*)$": self._security,
            r"media of (\S+) \(.*?\): (\{.*\})$": self._media,
            r"\w+ presses \S$": self._key,
            r"digits pressed by callers: (\d+): ": self._keys,
            r"menu choices by the script: ": self._menu,
        }
        self._handlers = [(re.compile(pattern), take) for pattern, take in handlers.items()]

    def read(self) -> Iterator[Read]:
        last = 0.0
        for remark in self._capture.remarks:
            if remark.kind == "TRUTH":
                yield from self._truth(remark)
            elif remark.kind == "DO":
                yield from self._cli.end()
                self._do(remark)
            last = remark.at
        yield from self._cli.end()
        yield from self._calls(last + 9)

    def _do(self, remark: Remark) -> None:
        if found := re.match(r"call \d+: AMI Originate: .*, (answered|busy)$", remark.text):
            self._outcomes[found[1]] += 1
        if self._step_from is None and remark.text.endswith(" times"):
            self._step_from = remark.at

    def _truth(self, remark: Remark) -> Iterator[Read]:
        at, text = remark.at, remark.text
        if text.startswith((" ", "|", "$")) or not text:
            yield from self._cli.line(at, text)
            return
        yield from self._cli.end()
        if found := QUEUE.match(text):
            self._cli.begin_queue(at, found)
            return
        for pattern, take in self._handlers:
            if found := pattern.match(text):
                yield from take(at, found)
                return
        for reason_pattern, reason in _REASONS:
            if re.match(reason_pattern, text):
                yield Unchecked(at, text, reason)
                return
        raise ValueError(f"{self._capture.name}: {at} TRUTH {text!r} is not understood")

    # Calls

    def _call(self, at: float, found: re.Match[str]) -> Iterator[Read]:
        text = found.string
        yield Unchecked(at, text, "times of one call are not stored; those of all are claimed")
        if found["what"] == "is called":
            self._attempts += 1
            return
        status = found["status"].split(" ")[0]
        if status != "404":
            self._outcomes[OUTCOMES[status]] += 1
        if found["answer"] != "-":
            after = float(found["answer"])
            yield Claim(
                float(found["start"]) + after,
                f"rang {after} s: {text}",
                lambda one, _: near(one.get("calls", "ring_max", **_ANY_ROUTE), after, 0.06),
            )
        near_by = (one for one in self._capture.remarks if abs(one.at - at) < 1)
        if any("transfer" in one.text for one in near_by):
            yield Unchecked(at, text, "the call goes on without this phone")
        elif found["talk"] != "-":
            talk = float(found["talk"])
            yield Claim(
                float(found["end"]),
                f"talked {talk} s: {text}",
                lambda one, _: near(one.get("calls", "talk_max", **_ANY_ROUTE), talk, 0.1),
            )

    def _calls(self, at: float) -> Iterator[Read]:
        """Claims about all calls, for a recording whose every call has a line."""
        if not self._outcomes:
            return
        yield equals(at, "calls", "started", self._outcomes.total())
        yield equals(at, "calls", "answered", self._outcomes["answered"])
        for outcome in sorted({*OUTCOMES.values(), "lost"}):
            yield equals(at, "calls", "ended", self._outcomes[outcome], outcome=outcome)
        if self._attempts:
            yield equals(at, "calls", "attempts", self._attempts)

    def _channels(self, at: float, found: re.Match[str]) -> Iterator[Read]:
        yield equals(at, "calls", "channels", int(found[1]))
        recent = [one.text for one in self._capture.remarks if at - 6 < one.at <= at]
        if any("Local/" in text or "Originate" in text for text in recent):
            yield Unchecked(at, found.string, THREADS)
        else:
            yield equals(at, "calls", "calls", int(found[2]))

    # Queues

    def _queues(self, at: float, found: re.Match[str]) -> Iterator[Read]:
        for part in found.string.removeprefix("poll ").split(" | "):
            name, *pairs = part.split(" ")
            values = dict(pair.split("=", 1) for pair in pairs)
            states = (
                one.split(":", 1)[1].rsplit("/taken=", 1)[0] for one in values["members"].split(",")
            )
            members = Counter(
                "paused" if "+paused" in state else MEMBERS[state.split("+")[0]] for state in states
            )
            numbers = (int(values[one]) for one in ("waiting", "completed", "abandoned", "within"))
            waiting, completed, abandoned, level = numbers
            reset = self._reset(name, at)
            truth = QueueTruth(name, waiting, completed, abandoned, level, members, reset)
            yield from truth.claims(at)
            yield waits(at, name, int(values["longest"]))
            yield _shares(at, truth, (float(values["sl"]), float(values["sl2"])))
            yield Unchecked(at, f"{name} holdtime talktime taken", "Asterisk's moving averages")

    def _reset(self, name: str, at: float) -> float | None:
        moments = [
            one.at
            for one in self._capture.remarks
            if one.text == f"-- queue reset stats {name}" and one.at < at
        ]
        return moments[-1] if moments else None

    # Devices

    def _devices(self, at: float, found: re.Match[str]) -> Iterator[Read]:
        text = found.string
        head, endpoints, registrations, iax2 = text.removeprefix("poll ").split(" | ")
        yield Unchecked(at, head, "round trips and names of single contacts are not stored")
        contacts = Counter(CONTACTS[one] for one in re.findall(r":(\w+):[\d.nan]+", head))
        for state in CONTACTS.values():
            if state == "Unknown" and contacts[state]:
                yield Unchecked(at, text, "a contact that expires: Removed follows in some ms")
            else:
                yield equals(at, "pjsip_contacts", "count", contacts[state], state=state)
        states = re.findall(r":(\w+):\d+ch", endpoints)
        online = sum(state not in ("Unavailable", "Invalid") for state in states)
        peers = re.findall(r"\S+?:(OK|LAGGED|UNREACHABLE|UNKNOWN|Unmonitored)", iax2)
        up = sum(state in ("OK", "LAGGED") for state in peers)
        yield equals(at, "endpoints", "count", online + up, state="online")
        yield equals(at, "iax2_peers", "count", up, state="reachable")
        counted = Counter(re.findall(r":(\w+)", registrations))
        for state in ("Registered", "Unregistered", "Rejected"):
            yield equals(at, "pjsip_registrations", "count", counted[state], state=state)
        registry = re.findall(r":(\w+)", iax2.partition("registry ")[2])
        for state, count in Counter(registry).items():
            tag = state.replace("_", " ")
            yield equals(at, "iax2_registrations", "count", count, state=tag)

    # The others

    def _security(self, at: float, found: re.Match[str]) -> Iterator[Read]:
        text, log = found.string, found[1]
        logged = {(kind, service): int(n) for service, kind, n in _LOGGED.findall(log)}
        if not logged and log != "nothing":
            raise ValueError(f"{self._capture.name}: {at} {text!r} is not understood")
        is_whole = text.startswith("whole")
        since = None if is_whole else self._step_from
        self._step_from = at
        left_out = {("SuccessfulAuth", "AMI")} if is_whole else set()
        for key in left_out & set(logged):
            del logged[key]
            yield Unchecked(at, text, "AMI logins before the recorded connection are in the log")

        def holds(one: Stored, before: Stored | None) -> bool:
            now = one.by("security", "count", "kind", "service")
            earlier = before.by("security", "count", "kind", "service") if before else {}
            counts = {key: count - earlier.get(key, 0) for key, count in now.items()}
            return logged == {k: n for k, n in counts.items() if n and k not in left_out}

        yield Claim(at, text, holds, since=since)

    def _media(self, at: float, found: re.Match[str]) -> Iterator[Read]:
        phone, said = found[1], json.loads(found[2])
        yield _loss(at, phone, "received", said["up_loss_pct"])
        yield _loss(at, phone, "sent", said["down_loss_pct"])
        yield _jitter(at, phone, said)
        reports = said["asterisk_reports"]
        yield equals(at, "rtp", "reports", reports, direction="received", trunk=phone)

    def _key(self, at: float, _: re.Match[str]) -> Iterator[Read]:
        self._pressed += 1
        yield equals(at, "dtmf", "count", self._pressed, within=0.7, direction="received")

    def _keys(self, at: float, found: re.Match[str]) -> Iterator[Read]:
        yield equals(at, "dtmf", "count", int(found[1]), direction="received")
        yield Unchecked(at, found.string, "which keys they were is never read")

    def _menu(self, at: float, found: re.Match[str]) -> Iterator[Read]:
        text = found.string
        chosen = sum(int(count) for count in re.findall(r"\d=(\d+)", text))
        yield equals(at, "user_events", "sum", chosen, name="ivr.choice")
        if invalid := re.search(r"invalid: (.*?), timeout (\d+)", text):
            count = len(invalid[1].split(" and "))
            yield equals(at, "user_events", "sum", count, name="ivr.invalid")
            yield equals(at, "user_events", "sum", int(invalid[2]), name="ivr.timeout")
        yield Unchecked(at, text, "the choice is a header that is no part of a metric")


def _shares(at: float, truth: QueueTruth, wanted: tuple[float, float]) -> Claim:
    """Claim the CLI's two shares within the service level, when no talk is under way."""

    def holds(one: Stored, before: Stored | None) -> bool:
        within, answered, gave_up = (
            grown(one, before, "queues", name, queue=truth.name)
            for name in ("within", "answered", "abandoned_within")
        )
        if answered != truth.completed:
            # The CLI counts a talk at its end.
            return True
        served = truth.completed + truth.abandoned
        shares = (
            100 * within / truth.completed if truth.completed else 0.0,
            100 * (within + gave_up) / served if served else 0.0,
        )
        return all(abs(a - b) < 0.06 for a, b in zip(shares, wanted, strict=True))

    return Claim(at, f"{truth.name}: service level {wanted}", holds, since=truth.reset)


def _loss(at: float, phone: str, direction: str, percent: float) -> Claim:
    return Claim(
        at,
        f"{phone}: {percent} % lost {direction}",
        lambda one, _: near(
            one.get("mean", "loss", direction=direction, trunk=phone), percent / 100, 0.012
        ),
    )


def _jitter(at: float, phone: str, said: dict[str, Any]) -> Claim:
    largest = said["asterisk_max_jitter_units"] / 8000
    return Claim(
        at,
        f"{phone}: largest jitter {largest} s",
        lambda one, _: near(
            one.get("mean", "jitter_most", direction="received", trunk=phone), largest, 1e-9
        ),
    )
