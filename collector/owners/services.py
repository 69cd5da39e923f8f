"""Builds and runs the services for owners: search, erasure, choices and their exchange."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from collector.lines import Stamper
from collector.memory import Action
from collector.owners.choices import KNOWN_EVERYWHERE_S, Choices
from collector.owners.duties import ReceiverDuties
from collector.owners.erasure import Eraser
from collector.owners.holdings import Holdings
from collector.owners.parts import Parts
from collector.owners.requests import Erasures, Later
from collector.owners.sync import Sync
from collector.privacy import ServerPseudonym
from collector.schema import ReportLayout
from collector.settings import Settings
from collector.supervisor import together


class OwnerServices:
    """The services for owners in one process.

    `layouts` are the measurements whose reports owners may see and erase; `changed` is called after
    each erasure. `first` is whether this process does the erasures of all workers and exchanges
    choices with other collectors. Raises MemoryUnavailable.
    """

    def __init__(
        self,
        settings: Settings,
        parts: Parts,
        *,
        layouts: Sequence[ReportLayout],
        changed: Callable[[], None],
        first: bool = True,
    ) -> None:
        self._first = first
        choices = parts.memory.choices.all()
        self._outboxes = parts.outboxes
        # Stamps continue after the newest choice, since the clock may have been set back.
        stamper = Stamper(
            instance=settings.instance, last=max((choice.at_ns for choice in choices), default=0)
        )
        self.holdings = Holdings(parts.influx, parts.outboxes, layouts)
        self.records = parts.records
        self.choices = Choices(
            choices, parts.memory, parts.metrics, pseudonyms=parts.pseudonyms, stamper=stamper
        )
        eraser = Eraser(parts, self.holdings, stamper)

        def done() -> None:
            changed()
            self.sync.wake()

        self.erasures = Erasures(
            parts,
            eraser,
            self.choices,
            per_hour=settings.erasures_per_hour,
            known_everywhere_s=KNOWN_EVERYWHERE_S if settings.workers > 1 else 0.0,
            done=done,
        )
        keep = settings.retention_notices
        self.sync = Sync(parts, self.choices, self.erasures, keep_seconds=keep)
        self.duties = ReceiverDuties(
            parts, self.choices, self.erasures, self.sync.wake, keep_seconds=keep
        )

    async def open(self) -> None:
        """Clean up after an earlier run."""
        if self._first:
            # Remains of rows that an earlier run deleted.
            await asyncio.to_thread(self._outboxes.scrub)

    async def run(self) -> None:
        """Run erasures and the exchange of choices, until cancelled."""
        if self._first:
            await together(self.erasures.run(), self.sync.run(), self.choices.watch(self._woken))
        else:
            await self.choices.watch(self.erasures.wake)

    async def erase(self, server: ServerPseudonym) -> str:
        """Erase all reports of a server: `erased`, or the reason why it is done later.

        Raises MemoryUnavailable.
        """
        outcome = await self.erasures.ask(server, Action.ERASE)
        return outcome.value if isinstance(outcome, Later) else "erased"

    def _woken(self) -> None:
        self.erasures.wake()
        if self.choices.unsynced:
            self.sync.wake()
