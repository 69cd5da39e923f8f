"""Batches of reports out of the series: planned, made, undone, each step one that may come twice.

Nothing is deleted and nothing moved: a field is written to points that are there. Who is stopped
half-way does the rest with `finish`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final

import polars as pl

from collector.days import day_of
from collector.influx import Influx, InfluxError, Select, read, rows_of
from collector.influx.frames import Rows, read_frame
from collector.influx.writing import write_all
from collector.lines import FieldValue, line, tag_set
from collector.logs import place
from collector.quarantine.pattern import REPORT_NS, Pattern, Picked, pick
from collector.quarantine.values import Values, values_of
from collector.rollup.cache import RawCount
from collector.rollup.daily import Daily, DayResult
from collector.rollup.inputs import first_complete_day, is_final
from collector.rollup.raw import imported_days, raw_counts
from collector.rollup.reconcile import Reconciler
from collector.rollup.store import Span
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

_NS: Final = 10**9
_EARLIER: Final = timedelta(days=30)
_COLUMNS: Final = {
    SERVER_REPORT.name: ("server", *(t.name for t in SERVER_TAGS), "uptime", "reload_age"),
    NODE_REPORT.name: ("node", "server", *(t.name for t in NODE_TAGS)),
}
_NUMBERS: Final = frozenset(("uptime", "reload_age", QUARANTINE))


class QuarantineError(ValueError):
    """What was asked for cannot be done, and nothing was; the text says why."""


class State(StrEnum):
    """How far a batch has come."""

    PLANNED = "planned"
    IN_FORCE = "in-force"
    RELEASING = "releasing"
    RELEASED = "released"


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch: its number (s since 1970), its span, what it has in common, how much it holds."""

    number: int
    state: State
    span: Span
    pattern: Pattern | None
    words: str
    note: str
    reports: int = 0
    node_reports: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether it was stopped half-way."""
        return self.state in (State.PLANNED, State.RELEASING)


@dataclass(frozen=True, slots=True)
class Day:
    """A day that a batch touches: `before` in the series, and what goes or comes back."""

    day: date
    before: RawCount
    reports: int
    servers: int
    node_reports: int
    nodes: int
    final: bool


@dataclass(frozen=True, slots=True)
class Preview:
    """What a batch would be: its days, its servers (pseudonyms) with reports and nodes."""

    days: Sequence[Day]
    servers: Sequence[tuple[str, int, int]]

    def under(self, k: int) -> list[date]:
        """Final days whose old and new numbers, compared, tell of under k nodes or servers."""
        return [one.day for one in self.days if one.final and min(one.servers, one.nodes) < k]


class Quarantine:
    """Batches in one InfluxDB. Every method raises InfluxError.

    `take_back` is told the values, by tag, that a batch put in force says, and those that nobody
    else says: they give back what they have of the tags' budgets. It blocks, and may come twice.
    """

    def __init__(
        self,
        influx: Influx,
        daily: Daily,
        reconciler: Reconciler,
        *,
        retention_s: int,
        take_back: Callable[[Values, Values], object] | None = None,
    ) -> None:
        self._influx = influx
        self._daily = daily
        self._reconciler = reconciler
        self._retention_s = retention_s
        self._take_back = take_back

    async def preview(self, pattern: Pattern, span: Span, now: datetime) -> Preview:
        """What would go. Raises QuarantineError where raw data of the span isn't there whole."""
        await self._check(span, now)
        return await self._of(await self._pick(pattern, span), now)

    async def add(
        self, pattern: Pattern, span: Span, note: str, now: datetime
    ) -> tuple[Batch, list[DayResult]]:
        """Take the reports out of the series, and compute their days anew.

        Raises QuarantineError as `preview` does, and where no report is found.
        """
        await self._check(span, now)
        if (await self._pick(pattern, span)).reports.is_empty():
            raise QuarantineError("no report of that span is like that")
        taken = {one.number for one in await self.batches()}
        number = int(now.timestamp())
        while number in taken:
            number += 1
        batch = Batch(number, State.PLANNED, span, pattern, pattern.words(), note)
        await self._note(batch)
        return await self.finish(batch, now)

    async def look(self, batch: Batch, now: datetime) -> Preview:
        """What a batch holds, and would come back."""
        return await self._of(await self._held(batch), now)

    async def release(self, batch: Batch, now: datetime) -> tuple[Batch, list[DayResult]]:
        """Put a batch back. QuarantineError where it is back, or its days begin to expire."""
        if batch.state is State.RELEASED:
            raise QuarantineError("that batch is back in the series already")
        await self._check(batch.span, now)
        batch = replace(batch, state=State.RELEASING)
        await self._note(batch)
        return await self.finish(batch, now)

    async def finish(self, batch: Batch, now: datetime) -> tuple[Batch, list[DayResult]]:
        """Do what is left to be done of a batch, from the beginning if need be."""
        if batch.state is State.PLANNED:
            if batch.pattern is None:
                raise QuarantineError("a planned batch has lost its pattern")
            picked = await self._pick(batch.pattern, batch.span, batch=batch.number)
            await self._mark(picked, batch.number)
            if self._take_back is not None:
                values = await values_of(self._influx, picked)
                await asyncio.to_thread(self._take_back, values.suspect, values.gone)
            done = replace(
                batch,
                state=State.IN_FORCE,
                reports=picked.reports.height,
                node_reports=picked.nodes.height,
            )
        elif batch.state is State.RELEASING:
            picked = await self._held(batch)
            await self._mark(picked, 0)
            done = replace(batch, state=State.RELEASED)
        else:
            return batch, []
        # All days of the span: an earlier run may have marked what is found no more.
        results = await self._compute(_days(batch.span), now)
        # The pattern has done its work, and may name servers whose owners erase theirs.
        done = replace(done, pattern=batch.pattern.without_names() if batch.pattern else None)
        await self._note(done)
        return done, results

    async def batches(self) -> list[Batch]:
        """Every batch that raw retention has left, oldest first."""
        found = await read(self._influx, Select.rows(QUARANTINE_BATCH))
        return [_read(row) for row in rows_of(found)]

    async def _check(self, span: Span, now: datetime) -> None:
        first, last = day_of(span.start), day_of(span.end - 1)
        if last > now.date():
            raise QuarantineError("the span ends in the future")
        oldest = await first_complete_day(self._influx, now, self._retention_s)
        if oldest is None or first < oldest:
            raise QuarantineError(
                f"raw reports of {first} may have begun to expire: the day stays as published"
            )
        counts = await raw_counts(self._influx, first, last)
        if imported := await imported_days(self._influx, counts):
            raise QuarantineError(f"{min(imported)} came from an older server and stays as it is")

    async def _compute(self, days: Sequence[date], now: datetime) -> list[DayResult]:
        # Counts alone cannot tell one batch from another of the same size.
        self._daily.forget(days)
        results, failed = await self._roll(days, now, force=True)
        # Windows of the days after reach back to these; what fails is due for the collector too.
        after = [day for day in await self._reconciler.due(now) if day not in days]
        more, _ = await self._roll(after, now, force=False)
        if failed:
            left = ", ".join(day.isoformat() for day in failed)
            raise InfluxError(
                f"{left} could not be computed ({failed[min(failed)]}); the batch is half done:"
                " `collector quarantine resume` does the rest"
            )
        return results + more

    async def _roll(
        self, days: Sequence[date], now: datetime, *, force: bool
    ) -> tuple[list[DayResult], dict[date, str]]:
        """What came of each day, and why some could not be computed."""
        results: list[DayResult] = []
        failed: dict[date, str] = {}
        for day in days:
            try:
                results.append(await self._daily.roll(day, now, force=force))
            except InfluxError as error:
                failed[day] = str(error)
            # One day's trouble must not keep the others from being computed.
            except Exception as error:  # noqa: BLE001
                failed[day] = place(error)
        return results, failed

    async def _pick(self, pattern: Pattern, span: Span, *, batch: int = 0) -> Picked:
        reports = await self._rows(SERVER_REPORT, span)
        nodes = await self._rows(NODE_REPORT, _wider(span))
        earlier: set[str] = set()
        if pattern.first_seen:
            start = span.start - int(_EARLIER.total_seconds()) * _NS
            before = await self._rows(SERVER_REPORT, Span(start, span.start))
            earlier = set(before["server"].unique())
        return pick(pattern, reports, nodes, earlier, batch=batch)

    async def _held(self, batch: Batch) -> Picked:
        mine = pl.col(QUARANTINE) == batch.number
        reports = await self._rows(SERVER_REPORT, batch.span)
        nodes = await self._rows(NODE_REPORT, _wider(batch.span))
        # Nodes by their own mark: of a release that was stopped, reports may be back already.
        return Picked(reports.filter(mine), nodes.filter(mine))

    async def _of(self, picked: Picked, now: datetime) -> Preview:
        rows = picked.days().rows(named=True)
        days = [day_of(row["day"] * 86_400 * _NS) for row in rows]
        counts: Mapping[date, RawCount] = {}
        if days:
            counts = await raw_counts(self._influx, days[0], days[-1])
        return Preview(
            [
                Day(
                    day,
                    counts.get(day, RawCount()),
                    row["reports"],
                    row["servers"],
                    row["node_reports"],
                    row["nodes"],
                    is_final(day, now),
                )
                for day, row in zip(days, rows, strict=True)
            ],
            [
                (str(s), int(r), int(n))
                for s, r, n in picked.by_server().select("server", "reports", "nodes").rows()
            ],
        )

    async def _rows(self, measurement: Measurement, span: Span) -> pl.DataFrame:
        names = [*_COLUMNS[measurement.name], QUARANTINE]
        types = {name: pl.Int64() if name in _NUMBERS else pl.String() for name in names}
        select = Select.rows(measurement, names, span.where())
        return (await read_frame(self._influx, select, lambda: Rows(types))).sort("time")

    async def _mark(self, picked: Picked, number: int) -> None:
        lines: list[str] = []
        for measurement, rows in ((NODE_REPORT, picked.nodes), (SERVER_REPORT, picked.reports)):
            names = [tag.name for tag in measurement.tags]
            for row in rows.select("time", *names).iter_rows(named=True):
                tags = tag_set({name: row[name] for name in names if row[name]})
                lines.append(line(measurement.name, tags, {QUARANTINE: number}, row["time"]))
        await self._write(lines)

    async def _note(self, batch: Batch) -> None:
        said: dict[str, Any] = {"words": batch.words}
        if batch.pattern is not None:
            said["pattern"] = asdict(batch.pattern)
        fields: dict[str, FieldValue] = {
            "state": batch.state.value,
            "first_ns": batch.span.start,
            "until_ns": batch.span.end,
            "pattern": json.dumps(said),
            "note": batch.note,
            "reports": batch.reports,
            "node_reports": batch.node_reports,
        }
        await self._write([line(QUARANTINE_BATCH.name, "", fields, batch.number * _NS)])

    async def _write(self, lines: Sequence[str]) -> None:
        await write_all(self._influx, RAW, "the quarantine", lines)


def span_between(start: datetime, end: datetime) -> Span:
    """The span of two moments, the end not included. QuarantineError where there is none."""
    if end <= start:
        raise QuarantineError("the span ends before it begins")
    return Span(*(int(at.astimezone(UTC).timestamp()) * _NS for at in (start, end)))


def _days(span: Span) -> list[date]:
    first, last = day_of(span.start), day_of(span.end - 1)
    return [first + timedelta(days=n) for n in range((last - first).days + 1)]


def _wider(span: Span) -> Span:
    return Span(span.start - REPORT_NS, span.end + REPORT_NS)


def _read(row: Mapping[str, Any]) -> Batch:
    said = json.loads(row["pattern"])
    return Batch(
        int(row["time"]) // _NS,
        State(row["state"]),
        Span(int(row["first_ns"]), int(row["until_ns"])),
        Pattern.read(said["pattern"]) if "pattern" in said else None,
        said["words"],
        row["note"],
        int(row["reports"]),
        int(row["node_reports"]),
    )
