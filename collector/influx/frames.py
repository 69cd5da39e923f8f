"""Parser that turns InfluxDB's CSV into polars frames."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import replace
from typing import Final, Self, TypeAlias

from collector.influx.client import Influx
from collector.influx.errors import InfluxError
from collector.influx.reading import Select, stream_csv
from collector.influx.retry import retrying
from collector.lazy import FRAMES, load, pl

TIME: Final = "time"
_LEADING: Final = ("name", "tags", TIME)
"""Columns that precede the requested ones."""
_PIECE: Final = 8 << 20

Shape: TypeAlias = "Callable[[pl.LazyFrame], pl.LazyFrame]"


class Rows:
    """Incremental parser for CSV in chunks that may end anywhere.

    The frame has `time` (ns, Int64) and the given `columns` with their types; `shape` is applied to
    each chunk, to save memory.
    """

    def __init__(self, columns: Mapping[str, pl.DataType], shape: Shape | None = None) -> None:
        self._types = dict.fromkeys(_LEADING, pl.String()) | {TIME: pl.Int64()} | dict(columns)
        self._shape = shape or (lambda frame: frame)
        self._frames: list[pl.DataFrame] = []
        self._rest = b""
        self._is_headed = False

    def add(self, piece: bytes) -> Self:
        """Parse the next chunk. Raises InfluxError if it is not such CSV."""
        # No value holds a line break: labels have none, and JSON escapes them.
        text = self._rest + piece
        end = text.rfind(b"\n") + 1
        # Mostly a piece ends with a line: it is not copied.
        whole, self._rest = (text[:end], text[end:]) if end < len(text) else (text, b"")
        if whole:
            self._frames.append(self._parse(whole, headings=0 if self._is_headed else 1))
            self._is_headed = True
        return self

    def frame(self) -> pl.DataFrame:
        """All rows so far, in order."""
        return pl.concat(self._frames) if self._frames else self._parse(b"")

    def _parse(self, csv: bytes, headings: int = 0) -> pl.DataFrame:
        rows = (
            pl.scan_csv(csv, has_header=False, skip_lines=headings, schema=self._types)
            if csv
            else pl.LazyFrame(schema=self._types)
        )
        try:
            return self._shape(rows.drop(_LEADING[:2])).collect()
        except pl.exceptions.PolarsError as error:
            raise InfluxError(f"a response that is not InfluxDB's: {csv[:100]!r}") from error


async def read_frame(
    influx: Influx, select: Select, parser: Callable[[], Rows], least: int | None = None
) -> pl.DataFrame:
    """Read all rows of a SELECT; passing failures are retried.

    `least` is a number of rows that InfluxDB has just counted: it need not count them again.
    Threads parse while InfluxDB sends the next chunk. Raises NoDatabase, CutShort,
    InfluxUnavailable, InfluxError.
    """

    def attempt() -> Awaitable[pl.DataFrame]:
        nonlocal least
        # Once only: fewer rows are no error yet, since some may have been deleted meanwhile.
        known, least = least, None
        if known is None:
            return _read_frame(influx, select, parser())
        return _read_frame(influx, replace(select, counted=""), parser(), known)

    await load(FRAMES)
    return await retrying(attempt)


async def _read_frame(influx: Influx, select: Select, rows: Rows, least: int = 0) -> pl.DataFrame:
    pieces: list[bytes] = []
    size = 0
    parsing: asyncio.Future[Rows] | None = None
    try:
        async for part in stream_csv(influx, select, least):
            pieces.append(part)
            size += len(part)
            if size >= _PIECE:
                if parsing is not None:
                    await parsing
                parsing = asyncio.ensure_future(asyncio.to_thread(rows.add, b"".join(pieces)))
                pieces, size = [], 0
    finally:
        # No thread is left running, even if the response was cut short.
        if parsing is not None:
            await parsing
    return await asyncio.to_thread(lambda: rows.add(b"".join(pieces)).frame())
