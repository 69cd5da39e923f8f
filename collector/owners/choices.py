"""Owners' opt-out choices: in RAM for a process's intake, stored in the memory for all workers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable
from dataclasses import KW_ONLY, InitVar, dataclass

import structlog

from collector.lines import Stamper
from collector.memory import Choice, Memory, MemoryUnavailable
from collector.metrics import Metrics
from collector.privacy import OwnerMark, Pseudonymiser, ServerPseudonym

log = structlog.get_logger("collector.owners")

LOOK_S = 0.2
"""Interval of checks for changes in the memory, after which each worker knows a new choice."""
KNOWN_EVERYWHERE_S = 0.5
"""Time after which a new choice is in force at every worker, with some reserve."""
_LOOK_ANYWAY_S = 5.0


@dataclass(eq=False)
class Choices:
    """The choices known to this process; `stored` are those in the memory at its start."""

    stored: InitVar[list[Choice]]
    memory: Memory
    metrics: Metrics
    _: KW_ONLY
    pseudonyms: Pseudonymiser
    stamper: Stamper

    def __post_init__(self, stored: list[Choice]) -> None:
        self._latest: dict[OwnerMark, Choice] = {}
        self._out: set[OwnerMark] = set()
        self.unsynced = False
        """Whether the memory has choices not yet stored in InfluxDB."""
        self._take(stored)

    def opted_out(self, server: ServerPseudonym) -> bool:
        """Return whether a server's reports must be dropped."""
        return bool(self._out) and self.pseudonyms.mark(server) in self._out

    def of(self, server: ServerPseudonym) -> Choice | None:
        """Return the latest choice of a server's owner, if there is one."""
        return self._latest.get(self.pseudonyms.mark(server))

    async def choose(self, server: ServerPseudonym, *, out: bool) -> None:
        """Store an owner's choice. Raises MemoryUnavailable."""
        if not out and not self.opted_out(server):
            return
        stamp = self.stamper.take(time.time_ns(), 1)[0]
        await self._store(Choice(self.pseudonyms.mark(server), out, stamp), synced=False)

    async def learn(self, choice: Choice) -> bool:
        """Store another collector's choice unless a later one is known; return whether it was new.

        Raises MemoryUnavailable.
        """
        known = self._latest.get(choice.owner)
        if known is not None and known.at_ns >= choice.at_ns:
            return False
        await self._store(choice, synced=True)
        return True

    async def refresh(self) -> None:
        """Read the choices that other processes have stored. Raises MemoryUnavailable.

        Choices that the memory lacks, such as after damage, are stored again.
        """
        known = list(self._latest.values())
        stored = {
            choice.owner: choice for choice in await asyncio.to_thread(self.memory.choices.all)
        }
        self._take(stored.values())
        lost = [
            choice
            for choice in known
            if choice.owner not in stored or stored[choice.owner].at_ns < choice.at_ns
        ]
        self.unsynced = bool(await asyncio.to_thread(self.memory.choices.all, unsynced=True))
        if lost:
            await asyncio.to_thread(self.memory.choices.keep, *lost, synced=False)

    async def watch(self, changed: Callable[[], None]) -> None:
        """Refresh after each change of the memory, then call `changed`; until cancelled."""
        seen: object = None
        looked = time.monotonic()
        failed = False
        while True:
            await asyncio.sleep(LOOK_S)
            try:
                stamp = self.memory.store.stamp()
                # Two changes within one tick of the disk's clock may have the same stamp.
                if stamp == seen and time.monotonic() - looked < _LOOK_ANYWAY_S:
                    continue
                await self.refresh()
            except MemoryUnavailable as error:
                if not failed:
                    log.error("the memory cannot be read", reason="unavailable", why=str(error))
                failed = True
                continue
            if failed:
                log.info("the memory can be read again")
            failed = False
            seen, looked = stamp, time.monotonic()
            changed()

    async def _store(self, choice: Choice, *, synced: bool) -> None:
        # In RAM first, so that the choice applies to the next report.
        self._take([choice])
        await asyncio.to_thread(self.memory.choices.keep, choice, synced=synced)

    def _take(self, choices: Iterable[Choice]) -> None:
        for choice in choices:
            known = self._latest.get(choice.owner)
            if known is None or known.at_ns <= choice.at_ns:
                self._latest[choice.owner] = choice
                (self._out.add if choice.out else self._out.discard)(choice.owner)
        self.metrics.opted_out.set(len(self._out))
