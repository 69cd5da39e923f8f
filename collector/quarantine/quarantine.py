"""Batches of reports in quarantine: previewed, added, released, with idempotent steps.

Reports are neither deleted nor moved: a field is written to their points. `finish` completes an
interrupted batch.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from datetime import date, datetime, timedelta
from typing import Final

from collector.days import day_of
from collector.influx import Influx, InfluxError, Select, read, rows_of
from collector.influx.contents import Span
from collector.influx.frames import Rows, read_frame
from collector.influx.writing import write_all
from collector.lazy import pl
from collector.lines import line, tag_set
from collector.logs import place
from collector.privacy import ServerPseudonym
from collector.quarantine.batch import NS, Batch, Day, Preview, QuarantineError, State
from collector.quarantine.pattern import REPORT_NS, Pattern, Picked, pick
from collector.quarantine.values import Values, values_of
from collector.rollup.cache import RawCount
from collector.rollup.compute import DayResult
from collector.rollup.daily import Daily
from collector.rollup.inputs import first_complete_day, is_final
from collector.rollup.raw import read_days
from collector.rollup.reconcile import Reconciler
from collector.schema import (
    NODE_REPORT,
    NODE_TAGS,
    QUARANTINE,
    QUARANTINE_BATCH,
    RAW,
    SERVER_REPORT,
    SERVER_TAGS,
    Measurement,
)

OnWay = Callable[[int, tuple[int, int], Sequence[ServerPseudonym]], Awaitable[object]]

_EARLIER: Final = timedelta(days=30)
_COLUMNS: Final = {
    SERVER_REPORT.name: ("server", *(t.name for t in SERVER_TAGS), "uptime", "reload_age"),
    NODE_REPORT.name: ("node", "server", *(t.name for t in NODE_TAGS)),
}
_NUMBERS: Final = frozenset(("uptime", "reload_age", QUARANTINE))


@dataclass(frozen=True, slots=True)
class Quarantine:
    """Batches in one InfluxDB. Every method raises InfluxError.

    `discount(suspect, gone)` is called in a thread when a batch is added, perhaps repeatedly, with
    the tag values of the batch that few and that no other reports have, to free their places in the
    tags' budgets. `on_way(number, span, servers)` has the reports of a batch marked that are not in
    InfluxDB yet; without servers, none any more. It raises OrdersUnavailable.
    """

    influx: Influx
    daily: Daily
    reconciler: Reconciler
    _: KW_ONLY
    retention_s: int
    discount: Callable[[Values, Values], object] | None = None
    on_way: OnWay | None = None

    async def preview(self, pattern: Pattern, span: Span, now: datetime) -> Preview:
        """Contents of the batch that `add` would make.

        Raises QuarantineError if the raw data of the span is incomplete, or if an erasure of
        reports of a complete day of it is unfinished.
        """
        await self._check(span, now)
        return await self._preview(await self._pick(pattern, span), now)

    async def add(
        self, pattern: Pattern, span: Span, note: str, now: datetime
    ) -> tuple[Batch, list[DayResult]]:
        """Put reports into quarantine and recompute their days.

        Raises QuarantineError as `preview` does, and if no report matches.
        """
        await self._check(span, now)
        if (await self._pick(pattern, span)).reports.is_empty():
            raise QuarantineError("no report of that span matches")
        taken = {one.number for one in await self.batches()}
        number = int(now.timestamp())
        while number in taken:
            number += 1
        batch = Batch(number, State.PLANNED, span, pattern, pattern.words(), note)
        await self._save(batch)
        return await self.finish(batch, now)

    async def contents(self, batch: Batch, now: datetime) -> Preview:
        """Contents of a batch, which `release` would return to the series."""
        return await self._preview(await self._marked(batch), now)

    async def release(self, batch: Batch, now: datetime) -> tuple[Batch, list[DayResult]]:
        """Release a batch.

        Raises QuarantineError as `preview` does, and if it is released already.
        """
        if batch.state is State.RELEASED:
            raise QuarantineError("that batch is already back in the series")
        await self._check(batch.span, now)
        batch = replace(batch, state=State.RELEASING)
        await self._save(batch)
        return await self.finish(batch, now)

    async def finish(self, batch: Batch, now: datetime) -> tuple[Batch, list[DayResult]]:
        """Complete a batch; safe to repeat.

        Raises QuarantineError if it has lost its pattern, or if an erasure of reports of a complete
        day of it is unfinished.
        """
        if batch.unfinished:
            await self._check_erasures(batch.span, now)
        if batch.state is State.PLANNED:
            if batch.pattern is None:
                raise QuarantineError("a planned batch has lost its pattern")
            picked = await self._pick(batch.pattern, batch.span, batch=batch.number)
            if self.on_way is not None:
                servers = {*picked.reports["server"].unique(), *batch.pattern.servers}
                await self._tell(batch, sorted(servers))
                # What was stored meanwhile.
                picked = await self._pick(batch.pattern, batch.span, batch=batch.number)
            await self._mark(picked, batch.number)
            if self.discount is not None:
                suspect, gone = await values_of(self.influx, picked)
                await asyncio.to_thread(self.discount, suspect, gone)
            done = replace(
                batch,
                state=State.IN_FORCE,
                reports=picked.reports.height,
                node_reports=picked.nodes.height,
            )
        elif batch.state is State.RELEASING:
            await self._tell(batch, [])
            picked = await self._marked(batch)
            await self._mark(picked, 0)
            done = replace(batch, state=State.RELEASED)
        else:
            return batch, []
        # All days of the span, since an interrupted run may have marked reports on any of them.
        results = await self._compute(_days(batch.span), now)
        # Pseudonyms are not needed any more, and their owners may erase their data.
        done = replace(done, pattern=batch.pattern.without_names() if batch.pattern else None)
        await self._save(done)
        return done, results

    async def _tell(self, batch: Batch, servers: Sequence[str]) -> None:
        """Have the batch's reports on their way marked, as far as they were received before it."""
        if self.on_way is not None:
            span = (batch.span.start, min(batch.span.end, (batch.number + 1) * NS))
            await self.on_way(batch.number, span, [ServerPseudonym(one) for one in servers])

    async def batches(self) -> list[Batch]:
        """All batches within raw retention, oldest first."""
        found = await read(self.influx, Select.rows(QUARANTINE_BATCH))
        return [Batch.read(row) for row in rows_of(found)]

    async def _check(self, span: Span, now: datetime) -> None:
        first, last = day_of(span.start), day_of(span.end - 1)
        if last > now.date():
            raise QuarantineError("the span ends in the future")
        oldest = await first_complete_day(self.influx, now, self.retention_s)
        if oldest is None or first < oldest:
            raise QuarantineError(
                f"raw reports of {first} may have begun to expire: the day is left as published"
            )
        raw = await read_days(self.influx, first, last)
        if imported := raw.imported:
            raise QuarantineError(
                f"{min(imported)} was imported from an older server and is left unchanged"
            )
        await self._check_erasures(span, now)

    async def _check_erasures(self, span: Span, now: datetime) -> None:
        if erasing := await self.daily.erasing(now) & set(_days(span)):
            raise QuarantineError(
                f"an erasure of reports of {min(erasing)} is not done yet, and the day is left"
                " unchanged until it is; try again then"
            )

    async def _compute(self, days: Sequence[date], now: datetime) -> list[DayResult]:
        # Raw counts do not change between two batches of the same size, so caches are cleared.
        self.daily.forget(days)
        results, failed = await self._roll(days, now, force=True)
        # Windows of later days reach back to these; days that fail stay due for the collector.
        after = [day for day in await self.reconciler.due(now) if day not in days]
        more, _ = await self._roll(after, now, force=False)
        if failed:
            left = ", ".join(day.isoformat() for day in failed)
            raise InfluxError(
                f"{left} could not be computed ({failed[min(failed)]}); the batch is incomplete:"
                " `collector quarantine resume` completes it"
            )
        return results + more

    async def _roll(
        self, days: Sequence[date], now: datetime, *, force: bool
    ) -> tuple[list[DayResult], dict[date, str]]:
        """Roll up days; return the results, and the errors of the days that failed."""
        results: list[DayResult] = []
        failed: dict[date, str] = {}
        for day in days:
            try:
                results.append(await self.daily.roll(day, now, force=force))
            except InfluxError as error:
                failed[day] = str(error)
            # An error in one day must not prevent the others from being computed.
            except Exception as error:  # noqa: BLE001
                failed[day] = place(error)
        return results, failed

    async def _pick(self, pattern: Pattern, span: Span, *, batch: int = 0) -> Picked:
        reports, nodes = await self._reports(span)
        earlier: set[str] = set()
        if pattern.first_seen:
            start = span.start - int(_EARLIER.total_seconds()) * NS
            before = await self._rows(SERVER_REPORT, Span(start, span.start))
            earlier = set(before["server"].unique())
        return pick(pattern, reports, nodes, earlier, batch=batch)

    async def _marked(self, batch: Batch) -> Picked:
        mine = pl.col(QUARANTINE) == batch.number
        reports, nodes = await self._reports(batch.span)
        # Nodes have marks of their own: after an interrupted release, server rows may lack theirs.
        return Picked(reports.filter(mine), nodes.filter(mine))

    async def _preview(self, picked: Picked, now: datetime) -> Preview:
        rows = picked.days().rows(named=True)
        taken = {day_of(row.pop("day") * 86_400 * NS): row for row in rows}
        counts: Mapping[date, RawCount] = {}
        if taken:
            counts = (await read_days(self.influx, min(taken), max(taken))).counts
        return Preview(
            [
                Day(day, counts.get(day, RawCount()), **row, final=is_final(day, now))
                for day, row in taken.items()
            ],
            [
                (str(s), int(r), int(n))
                for s, r, n in picked.by_server().select("server", "reports", "nodes").rows()
            ],
        )

    async def _reports(self, span: Span) -> tuple[pl.DataFrame, pl.DataFrame]:
        wider = Span(span.start - REPORT_NS, span.end + REPORT_NS)
        return await self._rows(SERVER_REPORT, span), await self._rows(NODE_REPORT, wider)

    async def _rows(self, measurement: Measurement, span: Span) -> pl.DataFrame:
        names = [*_COLUMNS[measurement.name], QUARANTINE]
        types = {name: pl.Int64() if name in _NUMBERS else pl.String() for name in names}
        select = Select.rows(measurement, names, span.where())
        return (await read_frame(self.influx, select, lambda: Rows(types))).sort("time")

    async def _mark(self, picked: Picked, number: int) -> None:
        lines: list[str] = []
        for measurement, rows in ((NODE_REPORT, picked.nodes), (SERVER_REPORT, picked.reports)):
            names = [tag.name for tag in measurement.tags]
            for row in rows.select("time", *names).iter_rows(named=True):
                tags = tag_set({name: row[name] for name in names if row[name]})
                lines.append(line(measurement.name, tags, {QUARANTINE: number}, row["time"]))
        await write_all(self.influx, RAW, "the quarantine", lines)

    async def _save(self, batch: Batch) -> None:
        stored = line(QUARANTINE_BATCH.name, "", batch.fields(), batch.number * NS)
        await write_all(self.influx, RAW, "the quarantine", [stored])


def _days(span: Span) -> list[date]:
    first, last = day_of(span.start), day_of(span.end - 1)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]
