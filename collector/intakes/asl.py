"""The intake of `asl-telemetry`, AllStarLink 3's client: one report a server a day, never retried.

The client's source: https://github.com/AllStarLink (package asl3, script asl-telemetry).
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Final, Protocol, TypeGuard

import pydantic_core
import structlog
from aiohttp import hdrs, web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from collector.admission import (
    Buckets,
    Network,
    RateLimit,
    TagBudget,
    TagValue,
    sender_address,
)
from collector.lines import NS_PER_DAY, FieldValue, Stamper, label, line, tag_set
from collector.logs import Sparing
from collector.metrics import Metrics
from collector.outbox import Entry, Outbox, OutboxUnavailable
from collector.privacy import NodePseudonym, Pseudonymiser, ServerPseudonym
from collector.problems import Reason, Refusal
from collector.schema import (
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    DISTRO,
    NODE_REPORT,
    REGISTRATION,
    RELEASE,
    SERVER_REPORT,
    UNKNOWN,
)
from collector.suspicion import Kind, Suspicions

log = structlog.get_logger("collector.intakes.asl")

NAME: Final = "asl"
FIRST_PUBLIC_NODE: Final = 2000
MOST_NODES: Final = 500
_MOST_PACKAGES: Final = 300
_MOST_TEXT: Final = 256
_MOST_SECONDS: Final = 100 * 365 * 86_400
_RETRY_AFTER_S: Final = 60
_TOO_LARGE: Final = Refusal(Reason.TOO_LARGE, "the body is over the limit")
_TOO_SLOW: Final = Refusal(Reason.TOO_SLOW, "the body did not arrive whole in time")

_UUID: Final = r"^[0-9A-Fa-f]{8}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{4}-[0-9A-Fa-f]{12}$"
_VERSION: Final = re.compile(r"(?P<asterisk>[^+\s]+)\+(?P<asl>asl\d*-[^-\s]+)(-\S*)?")
_PLAIN_NUMBER: Final = re.compile(rb"0|[1-9][0-9]{0,17}")
_IAX_ARRAY: Final = re.compile(rb'("nodes-reg-iax"\s*:\s*\[)([^][{}"]*)\]')

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


@dataclass(frozen=True, slots=True)
class Accepted:
    """A report understood: what to store, the nodes stored, and those ignored, by reason."""

    entry: Entry
    nodes: int
    ignored: dict[str, int]


@dataclass(frozen=True, slots=True)
class OptedOut:
    """A report whose owner wants none to be kept; how many nodes it had, by reason."""

    ignored: dict[str, int]


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


class AslIntake:
    """Receives reports of `asl-telemetry`; `opted_out` tells whose are dropped."""

    def __init__(
        self,
        understanding: Understanding,
        *,
        opted_out: Callable[[ServerPseudonym], bool],
        outbox: Outbox,
        rate_limit: RateLimit,
        trusted_proxies: Iterable[Network],
        read_timeout_s: float,
        metrics: Metrics,
    ) -> None:
        self._understanding = understanding
        self._is_opted_out = opted_out
        self._outbox = outbox
        self._rate_limit = rate_limit
        self._trusted = tuple(trusted_proxies)
        self._read_timeout_s = read_timeout_s
        self._metrics = metrics
        self._sparing = Sparing()
        self._accepted = metrics.reports.labels(NAME, "accepted")
        self._opted_out = metrics.reports.labels(NAME, "opted-out")

    def routes(self) -> list[web.RouteDef]:
        """`/usage`, and `/usage/usage` where a proxy leaves its prefix on."""
        return [web.post("/usage", self.receive), web.post("/usage/usage", self.receive)]

    async def receive(self, request: web.Request) -> web.Response:
        """Answer one submission; 200 only when it is durable."""
        begun = time.perf_counter()
        outcome = await self._take(request)
        self._metrics.request_seconds.observe(time.perf_counter() - begun)
        if isinstance(outcome, Refusal):
            self._metrics.reports.labels(NAME, outcome.reason.value).inc()
            self._sparing.info(
                log, "refused", intake=NAME, reason=outcome.reason.value, detail=outcome.detail
            )
            return outcome.response()
        reply: dict[str, object]
        if isinstance(outcome, OptedOut):
            self._opted_out.inc()
            reply = {"status": "accepted", "nodes": 0, "ignored": outcome.ignored}
        else:
            self._accepted.inc()
            reply = {"status": "accepted", "nodes": outcome.nodes, "ignored": outcome.ignored}
        return web.Response(
            body=json.dumps(reply, separators=(",", ":")).encode() + b"\n",
            content_type="application/json",
        )

    async def _take(self, request: web.Request) -> Accepted | OptedOut | Refusal:
        if (refused := encoding_refused(request)) is not None:
            return refused
        peer = sender_address(
            request.remote or "", request.headers.getall(hdrs.X_FORWARDED_FOR, ()), self._trusted
        )
        if wait := self._rate_limit.wait(peer, time.time()):
            return Refusal(Reason.RATE_LIMITED, "too many reports from one address", wait)
        if (why := self._outbox.unavailable) is not None:
            return Refusal(Reason.UNAVAILABLE, why, _RETRY_AFTER_S)
        body = await body_of(request, within_s=self._read_timeout_s)
        if isinstance(body, Refusal):
            return body
        outcome = self._understanding.unless(self._is_opted_out, body, time.time_ns())
        if not isinstance(outcome, Accepted):
            return outcome
        try:
            await self._outbox.append(outcome.entry)
        except OutboxUnavailable as error:
            return Refusal(Reason.UNAVAILABLE, str(error), _RETRY_AFTER_S)
        return outcome


@dataclass(frozen=True, slots=True)
class _Read:
    """A body read: from whom, its public nodes, and how many were ignored, by reason."""

    report: Report
    server: ServerPseudonym
    nodes: list[int]
    ignored: dict[str, int]
    body: int


async def body_of(request: web.Request, *, within_s: float) -> bytes | Refusal:
    """The body of a request, whole and as it was sent, or why it is not taken."""
    try:
        async with asyncio.timeout(within_s):
            body = await request.read()
    except web.HTTPRequestEntityTooLarge:
        return _TOO_LARGE
    except TimeoutError:
        return _TOO_SLOW
    except (OSError, web.RequestPayloadError):
        return Refusal(Reason.MALFORMED_JSON, "the body did not arrive whole")
    # Whether a body of just this size passes `read` differs between versions of aiohttp.
    if len(body) >= request.client_max_size:
        return _TOO_LARGE
    return body


def encoding_refused(request: web.Request) -> Refusal | None:
    """The refusal of a request whose body is compressed."""
    if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() == "identity":
        return None
    return Refusal(
        Reason.UNSUPPORTED_ENCODING, "send the body uncompressed, without Content-Encoding"
    )


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
        self._budget = budget
        self._nodelist = nodelist
        self._server_limit = Buckets(per_hour=0) if server_limit is None else server_limit
        self._max_nodes = max_nodes
        self._suspicions = suspicions
        self._metrics = metrics
        self._suspicious = {kind: metrics.suspicions.labels(kind.value) for kind in Kind}
        self._stored = metrics.nodes.labels("stored")

    def of(self, body: bytes, now_ns: int) -> Accepted | Refusal:
        """The report in a body received at `now_ns` (UTC, ns since 1970)."""
        read = self._read(body)
        return read if isinstance(read, Refusal) else self._accept(read, now_ns)

    def unless(
        self, opted_out: Callable[[ServerPseudonym], bool], body: bytes, now_ns: int
    ) -> Accepted | OptedOut | Refusal:
        """The same, unless the server's owner wants no report to be kept, or it sent too many."""
        read = self._read(body)
        if isinstance(read, Refusal):
            return read
        if wait := self._server_limit.wait(read.server, now_ns / 10**9):
            return Refusal(Reason.RATE_LIMITED, "too many reports of one server", wait)
        if not opted_out(read.server):
            return self._accept(read, now_ns)
        self._metrics.nodes.labels("opted-out").inc(len(read.nodes))
        return OptedOut(read.ignored | {"opted-out": len(read.nodes)})

    def _read(self, body: bytes) -> _Read | Refusal:
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
        return _Read(report, server, nodes, ignored, alike)

    def _accept(self, read: _Read, now_ns: int) -> Accepted:
        self._stored.inc(len(read.nodes))
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
            report = Report.model_validate(parsed)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False, include_context=False)[0]
            # Only the field's own name: deeper parts of `loc` may be the sender's words.
            return Refusal(Reason.INVALID_FIELD, f"{first['loc'][0]}: {first['msg']}")
        if len(report.nodes) > self._max_nodes:
            return Refusal(Reason.INVALID_FIELD, f"nodes: at most {self._max_nodes} are taken")
        return report

    def _public_nodes(self, numbers: list[int]) -> tuple[list[int], dict[str, int]]:
        ignored: Counter[str] = Counter()
        nodes: dict[int, None] = {}
        for number in numbers:
            if number < FIRST_PUBLIC_NODE:
                ignored["private"] += 1
            elif number in nodes:
                ignored["duplicate"] += 1
            elif not self._nodelist.lists(number):
                ignored["unlisted"] += 1
            else:
                nodes[number] = None
        return list(nodes), dict(ignored)

    def _entry(self, read: _Read, now_ns: int) -> Entry:
        report, server, nodes = read.report, read.server, read.nodes
        stamps = self._stamper.take(now_ns, len(nodes) + 1)
        day = stamps[0] // NS_PER_DAY
        news: list[TagValue] = []
        asterisk, asl = versions(report.ast_ver or "")
        tags = {
            name: self._admit(name, value, day, news)
            for name, value in (
                (ASTERISK_VERSION.name, asterisk),
                (ASL_VERSION.name, asl),
                (DISTRO.name, label(report.distro or "")),
                (RELEASE.name, label(report.release or "")),
                (ARCH.name, label(report.arch or "")),
            )
        }
        http = set(report.nodes_http or ())
        iax = {int(word) for word in report.nodes_iax or () if _is_number(word)}
        ages = {
            name: value
            for name, text in (("uptime", report.uptime), ("reload_age", report.reload_time))
            if (value := seconds(text)) is not None
        }
        fields: dict[str, FieldValue] = {
            "server": server,
            "nodes": len(nodes),
            "nodes_http": sum(node in http for node in nodes),
            "nodes_iax": sum(node in iax for node in nodes),
            **ages,
            "kernel": label(report.kernel or ""),
            "packages": _packages(report),
        }
        lines = [line(SERVER_REPORT.name, tag_set(tags), fields, stamps[0])]
        channels = report.channels or {}
        names = [self._pseudonyms.node(node) for node in nodes]
        for node, name, stamp in zip(nodes, names, stamps[1:], strict=True):
            node_tags = tags | {
                CHANNEL.name: self._admit(
                    CHANNEL.name, channel(channels.get(str(node)) or ""), day, news
                ),
                REGISTRATION.name: registration(http=node in http, iax=node in iax),
            }
            fields = {"node": name, "server": server, **ages}
            lines.append(line(NODE_REPORT.name, tag_set(node_tags), fields, stamp))
        if self._suspicions is not None:
            for kind in self._suspicions.of(
                day, server, names, read.body, ages.get("uptime"), ages.get("reload_age")
            ):
                self._suspicious[kind].inc()
        for tag in {item.tag for item in news}:
            self._metrics.tag_values.labels(tag).set(self._budget.held(tag))
        return Entry(now_ns, server, len(lines), "\n".join(lines).encode(), tuple(news))

    def _admit(self, tag: str, value: str, day: int, news: list[TagValue]) -> str:
        admitted = self._budget.admit(tag, value, day, news)
        if admitted != value:
            self._metrics.over_budget.labels(tag).inc()
        return admitted


def _packages(report: Report) -> str:
    return pydantic_core.to_json(report.packages or {}).decode()


def _numbers_only(found: re.Match[bytes]) -> bytes:
    """The array of IAX registrations without the bare words of other providers."""
    words = (word.strip() for word in found[2].split(b","))
    return found[1] + b",".join(word for word in words if _PLAIN_NUMBER.fullmatch(word)) + b"]"


def _is_number(word: object) -> TypeGuard[int | str]:
    return isinstance(word, int) or (isinstance(word, str) and word.isascii() and word.isdigit())


@lru_cache(maxsize=1024)
def versions(text: str) -> tuple[str, str]:
    """Asterisk's and AllStarLink's version in the first two words of `core show version`.

    `Asterisk 20.7.0+asl3-1.3-1.deb12` gives `20.7.0`, `asl3-1.3`. Another build gives its second
    word as it is, and `unknown`.
    """
    words = text.split()
    if not words:
        return UNKNOWN, UNKNOWN
    build = words[1] if len(words) > 1 else words[0].removeprefix("Asterisk")
    found = _VERSION.fullmatch(build)
    if found is None:
        return label(build), UNKNOWN
    return label(found["asterisk"]), label(found["asl"])


@lru_cache(maxsize=1024)
def channel(text: str) -> str:
    """The channel driver's name: in lower case, `radio` is `usbradio`."""
    name = label(text.partition("/")[0].lower())
    return "usbradio" if name == "radio" else name


def registration(*, http: bool, iax: bool) -> str:
    """How a node is registered: `http`, `iax`, `both` or `none`."""
    if http:
        return "both" if iax else "http"
    return "iax" if iax else "none"


def seconds(text: str | None) -> int | None:
    """A time in whole seconds; None where it is not one, or over a hundred years."""
    if not text or not _is_number(text.strip()) or len(text) > len(str(_MOST_SECONDS)):
        return None
    value = int(text)
    return value if value <= _MOST_SECONDS else None
