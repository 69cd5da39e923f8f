"""Bodies of the downloads, month by month; months are cached compressed until the next rollup."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from typing import Final

from collector.days import months
from collector.influx import Influx
from collector.influx.frames import read_frame
from collector.lazy import pl
from collector.public.cache import PieceCache
from collector.public.compression import Gzip, Piece
from collector.public.datasets import DAILY, LICENCE, Dataset, as_csv, as_json
from collector.public.formats import Format
from collector.public.series import UsageDay

_CONCURRENT_MONTHS: Final = 2
"""Months read and converted at a time: downloads must not slow the intake down."""
_CACHE_BYTES: Final = 64 << 20
"""Five years of the largest series of a fleet of 30 000 nodes are 10 MiB of compressed CSV."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """A download request: the days that exist (none if `first` is None), filters and format."""

    dataset: Dataset
    format: Format
    first: date | None
    last: date | None
    chosen: Mapping[str, str]
    days: list[UsageDay]

    @property
    def file_name(self) -> str:
        """File name for Content-Disposition."""
        span = [str(self.first)] if self.first == self.last else [str(self.first), str(self.last)]
        return "-".join(["allstarlink", self.dataset.name, *span]) + f".{self.format}"


class Bodies:
    """Makes the bodies of downloads in pieces that may be compressed."""

    def __init__(self, influx: Influx) -> None:
        self._influx = influx
        self._turn = asyncio.Semaphore(_CONCURRENT_MONTHS)
        self._cache = PieceCache(_CACHE_BYTES)

    async def pieces(self, wanted: Wanted, revision: str) -> AsyncIterator[Piece]:
        """The body in pieces, one for each month that has rows. Raises InfluxError."""
        before, joint, after = _envelope(wanted)
        spans: Iterator[tuple[date, date]] = iter(())
        if wanted.first is not None and wanted.last is not None:
            spans = months(wanted.first, wanted.last)
        for first, last in spans:
            piece = await self._month(wanted, first, last, revision)
            if piece.length:
                if before:
                    yield Piece.of(before)
                yield piece
                before = joint
        # The header of a body without rows, and the end of any body.
        yield Piece.of((b"" if before is joint else before) + after)

    async def _month(self, wanted: Wanted, first: date, last: date, revision: str) -> Piece:
        """The rows of a month, or a part of it, from the cache or InfluxDB. Raises InfluxError."""
        chosen = tuple(sorted(wanted.chosen.items()))
        key = (wanted.dataset.path, wanted.format, first, last, chosen)
        if (cached := self._cache.get(revision, key)) is not None:
            return cached
        async with self._turn:
            # Another request may have added it meanwhile.
            if (cached := self._cache.get(revision, key)) is not None:
                return cached
            days = [day for day in wanted.days if first <= day.day <= last]
            stored = None
            if (dataset := wanted.dataset) is not DAILY:
                select = dataset.select(first, last, wanted.chosen)
                stored = await read_frame(self._influx, select, dataset.rows)
            piece = await asyncio.to_thread(_converted, wanted, days, stored)
        self._cache.put(revision, key, piece)
        return piece


def _converted(wanted: Wanted, days: list[UsageDay], stored: pl.DataFrame | None) -> Piece:
    """A month's rows as a piece, empty if there are none."""
    frame: pl.DataFrame
    if stored is None:
        frame = wanted.dataset.usage_frame(days, wanted.chosen)
    else:
        frame = wanted.dataset.table_frame(stored, (day.day for day in days if day.final))
    if frame.is_empty():
        return Piece.of(b"")
    return Piece.of(as_csv(frame) if wanted.format is Format.CSV else as_json(frame))


def _envelope(wanted: Wanted) -> tuple[bytes, bytes, bytes]:
    """The text before, between and after the rows of months."""
    if wanted.format is Format.CSV:
        return (",".join(wanted.dataset.heading()) + "\n").encode(), b"", b""
    first = "null" if wanted.first is None else f'"{wanted.first}"'
    last = "null" if wanted.last is None else f'"{wanted.last}"'
    head = (
        f'{{"series":"{wanted.dataset.path}","licence":"{LICENCE}",'
        f'"from":{first},"to":{last},"rows":[\n'
    )
    return head.encode(), b",\n", b"\n]}\n"


async def gzipped(pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    """The parts of a gzip stream of these pieces."""
    gzip, head = Gzip(), Gzip.head
    async for piece in pieces:
        yield head + gzip.add(piece)
        head = b""
    yield gzip.end()


async def plain(pieces: AsyncIterator[Piece]) -> AsyncIterator[bytes]:
    """These pieces, decompressed."""
    async for piece in pieces:
        yield await asyncio.to_thread(piece.decompressed)
