"""Copy of one database to another InfluxDB, counted there again."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from collector.days import NS_PER_S, day_ns, day_of, month_after, months
from collector.influx.contents import Contents, Points, Span
from collector.influx.errors import InfluxError
from collector.move.journal import Journal, copied_of
from collector.schema import DAILY, OWNERS

MOST_POINTS: Final = 50_000
"""Points that are read and written at once; a span with more is halved."""
_NS_PER_DAY: Final = 86_400 * NS_PER_S

Progress = Callable[[str, Span], object]
"""Called before a span with `database.measurement` and the span."""


class MoveError(InfluxError):
    """The move cannot go on; the text gives the reason and the remedy."""


@dataclass(slots=True)
class Totals:
    """Numbers of points of a database: those of the target, and those written by this run."""

    points: int = 0
    written: int = 0


@dataclass(slots=True, eq=False)
class Copy:
    """Makes a database of the target equal to the source's, from the time `oldest_ns` on.

    A span that the journal has with the same digest is not touched. In a span that it does not
    have, the target's points are compared first: those that the source has no more, as after an
    erasure, are deleted.
    """

    database: str
    source: Contents
    target: Contents
    journal: Journal
    oldest_ns: int | None
    progress: Progress
    totals: Totals = field(default_factory=Totals, init=False)

    async def run(self) -> Totals:
        """Copy all measurements. Raises MoveError, InfluxError."""
        held = set(await self.source.measurements())
        for measurement in sorted(held | self.journal.measurements(self.database)):
            for span in await self._spans(measurement):
                self.progress(f"{self.database}.{measurement}", span)
                await self._span(measurement, span)
        return self.totals

    async def _spans(self, measurement: str) -> list[Span]:
        """Spans that together have all points of the source, and all that were copied before."""
        known = self.journal.spans(self.database, measurement)
        times = [time for span in known for time in (span.start, span.end - 1)]
        times += await self.source.extent(measurement) or ()
        if not times:
            return []
        oldest = min(times) if self.oldest_ns is None else max(min(times), self.oldest_ns)
        wide = self.database in {DAILY, OWNERS}
        parts = _months(oldest, max(times)) if wide else _days(oldest, max(times))
        if self.oldest_ns is None:
            return list(parts)
        return [Span(max(span.start, oldest), span.end) for span in parts]

    async def _span(self, measurement: str, span: Span) -> None:
        counts = await self.source.count(measurement, span)
        if max(counts.values(), default=0) > MOST_POINTS and span.end - span.start > 1:
            for half in span.halves():
                await self._span(measurement, half)
            return
        known = self.journal.copied(self.database, measurement, span)
        points, values = await self.source.read(measurement, span) if counts else ({}, counts)
        wanted = copied_of(points)
        self.totals.points += wanted.points
        if wanted == known:
            return
        stored = await self.target.count(measurement, span)
        if known is None and not stored and not points:
            return
        missing = await self._prepared(measurement, span, points) if stored else points
        await self.target.write(missing)
        self.totals.written += sum(map(len, missing.values()))
        counted = await self.target.count(measurement, span)
        if counted != values:
            raise MoveError(
                f"{self.database}.{measurement}, {day_of(span.start)}: the target counts"
                f" {dict(counted)} where {dict(values)} were written; is anything else writing to"
                " it? Run the move again"
            )
        self.journal.add(self.database, measurement, span, wanted)

    async def _prepared(self, measurement: str, span: Span, wanted: Points) -> Points:
        """Delete at the target what the source does not have; return what is to be written."""
        stored, _ = await self.target.read(measurement, span)
        missing = {}
        for time in sorted(stored.keys() | wanted.keys()):
            there, lines = stored.get(time, []), wanted.get(time, [])
            if there == lines:
                continue
            if set(there) - set(lines):
                await self.target.remove(measurement, f"time = {time}")
            if lines:
                missing[time] = lines
        return missing


def _days(first_ns: int, last_ns: int) -> Iterator[Span]:
    start = day_ns(day_of(first_ns))
    while start <= last_ns:
        yield Span(start, start + _NS_PER_DAY)
        start += _NS_PER_DAY


def _months(first_ns: int, last_ns: int) -> Iterator[Span]:
    first = day_of(first_ns).replace(day=1)
    for begin, _ in months(first, day_of(last_ns)):
        # The last month is whole too, so that its span is the same tomorrow.
        yield Span(day_ns(begin), day_ns(month_after(begin)))
