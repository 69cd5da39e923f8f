"""Bodies of simulated reports, in the client's exact layout.

Pure: no I/O, no clock, no globals that change.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum, auto
from random import Random

from tools.simulation.catalogue import Platform, Release


@dataclass(frozen=True, slots=True)
class Stencil:
    """A template of a report, complete but for its two times."""

    head: bytes
    tail: bytes

    def body(self, uptime: int | None, reload_time: int | None) -> bytes:
        """Fill in both times in seconds; None if Asterisk did not answer."""
        return b'%b%b",\n\t"reload-time" : "%b%b' % (
            self.head,
            b"" if uptime is None else b"%d" % uptime,
            b"" if reload_time is None else b"%d" % reload_time,
            self.tail,
        )


@dataclass(frozen=True, slots=True)
class Telemetry:
    """The data of a report of asl-telemetry 1, without the two times.

    In the three lists, entries of type `str` are sent unquoted, since the client copies the output
    of Asterisk. No text is escaped.
    """

    uuid: str
    asterisk: str
    nodes: Sequence[int | str]
    registered_http: Sequence[int | str]
    registered_iax: Sequence[int | str]
    channels: Mapping[str, str]
    distro: str
    release: str
    kernel: str
    arch: str
    packages: Mapping[str, str]

    def stencil(self) -> Stencil:
        """Format the body with the client's tabs, blanks and order of keys."""
        channels = ", ".join(_pairs(self.channels))
        packages = " , ".join(_pairs(self.packages))
        head = (
            f'{{\n\t"uuid" : "{self.uuid}",\n'
            f'\t"ast-ver" : "{self.asterisk}",\n'
            f'\t"nodes" : {_array(self.nodes)},\n'
            f'\t"nodes-reg-http" : {_array(self.registered_http)},\n'
            f'\t"nodes-reg-iax" : {_array(self.registered_iax)},\n'
            f'\t"nodes-channels" : {{ {channels} }},\n'
            f'\t"uptime" : "'
        )
        tail = (
            f'",\n\t"os" : "Linux",\n'
            f'\t"distro" : "{self.distro}",\n'
            f'\t"release" : "{self.release}",\n'
            f'\t"kernel" : "{self.kernel}",\n'
            f'\t"arch" : "{self.arch}",\n'
            f'\t"pkgs" : {{ {packages}  }}\n}}'
        )
        return Stencil(head.encode(), tail.encode())


def _array(entries: Iterable[int | str]) -> str:
    return f"[ {','.join(map(str, entries))} ]"


def _pairs(entries: Mapping[str, str]) -> Iterable[str]:
    return (f'"{key}" : "{value}"' for key, value in entries.items())


class Odd(Enum):
    """A peculiarity of a client."""

    BARE_WORD = auto()
    EMPTY_UPTIME = auto()
    ARMV7L = auto()
    QUOTED_NUMBERS = auto()
    SAME_NODE_TWICE = auto()
    PRIVATE_ONLY = auto()
    FOREIGN_BUILD = auto()


@dataclass(frozen=True, slots=True)
class Node:
    """A local node: its number, channel driver and registrations."""

    number: int
    channel: str
    http: bool
    iax: bool

    @property
    def public(self) -> bool:
        """Whether the number is assigned by AllStarLink; private numbers repeat across servers."""
        return self.number >= PUBLIC[0][0]


PUBLIC = ((2000, 2999), (25_000, 68_999), (400_000, 699_999))
"""Ranges of public node numbers, drawn with weights of 4, 61 and 35 %."""

_CHANNELS = {
    "SimpleUSB": 65.0,
    "Radio": 14.0,
    "USRP": 8.0,
    "": 6.0,
    "Voter": 3.0,
    "DAHDI": 2.0,
    "Local": 0.8,
    "Pciradio": 0.7,
    "Beagle": 0.5,
}
_SIZES = {1: 80, 2: 11, 3: 4, 4: 2, 5: 0.9, 6: 0.6, 8: 0.6, 10: 0.4, 12: 0.2, 16: 0.2, 20: 0.1}
_WORDS = ("provider-user", "voip_trunk", "sip.example.net")


def draw_nodes(rng: Random, taken: set[int], odd: Odd | None) -> Iterator[Node]:
    """Draw the nodes of a new server, any private one first; public ones are added to `taken`."""
    size = rng.choices(list(_SIZES), list(_SIZES.values()))[0]
    if rng.random() < 0.12 or odd is Odd.PRIVATE_ONLY:
        yield Node(rng.choice((1000, 1001, 1998, 1999)), "SimpleUSB", http=False, iax=False)
    number = 0
    for index in range(size):
        # Owners of several nodes mostly have consecutive numbers.
        number += 1
        while not PUBLIC[0][0] <= number <= PUBLIC[-1][-1] or number in taken or rng.random() < 0.2:
            number = rng.randint(*rng.choices(PUBLIC, (4, 61, 35))[0])
        taken.add(number)
        channel = rng.choices(list(_CHANNELS), list(_CHANNELS.values()))[0]
        # A client without registered nodes sends nothing, so the first node is always registered.
        http, iax = rng.choices(
            ((True, False), (False, True), (True, True), (False, False)),
            (92.5, 5, 1.5, 3 if index else 0),
        )[0]
        yield Node(number, channel, http, iax)


def telemetry(
    *,
    uuid: str,
    odd: Odd | None,
    nodes: Sequence[Node],
    release: Release,
    platform: Platform,
    kernel: str,
    extras: frozenset[str],
) -> Telemetry:
    """Build the report data of a server from its software, nodes and peculiarity."""
    choice = int(uuid[:8], 16)
    packages = release.packages(platform.suffix, extras)
    version = release.version(platform.suffix)
    if odd is Odd.FOREIGN_BUILD:
        version = f"GIT-master-{release.commits[choice % len(release.commits)]}"
        packages["asl3-asterisk"] = ""
    # A server with only private nodes registers numbers that are not configured on it. Such
    # servers exist, and they have no node that counts.
    local = [node for node in nodes if odd is not Odd.PRIVATE_ONLY or not node.public]
    numbers: list[int | str] = [node.number for node in local]
    http: list[int | str] = [node.number for node in nodes if node.http]
    iax: list[int | str] = [node.number for node in nodes if node.iax]
    if odd is Odd.BARE_WORD:
        iax.append(_WORDS[choice % len(_WORDS)])
    elif odd is Odd.QUOTED_NUMBERS:
        numbers, http, iax = _quoted(numbers), _quoted(http), _quoted(iax)
    elif odd is Odd.SAME_NODE_TWICE:
        numbers.append(numbers[-1])
    return Telemetry(
        uuid=uuid,
        asterisk=f"Asterisk {version}",
        nodes=numbers,
        registered_http=http,
        registered_iax=iax,
        channels={str(node.number): node.channel for node in local},
        distro=platform.distro,
        release=platform.release,
        kernel=kernel,
        arch=platform.arch,
        packages=packages,
    )


def _quoted(numbers: Iterable[int | str]) -> list[int | str]:
    return [f'"{number}"' for number in numbers]
