"""Intake of `asl-telemetry`, AllStarLink 3's client: one report a server a day, never retried.

`report` parses a body (`repair` corrects invalid JSON that the client writes), `points` converts it
to points, `tags` makes their tags, `intake` handles requests, `operations` describes the routes.
The client's source: https://github.com/AllStarLink (package asl3, script asl-telemetry).
"""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager

from pydantic import BaseModel

from collector.admission import Buckets, RateLimit
from collector.intakes.asl.intake import NAME, AslIntake
from collector.intakes.asl.operations import operations
from collector.intakes.asl.points import ReportConverter
from collector.intakes.asl.report import Report
from collector.intakes.intake import Intake, IntakeContext
from collector.intakes.tag_sync import shared_budget
from collector.nodelist import NodeList
from collector.operations import Operation
from collector.schema import ASL_REPORT, NODE_REPORT, QUARANTINE_BATCH, SERVER_REPORT
from collector.schema.budgets import ASL_BUDGETS
from collector.suspicion import Suspicions


class Asl(Intake):
    """The intake of `asl-telemetry`."""

    name = NAME
    measurements = (NODE_REPORT, SERVER_REPORT, QUARANTINE_BATCH)
    reports = (ASL_REPORT,)
    switch = "asl"

    def proofs(self) -> Sequence[type[BaseModel]]:
        """The model of a report."""
        return (Report,)

    def operations(self) -> Iterable[Operation]:
        """OpenAPI descriptions of the routes."""
        return operations()

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[AslIntake]:
        """Accept reports and keep the node list up to date until the context ends."""
        settings, metrics = context.settings, context.metrics
        nodelist = NodeList(
            settings.nodelist_url,
            directory=context.shared_dir,
            metrics=metrics,
            fetches=context.is_first,
        )
        budget, sync = shared_budget(context, ASL_BUDGETS, retention_s=settings.retention_raw)
        converter = ReportConverter(
            pseudonyms=context.pseudonyms,
            stamper=context.stamper,
            budget=budget,
            nodelist=nodelist,
            server_limit=Buckets(per_hour=settings.server_rate_limit if settings.rate_limit else 0),
            suspicions=Suspicions(known=context.servers),
            max_nodes=settings.max_nodes,
            metrics=metrics,
        )
        rate_limit = RateLimit(per_hour=settings.rate_limit, secret=secrets.token_bytes(32))
        metrics.follow(metrics.rate_limited_addresses, lambda: len(rate_limit))
        async with context.loop("nodelist", nodelist.run), context.loop("tags", sync.run):
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
