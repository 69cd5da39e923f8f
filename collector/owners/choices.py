"""Whose reports are dropped: in memory for the intake, on our disk for the next start."""

from __future__ import annotations

import time

from collector.lines import Stamper
from collector.metrics import Metrics
from collector.outbox import Outbox, OutboxFile
from collector.outbox.owners import Choice
from collector.privacy import OwnerMark, Pseudonymiser, ServerPseudonym


class Choices:
    """The choices that this collector knows of; `kept` are those of earlier runs."""

    def __init__(
        self,
        kept: list[Choice],
        outbox: Outbox,
        metrics: Metrics,
        *,
        pseudonyms: Pseudonymiser,
        stamper: Stamper,
    ) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self._pseudonyms = pseudonyms
        self._stamper = stamper
        self._latest = {choice.owner: choice for choice in kept}
        self._out: set[OwnerMark] = {choice.owner for choice in kept if choice.out}
        self._measure()
        outbox.known.append(self._keep_again)

    def opted_out(self, server: ServerPseudonym) -> bool:
        """Whether a server's reports are to be dropped."""
        return bool(self._out) and self._pseudonyms.mark(server) in self._out

    async def choose(self, server: ServerPseudonym, *, out: bool) -> None:
        """Remember an owner's choice. Raises OutboxUnavailable."""
        if not out and not self.opted_out(server):
            return
        stamp = self._stamper.take(time.time_ns(), 1)[0]
        await self._keep(Choice(self._pseudonyms.mark(server), out, stamp), told=False)

    async def hear(self, choice: Choice) -> bool:
        """Take over a choice made elsewhere, unless a later one is known; whether it was news."""
        known = self._latest.get(choice.owner)
        if known is not None and known.at_ns >= choice.at_ns:
            return False
        await self._keep(choice, told=True)
        return True

    async def _keep(self, choice: Choice, *, told: bool) -> None:
        # In memory at once, so that no report that comes from now on is taken.
        self._latest[choice.owner] = choice
        (self._out.add if choice.out else self._out.discard)(choice.owner)
        self._measure()

        def work(file: OutboxFile) -> None:
            file.owners.choose(choice, told=told)

        await self._outbox.change(work)

    def _keep_again(self, file: OutboxFile) -> None:
        """Into the file that takes the place of a damaged one."""
        for choice in list(self._latest.values()):
            file.owners.choose(choice, told=False)

    def _measure(self) -> None:
        self._metrics.opted_out.set(len(self._out))
