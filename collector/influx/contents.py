"""The points of a database as line protocol, read, counted, written and deleted by spans of time.

Measurements that the schema does not name are included.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import KW_ONLY, dataclass
from itertools import product

from collector.influx.client import Influx
from collector.influx.errors import InfluxError
from collector.influx.quoting import identifier
from collector.influx.reading import Select, read
from collector.influx.writing import write_all
from collector.lines import FieldValue, line, tag_set

Points = dict[int, list[str]]
"""The lines of each time (ns since 1970), sorted, so that equal contents compare equal."""
Values = Counter[str]
"""The number of values of each field."""


class NotRepresentable(InfluxError):
    """Line protocol cannot represent a stored value, or InfluxDB cannot return it as it was."""


@dataclass(frozen=True, slots=True, order=True)
class Span:
    """The times from `start` to before `end`, in ns since 1970."""

    start: int
    end: int

    def where(self) -> str:
        """An InfluxQL condition that selects the span."""
        return f"time >= {self.start} AND time < {self.end}"

    def halves(self) -> tuple[Span, Span]:
        """The first and the second half."""
        middle = (self.start + self.end) // 2
        return Span(self.start, middle), Span(middle, self.end)


@dataclass(slots=True, eq=False)
class Contents:
    """All measurements of a database of one InfluxDB.

    `everywhere` reads the points of all retention policies of InfluxDB 1.x.
    """

    influx: Influx
    database: str
    _: KW_ONLY
    everywhere: bool = False

    async def measurements(self) -> list[str]:
        """The names of the measurements. Raises NoDatabase, InfluxError."""
        found = await self.influx.query(self.database, "SHOW MEASUREMENTS")
        return sorted(row[0] for series in found for row in series.values)

    async def extent(self, *measurements: str) -> tuple[int, int] | None:
        """The times of the oldest and the newest point of measurements; None without a point."""
        times = []
        for measurement, order in product(measurements, ("ASC", "DESC")):
            more = f"ORDER BY time {order} LIMIT 1"
            found = await read(self.influx, self._select(measurement, ["*"], more=more))
            times += [int(series.values[0][0]) for series in found]
        return (min(times), max(times)) if times else None

    async def read(self, measurement: str, span: Span) -> tuple[Points, Values]:
        """Read the points of a span and count their values. Raises InfluxError."""
        types = await self._types(measurement)
        counted = next(iter(types), "")
        select = self._select(measurement, ["*"], span, "GROUP BY *", counted=counted)
        points: Points = {}
        values: Values = Counter()
        for series in await read(self.influx, select):
            tags = tag_set({key: value for key, value in series.tags.items() if value})
            for row in series.rows():
                time = int(row.pop("time"))
                fields = {
                    key: _typed(value, types[key])
                    for key, value in sorted(row.items())
                    if value is not None
                }
                values.update(fields.keys())
                points.setdefault(time, []).append(line(measurement, tags, fields, time))
        for lines in points.values():
            lines.sort()
        return points, values

    async def count(self, measurement: str, span: Span) -> Values:
        """Let InfluxDB count the values of a span. Raises InfluxError."""
        values: Values = Counter()
        select = self._select(measurement, ["count(*)"], span)
        for series in await read(self.influx, select):
            for column, number in zip(series.columns[1:], series.values[0][1:], strict=True):
                values[column.removeprefix("count_")] += number or 0
        return +values

    async def write(self, points: Points) -> None:
        """Write points. Raises InfluxError if InfluxDB does not store all of them."""
        lines = [one for time in sorted(points) for one in points[time]]
        await write_all(self.influx, self.database, f"points of {self.database}", lines)

    async def remove(self, measurement: str, where: str) -> None:
        """Delete the points of a measurement that a condition selects. Raises InfluxError."""
        await self.influx.delete(self.database, measurement, where)

    def _select(
        self,
        measurement: str,
        columns: list[str],
        span: Span | None = None,
        more: str = "",
        counted: str = "",
    ) -> Select:
        where = "" if span is None else span.where()
        return Select(self.database, measurement, columns, where, more, counted, self.everywhere)

    async def _types(self, measurement: str) -> dict[str, str]:
        """Read the type of each field, since JSON does not distinguish 5 from 5.0."""
        select = f"SHOW FIELD KEYS FROM {identifier(measurement)}"
        found = await self.influx.query(self.database, select)
        pairs = [(row[0], row[1]) for series in found for row in series.values]
        types = dict(pairs)
        if twice := sorted({key for key, kind in pairs if types[key] != kind}):
            raise NotRepresentable(
                f"{measurement} holds {', '.join(twice)} as two types in different years:"
                " InfluxDB cannot read that back as it was"
            )
        return types


def _typed(value: FieldValue, kind: str) -> FieldValue:
    match kind:
        case "integer":
            return int(value)
        case "float":
            return float(value)
        case "string" if "\n" not in str(value):
            return str(value)
    raise NotRepresentable(
        f"a field of type {kind} that line protocol cannot represent: {str(value)[:40]!r}"
    )
