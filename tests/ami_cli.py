"""Reader of the answers of Asterisk's CLI in the TRUTH lines of recorded sessions."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

from tests.ami_claims import (
    CONTACTS,
    MEMBERS,
    NOT_STORED,
    THREADS,
    QueueTruth,
    Read,
    Unchecked,
    equals,
    waits,
)

QUEUE = re.compile(
    r"(\S+) has (\d+) calls \(max .*\) in '\w+' strategy .*, W:\d+, C:(\d+), A:(\d+), SL:.*"
    r" within (\d+)s$"
)
"""The first line of a queue in `queue show`."""
_MEMBER = re.compile(r" {3,}.*?\([A-Za-z0-9]+/[^)]*\)(?P<rest>.*)$")
_ENTRY = re.compile(r" +\d+\. \S+ \(wait: (?P<m>\d+):(?P<s>\d+), prio: \d+\)$")
_QUEUE_WORDS = ("Members:", "No Members", "Callers:", "No Callers", "")
_IN_CALL = "AMI tells no state of a permanent contact while its endpoint is in a call"


@dataclass(slots=True)
class Cli:
    """Answers of the CLI, a line at a time; `end` must be called where they end.

    `reset` tells when a queue's counts began anew, before a moment.
    """

    reset: Callable[[str, float], float | None]
    command: str = ""
    queue: QueueTruth | None = None
    at: float = 0.0
    waited: int | None = None
    counted: Counter[str] = field(default_factory=Counter)
    in_call: set[str] = field(default_factory=set)

    def line(self, at: float, text: str) -> Iterator[Read]:
        """A line, with the bar and blanks before it."""
        if found := re.match(r" *\$ (.*)$", text):
            yield from self.end()
            self.command, self.counted = found[1], Counter()
            return
        body = re.sub(r"^ *\| ?", "", text)
        if found := QUEUE.match(body):
            yield from self.end()
            self.begin_queue(at, found)
        elif self.queue is not None:
            self._queue_line(at, body)
        else:
            yield from self._other(at, body)

    def begin_queue(self, at: float, found: re.Match[str]) -> None:
        """The first line of a queue."""
        name, *numbers = found.groups()
        waiting, completed, abandoned, level = map(int, numbers)
        reset = self.reset(name, at)
        self.queue = QueueTruth(name, waiting, completed, abandoned, level, Counter(), reset)
        self.at, self.waited = at, None

    def end(self) -> Iterator[Read]:
        """The lines of a queue end."""
        if self.queue is not None:
            yield from self.queue.claims(self.at)
            if self.waited is not None:
                yield waits(self.at, self.queue.name, self.waited)
            self.queue = None

    def _queue_line(self, at: float, text: str) -> None:
        assert self.queue is not None
        if found := _MEMBER.match(text):
            states = re.findall(r"\(([^()]*)\)", found["rest"])
            known = [MEMBERS.get(one.lower().replace(" ", "_"), "") for one in states]
            state = next(one for one in reversed(known) if one)
            is_paused = any(one.startswith("paused") for one in states)
            members = self.queue.members + Counter(["paused" if is_paused else state])
            self.queue = replace(self.queue, members=members)
        elif found := _ENTRY.match(text):
            wait = int(found["m"]) * 60 + int(found["s"])
            self.waited = wait if self.waited is None else max(wait, self.waited)
        elif text.strip() not in _QUEUE_WORDS:
            raise ValueError(f"{at} {text!r} is not understood")

    def _other(self, at: float, text: str) -> Iterator[Read]:
        if self.command.startswith("pjsip"):
            yield from self._pjsip(at, text)
        elif found := re.match(r"(\d+) active channels?$", text):
            yield equals(at, "calls", "channels", int(found[1]))
        elif re.match(r"\d+ (active calls?|calls? processed)$", text):
            yield Unchecked(at, text, THREADS)
        elif found := re.match(r"(\d+) iax2 peers \[(\d+) online, ", text):
            yield equals(at, "iax2_peers", "count", int(found[1]))
            yield equals(at, "iax2_peers", "count", int(found[2]), state="reachable")
        elif (found := re.match(r"\S+ +(\d+) +\d+ (?:No|Yes) ", text)) and (
            self.command == "confbridge list"
        ):
            self.counted["people"] += int(found[1])
            self.counted["rooms"] += 1
            for name in ("people", "rooms"):
                yield equals(at, "conferences", name, self.counted[name])
        else:
            yield Unchecked(at, text, f"{NOT_STORED} ({self.command or 'a table'})")

    def _pjsip(self, at: float, text: str) -> Iterator[Read]:
        if found := re.match(r" Endpoint:  (\S+) +(.*?) +(\d+) of \S+$", text):
            self.counted[
                "endpoints offline" if found[2] == "Unavailable" else "endpoints online"
            ] += 1
            if found[3] != "0":
                self.in_call.add(found[1])
        elif found := re.match(r" +Contact:  ([^/]+)/\S+ +\S+ (\w+) +\S+$", text):
            if self.command != "pjsip show contacts":
                return
            if CONTACTS[found[2]] == "Unreachable" and found[1] in self.in_call:
                yield Unchecked(at, text, _IN_CALL)
            else:
                self.counted[f"pjsip_contacts {CONTACTS[found[2]]}"] += 1
        elif found := re.match(r" \S+/sips?:\S+ +\S+ +(\w+) ", text):
            self.counted[f"pjsip_registrations {found[1]}"] += 1
        elif re.match(r"Objects found: \d+$", text):
            for series, count in sorted(self.counted.items()):
                measurement, _, state = series.partition(" ")
                # Asterisk's StatsD counts IAX2's peers as endpoints too, so here it is at least.
                if state != "offline":
                    yield equals(at, measurement, "count", count, state=state)
            self.counted = Counter()
        else:
            yield Unchecked(at, text, f"{NOT_STORED} ({self.command})")
