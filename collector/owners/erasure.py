"""One erasure: deletes an owner's reports and makes a receipt. Safe to repeat after a failure."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import astuple, replace
from datetime import date
from typing import Final

import structlog

from collector.days import day_ns, day_of
from collector.influx import InfluxError, InfluxUnavailable, identifier, string
from collector.influx.writing import write_all
from collector.lines import Point, Stamper, line
from collector.memory import Action, Choice, ErasureRequest, Notice, State
from collector.orders import Elsewhere
from collector.owners.erasure_records import ErasedByDay, OutboxCounts, Plan, Receipt, most, up_to
from collector.owners.holdings import Holdings, Place
from collector.owners.parts import Parts
from collector.rollup.inputs import StoredDay, stored_days
from collector.schema import DAILY_USAGE, QUARANTINE, Measurement
from collector.sqlite.errors import StoreUnavailable

log = structlog.get_logger("collector.owners")

_STATEMENTS: Final = 10
"""Delete statements in one request. Delivery waits for it, and each reads every shard."""
_TRIES: Final = 3
_RECORDS: Final = "records"
_STREAM: Final = "stream"


class Eraser:
    """Erases all data of a server. One erasure runs at a time."""

    def __init__(self, parts: Parts, holdings: Holdings, stamper: Stamper) -> None:
        self._parts = parts
        self._influx = parts.influx
        self._erasures = parts.memory.erasures
        self._holdings = holdings
        self._stamper = stamper
        self._layouts = {
            measurement.name: layout
            for layout in holdings.layouts
            for measurement in layout.measurements
        }
        self._series = {layout.days: None for layout in holdings.layouts if layout.days}

    async def tell(self, choice: Choice | None) -> None:
        """Make a choice known to all receivers. Raises OrdersUnavailable."""
        if choice is not None:
            await self._parts.hops.tell(choice)

    async def erase(self, asked: ErasureRequest) -> Receipt:
        """Erase all data of a server, store the receipt and return it.

        Raises InfluxError, StoreUnavailable, OrdersUnavailable, OSError: then call it again. The
        rollup waits while InfluxDB's reports are erased. Until a repeated call succeeds it does not
        recompute complete days of the plan, since raw reports may be missing that their stored
        numbers count.
        """
        asked = await self._clear_outboxes(asked)
        # Before InfluxDB, so that nothing on its way there arrives after the deletion.
        asked, elsewhere = await self._erase_elsewhere(asked)
        await asyncio.to_thread(self._parts.records.erase, asked.server, until_ns=asked.until_ns)
        async with self._parts.rolling:
            return await self._erase_stored(asked, elsewhere)

    async def _erase_elsewhere(
        self, asked: ErasureRequest
    ) -> tuple[ErasureRequest, Elsewhere | None]:
        if asked.action is Action.NOTICE:
            # Another collector has given the order.
            await self._parts.hops.sweep(asked.server, until_ns=asked.until_ns)
            return asked, None
        elsewhere = await self._parts.hops.erase(
            asked.server,
            self._parts.pseudonyms.mark(asked.server),
            until_ns=asked.until_ns,
            asked_ns=asked.asked_ns,
        )
        if elsewhere is None:
            return asked, None
        # An earlier try may have deleted messages, and has noted how many.
        found = OutboxCounts.read(asked.found)
        found.counts[_STREAM] += elsewhere.stream
        said = found.written()
        await asyncio.to_thread(self._erasures.note, asked.id, until_ns=asked.until_ns, found=said)
        return replace(asked, found=said), replace(elsewhere, stream=found.counts[_STREAM])

    async def _erase_stored(self, asked: ErasureRequest, elsewhere: Elsewhere | None) -> Receipt:
        """Erase the data in InfluxDB, and the rollup's cached facts in the state directory."""
        rows: Sequence[Point] = ()
        if asked.state is not State.PLANNED:
            rows = await self._holdings.raw(asked.server, until_ns=asked.until_ns)
            asked = await self._begin(asked, rows)
        plan = Plan.read(asked.plan)
        await self._delete_raw(asked, plan, rows)
        # Final days stay as published, and say how many of their reports were erased.
        for series in self._series:
            if erased := plan.of(series):
                await self._store_erased(series, erased)
        found = OutboxCounts.read(asked.found)
        receipt = Receipt(
            plan.reports,
            plan.node_reports,
            found.counts[Place.WAITING],
            found.counts[Place.DELIVERED],
            found.counts[Place.DEAD],
            plan.days,
            plan.final_days,
            found.counts[_RECORDS],
            elsewhere,
        )
        days = [date.fromisoformat(day) for day in plan.days]
        await asyncio.to_thread(self._parts.daily.forget, days)
        await self._finish(asked, receipt)
        return receipt

    async def _clear_outboxes(self, asked: ErasureRequest) -> ErasureRequest:
        """Delete the server's rows from every outbox, so that no delivery can bring one back.

        Records the counts, and the highest row numbers, before it deletes: repeated after a crash,
        it counts each row once.
        """
        async with self._parts.writing.alone():
            held = await asyncio.to_thread(self._parts.outboxes.held, asked.server)
            until = asked.until_ns
            if not until:
                # Timestamps may be ahead of a clock that was set back.
                until = max(time.time_ns(), await asyncio.to_thread(self._parts.outboxes.newest_ns))
            held = {name: up_to(found, until) for name, found in held.items()}
            found = OutboxCounts.read(asked.found)
            for name, rows in held.items():
                found.add(name, rows)
            if _RECORDS not in found.counts:
                found.counts[_RECORDS] = await asyncio.to_thread(
                    self._parts.records.count_of, asked.server, until_ns=until
                )
            said = found.written()
            await asyncio.to_thread(self._erasures.note, asked.id, until_ns=until, found=said)
            await asyncio.to_thread(self._parts.outboxes.erase, asked.server, held)
        return replace(asked, until_ns=until, found=said)

    async def _begin(self, asked: ErasureRequest, rows: Sequence[Point]) -> ErasureRequest:
        """Make the plan and record it, before any raw report is deleted."""
        reports, nodes = self._by_day(rows)
        days = sorted(reports.keys() | nodes.keys())
        # Unfinished erasures of other owners may not have stored their totals yet.
        others = await asyncio.to_thread(self._erasures.all, State.PLANNED)
        plans = [Plan.read(other.plan) for other in others]
        erased = {
            series: await self._on_final_days(series, rows, [plan.of(series) for plan in plans])
            for series in self._series
        }
        plan = Plan(
            reports.total(),
            nodes.total(),
            tuple(day.isoformat() for day in days),
            erased.pop(DAILY_USAGE, {}),
            {series.name: found for series, found in erased.items() if found},
        ).written()
        await asyncio.to_thread(self._erasures.begin, asked.id, plan=plan)
        return replace(asked, state=State.PLANNED, plan=plan)

    async def _on_final_days(
        self, series: Measurement, rows: Sequence[Point], plans: Iterable[ErasedByDay]
    ) -> ErasedByDay:
        """The new totals of erased reports on the final days of a series."""
        # Final days count no report in quarantine.
        reports, nodes = self._by_day(
            [
                point
                for point in rows
                if self._layouts[point.measurement].days is series
                and not point.fields.get(QUARANTINE)
            ]
        )
        days = sorted(reports.keys() | nodes.keys())
        if not days:
            return {}
        stored = await stored_days(self._influx, days[0], days[-1], series)
        plans = list(plans)
        erased = {}
        for day in days:
            if day in stored and stored[day].final:
                name = day.isoformat()
                reports_before, nodes_before = most(
                    astuple(stored[day].erased), *(plan[name] for plan in plans if name in plan)
                )
                erased[name] = (reports_before + reports[day], nodes_before + nodes[day])
        return erased

    def _by_day(self, rows: Sequence[Point]) -> tuple[Counter[date], Counter[date]]:
        """Count the points that are reports, and those that are parts of reports, by day."""
        reports: Counter[date] = Counter()
        parts: Counter[date] = Counter()
        for point in rows:
            head = self._layouts[point.measurement].head
            counted = reports if point.measurement == head.name else parts
            counted[day_of(point.time)] += 1
        return reports, parts

    async def _delete_raw(self, asked: ErasureRequest, plan: Plan, rows: Sequence[Point]) -> None:
        """Delete rows and search again, until none is found; `rows` are those known already."""
        fresh = bool(rows)
        if not rows and not plan.days:
            return
        for _ in range(_TRIES):
            for first in range(0, len(rows), _STATEMENTS):
                try:
                    # InfluxDB 1.x has lost points of series that were written to during a delete.
                    async with self._parts.writing.alone():
                        await self._delete(rows[first : first + _STATEMENTS])
                except InfluxUnavailable:
                    raise
                except InfluxError:
                    if fresh and first == 0:
                        # Refused and nothing deleted: the rollup need not spare these days.
                        await asyncio.to_thread(self._erasures.reset, asked.id)
                    raise
            first_ns = day_ns(date.fromisoformat(plan.days[0]))
            until_ns = asked.until_ns
            rows = await self._holdings.raw(asked.server, from_ns=first_ns, until_ns=until_ns)
            fresh = False
            if not rows:
                return
        raise InfluxError("deleted reports are still there")

    async def _delete(self, rows: Sequence[Point]) -> None:
        """Delete points by time and all tags, so that no point of another owner is deleted."""
        statements: dict[str, list[str]] = {}
        for point in rows:
            conditions = [f"{identifier(k)} = {string(v)}" for k, v in point.tags.items()]
            where = " AND ".join([f"time = {point.time}", *conditions])
            database = self._layouts[point.measurement].head.database
            statements.setdefault(database, []).append(
                f"DELETE FROM {identifier(point.measurement)} WHERE {where}"
            )
        for database, wanted in statements.items():
            await self._influx.query(database, *wanted)

    async def _store_erased(self, series: Measurement, erased: ErasedByDay) -> None:
        days = {date.fromisoformat(day): numbers for day, numbers in erased.items()}
        stored = await stored_days(self._influx, min(days), max(days), series)
        # An erasure planned later includes this one in its totals, and may be finished already.
        said = {
            day: most(n, astuple(stored.get(day, StoredDay()).erased)) for day, n in days.items()
        }
        known = {one.name for one in series.fields}
        lines = []
        for day, (reports, nodes) in said.items():
            numbers = {"erased_reports": reports, "erased_node_reports": nodes}
            fields = {name: count for name, count in numbers.items() if name in known}
            lines.append(line(series.name, "", fields, day_ns(day)))
        await write_all(self._influx, series.database, series.name, lines)

    async def _finish(self, asked: ErasureRequest, receipt: Receipt) -> None:
        mark = self._parts.pseudonyms.mark(asked.server)
        stamp = self._stamper.take(max(time.time_ns(), asked.until_ns), 1)[0]

        notice = None
        if asked.action is not Action.NOTICE:
            notice = Notice(mark, stamp, ",".join(receipt.days))
        trace = asked.server.encode()
        # Before `finish`, so that a failure here makes the whole erasure run again.
        clean = await asyncio.to_thread(self._parts.outboxes.scrub, trace)
        await asyncio.to_thread(
            self._erasures.finish, asked, receipt=receipt.written(), notice=notice
        )
        try:
            clean &= await asyncio.to_thread(self._parts.memory.store.scrub, trace)
        except StoreUnavailable:
            # The erasure is done and its receipt stored, so this is no failure.
            clean = False
        if not clean:
            log.warning("files hold remains of erased rows until their pages are used again")
