"""`asl-telemetry`, the client of AllStarLink 3: one usage report a server a day, never sent again.

`report` reads a body (`repair` mends the JSON that the client writes), `points` makes its points,
`tags` gives them their tags, `intake` answers the
client, `operations` describes the routes. The client's source: https://github.com/AllStarLink
(package asl3, script asl-telemetry).
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
from collector.intakes.asl.points import Understanding
from collector.intakes.asl.report import Report
from collector.intakes.asl.tags import tag_budgets
from collector.intakes.intake import Surroundings
from collector.intakes.remember import TagNews
from collector.nodelist import NodeList
from collector.operations import Operation
from collector.schema import (
    ASL_REPORT,
    NODE_REPORT,
    QUARANTINE_BATCH,
    SERVER_REPORT,
)
from collector.settings import Settings
from collector.suspicion import Suspicions
from collector.tag_budget import SAYERS_DAYS, TagBudget

_SECONDS_PER_DAY: Final = 86_400


class Asl:
    """The intake of `asl-telemetry`."""

    name = NAME
    measurements = (NODE_REPORT, SERVER_REPORT, QUARANTINE_BATCH)
    reports = (ASL_REPORT,)
    proofs = (Report,)

    def is_on(self, settings: Settings) -> bool:
        """Whether COLLECTOR_ASL is set, as it is by default."""
        return settings.asl

    def retention(self, settings: Settings) -> Mapping[str, int]:
        """None of its own: the rollup reads `usage_raw` too, with or without this sender."""
        return {}

    def operations(self) -> Iterable[Operation]:
        """Its routes, described for OpenAPI."""
        return operations()

    @asynccontextmanager
    async def open(self, surroundings: Surroundings) -> AsyncIterator[AslIntake]:
        """Take reports, and keep the public node list fresh, until the context ends."""
        settings, metrics = surroundings.settings, surroundings.metrics
        budgets = tag_budgets()
        for tag, budget in budgets.items():
            metrics.tag_budget.labels(tag).set(budget)
        nodelist = NodeList(
            settings.nodelist_url,
            directory=surroundings.shared_dir,
            metrics=metrics,
            fetches=surroundings.is_first,
        )
        tags = surroundings.memory.tags
        memory_days = settings.retention_raw // _SECONDS_PER_DAY
        shared = TagBudget(
            budgets,
            memory_days=memory_days,
            seen=tags.values(),
            sayers=tags.sayers(since_day=int(time.time()) // _SECONDS_PER_DAY - SAYERS_DAYS),
        )
        understanding = Understanding(
            pseudonyms=surroundings.pseudonyms,
            stamper=surroundings.stamper,
            budget=shared,
            nodelist=nodelist,
            server_limit=Buckets(per_hour=settings.server_rate_limit if settings.rate_limit else 0),
            suspicions=Suspicions(known=surroundings.servers),
            max_nodes=settings.max_nodes,
            metrics=metrics,
        )
        rate_limit = RateLimit(per_hour=settings.rate_limit, secret=secrets.token_bytes(32))
        metrics.follow(metrics.rate_limited_addresses, lambda: len(rate_limit))
        news = TagNews(surroundings.memory, shared, memory_days=memory_days)
        async with (
            surroundings.loop("nodelist", nodelist.run),
            surroundings.loop("tags", news.run),
        ):
            yield AslIntake(
                understanding,
                opted_out=surroundings.opted_out,
                remember=news.add,
                outbox=surroundings.outbox,
                door=surroundings.door,
                rate_limit=rate_limit,
                metrics=metrics,
                clock=surroundings.clock,
            )
