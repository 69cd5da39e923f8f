"""Check of an account of an Asterisk's manager interface, for `collector check`.

It logs in, listens for a moment and asks which actions the account may use. That changes nothing,
and causes no refusal, which Asterisk would report as an attack.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Final

from collector.asterisks import AmiAccount, Asterisk
from collector.intakes.ami.actions import NEEDED, RIGHTS
from collector.intakes.ami.connection import BOOTED, Connection, Times
from collector.intakes.ami.dial import dial
from collector.intakes.ami.ends import End, Lost
from collector.intakes.ami.message import Message
from collector.intakes.ami.seen import Seen
from collector.intakes.ami.sink import Sink
from collector.intakes.ami.state.wanted import CLASSES
from collector.supervisor import wait_at_most

_OWN_LOGIN: Final = "SuccessfulAuth"
"""Security event of a login; every client with the class `security` gets it, this one too."""
_LISTEN_S: Final = 3.0
_TELLING: Final = {BOOTED: "system", _OWN_LOGIN: "security"}
"""Events that follow each login, with the class of `read` that brings each."""
_MORE: Final = {
    "Command": "command",
    "ModuleLoad": "system",
    "Originate": "originate",
    "QueueAdd": "agent",
    "Redirect": "call",
    "UpdateConfig": "config",
}
"""Actions that can do harm, one for each right, with that right."""

_WORDS: Final = {
    End.REFUSED: "nothing listens there: see `enabled`, `bindaddr` and `port` in manager.conf",
    End.UNREACHABLE: "the host cannot be reached",
    End.TLS: "the TLS handshake failed: see `tlsenable` and `tlsbindaddr` in manager.conf, and"
    " `ami_ca_file`",
    End.TIMEOUT: "it does not answer, or it waits for TLS (`ami_tls = true`)",
    End.NOT_AMI: "another service listens there, not a manager interface",
    End.NO_CHALLENGE: "it offers no MD5 login, and without TLS others could read the secret: use"
    " `ami_tls = true`",
    End.LOGIN_REFUSED: "the login is refused: user, secret, or `permit` of the user in"
    " manager.conf",
    End.SHUTTING_DOWN: "it is shutting down",
    End.CLOSED: "it closed the connection",
    End.SILENT: "it does not answer",
}
_WITHOUT_TLS: Final = (
    "without TLS others on the way can read all of it; registrations are not asked for, since"
    " Asterisk's answer has their passwords (`ami_tls = true`)"
)

Found = tuple[bool, str]
"""A finding: whether it is good, and its text."""


class _Listening(Sink):
    """Records the names of the events received; answers about the state are not asked for."""

    def __init__(self) -> None:
        self.events: set[str] = set()
        self.told = asyncio.Event()

    def event(self, message: Message) -> None:
        self.events.add(message.event)
        if _TELLING.keys() <= self.events:
            self.told.set()


async def examine(
    asterisk: Asterisk, account: AmiAccount, times: Times | None = None
) -> list[Found]:
    """Log in once and return the findings; the first one is about the login."""
    name = f"Asterisk {asterisk.name}"
    at = f"the manager interface at {account.host}:{account.port}"
    times = times or Times(connect=5.0, booted=_LISTEN_S)
    sink = _Listening()
    try:
        streams, confidential = await dial(account, times.connect)
        connection = Connection(
            streams,
            sink,
            dict.fromkeys(_TELLING, frozenset[str]()),
            Seen(),
            unanswerable=set(),
            confidential=confidential,
            times=times,
        )
        listed = await connection.during(_ask(connection, account, sink, times))
    except Lost as lost:
        detail = f" ({lost.detail})" if lost.detail else ""
        return [(False, f"{name}: {at}: {_WORDS[lost.end]}{detail}")]
    found = [(True, f"logged in to {at}"), *_reading(sink.events), *_writing(listed)]
    if not confidential:
        found.append((True, _WITHOUT_TLS))
    return [(good, f"{name}: {text}") for good, text in found]


async def _ask(
    connection: Connection, account: AmiAccount, sink: _Listening, times: Times
) -> frozenset[str] | None:
    await connection.login(account.user, account.secret.get_secret_value())
    # Without it a class is missing, or Asterisk is still starting: the events received tell which.
    await wait_at_most(times.booted, sink.told)
    return await connection.allowed()


def _reading(events: set[str]) -> Iterator[Found]:
    """Findings about the classes of `read`."""
    for event, class_ in _TELLING.items():
        if event not in events:
            yield False, f"read={class_} is missing in manager.conf (no {event} came)"
    unseen = ", ".join(sorted(CLASSES - set(_TELLING.values())))
    yield True, f"whether read has {unseen} shows only when something happens"


def _writing(listed: frozenset[str] | None) -> Iterator[Found]:
    """Findings about the classes of `write`, from the actions that the account may use."""
    if listed is None:
        yield True, "it does not tell which actions this account may use"
        return
    for right in ("reporting", "system"):
        actions = [action for action, needs in RIGHTS.items() if needs == right]
        missing = [action for action in actions if action not in listed]
        if len(missing) == len(actions):
            yield (
                right not in NEEDED,
                f"write={right} is missing in manager.conf: {', '.join(missing)} cannot be asked;"
                f" {_WITHOUT[right]}",
            )
        elif missing:
            yield True, f"no module answers {', '.join(missing)}"
    if more := sorted({right for action, right in _MORE.items() if action in listed}):
        yield True, f"the account may do more than the collector needs: {', '.join(more)}"


_WITHOUT: Final = {
    "reporting": "calls that are under way at a login are not counted",
    "system": "contacts are then known by their events, and by the state of their endpoints",
}
