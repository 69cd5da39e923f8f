"""Small random fleets of awkward servers; a report is a pair of time in ns and body.

Servers are silent for days near the limits of the windows, send reports twice, change their version
within a day, exchange nodes, return with another UUID, and send unusual values.
"""

from __future__ import annotations

import json
import random
import uuid
from dataclasses import dataclass, field

from tests.oracle import DAY, HOUR, S

Received = list[tuple[int, bytes]]

EPOCH = 20_000
"""The default first day of a fleet, in days since 1970: 2024-10-04."""

_VERSIONS = (
    "Asterisk 20.7.0+asl3-1.3-1.deb12",
    "Asterisk 20.9.2+asl3-2.0.1-1.deb12",
    "Asterisk 22.2.0+asl3-3.3.0-1.deb12",
    "Asterisk 22.2.0+asl3-3.4.0-1.deb12",
    "Asterisk 22.5.1+asl3-3.5.2-1.deb13",
)
_ODD_VERSIONS = ("Asterisk GIT-master-a1b2c3d", "", "Asterisk 18.9.0")
_PLATFORMS = (
    ("Debian", "12", "x86_64"),
    ("Debian", "12", "aarch64"),
    ("Debian", "13", "x86_64"),
    ("Raspbian", "12", "armv7l"),
    ("Ubuntu", "24.04", "x86_64"),
)
_ODD_PLATFORMS = (("", "", ""), ("Debian", "", "x86_64"), ("", "12", "i686"), ('a"b,c', "1", "x 1"))
_CHANNELS = ("SimpleUSB", "SimpleUSB", "SimpleUSB", "Radio", "DAHDI", "Voter", "USRP", "", "rpt/1")
_PACKAGES = {
    "asl3": ("3.5.1-1.deb12", "3.6.0-1.deb12"),
    "allmon3": ("1.5.1-1", "1.5.1-1", "", None),
    "asl3-tts": ("1.0.1", None, None),
    "odd,one": ("1 2", "a=b"),
}
UNTIDY = (
    *("X", "Y Z", "X Y", "Z", "X Y Z", "Y_Z", "", " ", "\t", "12", "Debian 12", "a,b=c", 'a"b'),
    *("other", "Other", "0ther", "unknown", "UNKNOWN", "unknown 12", "all", "aIl", "none", "None"),
    *(
        "Debian",
        "debian",
        "Debian\u200b",
        "Debian\ufe0f",
        "D\u0435bian",
        "\uff24ebian",
        "D\u00e9bian",
    ),
    *(
        "1",
        "l",
        "I",
        "|",
        "0",
        "O",
        "1 0",
        "l O",
        "\u3164",
        "\u2800",
        "\u202eneg",
        "\ufdfa" * 9,
        "x" * 80,
    ),
)
"""Values that are blank, look alike, or are reserved in the tables."""
_UNTIDY_VERSIONS = (
    *(f"Asterisk {word}" for word in ("other", "all", "unknown", "2O.7.0", "20.7.\u0660", "|")),
    *(f"Asterisk 20.7.{a}+asl3-{b}.3-1.deb12" for a in "0O" for b in "1lI2"),
)
UPTIMES = ("86399", "86400", "2591999", "2592000", "315360000", "315360001", "99999999999", "-5")
KERNELS = ("6.1.0-31-amd64", "6.6.31+rpt-rpi-v8", "6.12", "06.1", "", "Darwin 6.6", "1000.2")
_SILENCES = (1, 2, 6, 7, 8, 29, 30, 31, 32)


@dataclass
class _Server:
    rng: random.Random
    uuid: str
    nodes: list[int]
    version: str
    platform: tuple[str, str, str]
    packages: dict[str, str]
    channels: dict[int, str]
    untidy: bool = False
    silent: set[int] = field(default_factory=set)

    def body(self) -> bytes:
        """Draw a report, now and then with another client's peculiarities."""
        rng = self.rng
        distro, release, arch = self.platform
        number = int(self.uuid[:4], 16)
        if self.untidy and rng.random() < 0.5:
            distro, release, arch = (
                rng.choice((word, rng.choice(UNTIDY))) for word in self.platform
            )
        nodes: list[int | str] = [*self.nodes]
        iax = [node for node in self.nodes if node % 5 == 0]
        words: list[int | str] = [*iax]
        if rng.random() < 0.1:
            nodes.append(rng.choice((1999, 1000, nodes[0])))
        quoted = rng.random() < 0.05
        if quoted:
            nodes, words = [str(node) for node in nodes], [str(word) for word in words]
        told = {
            "uuid": self.uuid.upper() if rng.random() < 0.05 else self.uuid,
            "ast-ver": self.version,
            "nodes": nodes,
            "nodes-reg-http": [node for node in self.nodes if node % 3],
            "nodes-reg-iax": words,
            "nodes-channels": {str(node): self.channels[node] for node in self.nodes},
            "uptime": rng.choice(("", UPTIMES[number % len(UPTIMES)], "17")),
            "reload-time": "17",
            "distro": distro,
            "release": release,
            "kernel": KERNELS[number % len(KERNELS)],
            "arch": arch,
            "pkgs": self.packages,
        }
        if rng.random() < 0.05:
            del told["pkgs"]
        body = json.dumps(told)
        if not quoted and rng.random() < 0.08:
            body = body.replace('"nodes-reg-iax": [', '"nodes-reg-iax": [some-user, ')
            body = body.replace("some-user, ]", "some-user]")
        return body.encode()


def random_fleet(
    seed: int, *, days: int, servers: int, first: int = EPOCH, untidy: bool = False
) -> Received:
    """Draw a fleet's submissions in order of time; `first` is its first day, in days since 1970.

    In an `untidy` fleet many values are blank, look alike or are reserved.
    """
    rng = random.Random(f"fleet {seed}")
    numbers = iter(rng.sample(range(2000, 60_000), servers * 4 + days))
    nodes = [next(numbers) for _ in range(rng.choice((1, 1, 2, 3)))]
    fleet = [_server(rng, nodes, days, 0, untidy=untidy)]
    received: Received = [(first * DAY + 5 * HOUR, fleet[0].body())]
    while len(fleet) < servers:
        late = rng.choice((0, 0, 0, rng.randrange(days)))
        nodes = [next(numbers) for _ in range(rng.choice((1, 1, 2)))]
        fleet.append(_server(rng, nodes, days, late, untidy=untidy))
    for day in range(days):
        _happenings(rng, fleet)
        for server in fleet:
            if day not in server.silent and rng.random() < 0.9:
                received += _reports(rng, server, (first + day) * DAY)
    if rng.random() < 0.5:
        middle = first * DAY + rng.randrange(days * DAY)
        refused = (b"\x00 not JSON", json.dumps({"uuid": fleet[0].uuid, "nodes": [1999]}).encode())
        received += [(middle, body) for body in refused]
    return sorted(received, key=lambda each: each[0])


def _server(rng: random.Random, nodes: list[int], days: int, late: int, *, untidy: bool) -> _Server:
    odd = rng.random() < 0.2
    made = _Server(
        rng,
        str(uuid.UUID(int=rng.getrandbits(128), version=4)),
        nodes,
        rng.choice(_ODD_VERSIONS if odd else _VERSIONS[:3]),
        rng.choice(_ODD_PLATFORMS if rng.random() < 0.15 else _PLATFORMS),
        {},
        {node: rng.choice(_CHANNELS) for node in nodes},
        untidy,
        set(range(late)),
    )
    _install(made)
    if rng.random() < 0.5:
        since = rng.randrange(days)
        made.silent |= set(range(since, since + rng.choice(_SILENCES)))
    return made


def _install(server: _Server) -> None:
    drawn = {name: server.rng.choice(versions) for name, versions in _PACKAGES.items()}
    server.packages = {name: version for name, version in drawn.items() if version is not None}
    if server.untidy:
        rng = server.rng
        server.version = rng.choice((server.version, *_UNTIDY_VERSIONS))
        server.channels = {node: rng.choice((*_CHANNELS, *UNTIDY)) for node in server.channels}
        server.packages |= {rng.choice(UNTIDY): rng.choice(UNTIDY) for _ in range(3)}


def _happenings(rng: random.Random, fleet: list[_Server]) -> None:
    """Change the fleet at random between two days."""
    server, other = rng.choice(fleet), rng.choice(fleet)
    if rng.random() < 0.3:
        server.version = rng.choice((*_VERSIONS, *_ODD_VERSIONS))
        _install(server)
    if rng.random() < 0.15 and len(other.nodes) > 1 and other is not server:
        moved = other.nodes.pop()
        server.nodes.append(moved)
        server.channels[moved] = other.channels[moved]
    if rng.random() < 0.05:
        server.uuid = str(uuid.UUID(int=rng.getrandbits(128), version=4))
    if rng.random() < 0.05:
        server.platform = rng.choice(_PLATFORMS)


def _reports(rng: random.Random, server: _Server, midnight: int) -> Received:
    """Draw a server's reports of a day, usually one."""
    times = rng.choices((1, 2, 3), (85, 10, 5))[0]
    # Not at the end of an hour, so that all points of a report are in the same hour.
    instants = sorted(midnight + rng.randrange(DAY - S) for _ in range(times))
    if rng.random() < 0.05:
        instants[0] = midnight
    received: Received = []
    for instant in instants:
        if received and rng.random() < 0.4:
            received.append((instant, received[-1][1]))
            continue
        if received and rng.random() < 0.5:
            server.version = rng.choice((*_VERSIONS, *(_UNTIDY_VERSIONS if server.untidy else ())))
        received.append((instant, server.body()))
    return received
