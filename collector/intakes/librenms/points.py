"""Converts reports of LibreNMS to outbox entries with pseudonymous lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from collector.intakes.librenms import NAME
from collector.intakes.librenms.report import Pair, Reading, Total, read
from collector.lines import NS_PER_DAY, FieldValue, Stamper, line
from collector.metrics import Metrics
from collector.outbox import Entry
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.problems import Refusal
from collector.schema import OWNER
from collector.schema.budgets import LIBRENMS_GROUP
from collector.schema.librenms import (
    EARLIER_GROUPS,
    GROUPS,
    LIBRENMS,
    LIBRENMS_CONTENT,
    LIBRENMS_REPORT,
)
from collector.tag_budget import Changes, TagBudget

_KNOWN: Final = frozenset((*GROUPS, *EARLIER_GROUPS))
_MOST_BYTES: Final = 48_000
"""Largest JSON text of one point, in bytes: InfluxDB's string fields end at 64 KiB."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A parsed report and its JSON texts, whose making takes most of the time of a large report.

    `rows` holds the rows by group, as JSON objects without their first member, the group; `pairs`
    holds arrays of pairs.
    """

    reading: Reading
    rows: Mapping[str, Sequence[str]]
    pairs: Sequence[str]


def prepare(body: bytes) -> Prepared | Refusal:
    """Parse the body of a request to `log.php`, in any thread."""
    reading = read(body)
    if isinstance(reading, Refusal):
        return reading
    rows = {name: [*map(_row, totals)] or ["}"] for name, totals in reading.groups.items()}
    return Prepared(reading, rows, _arrays(map(_pair, reading.pairs)))


@dataclass(frozen=True, kw_only=True)
class ReportConverter:
    """Converts parsed reports to entries.

    An unknown group is stored under its name once enough installs sent it, by the rule of tags'
    budgets (docs/decisions/0073-tag-budgets.md).
    """

    pseudonyms: Pseudonymiser
    stamper: Stamper
    budget: TagBudget
    metrics: Metrics

    def entry(self, report: Prepared, now_ns: int, changes: Changes) -> Entry:
        """The entry of a report received at `now_ns` (UTC, ns since 1970).

        Appends its changes of the budget of groups to `changes`.
        """
        reading = report.reading
        owner = self.pseudonyms.server(reading.uuid)
        day = now_ns // NS_PER_DAY
        groups = {name: self._group(name, owner, day, changes) for name in report.rows}
        begun = {name: f'{{"g":{_json(group)}' for name, group in groups.items()}
        totals = _arrays(begun[name] + row for name, rows in report.rows.items() for row in rows)
        parts: list[dict[str, FieldValue]] = [
            {OWNER: owner}
            | ({} if totals_text is None else {"totals": totals_text})
            | ({} if pairs_text is None else {"pairs": pairs_text})
            for totals_text, pairs_text in zip_longest(totals, report.pairs)
        ]
        stamps = self.stamper.take(now_ns, len(parts) + 1)
        head: dict[str, FieldValue] = {
            OWNER: owner,
            "points": len(parts),
            "groups": len(reading.groups),
            "totals": sum(map(len, reading.groups.values())),
            "pairs": len(reading.pairs),
            "versions": versions_text(reading),
        }
        lines = [line(LIBRENMS_REPORT.name, "", head, stamps[0])]
        lines += [
            line(LIBRENMS_CONTENT.name, "", fields, stamp)
            for fields, stamp in zip(parts, stamps[1:], strict=True)
        ]
        return Entry(now_ns, owner, len(lines), "\n".join(lines).encode(), LIBRENMS, NAME)

    def _group(self, name: str, owner: ServerPseudonym, day: int, changes: Changes) -> str:
        if name in _KNOWN:
            return name
        group = self.budget.admit(LIBRENMS_GROUP, name, owner, day, changes)
        if group != name:
            self.metrics.over_budget.labels(LIBRENMS_GROUP).inc()
        return group


def versions_text(report: Reading) -> str:
    """The field `versions` of a report's head, which proves that a body is the install's own."""
    return json.dumps(report.versions, separators=(",", ":"), sort_keys=True, ensure_ascii=False)


_json: Final = json.JSONEncoder(ensure_ascii=False).encode


def _row(total: Total) -> str:
    """A row of a group as JSON, without the group's name at its beginning."""
    if total.name is None:
        return f',"t":{total.total}}}'
    return f',"n":{_json(total.name)},"v":{_json(total.value)},"t":{total.total}}}'


def _pair(pair: Pair) -> str:
    os, oid, descr, devices = pair
    return f'{{"os":{_json(os)},"oid":{_json(oid)},"descr":{_json(descr)},"count":{devices}}}'


def _arrays(items: Iterable[str]) -> Sequence[str]:
    """JSON arrays of all items, in as few texts as the size of a string field allows."""
    arrays: list[list[str]] = []
    size = 0
    for item in items:
        length = len(item) + 1 if item.isascii() else len(item.encode()) + 1
        if not arrays or size + length > _MOST_BYTES:
            arrays.append([])
            size = 0
        arrays[-1].append(item)
        size += length
    return ["[" + ",".join(array) + "]" for array in arrays]
