"""Intake of Clear Linux's telemetrics-client: records of crashes, updates, heartbeats and others.

`fields` reads and checks a record's fields, `points` converts it to entries for the records store
and for InfluxDB, `intake` handles requests, `operations` describes the routes. The client's source:
https://github.com/clearlinux/telemetrics-client.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from collector.admission import Buckets, RateLimit
from collector.intakes.intake import IntakeContext
from collector.intakes.tag_sync import TagSync
from collector.intakes.telemetrics.intake import TelemetricsIntake
from collector.intakes.telemetrics.operations import TelemetricsRecord, operations
from collector.intakes.telemetrics.points import NAME, RecordConverter, tag_budgets
from collector.operations import Operation
from collector.privacy_section import PrivacySection, privacy_section
from collector.schema.telemetrics import TELEMETRICS, TELEMETRICS_LAYOUT, TELEMETRICS_MEASUREMENTS
from collector.settings import Settings
from collector.tag_budget import FIRM_DAYS, TagBudget

_SECONDS_PER_DAY: Final = 86_400
_LONGEST_DAYS: Final = 3650


class Telemetrics:
    """The intake of telemetrics-client."""

    name = NAME
    measurements = TELEMETRICS_MEASUREMENTS
    reports = (TELEMETRICS_LAYOUT,)
    proofs = (TelemetricsRecord,)

    def is_on(self, settings: Settings) -> bool:
        """Whether COLLECTOR_TELEMETRICS is 1."""
        return settings.telemetrics

    def retention(self, settings: Settings) -> Mapping[str, int]:
        """Retention of the database of counts; that of the records store is the same."""
        return {TELEMETRICS: settings.retention_records}

    def operations(self) -> Iterable[Operation]:
        """OpenAPI descriptions of the routes."""
        return operations()

    def privacy(self, settings: Settings) -> PrivacySection:
        """Privacy section of this sender."""
        return privacy_section(
            __package__,
            {"records": settings.retention_records, "keep_ids": settings.telemetrics_keep_ids},
        )

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[TelemetricsIntake]:
        """Accept records until the context ends."""
        settings, metrics, tags = context.settings, context.metrics, context.memory.tags
        for name, budget in tag_budgets().items():
            metrics.tag_budget.labels(name).set(budget)
        memory_days = settings.retention_records // _SECONDS_PER_DAY or _LONGEST_DAYS
        since = int(time.time()) // _SECONDS_PER_DAY - FIRM_DAYS
        shared = TagBudget(
            tag_budgets(),
            memory_days=memory_days,
            seen=tags.values(),
            server_counts=tags.server_counts(since_day=since),
        )
        converter = RecordConverter(
            pseudonyms=context.pseudonyms,
            stamper=context.stamper,
            budget=shared,
            metrics=metrics,
            keep_ids=settings.telemetrics_keep_ids,
        )
        sync = TagSync(context.memory, shared, memory_days=memory_days)
        limit = settings.rate_limit
        async with context.loop("telemetrics-tags", sync.run):
            yield TelemetricsIntake(
                converter,
                context,
                rate_limit=RateLimit(per_hour=limit, secret=secrets.token_bytes(32)),
                machine_limit=Buckets(per_hour=settings.server_rate_limit if limit else 0),
                remember=sync.add,
            )
