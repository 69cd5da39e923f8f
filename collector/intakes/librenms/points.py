"""Converts reports of LibreNMS to outbox entries with pseudonymous lines."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import zip_longest
from typing import Any, Final

from collector.intakes.librenms.report import Pair, Reading, Total
from collector.lines import NS_PER_DAY, FieldValue, Stamper, line
from collector.metrics import Metrics
from collector.outbox import Entry
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.schema import OWNER
from collector.schema.librenms import (
    EARLIER_GROUPS,
    GROUPS,
    GROUPS_BUDGET,
    LIBRENMS,
    LIBRENMS_CONTENT,
    LIBRENMS_REPORT,
)
from collector.tag_budget import Changes, TagBudget

NAME: Final = "librenms"
BUDGET: Final = "librenms_group"
"""Name of the tag's budget, in the memory that all senders share."""
_KNOWN: Final = frozenset((*GROUPS, *EARLIER_GROUPS))
_MOST_BYTES: Final = 48_000
"""Size of a JSON text at which the next point begins: InfluxDB's string fields end at 64 KiB."""
_SEPARATORS: Final = (",", ":")


def tag_budgets() -> dict[str, int]:
    """The number of groups that may be stored under their names beside the known ones."""
    return {BUDGET: GROUPS_BUDGET}


class ReportConverter:
    """Converts parsed reports to entries; groups that nobody knows need installs that send them.

    The rule is that of tags' budgets (docs/decisions/0073-tag-budgets.md).
    """

    def __init__(
        self,
        *,
        pseudonyms: Pseudonymiser,
        stamper: Stamper,
        budget: TagBudget,
        metrics: Metrics,
    ) -> None:
        self._pseudonyms = pseudonyms
        self._stamper = stamper
        self._budget = budget
        self._metrics = metrics
        metrics.follow(metrics.tag_values.labels(BUDGET), partial(budget.held, BUDGET))

    def owner(self, uuid: str) -> ServerPseudonym:
        """The pseudonym of an install, by its UUID in lower case."""
        return self._pseudonyms.server(uuid)

    def entry(self, report: Reading, now_ns: int, changes: Changes) -> Entry:
        """The entry of a report received at `now_ns` (UTC, ns since 1970).

        Appends to `changes` what it changed of the budget of groups.
        """
        owner = self.owner(report.uuid)
        day = now_ns // NS_PER_DAY
        groups = {name: self._group(name, owner, day, changes) for name in report.groups}
        totals = [
            {"g": groups[name], **row}
            for name, rows in report.groups.items()
            for row in _rows(rows)
        ]
        parts: list[dict[str, FieldValue]] = [
            {OWNER: owner} | {field: text for field, text in texts.items() if text is not None}
            for texts in (
                {"totals": first, "pairs": second}
                for first, second in zip_longest(_texts(totals), _texts(_pairs(report.pairs)))
            )
        ]
        stamps = self._stamper.take(now_ns, len(parts) + 1)
        head: dict[str, FieldValue] = {
            OWNER: owner,
            "points": len(parts),
            "groups": len(report.groups),
            "totals": sum(map(len, report.groups.values())),
            "pairs": len(report.pairs),
            "versions": versions_text(report),
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
        group = self._budget.admit(BUDGET, name, owner, day, changes)
        if group != name:
            self._metrics.over_budget.labels(BUDGET).inc()
        return group


def versions_text(report: Reading) -> str:
    """The field `versions` of a report's head: what proves that a body is the install's own."""
    return json.dumps(report.versions, separators=_SEPARATORS, sort_keys=True, ensure_ascii=False)


def _rows(totals: Sequence[Total]) -> Iterator[Mapping[str, Any]]:
    for name, value, total in totals:
        yield {"t": total} if name is None else {"n": name, "v": value, "t": total}
    if not totals:
        yield {}


def _pairs(pairs: Iterable[Pair]) -> Iterator[Mapping[str, Any]]:
    for os, oid, descr, devices in pairs:
        yield {"os": os, "oid": oid, "descr": descr, "count": devices}


def _texts(items: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """JSON arrays of all items, as few as the size of a string field allows."""
    arrays: list[list[str]] = []
    size = 0
    for item in items:
        text = json.dumps(item, separators=_SEPARATORS, ensure_ascii=False)
        length = len(text.encode()) + 1
        if not arrays or size + length > _MOST_BYTES:
            arrays.append([])
            size = 0
        arrays[-1].append(text)
        size += length
    return ["[" + ",".join(array) + "]" for array in arrays]
