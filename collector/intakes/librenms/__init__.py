"""Intake of LibreNMS's call-back: one report a day from each install that opted in.

`form` reads the requests' forms, `report` parses a report (`cleaning` removes names of machines
from its texts), `points` converts it to points, `intake` handles requests, `slots` limits large
bodies in memory, `operations` describes the routes. The client's source: `LibreNMS/Util/Stats.php`
of https://github.com/librenms/librenms.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pydantic import BaseModel

from collector.intakes.intake import Intake, IntakeContext
from collector.intakes.tag_sync import shared_budget
from collector.operations import Operation
from collector.schema.budgets import LIBRENMS_BUDGETS
from collector.schema.librenms import LIBRENMS, LIBRENMS_CONTENT, LIBRENMS_LAYOUT, LIBRENMS_REPORT

if TYPE_CHECKING:
    from collector.intakes.librenms.intake import LibreNMSIntake

NAME: Final = "librenms"


class LibreNMS(Intake):
    """The intake of LibreNMS's call-back."""

    name = NAME
    measurements = (LIBRENMS_REPORT, LIBRENMS_CONTENT)
    reports = (LIBRENMS_LAYOUT,)
    switch = "librenms"
    retentions = MappingProxyType({LIBRENMS: "retention_librenms"})
    privacy_values = MappingProxyType({"librenms": "retention_librenms"})

    def proofs(self) -> Sequence[type[BaseModel]]:
        """The model of a report."""
        from collector.intakes.librenms.report import LibreNMSReport

        return (LibreNMSReport,)

    def operations(self) -> Iterable[Operation]:
        """OpenAPI descriptions of the routes."""
        from collector.intakes.librenms.operations import operations

        return operations()

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[LibreNMSIntake]:
        """Accept reports until the context ends."""
        from collector.intakes.librenms.intake import LibreNMSIntake
        from collector.intakes.librenms.points import ReportConverter

        retention_s = context.settings.retention_librenms
        budget, sync = shared_budget(context, LIBRENMS_BUDGETS, retention_s=retention_s)
        converter = ReportConverter(
            pseudonyms=context.pseudonyms,
            stamper=context.stamper,
            budget=budget,
            metrics=context.metrics,
        )
        with ThreadPoolExecutor(1, "librenms") as parsing:
            async with context.loop("librenms-groups", sync.run):
                yield LibreNMSIntake(converter, context, remember=sync.add, parsing=parsing)
