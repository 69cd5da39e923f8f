"""Intake of `asl-telemetry`, AllStarLink 3's client: one report a server a day, never retried.

`report` parses a body (`repair` corrects invalid JSON that the client writes), `points` converts it
to points, `tags` makes their tags, `intake` handles requests, `operations` describes the routes.
The client's source: https://github.com/AllStarLink (package asl3, script asl-telemetry).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Final

from collector.admission import Buckets, RateLimit
from collector.intakes.asl.intake import NAME, AslIntake
from collector.intakes.asl.operations import operations
from collector.intakes.asl.points import ReportConverter
from collector.intakes.asl.report import Report
from collector.intakes.asl.tags import tag_budgets
from collector.intakes.intake import IntakeContext
from collector.intakes.tag_sync import TagSync
from collector.nodelist import NodeList
from collector.operations import Operation
from collector.privacy_section import PrivacySection, privacy_section
from collector.schema import (
    ASL_REPORT,
    NODE_REPORT,
    QUARANTINE_BATCH,
    SERVER_REPORT,
)
from collector.settings import Settings
from collector.suspicion import Suspicions
from collector.tag_budget import FIRM_DAYS, TagBudget

_SECONDS_PER_DAY: Final = 86_400


class Asl:
    """The intake of `asl-telemetry`."""

    name = NAME
    measurements = (NODE_REPORT, SERVER_REPORT, QUARANTINE_BATCH)
    reports = (ASL_REPORT,)
    proofs = (Report,)

    def is_on(self, settings: Settings) -> bool:
        """Whether COLLECTOR_ASL is 1, the default."""
        return settings.asl

    def retention(self, settings: Settings) -> Mapping[str, int]:
        """No database of its own: the rollup uses `usage_raw` too, even without this sender."""
        return {}

    def operations(self) -> Iterable[Operation]:
        """OpenAPI descriptions of the routes."""
        return operations()

    def privacy(self, settings: Settings) -> PrivacySection:
        """Privacy section of this sender, with the settings of the page."""
        return privacy_section(__package__, {})

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[AslIntake]:
        """Accept reports and keep the node list up to date until the context ends."""
        settings, metrics = context.settings, context.metrics
        budgets = tag_budgets()
        for tag, budget in budgets.items():
            metrics.tag_budget.labels(tag).set(budget)
        nodelist = NodeList(
            settings.nodelist_url,
            directory=context.shared_dir,
            metrics=metrics,
            fetches=context.is_first,
        )
        tags = context.memory.tags
        memory_days = settings.retention_raw // _SECONDS_PER_DAY
        shared = TagBudget(
            budgets,
            memory_days=memory_days,
            seen=tags.values(),
            server_counts=tags.server_counts(
                since_day=int(time.time()) // _SECONDS_PER_DAY - FIRM_DAYS
            ),
        )
        converter = ReportConverter(
            pseudonyms=context.pseudonyms,
            stamper=context.stamper,
            budget=shared,
            nodelist=nodelist,
            server_limit=Buckets(per_hour=settings.server_rate_limit if settings.rate_limit else 0),
            suspicions=Suspicions(known=context.servers),
            max_nodes=settings.max_nodes,
            metrics=metrics,
        )
        rate_limit = RateLimit(per_hour=settings.rate_limit, secret=secrets.token_bytes(32))
        metrics.follow(metrics.rate_limited_addresses, lambda: len(rate_limit))
        sync = TagSync(context.memory, shared, memory_days=memory_days)
        async with (
            context.loop("nodelist", nodelist.run),
            context.loop("tags", sync.run),
        ):
            yield AslIntake(
                converter,
                opted_out=context.opted_out,
                remember=sync.add,
                outbox=context.outbox,
                door=context.door,
                rate_limit=rate_limit,
                metrics=metrics,
                clock=context.clock,
            )
