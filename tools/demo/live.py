"""Sends what is due while the demo runs: reports, records, hosts' figures; and counts the day.

The fleet's reports come at their times. In the first minutes some servers restart, and report two
minutes after that as every server does, so that the open day grows while one looks.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random
from typing import Final

import aiohttp

from collector import parts
from collector.influx import Influx, InfluxError
from collector.influx.writing import write_all
from collector.schema import LIVE
from collector.settings import Settings
from collector.state import ROLLUP_LOCK, SharedLock
from tools.demo import hosts
from tools.demo.senders import Senders, post_install, post_record
from tools.simulation.fleet import Fleet, Submission
from tools.simulation.sending import PostError, send

RESTART_EVERY_S: Final = 5.0
RESTARTS: Final = 120
_COUNT_EVERY_S: Final = 20.0
_OTHERS_EVERY_S: Final = 15.0
_DAY_NS: Final = 86_400 * 10**9


@dataclass
class Live:
    """The senders of a running demo; `since_ns` is where its past ends.

    `outcomes` counts the replies to the fleet's reports: `accepted`, or the reason of a refusal.
    """

    settings: Settings
    influx: Influx
    fleet: Fleet
    senders: Senders
    since_ns: int
    outcomes: Counter[str] = field(default_factory=Counter)

    async def run(self) -> None:
        """Send for ever."""
        async with aiohttp.ClientSession() as session, asyncio.TaskGroup() as tasks:
            for each in (
                self._every(RESTART_EVERY_S, self._reports(session)),
                self._every(_OTHERS_EVERY_S, self._others(session)),
                self._every(hosts.EVERY_S, self._hosts),
                self._every(_COUNT_EVERY_S, self._count),
            ):
                tasks.create_task(each)

    @property
    def _base(self) -> str:
        return f"http://{self.settings.listen}"

    async def _every(self, seconds: float, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            try:
                await work()
            except (PostError, InfluxError, aiohttp.ClientError, TimeoutError):
                # The collector or InfluxDB has ended: the demo's main loop tells it.
                self.outcomes["unanswered"] += 1
            await asyncio.sleep(seconds)

    def _reports(self, session: aiohttp.ClientSession) -> Callable[[], Awaitable[None]]:
        until = self.since_ns
        midnight = (until // _DAY_NS + 1) * _DAY_NS
        restarting = self.fleet.between(until, midnight)
        Random(1).shuffle(restarting)  # noqa: S311 - a simulation has no secrets
        del restarting[RESTARTS:]

        async def work() -> None:
            nonlocal until
            now = time.time_ns()
            due = self.fleet.between(until, now)
            until = now
            if restarting and now < midnight:
                due.append(restarting.pop())
            for each in due:
                reply = await send(session, f"{self._base}/usage", each.body)
                self.outcomes[reply.reason or "accepted"] += 1

        return work

    def _others(self, session: aiohttp.ClientSession) -> Callable[[], Awaitable[None]]:
        until = self.since_ns
        day = self.senders.today
        installs: list[Submission] = self.senders.installs.day(day)
        records = self.senders.machines.day(day)

        async def work() -> None:
            nonlocal until
            now = time.time_ns()
            for install in installs:
                if until < install.received_ns <= now:
                    await post_install(session, self._base, install.body)
            for record in records:
                if until < record.received_ns <= now:
                    await post_record(session, self._base, self.settings, record)
            until = now

        return work

    async def _hosts(self) -> None:
        now = int(time.time())
        points = list(hosts.points(now - now % hosts.EVERY_S))
        await write_all(self.influx, LIVE, "hosts' figures", ["\n".join(points)])

    async def _count(self) -> None:
        now = datetime.now(UTC)
        # The collector counts days too, each quarter of an hour.
        async with SharedLock(self.settings.state_dir / ROLLUP_LOCK):
            await parts.daily_of(self.settings, self.influx).roll(now.date(), now)
