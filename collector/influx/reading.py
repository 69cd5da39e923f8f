"""Reads of rows from InfluxDB that return all rows or raise.

If a limit or a time-out strikes in the middle, InfluxDB ends the response without an error: HTTP
200 and some of the rows. So each request has three statements: a count of the rows, the rows, and a
last one that always has a result. InfluxDB stops at the first statement that fails, so the last
result proves that all rows before it were sent; the count is a second check. Rows may arrive after
they were counted, so more rows than counted are no error. A request may read several SELECTs, of
which the last statement then proves all.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from collector.influx.client import Influx
from collector.influx.errors import CutShort, InfluxError, NoDatabase
from collector.influx.quoting import identifier
from collector.influx.responses import Series
from collector.influx.retry import retrying
from collector.schema import Measurement

_LAST: Final = "SHOW MEASUREMENTS LIMIT 1"
_COUNTED: Final = "counted_rows"
_COUNT_HEADING: Final = f"name,tags,time,{_COUNTED}\n".encode()
_LAST_HEADING: Final = b"name,tags,name\n"
_LAST_ROW: Final = b"measurements,,"
_HOLD: Final = 4096
"""Bytes at the start and the end of a CSV response that hold the count and the last result."""


@dataclass(frozen=True, slots=True)
class Select:
    """A SELECT on one measurement.

    `columns` are InfluxQL expressions; `more` follows the condition (`GROUP BY …`). `counted` is a
    field that (nearly) every row has, by which rows are counted; empty if the columns are
    aggregates. `everywhere` reads all retention policies of InfluxDB 1.x, since a change of the
    default policy may have put points into another one.
    """

    database: str
    measurement: str
    columns: Sequence[str]
    where: str = ""
    more: str = ""
    counted: str = ""
    everywhere: bool = False

    @classmethod
    def rows(
        cls,
        measurement: Measurement,
        names: Sequence[str] = (),
        where: str = "",
        more: str = "",
        *,
        everywhere: bool = False,
    ) -> Select:
        """Select rows with the fields and tags of these `names`; all of them if none is given."""
        fields = [field.name for field in measurement.fields]
        return cls(
            measurement.database,
            measurement.name,
            [identifier(name) for name in names] or ["*"],
            where,
            more,
            next((name for name in names if name in fields), fields[0]),
            everywhere,
        )

    async def statements(self, influx: Influx) -> list[str]:
        """The statements that read it: the count if any, and the rows. Raises like `source`."""
        source = await influx.source(self.database, self.measurement, everywhere=self.everywhere)
        condition = f" WHERE {self.where}" if self.where else ""
        count = f"SELECT count({identifier(self.counted)}) AS {_COUNTED} FROM {source}{condition}"
        more = f" {self.more}" if self.more else ""
        rows = f"SELECT {','.join(self.columns)} FROM {source}{condition}{more}"
        return [*([count] if self.counted else []), rows]


async def read(influx: Influx, select: Select) -> list[Series]:
    """Read all series of a SELECT; passing failures are retried.

    Raises NoDatabase, CutShort, InfluxUnavailable, InfluxError.
    """
    [series] = await read_each(influx, [select])
    return series


async def read_if_there(influx: Influx, select: Select) -> list[Series]:
    """Read like `read`, but nothing from a database that does not exist yet."""
    try:
        return await read(influx, select)
    except NoDatabase:
        return []


async def read_each(influx: Influx, selects: Sequence[Select]) -> list[list[Series]]:
    """Read all series of several SELECTs on one database, in one request.

    Each result is complete; an error in one of them is an error of all. Raises like `read`.
    """
    return await retrying(lambda: _read(influx, selects))


async def _read(influx: Influx, selects: Sequence[Select]) -> list[list[Series]]:
    [database] = {select.database for select in selects}
    each = [await select.statements(influx) for select in selects]
    statements = [*chain.from_iterable(each), _LAST]
    try:
        answers = await influx.query_each(database, *statements)
    except InfluxError as error:
        influx.policies.forget_if_gone(database, error)
        raise
    if len(answers) < len(statements):
        raise CutShort(_short(sum(len(one.values) for answer in answers for one in answer)))
    results = iter(answers)
    return [_complete(list(islice(results, len(own)))) for own in each]


def _complete(answers: Sequence[list[Series]]) -> list[Series]:
    """The series of a SELECT out of the answers to its statements. Raises CutShort."""
    *counted, rows = answers
    got = sum(len(series.values) for series in rows)
    if counted and (expected := _count(counted[0])) > got:
        raise CutShort(_short(got, expected))
    return rows


async def stream_csv(influx: Influx, select: Select, least: int = 0) -> AsyncIterator[bytes]:
    """Read the rows of a SELECT as CSV in chunks that may end anywhere.

    `least` is the least number of rows, for a SELECT without `counted`. A heading comes first, then
    rows `name,tags,time,…` with times in ns; nothing if there are no rows. The request is not
    retried: after an error, discard the rows received. Raises the same as `read`.
    """
    statements = [*await select.statements(influx), _LAST]
    counted: int | None = None
    lines, held = 0, b""
    async for piece in influx.csv(select.database, *statements):
        held += piece
        if len(held) < 2 * _HOLD:
            continue
        if counted is None:
            counted, held = _counted(held)
        given, held = held[:-_HOLD], held[-_HOLD:]
        lines += given.count(b"\n")
        yield given
    if counted is None:
        counted, held = _counted(held)
    expected = max(least, counted)
    rest, proven = _end(held)
    lines += rest.count(b"\n")
    got = max(0, lines - 1)
    if not (proven or expected or got):
        # No database, no measurement in it, or an error: the JSON response tells which.
        await _confirm_empty(influx, select)
        return
    if not proven or got < expected:
        raise CutShort(_short(got, expected))
    if rest:
        yield rest


async def _confirm_empty(influx: Influx, select: Select) -> None:
    [found] = await _read(influx, [select])
    for series in found:
        if series.values:
            raise CutShort(_short(0, len(series.values)))


def _counted(held: bytes) -> tuple[int, bytes]:
    """Split the count off the start of a response; 0 if there is none."""
    if not held.startswith(_COUNT_HEADING):
        return 0, held
    line, _, rest = held.removeprefix(_COUNT_HEADING).partition(b"\n")
    number = line.rpartition(b",")[2]
    return int(number) if number.isdigit() else 0, rest.removeprefix(b"\n")


def _end(held: bytes) -> tuple[bytes, bool]:
    """Split the last result off the end of a response; False if it is missing."""
    rows, _, last = held.rpartition(_LAST_HEADING)
    if not (last.startswith(_LAST_ROW) and last.endswith(b"\n")):
        return held, False
    # An empty line separates the two results.
    return rows.removesuffix(b"\n"), True


def _count(series: Sequence[Series]) -> int:
    return max((int(n or 0) for one in series for row in one.values for n in row[1:]), default=0)


def _short(got: int, expected: int = 0) -> str:
    of = f" of {expected}" if expected else ""
    return (
        f"InfluxDB's response was cut short after {got}{of} rows, by one of its limits or"
        " time-outs or by the network; it is discarded"
    )
