"""Intake of Clear Linux's telemetrics-client: records of crashes, updates, heartbeats and others.

`fields` reads and checks a record's fields, `points` converts it to entries for the records store
and for InfluxDB, `intake` handles requests, `operations` describes the routes. The client's source:
https://github.com/clearlinux/telemetrics-client.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from collector.intakes.intake import Intake, IntakeContext
from collector.intakes.tag_sync import shared_budget
from collector.operations import Operation
from collector.schema.budgets import TELEMETRICS_BUDGETS
from collector.schema.telemetrics import TELEMETRICS, TELEMETRICS_LAYOUT, TELEMETRICS_MEASUREMENTS

if TYPE_CHECKING:
    from collector.intakes.telemetrics.intake import TelemetricsIntake

NAME: Final = "telemetrics"


class Telemetrics(Intake):
    """The intake of telemetrics-client."""

    name = NAME
    measurements = TELEMETRICS_MEASUREMENTS
    reports = (TELEMETRICS_LAYOUT,)
    switch = "telemetrics"
    retentions = MappingProxyType({TELEMETRICS: "retention_records"})
    privacy_values = MappingProxyType(
        {"records": "retention_records", "keep_ids": "telemetrics_keep_ids"}
    )

    def proofs(self) -> Sequence[type[BaseModel]]:
        """The model of a record."""
        from collector.intakes.telemetrics.operations import TelemetricsRecord

        return (TelemetricsRecord,)

    def operations(self) -> Iterable[Operation]:
        """OpenAPI descriptions of the routes."""
        from collector.intakes.telemetrics.operations import operations

        return operations()

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[TelemetricsIntake]:
        """Accept records until the context ends."""
        from collector.intakes.telemetrics.intake import TelemetricsIntake
        from collector.intakes.telemetrics.points import RecordConverter

        settings = context.settings
        budget, sync = shared_budget(
            context, TELEMETRICS_BUDGETS, retention_s=settings.retention_records
        )
        converter = RecordConverter(
            pseudonyms=context.pseudonyms,
            stamper=context.stamper,
            budget=budget,
            metrics=context.metrics,
            keep_ids=settings.telemetrics_keep_ids,
        )
        async with context.loop("telemetrics-tags", sync.run):
            yield TelemetricsIntake(converter, context, remember=sync.add)
