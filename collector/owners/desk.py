"""Builds what serves owners out of the parts of a collector, and runs it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from collector.influx import Influx
from collector.lines import Stamper
from collector.metrics import Metrics
from collector.outbox import Outbox
from collector.outbox.owners import Choice
from collector.owners.choices import Choices
from collector.owners.erasure import Eraser, Locks
from collector.owners.holdings import Holdings
from collector.owners.requests import Erasures
from collector.owners.sync import Sync
from collector.privacy import Pseudonymiser
from collector.rollup.daily import Daily
from collector.settings import Settings


@dataclass(frozen=True, slots=True)
class Parts:
    """What there is of a collector. `daily` is the one that the rollup's schedule runs."""

    influx: Influx
    outbox: Outbox
    daily: Daily
    pseudonyms: Pseudonymiser
    metrics: Metrics
    locks: Locks


class Desk:
    """Serves owners. `kept` are the choices of earlier runs; `changed` is called after erasures."""

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        *,
        kept: list[Choice],
        changed: Callable[[], None],
    ) -> None:
        # The newest choice gives the first stamp, should the clock have been set back since.
        stamper = Stamper(
            instance=settings.instance, last=max((choice.at_ns for choice in kept), default=0)
        )
        self.holdings = Holdings(parts.influx, parts.outbox)
        self.choices = Choices(
            kept, parts.outbox, parts.metrics, pseudonyms=parts.pseudonyms, stamper=stamper
        )
        eraser = Eraser(
            parts.influx,
            parts.outbox,
            self.holdings,
            parts.daily,
            parts.locks,
            pseudonyms=parts.pseudonyms,
            stamper=stamper,
        )

        def done() -> None:
            changed()
            self.sync.wake()

        self.erasures = Erasures(
            parts.outbox,
            eraser,
            self.choices,
            parts.metrics,
            per_hour=settings.erasures_per_hour,
            done=done,
        )
        self.sync = Sync(
            parts.influx,
            parts.outbox,
            self.choices,
            self.erasures,
            parts.daily,
            parts.locks.rolling,
            pseudonyms=parts.pseudonyms,
            keep_seconds=settings.retention_raw,
        )

    async def open(self) -> None:
        """Before the rollup runs: it waits where an earlier run left an erasure half done."""
        await self.erasures.open()

    async def run(self) -> None:
        """Do what owners ask and share what they chose, until cancelled."""
        await asyncio.gather(self.erasures.run(), self.sync.run())
