"""Converts checked records to outbox entries: the record itself, and the point that counts it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from collector.intakes.telemetrics import NAME
from collector.lines import NS_PER_DAY, FieldValue, Stamper, label, line, tag_set
from collector.metrics import Metrics
from collector.outbox import Entry
from collector.privacy import Pseudonymiser, ServerPseudonym
from collector.records import Checked, Record
from collector.schema import OWNER, RECORDS
from collector.schema.budgets import telemetrics_budget
from collector.schema.telemetrics import TELEMETRICS, TELEMETRICS_RECORD
from collector.tag_budget import Changes, TagBudget


@dataclass(frozen=True, kw_only=True)
class RecordConverter:
    """Converts records; with `keep_ids` they hold the machine's id as sent, else its pseudonym."""

    pseudonyms: Pseudonymiser
    stamper: Stamper
    budget: TagBudget
    metrics: Metrics
    keep_ids: bool

    def record(self, checked: Checked, now_ns: int) -> Record:
        """The record of fields received at `now_ns` (UTC, ns since 1970), with a unique stamp."""
        owner = self.pseudonyms.machine(checked.machine_id)
        own: dict[str, Any] = {
            "stamp": self.stamper.take(now_ns, 1)[0],
            "owner": owner,
            "machine_id": checked.machine_id if self.keep_ids else owner,
        }
        return Record(**(asdict(checked) | own))

    def entries(self, record: Record, now_ns: int, changes: Changes) -> tuple[Entry, Entry]:
        """Entries of the record for the records store, and of its point for InfluxDB.

        Appends the record's changes of the tags' budgets to `changes`.
        """
        owner = ServerPseudonym(record.owner)
        domain, probe, _ = record.classification.split("/")
        tags = {
            "severity": str(record.severity),
            "domain": domain,
            "probe": probe,
            "arch": record.arch,
            "system_name": record.system_name,
            "build": record.build,
        }
        fields: dict[str, FieldValue] = {
            OWNER: record.owner,
            "payload_bytes": len(record.payload),
            "external": int(record.external),
        }
        point = line(
            TELEMETRICS_RECORD.name,
            tag_set(self._within_budgets(tags, owner, now_ns // NS_PER_DAY, changes)),
            fields,
            record.stamp,
        )
        return (
            Entry(now_ns, owner, 1, record.line(), RECORDS, NAME),
            Entry(now_ns, owner, 1, point.encode(), TELEMETRICS, NAME),
        )

    def _within_budgets(
        self, tags: Mapping[str, str], owner: str, day: int, changes: Changes
    ) -> dict[str, str]:
        admitted = {}
        for name, value in tags.items():
            budget = telemetrics_budget(name)
            cleaned = label(value)
            admitted[name] = self.budget.admit(budget, cleaned, owner, day, changes)
            if admitted[name] != cleaned:
                self.metrics.over_budget.labels(budget).inc()
        return admitted
