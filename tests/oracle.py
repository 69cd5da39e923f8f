"""Reference implementation of the daily and hourly series, by brute force in plain Python.

It shares no code with the product: it reads bodies by the client's documentation, identifies
senders by UUIDs and node numbers, and counts every number from scratch. It has no k;
`tests.safety` compares series published with a k against it.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from itertools import groupby, pairwise, takewhile
from statistics import median, median_low
from typing import Any

S = 10**9
HOUR = 3600 * S
DAY = 24 * HOUR
WINDOW = 30

Tags = tuple[tuple[str, str], ...]
Points = dict[tuple[int, Tags], dict[str, Any]]
"""Maps time in ns and tags to fields."""
Series = dict[str, Points]
"""Maps measurements to points."""

SERVER_KEYS = ("asterisk_version", "asl_version", "distro", "release", "arch")
NODE_KEYS = (*SERVER_KEYS, "channel", "registration")
TABLE = ("dimension", "value", "within", "within_value")
CHANNELS = ("dahdi", "simpleusb", "usbradio", "voter")

_PARTS = re.compile(r'("nodes-reg-iax"\s*:\s*\[)([^\]]*)\]')


@dataclass(frozen=True)
class NodeSaid:
    """A public node in a report, with the properties that are counted."""

    number: int
    is_a: Mapping[str, str]


@dataclass(frozen=True)
class Said:
    """An accepted report: its time, sender and contents."""

    at: int
    server: str
    is_a: Mapping[str, str]
    nodes: tuple[NodeSaid, ...]
    packages: Mapping[str, str]
    uptime: int | None
    kernel: str

    @property
    def day(self) -> int:
        return self.at // DAY

    def without(self, node: int) -> Said:
        """Return the report without a node."""
        return replace(self, nodes=tuple(each for each in self.nodes if each.number != node))


def said(received: Iterable[tuple[int, bytes]]) -> list[Said]:
    """Parse the submissions (time in ns, body) that are to be accepted, in order of time."""
    understood = (_said(at, body) for at, body in received)
    return sorted((each for each in understood if each), key=lambda each: each.at)


def _said(at: int, body: bytes) -> Said | None:
    text = body.decode()
    try:
        told = json.loads(text)
    except ValueError:
        # A provider's user name is unquoted among the numbers.
        try:
            told = json.loads(_PARTS.sub(_only_numbers, text))
        except ValueError:
            return None
    numbers = dict.fromkeys(int(number) for number in told["nodes"])
    public = [number for number in numbers if number >= 2000]
    if not public:
        return None
    asterisk, asl = _versions(told.get("ast-ver") or "")
    plain = (_clean(told.get(name)) for name in ("distro", "release", "arch"))
    is_a = {
        name: _label(value)
        for name, value in zip(SERVER_KEYS, (asterisk, asl, *plain), strict=True)
    }
    http = {int(number) for number in told.get("nodes-reg-http") or ()}
    iax = {int(word) for word in told.get("nodes-reg-iax") or () if str(word).isdigit()}
    channels = told.get("nodes-channels") or {}
    nodes = tuple(
        NodeSaid(
            number,
            is_a
            | {
                "channel": _label(_channel(channels.get(str(number)))),
                "registration": {
                    (False, False): "none",
                    (True, False): "http",
                    (False, True): "iax",
                    (True, True): "both",
                }[number in http, number in iax],
            },
        )
        for number in public
    )
    packages = {_label(p): _label(v) for p, v in sorted((told.get("pkgs") or {}).items()) if v}
    uptime = _hours(told.get("uptime"))
    kernel = _series(told.get("kernel") or "")
    return Said(at, told["uuid"].lower(), is_a, nodes, packages, uptime, kernel)


def _hours(text: object) -> int | None:
    """An uptime in whole hours; none for what no Asterisk reaches in ten years."""
    seconds = int(str(text)) if str(text).isdigit() else None
    return None if seconds is None or seconds > 10 * 365 * 86_400 else seconds // 3600


def _series(kernel: str) -> str:
    """The first two numbers of a Linux release, at most 99 and 999; else `unknown`."""
    major, _, rest = kernel.strip().partition(".")
    minor = "".join(takewhile(str.isdigit, rest))
    known = major.isdigit() and major[0] != "0" and len(major) <= 2 and 0 < len(minor) <= 3
    return f"{major}.{int(minor)}" if known else "unknown"


def _only_numbers(found: re.Match[str]) -> str:
    words = [word.strip() for word in found[2].split(",")]
    return found[1] + ",".join(word for word in words if word.isdigit()) + "]"


def _clean(text: str | None) -> str:
    printable = "".join(letter if letter.isprintable() else " " for letter in text or "")
    return " ".join(printable.split()).replace("\\", "/")[:64].strip() or "unknown"


def _versions(text: str) -> tuple[str, str]:
    words = text.split()
    if len(words) < 2:
        return "unknown", "unknown"
    asterisk, plus, rest = words[1].partition("+")
    if plus and rest.startswith("asl"):
        return _tree(asterisk), "-".join(rest.split("-")[:2])
    return _tree(_clean(words[1])), "unknown"


def _tree(build: str) -> str:
    """A build without its commit."""
    for tree in ("GIT", "SVN"):
        if build.partition("-")[0] == tree:
            return tree
    return "unknown" if build.startswith("UNKNOWN__") else build


def _channel(text: str | None) -> str:
    name = _clean((text or "").split("/")[0].lower())
    return {"radio": "usbradio"}.get(name, name)


def _label(text: str) -> str:
    """The published form of a value: ASCII, and never a reserved word of the tables."""
    cleaned = _clean(unicodedata.normalize("NFKC", text))
    plain = "".join(letter if " " <= letter <= "~" else "?" for letter in cleaned)
    for word, meaning in {"all": "other", "other": "other", "none": "none"}.items():
        if _word(plain) == word:
            return meaning
    return "unknown" if _word(plain) == "unknown" else plain


def _word(text: str) -> str:
    for digit, letter in ("1l", "Il", "|l", "0o"):
        text = text.replace(digit, letter)
    return text.lower()


def _drawn(text: str) -> str:
    """A key that is equal for texts that look alike."""
    for one, other in ("1l", "Il", "|l", "O0", "`'"):
        text = text.replace(one, other)
    return text


def _common(counts: Mapping[str, int]) -> dict[str, str]:
    """Map values that look alike to one name, the most frequent of them."""
    return {
        value: min(
            (other for other in counts if _drawn(other) == _drawn(value)),
            key=lambda other: (-counts[other], other),
        )
        for value in counts
    }


def _named(units: Iterable[Mapping[str, str]], keys: Iterable[str]) -> list[dict[str, str]]:
    """A day's units with published names; the release includes its distribution."""
    named = [dict(unit) for unit in units]
    for unit in named:
        if "other" in {unit["distro"], unit["release"]}:
            unit["release"] = "other"
        elif not unit["distro"] == unit["release"] == "unknown":
            unit["release"] = f"{unit['distro']} {unit['release'].replace(' ', '_')}"
    for key in keys:
        names = _common(Counter(unit[key] for unit in named))
        for unit in named:
            unit[key] = names[unit[key]]
    return named


@dataclass(frozen=True)
class Exact:
    """The units of a day, each counted once, by its last report."""

    reports: list[Said]
    nodes: dict[int, NodeSaid]
    servers: dict[str, Said]


class Oracle:
    """The expected series at `now` (ns), given all `reports` ever received."""

    def __init__(self, reports: Iterable[Said], now: int) -> None:
        self.reports = [each for each in reports if each.at < now]
        self.now = now
        self.first = min(each.day for each in self.reports)
        self.last = now // DAY
        by_day: dict[int, list[Said]] = defaultdict(list)
        for report in self.reports:
            by_day[report.day].append(report)
        self.days = {day: _exact(by_day[day]) for day in range(self.first - WINDOW, self.last + 1)}
        self._named: dict[tuple[int, bool], list[dict[str, str]]] = {}
        self._upgrades = self._all_upgrades()
        self._hourly: dict[int, dict[str, int]] = {}

    def units(self, day: int, *, servers: bool = False) -> list[dict[str, str]]:
        """A day's nodes, or servers, with published names; do not modify the result."""
        if (day, servers) not in self._named:
            exact = self.days[day]
            if servers:
                named = _named((server.is_a for server in exact.servers.values()), SERVER_KEYS)
            else:
                named = _named((node.is_a for node in exact.nodes.values()), NODE_KEYS)
            self._named[day, servers] = named
        return self._named[day, servers]

    def series(self, days: Iterable[int] | None = None) -> Series:
        """All points of all public measurements on these days (since 1970), with k = 1."""
        chosen = range(self.first, self.last + 1) if days is None else days
        made: dict[str, Callable[[int], Points]] = {
            "daily_usage": self.usage,
            "daily_nodes": self.node_tables,
            "daily_servers": self.server_tables,
            "daily_packages": self.packages,
            "daily_upgrades": self.upgrades,
            "hourly_usage": self.hours,
        }
        return {
            name: {key: fields for day in chosen for key, fields in points(day).items()}
            for name, points in made.items()
        }

    def usage(self, day: int) -> Points:
        """Points of `daily_usage` of a day."""
        exact = self.days[day]
        nodes = self.units(day)
        channels = Counter(node["channel"] for node in nodes)
        registered = Counter(node["registration"] for node in nodes)
        before = self._nodes(day - WINDOW, day - 1)
        since = self._nodes(day - WINDOW + 1, day)
        fields = {
            "reports": len(exact.reports),
            "node_reports": sum(len(report.nodes) for report in exact.reports),
            "servers": len(exact.servers),
            "nodes": len(exact.nodes),
            "asterisk_versions": len(_known(node["asterisk_version"] for node in nodes)),
            "asl_versions": len(_known(node["asl_version"] for node in nodes)),
            **self._uptime(day),
            **{name: channels[name] for name in CHANNELS},
            "other_channels": sum(n for name, n in channels.items() if name not in CHANNELS),
            "registered_http": registered["http"] + registered["both"],
            "registered_iax": registered["iax"] + registered["both"],
            "unregistered": registered["none"],
            "nodes_7d": len(self._nodes(day - 6, day)),
            "nodes_30d": len(self._nodes(day - 29, day)),
            "servers_7d": len(self._servers(day - 6, day)),
            "servers_30d": len(self._servers(day - 29, day)),
            "new_nodes": len(set(exact.nodes) - before),
            "lapsed_nodes": len(self._nodes(day - WINDOW, day - WINDOW) - since),
            "final": self.final(day),
        }
        return {(day * DAY, ()): fields}

    def _uptime(self, day: int) -> dict[str, int]:
        hours = [server.uptime for server in self.days[day].servers.values()]
        known = [each for each in hours if each is not None]
        return {"uptime_median": median_low(known)} if known else {}

    def final(self, day: int) -> int:
        """1 if a day is complete, else 0."""
        return int(self.now >= (day + 1) * DAY + HOUR)

    def node_tables(self, day: int) -> Points:
        """Points of `daily_nodes` of a day."""
        points = _tables(self.units(day), NODE_KEYS, day, "nodes", self.final(day))
        sums: Counter[tuple[str, ...]] = Counter()
        for (_, tags), fields in points.items():
            sums[_table_of(tags)] += fields["nodes"]
        return {key: fields | {"total": sums[_table_of(key[1])]} for key, fields in points.items()}

    def server_tables(self, day: int) -> Points:
        """Points of `daily_servers` of a day."""
        units = self.units(day, servers=True)
        points = _tables(units, SERVER_KEYS, day, "servers", self.final(day))
        servers = self.days[day].servers.values()
        for dimension, values in (
            ("kernel", [server.kernel for server in servers]),
            ("uptime", [_length(server.uptime) for server in servers]),
        ):
            for value, count in Counter(values).items():
                row = (dimension, value, "all", "all")
                key = (day * DAY, tuple(zip(TABLE, row, strict=True)))
                points[key] = _counted("servers", count, day, self.final(day))
        return points

    def packages(self, day: int) -> Points:
        """Points of `daily_packages` of a day."""
        servers = [server.packages for server in self.days[day].servers.values()]
        names = _common(Counter(package for server in servers for package in server))
        servers = [{names[p]: v for p, v in server.items()} for server in servers]
        points: Points = {}
        for package in set(names.values()):
            common = _common(Counter(server[package] for server in servers if package in server))
            # A version that a server calls `none` does not mean that the package is missing.
            common |= {"none": "other"} if "none" in common else {}
            counts = Counter(common[s[package]] if package in s else "none" for s in servers)
            if not set(counts) - {"none", "other"}:
                continue
            for version, count in counts.items():
                tags = (
                    ("package", package),
                    ("upstream", _upstream(version)),
                    ("version", version),
                )
                points[day * DAY, tags] = _counted("servers", count, day, self.final(day))
        return points

    def upgrades(self, day: int) -> Points:
        """Points of `daily_upgrades` of a day."""
        return {
            (day * DAY, (("from_version", before), ("to_version", after))): {
                "nodes": len(nodes),
                "final": self.final(day),
            }
            for (before, after), nodes in self._upgrades.get(day, {}).items()
        }

    def hours(self, day: int) -> Points:
        """Points of `hourly_usage` of a day, for hours that are over."""
        return {
            (start, ()): _and_missed(self._hour(start) | self._expected(start))
            for start in range(day * DAY, (day + 1) * DAY, HOUR)
            if start + HOUR <= self.now
        }

    def events(self) -> set[tuple[int, str, str, str]]:
        """Day, kind, subject and item of the versions and packages that are events, with k = 1."""
        days = [day for day in range(self.first, self.last + 1) if self.final(day)]
        seen: dict[tuple[str, str, str], int] = {}
        began: dict[str, int] = {}
        for day in days:
            named = {
                ("version", key, node[key])
                for node in self.units(day)
                for key in ("asl_version", "asterisk_version")
            }
            listed = (dict(tags) for _, tags in self.packages(day))
            named |= {("package", tags["package"], tags["version"]) for tags in listed}
            for each in named:
                began.setdefault(each[0], day)
                seen.setdefault(each, day)
        return {
            (day, *each)
            for each, day in seen.items()
            if day >= began[each[0]] + 7 and each[2] not in {"other", "unknown", "none"}
        }

    def _hour(self, start: int) -> dict[str, int]:
        if start not in self._hourly:
            day = start // DAY
            near = [r for each in (day - 1, day) for r in self._reports(each)]
            hour = [r for r in near if start <= r.at < start + HOUR]
            around = [r for r in near if start - 23 * HOUR <= r.at < start + HOUR]
            self._hourly[start] = {
                "reports": len(hour),
                "nodes": len({node.number for r in hour for node in r.nodes}),
                "nodes_24h": len({node.number for r in around for node in r.nodes}),
                "servers_24h": len({r.server for r in around}),
            }
        return self._hourly[start]

    def _expected(self, start: int) -> dict[str, float]:
        days = [start - back * DAY for back in range(1, 8) if start // DAY - back >= self.first]
        if len(days) < 3:
            return {}
        history = [self._hour(each) for each in days]
        return {
            "expected_reports": float(median(hour["reports"] for hour in history)),
            "expected_nodes_24h": float(median(hour["nodes_24h"] for hour in history)),
        }

    def _reports(self, day: int) -> list[Said]:
        return self.days[day].reports if day in self.days else []

    def _nodes(self, first: int, last: int) -> set[int]:
        return {
            n for day in range(first, last + 1) if day in self.days for n in self.days[day].nodes
        }

    def _servers(self, first: int, last: int) -> set[str]:
        return {
            s for day in range(first, last + 1) if day in self.days for s in self.days[day].servers
        }

    def _all_upgrades(self) -> dict[int, dict[tuple[str, str], set[int]]]:
        told: dict[int, list[tuple[int, str]]] = defaultdict(list)
        for report in self.reports:
            for node in report.nodes:
                told[node.number].append((report.day, node.is_a["asl_version"]))
        moved: dict[int, list[tuple[int, str, str]]] = defaultdict(list)
        for number, versions in told.items():
            for at, ((since, before), (day, after)) in enumerate(pairwise(versions), 1):
                had = {version for then, version in versions[:at] if day - then <= WINDOW}
                known = "unknown" not in {before, after}
                if known and after not in had and day - since <= WINDOW:
                    moved[day].append((number, before, after))
        return {day: self._flows(day, moves) for day, moves in moved.items()}

    def _flows(
        self, day: int, moves: list[tuple[int, str, str]]
    ) -> dict[tuple[str, str], set[int]]:
        """The nodes of each version change on a day, with that day's published names."""
        on_day = Counter(node.is_a["asl_version"] for node in self.days[day].nodes.values())
        names = _common({v: 0 for _, *pair in moves for v in pair} | dict(on_day))
        found: dict[tuple[str, str], set[int]] = defaultdict(set)
        for number, before, after in moves:
            if names[before] != names[after]:
                found[names[before], names[after]].add(number)
        return found


def _and_missed(hour: dict[str, Any]) -> dict[str, Any]:
    missed = hour["reports"] == 0 and hour.get("expected_reports", 0) >= 5
    return hour | ({"missed": 1} if missed else {})


def _exact(reports: list[Said]) -> Exact:
    return Exact(
        reports,
        {node.number: node for report in reports for node in report.nodes},
        {report.server: report for report in reports},
    )


def _length(uptime: int | None) -> str:
    if uptime is None:
        return "unknown"
    return "0-24h" if uptime < 24 else "24h-30d" if uptime < 30 * 24 else "30d+"


def _table_of(tags: Tags) -> tuple[str, ...]:
    dimension, within, within_value = (
        dict(tags)[name] for name in ("dimension", "within", "within_value")
    )
    return dimension, within, within_value


def _upstream(version: str) -> str:
    upstream = re.sub(r"(.)-[^-]*$", r"\1", re.sub(r"^[0-9]+:", "", version))
    words = ("", "all", "none", "other", "unknown")
    return version if upstream in words or _label(upstream) != upstream else upstream


def _known(values: Iterable[str]) -> set[str]:
    return set(values) - {"unknown"}


def _counted(field: str, count: int, day: int, final: int) -> dict[str, int]:
    sunday = (date(1970, 1, 1) + timedelta(days=day)).isoweekday() == 7
    return {field: count, "final": final} | ({"weekly": count} if sunday and final else {})


def _tables(
    units: Iterable[Mapping[str, str]], keys: tuple[str, ...], day: int, field: str, final: int
) -> Points:
    rows: Counter[Hashable] = Counter()
    for unit in units:
        for dimension in keys:
            rows[dimension, unit[dimension], "all", "all"] += 1
            for within in keys:
                # A release belongs to one distribution, so the two are not crossed.
                if within != dimension and {within, dimension} != {"distro", "release"}:
                    rows[dimension, unit[dimension], within, unit[within]] += 1
    return {
        (day * DAY, tuple(zip(TABLE, row, strict=True))): _counted(field, count, day, final)
        for row, count in rows.items()
        if isinstance(row, tuple)
    }


def by_day(points: Points) -> Iterator[tuple[int, Points]]:
    """Group points by day (since 1970), in order."""
    for day, keys in groupby(sorted(points), key=lambda key: key[0] // DAY):
        yield day, {key: points[key] for key in keys}
