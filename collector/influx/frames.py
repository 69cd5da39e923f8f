"""InfluxDB's CSV as polars frames: the one parser of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Final, Self

import polars as pl

from collector.influx.client import Influx
from collector.influx.errors import InfluxError
from collector.influx.patience import patiently
from collector.influx.reading import Select, stream_csv

TIME: Final = "time"
_LEADING: Final = ("name", "tags", TIME)
"""The columns before those that were asked for."""
_PIECE: Final = 8 << 20

Shape = Callable[[pl.LazyFrame], pl.LazyFrame]


class Rows:
    """Parses CSV that comes in pieces cut anywhere.

    The columns are `time` (ns, Int64) and those of `columns` with their types; `shape` is applied
    to each piece, so that no more of it is held than is needed.
    """

    def __init__(self, columns: Mapping[str, pl.DataType], shape: Shape | None = None) -> None:
        self._types = dict.fromkeys(_LEADING, pl.String()) | {TIME: pl.Int64()} | dict(columns)
        self._shape = shape or (lambda frame: frame)
        self._frames: list[pl.DataFrame] = []
        self._rest = b""
        self._is_headed = False

    def add(self, piece: bytes) -> Self:
        """Take the next piece. Raises InfluxError where it is no such CSV."""
        # No quoted value holds a line break: labels have none, and JSON escapes them.
        whole, line_end, rest = (self._rest + piece).rpartition(b"\n")
        self._rest = rest
        if not self._is_headed and line_end:
            whole = whole.partition(b"\n")[2]
            self._is_headed = True
        if whole:
            self._frames.append(self._parse(whole))
        return self

    def frame(self) -> pl.DataFrame:
        """The rows in their order."""
        return pl.concat([self._parse(b""), *self._frames])

    def _parse(self, csv: bytes) -> pl.DataFrame:
        rows = (
            pl.scan_csv(csv, has_header=False, schema=self._types)
            if csv
            else pl.LazyFrame(schema=self._types)
        )
        try:
            return self._shape(rows.drop(_LEADING[:2])).collect()
        except pl.exceptions.PolarsError as error:
            raise InfluxError(f"an answer that is not InfluxDB's: {csv[:100]!r}") from error


async def read_frame(influx: Influx, select: Select, parser: Callable[[], Rows]) -> pl.DataFrame:
    """The rows that answer a SELECT, whole. What fails for a passing reason is tried again.

    Parsing happens in threads, while InfluxDB prepares what comes next. Raises NoDatabase,
    CutShort, InfluxUnavailable, InfluxError.
    """
    return await patiently(lambda: _read_frame(influx, select, parser()))


async def _read_frame(influx: Influx, select: Select, rows: Rows) -> pl.DataFrame:
    piece = bytearray()
    parsing: asyncio.Future[Rows] | None = None
    try:
        async for part in stream_csv(influx, select):
            piece += part
            if len(piece) >= _PIECE:
                if parsing is not None:
                    await parsing
                parsing = asyncio.ensure_future(asyncio.to_thread(rows.add, bytes(piece)))
                piece.clear()
    finally:
        # Also of an answer that turned out to be cut short.
        if parsing is not None:
            await parsing
    rest = bytes(piece)
    return await asyncio.to_thread(lambda: rows.add(rest).frame())
