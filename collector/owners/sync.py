"""Exchange of opt-out choices and erasure notices between collectors of one InfluxDB.

They are points in a private database, under owner marks instead of the pseudonyms of reports. A
mark can be traced to an owner only with the pseudonym key and the owner's UUID.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Final

import structlog

from collector.influx import InfluxError
from collector.influx.writing import write_all
from collector.lines import line
from collector.memory import Choice, Notice
from collector.orders import OrdersUnavailable
from collector.owners.choices import Choices
from collector.owners.notices import Notices, delete_points, forget_facts, points
from collector.owners.parts import Parts
from collector.owners.requests import Erasures
from collector.privacy import OwnerMark
from collector.schema import ERASURE_NOTICE, OWNER_CHOICE, OWNERS, Measurement
from collector.sqlite.errors import StoreUnavailable
from collector.state import NotHeld
from collector.supervisor import wait_at_most

log = structlog.get_logger("collector.owners")

_EVERY_S: Final = 60.0
_RETRY_S: Final = 5.0


class Sync:
    """Writes this collector's choices and notices to InfluxDB, and reads the others', each minute.

    Notices are retained for `keep_seconds`.
    """

    def __init__(
        self, parts: Parts, choices: Choices, erasures: Erasures, *, keep_seconds: int
    ) -> None:
        self._influx = parts.influx
        self._memory = parts.memory
        self._outboxes = parts.outboxes
        self._hops = parts.hops
        self._pseudonyms = parts.pseudonyms
        self._choices = choices
        self._erasures = erasures
        self._forget = partial(forget_facts, parts.daily, parts.rolling)
        self._notices = Notices(parts.influx, keep_seconds=keep_seconds)
        self._newly_out: set[OwnerMark] = set()
        self._failures = 0
        self._woken = asyncio.Event()

    def wake(self) -> None:
        """Make `run` exchange at once, since there is something new to write."""
        self._woken.set()

    async def run(self) -> None:
        """Exchange every minute and after each `wake`, until cancelled."""
        while True:
            self._woken.clear()
            pause = _EVERY_S if await self._try_once() else _RETRY_S
            await wait_at_most(pause, self._woken)

    async def _try_once(self) -> bool:
        try:
            await self.once()
        except (InfluxError, StoreUnavailable, OrdersUnavailable, NotHeld, OSError) as error:
            self._failures += 1
            # At a start the database may not be made yet, so the first failure is not logged.
            if self._failures == 2:
                log.warning(
                    "owners' choices could not be exchanged with other collectors; they apply here",
                    why=str(error),
                )
            return False
        if self._failures > 1:
            log.info("owners' choices are exchanged again")
        self._failures = 0
        return True

    async def once(self) -> None:
        """Exchange once.

        Raises InfluxError, StoreUnavailable, OrdersUnavailable, OSError (a file is undeletable).
        """
        await self.publish()
        # A choice is returned as new only once, so remember its owner until erasure is requested.
        self._newly_out |= await self._read_choices()
        fresh = await self._notices.unseen()
        if fresh:
            # So that recovering an outbox restores none of these reports.
            await asyncio.to_thread(
                self._memory.erasures.remember_erased, fresh, oldest_ns=self._notices.oldest_ns
            )
        if self._newly_out or fresh:
            await self._follow(self._newly_out, fresh)
            self._newly_out.clear()
            await self._forget(fresh)
        self._notices.mark_seen(fresh)

    async def publish(self) -> None:
        """Write new choices and notices to InfluxDB, and tell the other hops of them.

        Raises InfluxError, StoreUnavailable, OrdersUnavailable.
        """
        for choice in await asyncio.to_thread(self._memory.choices.all, unsynced=True):
            fields = {"owner": choice.owner, "choice": "opt-out" if choice.out else "opt-in"}
            try:
                # One of the two may be away.
                await self._hops.tell(choice)
            finally:
                await self._write(OWNER_CHOICE, fields, choice.at_ns)
            await asyncio.to_thread(self._memory.choices.keep, choice, synced=True)
        for notice in await asyncio.to_thread(self._memory.erasures.notices):
            fields = {"owner": notice.owner, "days": notice.days}
            await self._write(ERASURE_NOTICE, fields, notice.at_ns)
            await self._hops.notice()
            await asyncio.to_thread(self._memory.erasures.remove_notice, notice)

    async def _write(self, measurement: Measurement, fields: Mapping[str, str], at_ns: int) -> None:
        text = line(measurement.name, "", dict(fields), at_ns)
        await write_all(self._influx, OWNERS, measurement.name, [text])

    async def _read_choices(self) -> set[OwnerMark]:
        """Read the choices from InfluxDB; return owners whose opt-out is new here."""
        latest: dict[OwnerMark, Choice] = {}
        superseded = []
        for at, owner, chosen in await points(self._influx, OWNER_CHOICE, "choice"):
            mark = OwnerMark(owner)
            if mark in latest:
                superseded.append(latest[mark].at_ns)
            latest[mark] = Choice(mark, chosen == "opt-out", at)
        news = {mark for mark, choice in latest.items() if await self._choices.learn(choice)}
        await delete_points(self._influx, OWNER_CHOICE, superseded)
        return {mark for mark in news if latest[mark].out}

    async def _follow(self, out: set[OwnerMark], notices: Iterable[Notice]) -> None:
        """Request the erasure of what this collector's outboxes hold of these owners."""
        held = await asyncio.to_thread(self._outboxes.servers)
        if not held:
            return
        until = dict.fromkeys(out, time.time_ns())
        for notice in notices:
            until[notice.owner] = max(until.get(notice.owner, 0), notice.at_ns)
        for server, oldest in held.items():
            wanted = until.get(self._pseudonyms.mark(server), 0)
            if oldest <= wanted:
                await self._erasures.follow(server, until_ns=wanted)
