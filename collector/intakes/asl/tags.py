"""Tags of `asl-telemetry`'s reports, in line protocol.

The same few combinations recur, so each is made once a day and cached.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.builds import build_name
from collector.lines import label, tag_set
from collector.metrics import Metrics
from collector.schema import (
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    DISTRO,
    REGISTRATION,
    RELEASE,
    UNKNOWN,
)
from collector.tag_budget import Changes, TagBudget

_VERSION: Final = re.compile(r"(?P<asterisk>[^+\s]+)\+(?P<asl>asl\d*-[^-\s]+)(-\S*)?")
_MOST: Final = 2000
"""Limit of cached combinations, far more than an honest network has."""

Said = tuple[str | None, str | None, str | None, str | None]
"""A report's `ast-ver`, distro, release and architecture, as sent."""

_MOST_HEARD: Final = 1000


@dataclass(frozen=True, slots=True)
class TagSet:
    """Tags in line protocol, and the names of those stored as `other`.

    `open` is set if one of the values is not firm, so that its servers must be counted. `heard` are
    the servers that have reported these values today.
    """

    text: str
    over_budget: tuple[str, ...]
    open: bool
    heard: set[str]


@dataclass(frozen=True, slots=True)
class Platform:
    """Tags of a server, and of its nodes by channel (as sent) and registration."""

    tags: Mapping[str, str]
    server: TagSet
    nodes: dict[tuple[str, str], TagSet] = field(default_factory=dict)


class Tags:
    """Makes and caches the tags of reports within budget; counts each value over budget."""

    def __init__(self, budget: TagBudget, metrics: Metrics) -> None:
        self._budget = budget
        self._metrics = metrics
        self._day = -1
        self._version = budget.version
        self._platforms: dict[Said, Platform] = {}

    def platform(self, said: Said, server: str, day: int, changes: Changes) -> Platform:
        """The tags of a report's server (a pseudonym) on a UTC day (days since 1970).

        Appends the changes of budgets to `changes`.
        """
        if (
            day != self._day
            or self._version != self._budget.version
            or len(self._platforms) > _MOST
        ):
            self._platforms.clear()
            self._day = day
            self._version = self._budget.version
        found = self._platforms.get(said)
        if found is None or (found.server.open and server not in found.server.heard):
            found = self._platforms[said] = self._new_platform(said, found, server, day, changes)
        if found.server.over_budget:
            self._count(found.server.over_budget)
        return found

    def node(
        self, platform: Platform, said: tuple[str, str], server: str, day: int, changes: Changes
    ) -> str:
        """The tags of a node on a platform that `platform` returned for the same day.

        `said` is the node's channel as sent, and its registration.
        """
        channel_said, registered = said
        found = platform.nodes.get(said)
        if found is None or (found.open and server not in found.heard):
            tags = dict(platform.tags) | {REGISTRATION.name: registered}
            wanted = {CHANNEL.name: channel(channel_said)}
            found = self._admit(wanted, tags, found, server, day, changes)
            if len(platform.nodes) < _MOST:
                platform.nodes[said] = found
        if found.over_budget:
            self._count(found.over_budget)
        return found.text

    def _new_platform(
        self, said: Said, before: Platform | None, server: str, day: int, changes: Changes
    ) -> Platform:
        ast_ver, distro, release, arch = (text or "" for text in said)
        asterisk, asl = versions(ast_ver)
        wanted = {
            ASTERISK_VERSION.name: asterisk,
            ASL_VERSION.name: asl,
            DISTRO.name: label(distro),
            RELEASE.name: label(release),
            ARCH.name: label(arch),
        }
        tags: dict[str, str] = {}
        found = self._admit(wanted, tags, before.server if before else None, server, day, changes)
        if before is not None and before.tags == tags:
            return Platform(tags, found, before.nodes)
        return Platform(tags, found)

    def _admit(
        self,
        wanted: Mapping[str, str],
        tags: dict[str, str],
        before: TagSet | None,
        server: str,
        day: int,
        changes: Changes,
    ) -> TagSet:
        """Admit values and add them to `tags`; `before` is an earlier result of the same day."""
        for name, value in wanted.items():
            tags[name] = self._budget.admit(name, value, server, day, changes)
        heard = before.heard if before is not None else set()
        if len(heard) >= _MOST_HEARD:
            heard.clear()
        heard.add(server)
        return TagSet(
            tag_set(tags),
            tuple(name for name, value in wanted.items() if tags[name] != value),
            not all(self._budget.is_firm(name, value) for name, value in wanted.items()),
            heard,
        )

    def _count(self, names: Iterable[str]) -> None:
        for name in names:
            self._metrics.over_budget.labels(name).inc()


def version_line(text: str) -> str:
    """The line of `core show version` in `ast-ver`: the last one that begins with `Asterisk`.

    Asterisk may print warnings before it. Text without such a line is returned unchanged.
    """
    if "\n" not in text:
        return text
    lines = (line.strip() for line in text.split("\n"))
    found = [line for line in lines if line.startswith("Asterisk ")]
    return found[-1] if found else text


def versions(text: str) -> tuple[str, str]:
    """Asterisk's and AllStarLink's version from the first two words of `core show version`.

    `Asterisk 20.7.0+asl3-1.3-1.deb12` gives `20.7.0` and `asl3-1.3`. Other builds give their second
    word, and `unknown`; a build from a source tree is `GIT` or `SVN` (`collector.builds`).
    """
    words = version_line(text).split()
    if not words:
        return UNKNOWN, UNKNOWN
    build = words[1] if len(words) > 1 else words[0].removeprefix("Asterisk")
    found = _VERSION.fullmatch(build)
    if found is None:
        return build_name(label(build)), UNKNOWN
    return build_name(label(found["asterisk"])), label(found["asl"])


def channel(text: str) -> str:
    """The channel driver's name in lower case; `radio` becomes `usbradio`."""
    name = label(text.partition("/")[0].lower())
    return "usbradio" if name == "radio" else name


def registration(*, http: bool, iax: bool) -> str:
    """A node's registration: `http`, `iax`, `both` or `none`."""
    if http:
        return "both" if iax else "http"
    return "iax" if iax else "none"
