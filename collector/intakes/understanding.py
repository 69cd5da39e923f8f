"""What a report of `asl-telemetry` means: from the sender's bytes to pseudonymous lines. Pure.

The client's source: https://github.com/AllStarLink (package asl3, script asl-telemetry).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, NamedTuple, Protocol, TypeGuard

import pydantic_core
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collector.admission import Buckets, TagBudget, TagValue
from collector.intakes.tags import Tags, registration
from collector.lines import NS_PER_DAY, Stamper, escaped, field_format, label, line
from collector.metrics import Metrics
from collector.outbox import Entry
from collector.privacy import NodePseudonym, Pseudonymiser, ServerPseudonym
from collector.problems import Reason, Refusal
from collector.schema import NODE_REPORT, SERVER_REPORT
from collector.suspicion import Kind, Suspicions

FIRST_PUBLIC_NODE: Final = 2000
MOST_NODES: Final = 500
_MOST_PACKAGES: Final = 300
_MOST_TEXT: Final = 256
_MOST_SECONDS: Final = 100 * 365 * 86_400
_MOST_DIGITS: Final = len(str(_MOST_SECONDS))

_UUID: Final = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
_PLAIN_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_IAX_ARRAY: Final = re.compile(rb'("nodes-reg-iax"\s*:\s*\[)([^][{}"]*)\]')

_NODE_FIELDS: Final = field_format({"node": str, "server": str})
_SERVER_FIELDS: Final = field_format(
    {"server": str, "nodes": int, "nodes_http": int, "nodes_iax": int}
)
_TEXTS: Final = field_format({"kernel": str, "packages": str})
_UPTIME: Final = "," + field_format({"uptime": int})
_RELOAD_AGE: Final = "," + field_format({"reload_age": int})

Text = Annotated[str, Field(max_length=_MOST_TEXT)] | None
NodeNumber = Annotated[int, Field(ge=0, lt=1 << 31)]
Nodes = Annotated[list[NodeNumber], Field(max_length=MOST_NODES)]


class Report(BaseModel):
    """What a client says, as far as it is understood; unknown fields are ignored."""

    model_config = ConfigDict(extra="ignore", coerce_numbers_to_str=True)

    uuid: Annotated[str, Field(pattern=_UUID)]
    nodes: Nodes
    nodes_http: Annotated[Nodes | None, Field(alias="nodes-reg-http")] = None
    nodes_iax: Annotated[
        # Another provider's user may be a number too, and larger than any node's.
        list[int | float | Text] | None,
        Field(alias="nodes-reg-iax", max_length=MOST_NODES),
    ] = None
    channels: Annotated[
        dict[Annotated[str, Field(max_length=_MOST_TEXT)], Text] | None,
        Field(alias="nodes-channels", max_length=MOST_NODES),
    ] = None
    ast_ver: Annotated[Text, Field(alias="ast-ver")] = None
    uptime: Text = None
    reload_time: Annotated[Text, Field(alias="reload-time")] = None
    distro: Text = None
    release: Text = None
    kernel: Text = None
    arch: Text = None
    packages: Annotated[
        dict[Annotated[str, Field(max_length=_MOST_TEXT)], Text] | None,
        Field(alias="pkgs", max_length=_MOST_PACKAGES),
    ] = None


class Accepted(NamedTuple):
    """A report understood: what to store, the nodes stored, and those ignored, by reason."""

    entry: Entry
    nodes: int
    ignored: dict[str, int]


@dataclass(frozen=True, slots=True)
class OptedOut:
    """A report whose owner wants none to be kept; how many nodes it had, by reason."""

    ignored: dict[str, int]


Outcome = Accepted | OptedOut | Refusal


@dataclass(frozen=True, slots=True)
class Identified:
    """Who sent a body and what it proves to know: all as it would be stored, but for `nodes`.

    `nodes` gives the numbers that the body itself names, by pseudonym.
    """

    server: ServerPseudonym
    kernel: str
    packages: str
    nodes: dict[NodePseudonym, int]


class ListedNodes(Protocol):
    """The public node list."""

    def lists(self, node: int) -> bool:
        """Whether a public node number counts."""
        ...


class Read(NamedTuple):
    """A body read: from whom, its public nodes, and how many were ignored, by reason."""

    report: Report
    server: ServerPseudonym
    nodes: list[int]
    ignored: dict[str, int]
    body: int


class Understanding:
    """What a body means: from the sender's bytes to pseudonymous lines, with a clock given."""

    def __init__(
        self,
        *,
        pseudonyms: Pseudonymiser,
        stamper: Stamper,
        budget: TagBudget,
        nodelist: ListedNodes,
        server_limit: Buckets | None = None,
        suspicions: Suspicions | None = None,
        metrics: Metrics,
        max_nodes: int = MOST_NODES,
    ) -> None:
        self._pseudonyms = pseudonyms
        self._stamper = stamper
        self._tags = Tags(budget, metrics)
        self._nodelist = nodelist
        self._server_limit = Buckets(per_hour=0) if server_limit is None else server_limit
        self._max_nodes = max_nodes
        self._suspicions = suspicions
        self._metrics = metrics
        self._suspicious = {kind: metrics.suspicions.labels(kind.value) for kind in Kind}

    def of(self, body: bytes, now_ns: int) -> Accepted | Refusal:
        """The report in a body received at `now_ns` (UTC, ns since 1970)."""
        read = self.read(body)
        return read if isinstance(read, Refusal) else self._accept(read, now_ns)

    def read(self, body: bytes) -> Read | Refusal:
        """What a body says, and of which nodes."""
        report = self._parse(body)
        if isinstance(report, Refusal):
            return report
        nodes, ignored = self._public_nodes(report.nodes)
        for reason, count in ignored.items():
            self._metrics.nodes.labels(reason).inc(count)
        if not nodes:
            return Refusal(Reason.NO_PUBLIC_NODES, "the report has no public node")
        # Builtin hashes are keyed anew for each process.
        alike = hash(body.replace(report.uuid.encode(), b"", 1))
        server = self._pseudonyms.server(report.uuid.lower())
        return Read(report, server, nodes, ignored, alike)

    def admit(
        self, read: Read, opted_out: Callable[[ServerPseudonym], bool], now_ns: int
    ) -> Outcome:
        """What becomes of it, unless its owner wants no report kept, or its server sent too many.

        It was received at `now_ns` (UTC, ns since 1970).
        """
        if wait := self._server_limit.wait(read.server, now_ns / 10**9):
            return Refusal(Reason.RATE_LIMITED, "too many reports of one server", wait)
        if not opted_out(read.server):
            return self._accept(read, now_ns)
        self._metrics.nodes.labels("opted-out").inc(len(read.nodes))
        return OptedOut(read.ignored | {"opted-out": len(read.nodes)})

    def _accept(self, read: Read, now_ns: int) -> Accepted:
        return Accepted(self._entry(read, now_ns), len(read.nodes), read.ignored)

    def identify(self, body: bytes) -> Identified | Refusal:
        """Who sent a body, by the same reading as a report's; nothing of it is kept."""
        report = self._parse(body)
        if isinstance(report, Refusal):
            return report
        return Identified(
            self._pseudonyms.server(report.uuid.lower()),
            label(report.kernel or ""),
            _packages(report),
            {self._pseudonyms.node(number): number for number in report.nodes},
        )

    def _parse(self, body: bytes) -> Report | Refusal:
        report = self._validated(body)
        if isinstance(report, Report) and len(report.nodes) > self._max_nodes:
            return Refusal(Reason.INVALID_FIELD, f"nodes: at most {self._max_nodes} are taken")
        return report

    def _validated(self, body: bytes) -> Report | Refusal:
        try:
            # One pass, for nearly all; what it does not take is looked at in two, for the reason.
            # These words are no JSON, but pydantic takes them in a field that it ignores.
            if b"NaN" not in body and b"Infinity" not in body:
                return Report.model_validate_json(body)
        except ValidationError:
            pass
        try:
            parsed = pydantic_core.from_json(body, allow_inf_nan=False)
        except ValueError:
            repaired, found = _IAX_ARRAY.subn(_numbers_only, body)
            try:
                parsed = pydantic_core.from_json(repaired, allow_inf_nan=False)
            except ValueError:
                return Refusal(Reason.MALFORMED_JSON, "the body is not JSON")
            if found:
                self._metrics.repaired.inc()
        if not isinstance(parsed, dict):
            return Refusal(Reason.MALFORMED_JSON, "the body is not a JSON object")
        try:
            return Report.model_validate(parsed)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            # Only the field's own name: deeper parts of `loc` may be the sender's words.
            return Refusal(Reason.INVALID_FIELD, f"{first['loc'][0]}: {first['msg']}")

    def _public_nodes(self, numbers: list[int]) -> tuple[list[int], dict[str, int]]:
        ignored: dict[str, int] = {}
        nodes: dict[int, None] = {}
        for number in numbers:
            if number < FIRST_PUBLIC_NODE:
                why = "private"
            elif number in nodes:
                why = "duplicate"
            elif not self._nodelist.lists(number):
                why = "unlisted"
            else:
                nodes[number] = None
                continue
            ignored[why] = ignored.get(why, 0) + 1
        return list(nodes), ignored

    def _entry(self, read: Read, now_ns: int) -> Entry:
        report, server, nodes = read.report, read.server, read.nodes
        stamps = self._stamper.take(now_ns, len(nodes) + 1)
        day = stamps[0] // NS_PER_DAY
        news: list[TagValue] = []
        said = (report.ast_ver, report.distro, report.release, report.arch)
        platform = self._tags.platform(said, day, news)
        http = set(report.nodes_http or ())
        iax = {int(word) for word in report.nodes_iax or () if _is_number(word)}
        # What the server's line and each node's have in common.
        ages = ""
        if (uptime := seconds(report.uptime)) is not None:
            ages += _UPTIME % uptime
        if (reload_age := seconds(report.reload_time)) is not None:
            ages += _RELOAD_AGE % reload_age
        counts = (len(nodes), len(http.intersection(nodes)), len(iax.intersection(nodes)))
        kernel, packages = escaped(label(report.kernel or "")), escaped(_packages(report))
        fields = f"{_SERVER_FIELDS % (server, *counts)}{ages},{_TEXTS % (kernel, packages)}"
        lines = [line(SERVER_REPORT.name, platform.server.text, fields, stamps[0])]
        channels = report.channels or {}
        names = [self._pseudonyms.node(node) for node in nodes]
        for node, name, stamp in zip(nodes, names, stamps[1:], strict=True):
            tags = self._tags.node(
                platform,
                channels.get(str(node)) or "",
                registration(http=node in http, iax=node in iax),
                day,
                news,
            )
            fields = _NODE_FIELDS % (name, server) + ages
            lines.append(line(NODE_REPORT.name, tags, fields, stamp))
        if self._suspicions is not None:
            for kind in self._suspicions.of(day, server, names, read.body, uptime, reload_age):
                self._suspicious[kind].inc()
        return Entry(now_ns, server, len(lines), "\n".join(lines).encode(), tuple(news))


def _packages(report: Report) -> str:
    return pydantic_core.to_json(report.packages or {}).decode()


def _numbers_only(found: re.Match[bytes]) -> bytes:
    """The array of IAX registrations without the bare words of other providers."""
    words = (word.strip() for word in found[2].split(b","))
    return found[1] + b",".join(word for word in words if _PLAIN_NUMBER.fullmatch(word)) + b"]"


def _is_number(word: object) -> TypeGuard[int | str]:
    return isinstance(word, int) or (isinstance(word, str) and word.isascii() and word.isdigit())


def seconds(text: str | None) -> int | None:
    """A time in whole seconds; None where it is not one, or over a hundred years."""
    if text is None or len(text) > _MOST_DIGITS:
        return None
    digits = text.strip()
    # Other scripts have digits too, which `int` would take.
    if not (digits.isascii() and digits.isdigit()):
        return None
    value = int(digits)
    return value if value <= _MOST_SECONDS else None
