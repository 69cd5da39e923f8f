"""The events of a recorded session of a manager interface, and its recorded answers. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field

from tools.replay.captures import Capture, Way
from tools.replay.pbx import headers

_NEAR_S = 3.0
_BANNER = re.compile(rb"Asterisk Call Manager/[^\r]*\r\n")
_ACTION_ID = re.compile(rb"(?<=\r\nActionID: )(c\d+)(?=\r\n)")


@dataclass(frozen=True, slots=True)
class Step:
    """What came at a time in s: a message, or (None) the end of the connection.

    After an end, `back_at` is when the recording client was logged in again, and `restarted` says
    that Asterisk began anew.
    """

    at: float
    message: bytes | None
    back_at: float = 0.0
    restarted: bool = False


@dataclass
class Script:
    """The events of a recording, in order, and its recorded answers by action, each with a time."""

    begins: float = 0.0
    steps: list[Step] = field(default_factory=list)
    answers: dict[str, list[tuple[float, list[bytes]]]] = field(default_factory=dict)

    def answer(self, action: str, at: float) -> list[bytes] | None:
        """The recorded answer to an action that is nearest to a time, if it is near."""
        found = min(self.answers.get(action, ()), key=lambda one: abs(one[0] - at), default=None)
        return found[1] if found is not None and abs(found[0] - at) <= _NEAR_S else None

    def part(self, until: float, without: Sequence[bytes] = ()) -> Script:
        """The part up to a time, without the messages that hold any of these bytes."""

        def is_kept(message: bytes | None) -> bool:
            return message is None or not any(words in message for words in without)

        return Script(
            self.begins,
            [step for step in self.steps if step.at <= until and is_kept(step.message)],
            {
                action: [(at, [*filter(is_kept, messages)]) for at, messages in answers]
                for action, answers in self.answers.items()
            },
        )


def script(capture: Capture) -> Script:
    """The script of a recording: the connections of it that were logged in, one after another."""
    made, pending = _Making(), b""
    for one in capture.traffic:
        if one.way is Way.OUT:
            told = headers(one.data)
            made.asked[told.get("ActionID", "").encode()] = told.get("Action", "")
        elif one.way is Way.IN:
            pending = _BANNER.sub(b"", pending + one.data, count=1)
            *whole, pending = pending.split(b"\r\n\r\n")
            for raw in whole:
                made.take(one.at, raw + b"\r\n\r\n")
        elif one.data.startswith((b"eof", b"close", b"reset")):
            pending = b""
            made.end(one.at)
    _tell_restarts(made.script)
    return made.script


class _Making:
    """A script in the making; `asked` has the recording client's actions by ActionID."""

    def __init__(self) -> None:
        self.script = Script()
        self.asked: dict[bytes, str] = {}
        self._logged_in = False

    def take(self, at: float, message: bytes) -> None:
        """Take a message that came."""
        mark = _ACTION_ID.search(message)
        if b"\r\nPrivilege: " in message or mark is None or mark[1] not in self.asked:
            if self._logged_in and not message.startswith(b"Response:"):
                self.script.steps.append(Step(at, message))
        elif self.asked[mark[1]] != "Login":
            _add_answer(self.script, self.asked[mark[1]], at, mark[1], message)
        elif b"Response: Success" in message:
            self._log_in(at)

    def _log_in(self, at: float) -> None:
        self._logged_in = True
        if not self.script.begins:
            self.script.begins = at
        elif self.script.steps and self.script.steps[-1].message is None:
            self.script.steps[-1] = Step(self.script.steps[-1].at, None, back_at=at)

    def end(self, at: float) -> None:
        """Take the end of the connection."""
        if self._logged_in:
            self.script.steps.append(Step(at, None))
        self._logged_in = False


def _add_answer(made: Script, action: str, at: float, mark: bytes, message: bytes) -> None:
    answers = made.answers.setdefault(action, [])
    filled = message.replace(b"ActionID: " + mark + b"\r\n", b"ActionID: %ID%\r\n", 1)
    if message.startswith(b"Response:"):
        answers.append((at, [filled]))
    elif answers:
        answers[-1][1].append(filled)


def _tell_restarts(made: Script) -> None:
    """Mark the ends after which FullyBooted tells a start, and leave out each that greets."""
    steps: list[Step] = []
    for step in made.steps:
        last = next((one for one in reversed(steps) if one.message is None), None)
        since = made.begins if last is None else last.back_at
        if step.message is not None and step.message.startswith(b"Event: FullyBooted"):
            uptime = float(headers(step.message)["Uptime"])
            if last is not None and uptime < step.at - last.at:
                steps[steps.index(last)] = Step(last.at, None, last.back_at, restarted=True)
            if step.at - since < 1.0:
                continue
        steps.append(step)
    # The end of the recording is no loss: the server just stays silent.
    while steps and steps[-1].message is None and not steps[-1].back_at:
        steps.pop()
    made.steps = steps
