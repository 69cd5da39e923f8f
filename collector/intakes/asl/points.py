"""Conversion of reports of `asl-telemetry` to pseudonymous lines of line protocol. Pure."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, NamedTuple, Protocol

import pydantic_core

from collector.admission import Buckets
from collector.intakes.asl.report import MOST_NODES, Reading, Report, read
from collector.intakes.asl.tags import Tags, registration
from collector.intakes.proof import Proof
from collector.lines import NS_PER_DAY, Stamper, escaped, field_format, label, line, line_format
from collector.metrics import Metrics
from collector.outbox import Entry
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.problems import Reason, Refusal
from collector.schema import FIRST_PUBLIC_NODE, NODE_REPORT, OPTED_OUT_REPORT, SERVER_REPORT
from collector.suspicion import Kind, Suspicions
from collector.tag_budget import Change, Changes, TagBudget

_MOST_SECONDS: Final = 100 * 365 * 86_400
_MOST_DIGITS: Final = len(str(_MOST_SECONDS))

_NODE_LINE: Final = line_format(NODE_REPORT.name, {"node": str, "server": str})
_SERVER_LINE: Final = line_format(
    SERVER_REPORT.name, {"server": str, "nodes": int, "nodes_http": int, "nodes_iax": int}
)
_TEXTS: Final = "," + field_format({"kernel": str, "packages": str})
_UPTIME: Final = "," + field_format({"uptime": int})
_RELOAD_AGE: Final = "," + field_format({"reload_age": int})


class Accepted(NamedTuple):
    """An accepted report: its outbox entry, number of nodes stored, and nodes ignored by reason.

    `tag_values` are the changes of tag budgets that it makes.
    """

    entry: Entry
    nodes: int
    ignored: dict[str, int]
    tag_values: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class OptedOut:
    """A report that is dropped, since its owner has opted out; its nodes by reason.

    `entry` counts it, without a trace of its owner.
    """

    entry: Entry
    ignored: dict[str, int]


Outcome = Accepted | OptedOut | Refusal


class ListedNodes(Protocol):
    """The public node list."""

    def lists(self, node: int) -> bool:
        """Whether a public node number is listed."""
        ...


class Read(NamedTuple):
    """A parsed report: its server, public nodes, and number of nodes ignored by reason.

    `body` is a hash of the body without its UUID.
    """

    report: Report
    server: ServerPseudonym
    nodes: list[int]
    ignored: dict[str, int]
    body: int


@dataclass(eq=False, kw_only=True)
class ReportConverter:
    """Converts bodies of reports to outbox entries with pseudonymous lines."""

    pseudonyms: Pseudonymiser
    stamper: Stamper
    budget: TagBudget
    nodelist: ListedNodes
    server_limit: Buckets = field(default_factory=lambda: Buckets(per_hour=0))
    suspicions: Suspicions | None = None
    metrics: Metrics
    max_nodes: int = MOST_NODES

    def __post_init__(self) -> None:
        self._tags = Tags(self.budget, self.metrics)
        self._suspicious = {kind: self.metrics.suspicions.labels(kind.value) for kind in Kind}

    def of(self, body: bytes, now_ns: int) -> Accepted | Refusal:
        """Convert a body received at `now_ns` (UTC, ns since 1970)."""
        read = self.read(body)
        return read if isinstance(read, Refusal) else self._accept(read, now_ns)

    def read(self, body: bytes) -> Read | Refusal:
        """Parse a body, and select its public nodes."""
        found = self._parse(body)
        if isinstance(found, Refusal):
            return found
        report = found.report
        nodes, ignored = self._public_nodes(report.nodes)
        if found.malformed:
            ignored["malformed"] = found.malformed
        if found.out_of_range:
            ignored["out-of-range"] = found.out_of_range
        for reason, count in ignored.items():
            self.metrics.nodes.labels(reason).inc(count)
        if not nodes:
            return Refusal(Reason.NO_PUBLIC_NODES, "the report has no public node")
        # Python's hash has a new key in each process.
        alike = hash(body.replace(report.uuid.encode(), b"", 1))
        server = self.pseudonyms.server(report.uuid.lower())
        return Read(report, server, nodes, ignored, alike)

    def admit(
        self, read: Read, opted_out: Callable[[ServerPseudonym], bool], now_ns: int
    ) -> Outcome:
        """The outcome of a parsed report, received at `now_ns` (UTC, ns since 1970).

        It is refused if its server has sent too many, and dropped if its owner has opted out.
        """
        if wait := self.server_limit.wait(read.server, now_ns / 10**9):
            return Refusal(Reason.RATE_LIMITED, "too many reports of one server", wait)
        if not opted_out(read.server):
            return self._accept(read, now_ns)
        self.metrics.nodes.labels("opted-out").inc(len(read.nodes))
        return OptedOut(_dropped(now_ns), read.ignored | {"opted-out": len(read.nodes)})

    def _accept(self, read: Read, now_ns: int) -> Accepted:
        changes: Changes = []
        entry = self._entry(read, now_ns, changes)
        return Accepted(entry, len(read.nodes), read.ignored, tuple(changes))

    def identify(self, body: bytes) -> Proof | Refusal:
        """The proof of ownership in a body, parsed like a report; nothing of it is stored."""
        found = self._parse(body)
        if isinstance(found, Refusal):
            return found
        report = found.report
        return Proof(
            self.pseudonyms.server(report.uuid.lower()),
            {"kernel": label(report.kernel or ""), "packages": _packages(report)},
            {self.pseudonyms.node(number): number for number in report.nodes},
        )

    def _parse(self, body: bytes) -> Reading | Refusal:
        found = read(body)
        if isinstance(found, Refusal):
            return found
        if len(found.report.nodes) > self.max_nodes:
            return Refusal(Reason.INVALID_FIELD, f"nodes: at most {self.max_nodes} are taken")
        for repair in found.repairs:
            self.metrics.repaired.labels(repair.value).inc()
        for name in found.ignored:
            self.metrics.ignored_values.labels(name).inc()
        return found

    def _public_nodes(self, numbers: list[int]) -> tuple[list[int], dict[str, int]]:
        ignored: dict[str, int] = {}
        nodes: dict[int, None] = {}
        for number in numbers:
            if number < FIRST_PUBLIC_NODE:
                why = "private"
            elif number in nodes:
                why = "duplicate"
            elif not self.nodelist.lists(number):
                why = "unlisted"
            else:
                nodes[number] = None
                continue
            ignored[why] = ignored.get(why, 0) + 1
        return list(nodes), ignored

    def _entry(self, read: Read, now_ns: int, changes: Changes) -> Entry:
        report, server, nodes = read.report, read.server, read.nodes
        stamps = self.stamper.take(now_ns, len(nodes) + 1)
        day = stamps[0] // NS_PER_DAY
        said = (report.ast_ver, report.distro, report.release, report.arch)
        platform = self._tags.platform(said, server, day, changes)
        http = set(report.nodes_http or ())
        iax = set(report.nodes_iax or ())
        # Fields that the server's line and the nodes' lines have in common.
        ages = ""
        if (uptime := self._seconds("uptime", report.uptime)) is not None:
            ages += _UPTIME % uptime
        if (reload_age := self._seconds("reload-time", report.reload_time)) is not None:
            ages += _RELOAD_AGE % reload_age
        counts = (len(nodes), len(http.intersection(nodes)), len(iax.intersection(nodes)))
        kernel, packages = escaped(label(report.kernel or "")), escaped(_packages(report))
        texts = _TEXTS % (kernel, packages)
        lines = [_SERVER_LINE % (platform.server.text, server, *counts, ages + texts, stamps[0])]
        channels = report.channels or {}
        names = [self.pseudonyms.node(node) for node in nodes]
        for node, name, stamp in zip(nodes, names, stamps[1:], strict=True):
            tags = self._tags.node(
                platform,
                (channels.get(str(node)) or "", registration(http=node in http, iax=node in iax)),
                server,
                day,
                changes,
            )
            lines.append(_NODE_LINE % (tags, name, server, ages, stamp))
        if self.suspicions is not None:
            for kind in self.suspicions.of(day, server, names, read.body, uptime, reload_age):
                self._suspicious[kind].inc()
        return Entry(now_ns, server, len(lines), "\n".join(lines).encode())

    def _seconds(self, name: str, text: str | None) -> int | None:
        found = seconds(text)
        if found is None and text and not text.isspace():
            self.metrics.ignored_values.labels(name).inc()
        return found


def _dropped(now_ns: int) -> Entry:
    """A point that counts a dropped report for its day.

    A random time does not tell when an owner's server reports, and keeps the points of a day apart.
    """
    time_ns = now_ns - secrets.randbelow(now_ns % NS_PER_DAY + 1)
    return Entry(now_ns, None, 1, line(OPTED_OUT_REPORT.name, "", {"reports": 1}, time_ns).encode())


def _packages(report: Report) -> str:
    return pydantic_core.to_json(report.packages or {}).decode()


def seconds(text: str | None) -> int | None:
    """A whole number of seconds, at most a hundred years; None for other text."""
    if text is None or len(text) > _MOST_DIGITS:
        return None
    digits = text.strip()
    # `int` would also accept digits of other scripts.
    if not (digits.isascii() and digits.isdigit()):
        return None
    value = int(digits)
    return value if value <= _MOST_SECONDS else None
