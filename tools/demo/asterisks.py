"""The Asterisks of the demo: recordings of a real one, played again and again.

StatsD goes over real UDP, each Asterisk from an address of its own on loopback; the manager
interfaces are servers that answer and tell as the recorded ones did.
"""

from __future__ import annotations

import asyncio
import math
import socket
from collections.abc import AsyncIterator, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from collector.setting_types import Address, Endpoint, Transport
from tools.embedded import HOST
from tools.replay.ami_script import script
from tools.replay.ami_server import SECRET, USER, AmiServer
from tools.replay.captures import AMI, STATSD, Capture, read_capture
from tools.replay.pbx import Pbx
from tools.replay.play import send_statsd, serve_ami


@dataclass(frozen=True, slots=True)
class Part:
    """The part of a recording in which all is well.

    It ends at `until` (s), and goes on from `again_from` (0: from the beginning, as after a
    restart) after `pause_s`. What holds any of the bytes of `without` is left out.
    """

    until: float = math.inf
    again_from: float = 0.0
    pause_s: float = 2.0
    without: tuple[bytes, ...] = ()


WHOLE: Final = Part()


@dataclass(frozen=True, slots=True)
class Recorded:
    """An Asterisk: the address that it sends from, and the beginnings of its recordings' names.

    `names` are the keys of COLLECTOR_ASTERISK_FILE that give names to things, with their values.
    `well` is what is played unless the story has trouble.
    """

    name: str
    address: str
    statsd: str = ""
    ami: str = ""
    names: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    well: Part = WHOLE


ASTERISKS: Final = (
    Recorded(
        "office",
        "127.0.0.2",
        statsd="02a-calls",
        ami="02a-calls",
        names={"ami_trunks": {"PJSIP/trunk": "provider", "PJSIP/watchedtrunk": "spare"}},
    ),
    Recorded("hotline", "127.0.0.3", statsd="07-call-centre"),
    Recorded(
        "callcentre",
        "127.0.0.4",
        ami="03-queues",
        names={"ami_agents": {"PJSIP/agent1": "desk 1", "PJSIP/agent2": "desk 2"}},
        # Of nine callers two give up.
        well=Part(without=(b"4930103",)),
    ),
    Recorded(
        "branch",
        "127.0.0.5",
        statsd="05-contacts",
        ami="05-contacts",
        # Later a phone gets slow, and peers are lost; two registrations never succeed.
        well=Part(
            25.5, again_from=14.5, without=(b"PJSIP.registrations", b"sip:site-b@", b"sip:site-c@")
        ),
    ),
    Recorded("doorbell", "127.0.0.8", ami="08-dtmf"),
    # Later somebody guesses passwords by the hundred.
    Recorded("edge", "127.0.0.6", ami="06-security", well=Part(24.0, pause_s=240.0)),
    Recorded(
        "remote",
        "127.0.0.7",
        ami="07-rtp-quality",
        # Of four calls one is on a good line.
        well=Part(
            without=(b"PJSIP/lossy", b"PJSIP/gina", b"PJSIP/hans", b"PJSIP/bob", b"PJSIP/carol")
        ),
    ),
)


class Asterisks:
    """The servers and senders of the demo; `file` is the collector's file that names them.

    `statsd` is where a collector must listen for them. With `trouble` the recordings are played
    whole, with all that went wrong in them.
    """

    def __init__(self, directory: Path, *, trouble: bool = False) -> None:
        self._trouble = trouble
        self.file = directory / "asterisk.toml"
        self._statsd = Address(HOST, _free_udp_port())
        self.statsd = Endpoint(Transport.UDP, self._statsd)
        self._secret = directory / "ami.secret"
        self._servers: dict[str, tuple[AmiServer, Capture, Part]] = {}
        self._players: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Write the file, and let the manager interfaces answer, until the context ends."""
        async with AsyncExitStack() as stack:
            tables = []
            for one in ASTERISKS:
                table = [f"[{one.name}]", f'statsd_from = ["{one.address}"]']
                if one.ami:
                    capture = read_capture(_found(AMI, one.ami))
                    server = AmiServer(Pbx(capture.description))
                    await stack.enter_async_context(server.listening())
                    self._servers[one.name] = server, capture, self._part(one)
                    table += [
                        f'ami = "{HOST}:{server.port}"',
                        f'ami_user = "{USER}"',
                        f'ami_secret_file = "{self._secret.name}"',
                        *(f"{key} = {_inline(names)}" for key, names in one.names.items()),
                    ]
                tables.append("\n".join(table) + "\n")
            self._secret.touch(mode=0o600)
            self._secret.write_text(SECRET, encoding="utf-8")
            self.file.write_text("\n".join(tables), encoding="utf-8")
            yield

    @asynccontextmanager
    async def playing(self) -> AsyncIterator[None]:
        """Play all recordings until the context ends."""
        players = [self._statsd_of(one) for one in ASTERISKS if one.statsd]
        players += [
            serve_ami(
                server,
                script(capture).part(part.until, part.without),
                capture.description,
                pause_s=part.pause_s,
                again_from=part.again_from,
            )
            for server, capture, part in self._servers.values()
        ]
        self._players = [asyncio.create_task(player) for player in players]
        try:
            yield
        finally:
            for task in self._players:
                task.cancel()
            await asyncio.gather(*self._players, return_exceptions=True)

    def _part(self, one: Recorded) -> Part:
        return WHOLE if self._trouble else one.well

    def _statsd_of(self, one: Recorded) -> Coroutine[None, None, None]:
        part = self._part(one)
        datagrams = [
            (at, datagram)
            for at, datagram in read_capture(_found(STATSD, one.statsd)).received()
            if at <= part.until and not any(words in datagram for words in part.without)
        ]
        return send_statsd(
            datagrams,
            (self._statsd.host, self._statsd.port),
            source=one.address,
            pause_s=part.pause_s,
            again_from=part.again_from,
        )

    def check(self) -> None:
        """Raise what ended a recording; all are played for ever."""
        for task in self._players:
            if task.done():
                task.result()


def _found(recordings: list[Path], beginning: str) -> Path:
    return next(path for path in recordings if path.name.startswith(beginning))


def _inline(names: Mapping[str, str]) -> str:
    """An inline table of TOML."""
    return "{ " + ", ".join(f'"{key}" = "{name}"' for key, name in names.items()) + " }"


def _free_udp_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
