"""Kills and stops members of the cluster in turn, and starts them again as systemd does."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from random import Random
from typing import Final

from tools.cluster.plant import Plant
from tools.embedded import Embedded

_LOOK_S: Final = 0.5


class Fault(StrEnum):
    """What happens to a member."""

    KILLED = "killed (SIGKILL)"
    STOPPED = "stopped (SIGSTOP)"


def plan(kinds: Sequence[Sequence[str]], random: Random) -> Iterator[tuple[str, Fault]]:
    """Choose members for ever: each kind once before any comes again, every fourth is stopped."""
    number = 0
    while True:
        for kind in random.sample(kinds, len(kinds)):
            number += 1
            fault = Fault.STOPPED if number % 4 == 0 else Fault.KILLED
            yield random.choice(kind), fault


@dataclass
class Faults:
    """The faults of a running cluster.

    One happens every `every_s` and lasts for `away_s`. A process that has ended by itself is
    started again too.
    """

    plant: Plant
    say: Callable[[str], object]
    random: Random
    every_s: float
    away_s: float
    done: int = 0
    _away: set[str] = field(default_factory=set)
    _repairs: set[asyncio.Task[None]] = field(default_factory=set)

    async def run(self, most: int = 0) -> None:
        """Break members until cancelled, or `most` times (0: no end), and mend the last one."""
        for name, fault in plan(self.plant.kinds, self.random):
            await asyncio.sleep(self.every_s)
            if name in self._away:
                continue
            self._break(name, fault)
            self.done += 1
            if self.done == most:
                await asyncio.gather(*self._repairs)
                return

    async def watch(self) -> None:
        """Start again, for ever, what has ended by itself."""
        while True:
            await asyncio.sleep(_LOOK_S)
            for name, member in self.plant.members.items():
                if name not in self._away and not member.running:
                    self.say(f"{name} has ended by itself, and is started again")
                    member.launch()

    async def mended(self) -> None:
        """Start, or continue, all members at once."""
        for task in list(self._repairs):
            task.cancel()
        await asyncio.gather(*self._repairs, return_exceptions=True)
        self._away.clear()
        for member in self.plant.members.values():
            member.resume()
            member.launch()

    def _break(self, name: str, fault: Fault) -> None:
        member = self.plant.members[name]
        self._away.add(name)
        if fault is Fault.KILLED:
            member.kill()
        else:
            member.pause()
        self.say(f"{name} {fault}")
        task = asyncio.create_task(self._mend(name, member, fault))
        self._repairs.add(task)
        task.add_done_callback(self._repairs.discard)

    async def _mend(self, name: str, member: Embedded, fault: Fault) -> None:
        try:
            await asyncio.sleep(self.away_s)
            if fault is Fault.KILLED:
                member.launch()
                self.say(f"{name} is started again")
            else:
                member.resume()
                self.say(f"{name} goes on (SIGCONT)")
        finally:
            self._away.discard(name)
