"""Conversion of rows of an ASL3-Usage database to days and reports. Pure.

`asl_usage` has one row for each day, written by a cron job; `nodes` has one row for every node ever
seen, with the last report of its server.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, tzinfo
from enum import StrEnum
from typing import Final

from collector.history.asl3_dump import Row
from collector.rollup.tables import TableInput, published_tables, usage_counts
from collector.schema import (
    CHANNEL,
    CHANNEL_FIELDS,
    FIRST_PUBLIC_NODE,
    OTHER,
    REGISTRATION,
    UNKNOWN,
)

IMPORTED: Final = "imported"
"""Field that marks points imported from an older server: 1 there, absent elsewhere."""

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_INTEGER: Final = re.compile(r"[0-9]{1,18}")
_ONE_REPORT_S: Final = 1
"""Rows of a server within this time are one report, since the old server stamped each row."""

_COUNTS: Final = {
    "reports": "record_count",
    "servers": "server_count",
    "nodes": "node_count",
    "asterisk_versions": "ast_count",
    "asl_versions": "asl_count",
    **{name: f"{name}_count" for name in CHANNEL_FIELDS},
}
"""Columns of `asl_usage` by field of `daily_usage`."""

_NODE_COLUMNS: Final = (
    *("uuid", "node", "repdate", "channeltype", "fullastver", "uptime", "reloadtime"),
    *("distro", "relver", "kernel", "arch", "pkglist"),
)

_ARCH: Final = {"amd64": "x86_64", "arm64": "aarch64"}
"""Architectures: dpkg's names (in the table) to those of `uname -m` (sent by clients)."""


class Skipped(StrEnum):
    """Reason why a row is not imported."""

    NULL_VALUE = "null-value"
    ZERO_DATE = "zero-date"
    BAD_DATE = "bad-date"
    BAD_NUMBER = "bad-number"
    BAD_UUID = "bad-uuid"
    PRIVATE = "private"
    SUPERSEDED = "superseded"
    NOT_ENDED = "not-ended"
    EXPIRED = "expired"
    IN_THE_FUTURE = "in-the-future"
    OPTED_OUT = "opted-out"
    REPORTED_TO_US = "reported-to-us"
    ALREADY_IMPORTED = "already-imported"


class Gap(StrEnum):
    """Unusable part of an imported row."""

    NO_CHANNEL = "no-channel"
    BAD_PACKAGES = "bad-packages"
    CHANNELS_CONTRADICT = "channels-contradict"


class TableError(Exception):
    """A table is not one of ASL3-Usage; the text names the missing columns."""


@dataclass(frozen=True, slots=True)
class OldDay:
    """A row of `asl_usage`: date and time as written, and counts by field of `daily_usage`."""

    day: date
    collected: datetime
    counts: Mapping[str, int]

    @property
    def contradicts(self) -> bool:
        """Whether the channels' counts exceed the nodes, being counted at different moments."""
        return sum(self.counts[name] for name in CHANNEL_FIELDS) > self.counts["nodes"]

    def fields(self, k: int) -> dict[str, int]:
        """The fields of `daily_usage`, suppressed under k.

        A channel's count is present if the rollup would publish it; all other nodes, those of
        `radio_count` and of drivers without a column included, are in `other_channels`.
        """
        nodes = self.counts["nodes"]
        whole = {name: n for name, n in self.counts.items() if name not in CHANNEL_FIELDS}
        marks = {"final": 1, IMPORTED: 1}
        if self.contradicts:
            return {**whole, "other_channels": nodes, **marks}
        channels = {name: self.counts[name] for name in CHANNEL_FIELDS}
        table = TableInput(
            {
                CHANNEL.name: {**channels, OTHER: nodes - sum(channels.values())},
                REGISTRATION.name: {UNKNOWN: nodes},
            },
            {},
        )
        shown = usage_counts(published_tables(table, k), table.one_way, k)
        kept = {name: n for name, n in shown.items() if name in (*CHANNEL_FIELDS, "other_channels")}
        return {**whole, **kept, **marks}


@dataclass(frozen=True, slots=True)
class OldNode:
    """A row of `nodes`; `written_s` is its time in s since 1970 (UTC), `packages` None if bad."""

    uuid: str
    node: int
    written_s: int
    row: Row
    packages: dict[str, str] | None

    @property
    def gaps(self) -> Iterator[Gap]:
        """The unusable parts of the row."""
        if not self.row["channeltype"]:
            yield Gap.NO_CHANNEL
        if self.packages is None:
            yield Gap.BAD_PACKAGES


@dataclass(frozen=True, slots=True)
class OldReport:
    """A server's report, assembled from its rows in order of node."""

    nodes: tuple[OldNode, ...]

    @property
    def uuid(self) -> str:
        """The server's UUID."""
        return self.nodes[0].uuid

    @property
    def second(self) -> int:
        """The time of receipt, that of the last row, in s since 1970 (UTC)."""
        return max(node.written_s for node in self.nodes)

    def body(self) -> bytes:
        """The body that the client sent, without registrations, which the table does not have."""
        newest = max(self.nodes, key=lambda node: node.written_s)
        row = newest.row
        arch = row["arch"]
        return json.dumps(
            {
                "uuid": self.uuid,
                "ast-ver": row["fullastver"],
                "nodes": [node.node for node in self.nodes],
                "nodes-channels": {str(n.node): n.row["channeltype"] for n in self.nodes},
                "uptime": row["uptime"],
                "reload-time": row["reloadtime"],
                "distro": row["distro"],
                "release": row["relver"],
                "kernel": row["kernel"],
                "arch": _ARCH.get(arch or "", arch),
                "pkgs": newest.packages,
            }
        ).encode()


def old_day(row: Row) -> OldDay | Skipped:
    """Convert a row of `asl_usage`. Raises TableError if a column is missing."""
    _require("asl_usage", row, ("collected_time", *_COUNTS.values()))
    when = _moment(row["collected_time"])
    if isinstance(when, Skipped):
        return when
    counts: dict[str, int] = {}
    for name, column in _COUNTS.items():
        value = row[column]
        if value is None:
            return Skipped.NULL_VALUE
        if not _INTEGER.fullmatch(value):
            return Skipped.BAD_NUMBER
        counts[name] = int(value)
    return OldDay(when.date(), when, counts)


def last_of_each_day(days: Iterable[OldDay]) -> list[OldDay]:
    """The row collected last of each date, oldest day first."""
    return list({day.day: day for day in sorted(days, key=lambda item: item.collected)}.values())


def old_node(row: Row, zone: tzinfo) -> OldNode | Skipped:
    """Convert a row of `nodes` with times in `zone`. Raises TableError if a column is missing."""
    _require("nodes", row, _NODE_COLUMNS)
    uuid, number = row["uuid"], row["node"]
    if uuid is None or number is None:
        return Skipped.NULL_VALUE
    if not _UUID.fullmatch(uuid := uuid.lower()):
        return Skipped.BAD_UUID
    if not _INTEGER.fullmatch(number):
        return Skipped.BAD_NUMBER
    if int(number) < FIRST_PUBLIC_NODE:
        return Skipped.PRIVATE
    when = _moment(row["repdate"])
    if isinstance(when, Skipped):
        return when
    written_s = int(when.replace(tzinfo=zone).timestamp())
    return OldNode(uuid, int(number), written_s, row, _packages(row["pkglist"]))


def old_reports(nodes: Iterable[OldNode]) -> list[OldReport]:
    """Assemble rows into reports, oldest first; independent of the order of the rows."""
    reports: list[list[OldNode]] = []
    for node in sorted(nodes, key=lambda item: (item.uuid, item.written_s, item.node)):
        last = reports[-1][-1] if reports else None
        if (
            last is not None
            and last.uuid == node.uuid
            and node.written_s - last.written_s <= _ONE_REPORT_S
        ):
            reports[-1].append(node)
        else:
            reports.append([node])
    whole = (OldReport(tuple(sorted(group, key=lambda item: item.node))) for group in reports)
    return sorted(whole, key=lambda report: (report.second, report.uuid))


def _require(table: str, row: Row, columns: Iterable[str]) -> None:
    if missing := [column for column in columns if column not in row]:
        raise TableError(
            f"`{table}` is not a table of ASL3-Usage: it has no column {', '.join(missing)}"
        )


def _moment(text: str | None) -> datetime | Skipped:
    """Parse a DATETIME without a zone."""
    if text is None:
        return Skipped.NULL_VALUE
    if text.startswith("0000-00-00"):
        return Skipped.ZERO_DATE
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return Skipped.BAD_DATE
    if when.tzinfo is not None or when.replace(tzinfo=UTC).timestamp() < 0:
        return Skipped.BAD_DATE
    return when


def _packages(text: str | None) -> dict[str, str] | None:
    """Parse the packages of a row; None if they are not in the client's format."""
    try:
        found = json.loads(text or "")
    except (ValueError, RecursionError):
        return None
    if not isinstance(found, dict) or any(
        not isinstance(version, str) for version in found.values()
    ):
        return None
    return found
