"""Intake of LibreNMS's call-back: one report a day from each install that opted in.

`form` reads the requests' forms, `report` parses a report (`cleaning` removes names of machines
from its texts), `points` converts it to points, `intake` handles requests, `slots` limits large
bodies in memory, `operations` describes the routes. The client's source: `LibreNMS/Util/Stats.php`
of https://github.com/librenms/librenms.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Final

from collector.admission import Buckets, RateLimit
from collector.intakes.intake import IntakeContext
from collector.intakes.librenms.intake import LibreNMSIntake, Limits
from collector.intakes.librenms.operations import operations
from collector.intakes.librenms.points import BUDGET, NAME, ReportConverter, tag_budgets
from collector.intakes.librenms.report import LibreNMSReport
from collector.intakes.tag_sync import TagSync
from collector.operations import Operation
from collector.privacy_section import PrivacySection, privacy_section
from collector.schema.librenms import LIBRENMS, LIBRENMS_CONTENT, LIBRENMS_LAYOUT, LIBRENMS_REPORT
from collector.settings import Settings
from collector.tag_budget import FIRM_DAYS, TagBudget

_SECONDS_PER_DAY: Final = 86_400
CLEARS_PER_HOUR: Final = 10
"""Limit of requests to erase from one client address, as for owners of other senders."""


class LibreNMS:
    """The intake of LibreNMS's call-back."""

    name = NAME
    measurements = (LIBRENMS_REPORT, LIBRENMS_CONTENT)
    reports = (LIBRENMS_LAYOUT,)
    proofs = (LibreNMSReport,)

    def is_on(self, settings: Settings) -> bool:
        """Whether COLLECTOR_LIBRENMS is 1."""
        return settings.librenms

    def retention(self, settings: Settings) -> Mapping[str, int]:
        """Retention of the database of the reports."""
        return {LIBRENMS: settings.retention_librenms}

    def operations(self) -> Iterable[Operation]:
        """OpenAPI descriptions of the routes."""
        return operations()

    def privacy(self, settings: Settings) -> PrivacySection:
        """Privacy section of this sender."""
        return privacy_section(__package__, {"librenms": settings.retention_librenms})

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[LibreNMSIntake]:
        """Accept reports until the context ends."""
        settings, metrics, tags = context.settings, context.metrics, context.memory.tags
        metrics.tag_budget.labels(BUDGET).set(tag_budgets()[BUDGET])
        memory_days = settings.retention_librenms // _SECONDS_PER_DAY
        since = int(time.time()) // _SECONDS_PER_DAY - FIRM_DAYS
        budget = TagBudget(
            tag_budgets(),
            memory_days=memory_days,
            seen=tags.values(),
            server_counts=tags.server_counts(since_day=since),
        )
        converter = ReportConverter(
            pseudonyms=context.pseudonyms,
            stamper=context.stamper,
            budget=budget,
            metrics=metrics,
        )
        sync = TagSync(context.memory, budget, memory_days=memory_days)
        limits = settings.rate_limit
        rates = Limits(
            reports=RateLimit(per_hour=limits, secret=secrets.token_bytes(32)),
            installs=Buckets(per_hour=settings.server_rate_limit if limits else 0),
            clears=RateLimit(
                per_hour=CLEARS_PER_HOUR if limits else 0, secret=secrets.token_bytes(32)
            ),
        )
        with ThreadPoolExecutor(1, "librenms") as parsing:
            async with context.loop("librenms-groups", sync.run):
                yield LibreNMSIntake(
                    converter, context, limits=rates, remember=sync.add, parsing=parsing
                )
