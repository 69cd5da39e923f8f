"""The tags of `asl-telemetry`'s reports, as they stand in a line.

Their combinations are few and come again and again: each is put together once a day.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.lines import label, tag_set
from collector.metrics import Metrics
from collector.schema import (
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    DISTRO,
    NODE_TAGS,
    REGISTRATION,
    RELEASE,
    UNKNOWN,
)
from collector.tag_budget import News, TagBudget

_VERSION: Final = re.compile(r"(?P<asterisk>[^+\s]+)\+(?P<asl>asl\d*-[^-\s]+)(-\S*)?")
_MOST: Final = 2000
"""Combinations that are remembered: far more than an honest network has."""

Said = tuple[str | None, str | None, str | None, str | None]
"""A report's `ast-ver`, distro, release and architecture, as they were sent."""


_MOST_HEARD: Final = 1000


@dataclass(frozen=True, slots=True)
class TagSet:
    """Tags as they stand in a line, and the names of those stored as `other`.

    `open`: whether one of the values is not firm, so that it matters which servers say it. `heard`
    are the servers that said them today.
    """

    text: str
    over_budget: tuple[str, ...]
    open: bool
    heard: set[str]


@dataclass(frozen=True, slots=True)
class Platform:
    """What a report's tags say of its server; of its nodes, by channel as sent and registration."""

    tags: Mapping[str, str]
    server: TagSet
    nodes: dict[tuple[str, str], TagSet] = field(default_factory=dict)


class Tags:
    """Gives reports their tags, within budget; what goes over it is counted each time."""

    def __init__(self, budget: TagBudget, metrics: Metrics) -> None:
        self._budget = budget
        self._metrics = metrics
        self._day = -1
        self._version = budget.version
        self._platforms: dict[Said, Platform] = {}

    def platform(self, said: Said, server: str, day: int, news: News) -> Platform:
        """What a report of a UTC day (days since 1970) says of its server (a pseudonym).

        Appends to `news` what a later run must know of the budgets.
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
            found = self._platforms[said] = self._new_platform(said, found, server, day, news)
        if found.server.over_budget:
            self._count(found.server.over_budget)
        return found

    def node(
        self, platform: Platform, said: tuple[str, str], server: str, day: int, news: News
    ) -> str:
        """The tags of a node on a platform that `platform` gave for the same day.

        `said` is its channel as it was sent, and its registration.
        """
        channel_said, registered = said
        found = platform.nodes.get(said)
        if found is None or (found.open and server not in found.heard):
            tags = dict(platform.tags) | {REGISTRATION.name: registered}
            wanted = {CHANNEL.name: channel(channel_said)}
            found = self._admit(wanted, tags, found, server, day, news)
            if len(platform.nodes) < _MOST:
                platform.nodes[said] = found
        if found.over_budget:
            self._count(found.over_budget)
        return found.text

    def _new_platform(
        self, said: Said, before: Platform | None, server: str, day: int, news: News
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
        found = self._admit(wanted, tags, before.server if before else None, server, day, news)
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
        news: News,
    ) -> TagSet:
        """Admit values and add them to `tags`; `before` is what was given earlier that day."""
        for name, value in wanted.items():
            tags[name] = self._budget.admit(name, value, server, day, news)
        for tag in {item.tag for item in news}:
            self._metrics.tag_values.labels(tag).set(self._budget.held(tag))
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

    Asterisk may print warnings before it. Text without such a line is given back as it is.
    """
    if "\n" not in text:
        return text
    lines = (line.strip() for line in text.split("\n"))
    found = [line for line in lines if line.startswith("Asterisk ")]
    return found[-1] if found else text


def tag_budgets() -> dict[str, int]:
    """How many values each open-ended tag may hold."""
    return {tag.name: tag.budget for tag in NODE_TAGS if tag.budget and tag is not REGISTRATION}


def versions(text: str) -> tuple[str, str]:
    """Asterisk's and AllStarLink's version in the first two words of `core show version`.

    `Asterisk 20.7.0+asl3-1.3-1.deb12` gives `20.7.0`, `asl3-1.3`. Another build gives its second
    word as it is, and `unknown`.
    """
    words = version_line(text).split()
    if not words:
        return UNKNOWN, UNKNOWN
    build = words[1] if len(words) > 1 else words[0].removeprefix("Asterisk")
    found = _VERSION.fullmatch(build)
    if found is None:
        return label(build), UNKNOWN
    return label(found["asterisk"]), label(found["asl"])


def channel(text: str) -> str:
    """The channel driver's name: in lower case, `radio` is `usbradio`."""
    name = label(text.partition("/")[0].lower())
    return "usbradio" if name == "radio" else name


def registration(*, http: bool, iax: bool) -> str:
    """How a node is registered: `http`, `iax`, `both` or `none`."""
    if http:
        return "both" if iax else "http"
    return "iax" if iax else "none"
