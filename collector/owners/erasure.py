"""One erasure, from what is held to a receipt; begun anew as often as it takes."""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from typing import Any, Final

import structlog

from collector.influx import Influx, InfluxError, InfluxUnavailable, identifier, string
from collector.influx.writing import write_all
from collector.lines import Point, Stamper, line
from collector.outbox import Outbox, OutboxFile
from collector.outbox.owners import Action, Asked, Notice, State
from collector.owners.holdings import Holdings, Place
from collector.privacy import Pseudonymiser
from collector.rollup.daily import Daily
from collector.rollup.raw import day_ns, day_of
from collector.rollup.standing import stored_days
from collector.schema import DAILY, DAILY_USAGE, QUARANTINE, RAW, SERVER_REPORT
from collector.state import SharedLock

log = structlog.get_logger("collector.owners")

_STATEMENTS: Final = 10
"""Deletes in one request, for which the writer waits; each looks at every shard."""
_TRIES: Final = 3


@dataclass(frozen=True, slots=True)
class Receipt:
    """What was erased, and from where.

    Raw reports and their nodes; reports that waited, and copies, in the outbox; lines set aside.
    `days` had such reports; `final_days` of them are published as they were.
    """

    reports: int = 0
    node_reports: int = 0
    waiting: int = 0
    copies: int = 0
    dead_letters: int = 0
    days: tuple[str, ...] = ()
    final_days: tuple[str, ...] = ()

    @classmethod
    def read(cls, text: str) -> Receipt:
        """A receipt as `written` gave it."""
        said: dict[str, Any] = json.loads(text)
        return cls(**(said | {name: tuple(said[name]) for name in ("days", "final_days")}))

    def written(self) -> str:
        """The receipt as JSON."""
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class _Plan:
    """What an erasure will have done: rows gone, by day, and what final days then say of it.

    `erased` are whole numbers to be stored rather than to be added, so that an erasure that is
    begun again after a crash counts nothing twice.
    """

    reports: int
    node_reports: int
    days: tuple[str, ...]
    erased: dict[str, tuple[int, int]]

    @classmethod
    def read(cls, text: str) -> _Plan:
        said = json.loads(text)
        erased = {day: (int(a), int(b)) for day, (a, b) in said["erased"].items()}
        return cls(said["reports"], said["node_reports"], tuple(said["days"]), erased)

    def written(self) -> str:
        return json.dumps(asdict(self))


@dataclass(frozen=True, slots=True)
class Locks:
    """`writing` is the writer's, held while entries are in hand; `rolling` the rollup's."""

    writing: asyncio.Lock
    rolling: asyncio.Lock | SharedLock


class Eraser:
    """Erases what is held of one server after another; one at a time."""

    def __init__(
        self,
        influx: Influx,
        outbox: Outbox,
        holdings: Holdings,
        daily: Daily,
        locks: Locks,
        *,
        pseudonyms: Pseudonymiser,
        stamper: Stamper,
    ) -> None:
        self._influx = influx
        self._outbox = outbox
        self._holdings = holdings
        self._daily = daily
        self._locks = locks
        self._pseudonyms = pseudonyms
        self._stamper = stamper
        self._holds_rollup = False

    async def hold_rollup(self) -> None:
        """Keep the rollup from looking until an erasure begun by an earlier run is at its end."""
        if not self._holds_rollup:
            await self._locks.rolling.acquire()
            self._holds_rollup = True

    def let_rollup_go(self) -> None:
        """The opposite."""
        if self._holds_rollup:
            self._holds_rollup = False
            self._locks.rolling.release()

    async def erase(self, asked: Asked) -> Receipt:
        """Erase all that is held of a server, and remember what was done.

        Raises InfluxError, OutboxUnavailable: then the same is to be asked again. Where raw reports
        may have been deleted by then, the rollup is held until it is done.
        """
        asked = await self._clear_outbox(asked)
        await self.hold_rollup()
        rows: Sequence[Point] = ()
        if asked.state is not State.PLANNED:
            try:
                rows = await self._holdings.raw(asked.server, until_ns=asked.until_ns)
                asked = await self._begin(asked, rows)
            except BaseException:
                self.let_rollup_go()
                raise
        plan = _Plan.read(asked.plan)
        await self._delete_raw(asked, plan, rows)
        await self._tell_final_days(plan)
        await asyncio.to_thread(self._daily.forget, [date.fromisoformat(day) for day in plan.days])
        found = Counter(json.loads(asked.found))
        receipt = Receipt(
            plan.reports,
            plan.node_reports,
            found[Place.WAITING],
            found[Place.DELIVERED],
            found[Place.DEAD],
            plan.days,
            tuple(plan.erased),
        )
        await self._finish(asked, receipt)
        self.let_rollup_go()
        return receipt

    async def _clear_outbox(self, asked: Asked) -> Asked:
        """Take it out of the outbox, so that the writer can bring none of it back."""
        async with self._locks.writing:
            held = await self._outbox.ask(lambda file: file.held(asked.server))
            until = asked.until_ns
            if not until:
                # A clock that was set back leaves timestamps that are ahead of it.
                until = max(time.time_ns(), await self._outbox.ask(OutboxFile.newest_ns))
            held = replace(
                held,
                waiting=tuple(entry for entry in held.waiting if entry.received_ns <= until),
                delivered=tuple(entry for entry in held.delivered if entry.received_ns <= until),
                dead=tuple(letter for letter in held.dead if letter.received_ns <= until),
            )
            found = Counter(json.loads(asked.found or "{}"))
            found[Place.WAITING] += len(held.waiting)
            found[Place.DELIVERED] += len(held.delivered)
            found[Place.DEAD] += len(held.dead)
            said = json.dumps(found)

            def work(file: OutboxFile) -> None:
                file.erase(asked.server, held, until_ns=until)
                file.owners.note(asked.id, found=said)

            await self._outbox.change(work)
        return replace(asked, until_ns=until, found=said)

    async def _begin(self, asked: Asked, rows: Sequence[Point]) -> Asked:
        """Remember what is going to be done before anything is."""
        reports, nodes = _by_day(rows)
        days = sorted(reports.keys() | nodes.keys())
        # What is in quarantine was counted by no final day.
        in_series, nodes_in_series = _by_day([p for p in rows if not p.fields.get(QUARANTINE)])
        erased = {}
        if days:
            stored = await stored_days(self._influx, days[0], days[-1])
            erased = {
                day.isoformat(): (
                    stored[day].erased.reports + in_series[day],
                    stored[day].erased.node_reports + nodes_in_series[day],
                )
                for day in sorted(in_series.keys() | nodes_in_series.keys())
                if day in stored and stored[day].number("final") == 1
            }
        plan = _Plan(
            reports.total(), nodes.total(), tuple(day.isoformat() for day in days), erased
        ).written()
        await self._outbox.change(
            lambda file: file.owners.begin(asked.id, until_ns=asked.until_ns, plan=plan)
        )
        return replace(asked, state=State.PLANNED, plan=plan)

    async def _delete_raw(self, asked: Asked, plan: _Plan, rows: Sequence[Point]) -> None:
        """Delete rows until none is found; `rows` are those known already."""
        fresh = bool(rows)
        if not rows and not plan.days:
            return
        for _ in range(_TRIES):
            for first in range(0, len(rows), _STATEMENTS):
                try:
                    # Deleting from a series that is being written to has lost points in 1.x.
                    async with self._locks.writing:
                        await self._delete(rows[first : first + _STATEMENTS])
                except InfluxUnavailable:
                    raise
                except InfluxError:
                    if fresh and first == 0:
                        # Refused, and nothing is gone: the rollup need not wait for this.
                        await self._outbox.change(lambda file: file.owners.take_back(asked.id))
                        self.let_rollup_go()
                    raise
            rows = await self._left(asked, plan)
            fresh = False
            if not rows:
                return
        raise InfluxError("deleted reports are still there")

    async def _left(self, asked: Asked, plan: _Plan) -> list[Point]:
        first = day_ns(date.fromisoformat(plan.days[0]))
        return await self._holdings.raw(asked.server, from_ns=first, until_ns=asked.until_ns)

    async def _delete(self, rows: Sequence[Point]) -> None:
        """By time and all tags, so that no point of anyone else goes with one."""
        statements = []
        for point in rows:
            conditions = [f"{identifier(k)} = {string(v)}" for k, v in point.tags.items()]
            where = " AND ".join([f"time = {point.time}", *conditions])
            statements.append(f"DELETE FROM {identifier(point.measurement)} WHERE {where}")
        await self._influx.query(RAW, *statements)

    async def _tell_final_days(self, plan: _Plan) -> None:
        """They stay as published, and say how much of what they count is there no more."""
        if not plan.erased:
            return
        lines = [
            line(
                DAILY_USAGE.name,
                "",
                {"erased_reports": reports, "erased_node_reports": nodes},
                day_ns(date.fromisoformat(day)),
            )
            for day, (reports, nodes) in plan.erased.items()
        ]
        await write_all(self._influx, DAILY, DAILY_USAGE.name, lines)

    async def _finish(self, asked: Asked, receipt: Receipt) -> None:
        mark = self._pseudonyms.mark(asked.server)
        stamp = self._stamper.take(max(time.time_ns(), asked.until_ns), 1)[0]

        def work(file: OutboxFile) -> None:
            file.owners.finish(asked.id, receipt=receipt.written())
            if asked.action is not Action.NOTICE:
                file.owners.give_notice(Notice(mark, stamp, ",".join(receipt.days)))

        await self._outbox.change(work)
        if not await self._outbox.scrub(asked.server.encode()):
            log.warning("the outbox holds remains of erased rows until its pages are used again")


def _by_day(rows: Sequence[Point]) -> tuple[Counter[date], Counter[date]]:
    """How many of these are reports, and how many nodes of reports, by day."""
    reports: Counter[date] = Counter()
    nodes: Counter[date] = Counter()
    for point in rows:
        counted = reports if point.measurement == SERVER_REPORT.name else nodes
        counted[day_of(point.time)] += 1
    return reports, nodes
