"""InfluxQL of published tables: the greatest values, the rest together, and `other`.

A chart names at most so many values; which ones are the greatest of the chosen time is asked by a
hidden variable of the dashboard. All queries are of the form table, with the columns `value` and
the count, so that Grafana can sort them by size. A query of the rest returns the name of the table
(its dimension or package) as `value`: InfluxQL has no texts of its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from collector.schema import OTHER, WEEKLY, Measurement
from tools.dashboards.model import Json, Source
from tools.dashboards.variables import asked

MOST_IN_STACK: Final = 12
"""Named values in a stack, besides the rest and `other`."""
MOST_BARS: Final = 8
"""Bars of named values, before those of the rest and of `other`."""
VALUE: Final = "value"
"""Column of the values' names in every answer."""
MORE: Final = "count"
"""Column with the number of values in the rest."""
_PLACE: Final = 10**8
"""More than all nodes, to carry a number of values and their units in one number."""


@dataclass(frozen=True, slots=True)
class Table:
    """A published table whose rows are split by value.

    `counted` has the count as its first field. `split` is the tag of values, `name` the tag that
    the rows of the table share, `where` the condition for them. `done` is the condition for days
    that are complete. `variable` is the name of the variable of its greatest values, `rest_names` a
    regular expression for values of the tag `name`, which no value of `split` may match. `summed`
    says that several rows of a day have the same value of `split`.
    """

    counted: Measurement
    split: str
    name: str
    where: str
    done: str
    variable: str
    rest_names: str
    summed: bool = False

    @property
    def is_rest(self) -> str:
        """A regular expression for the names under which Grafana has the rest."""
        # Labels, here the number of values, follow the name.
        return f"/^({self.rest_names})( \\d+)?$/"

    @property
    def unit(self) -> str:
        """The field that is counted."""
        return self.counted.fields[0].name

    def _from(self, time: str, *conditions: str, weekly: bool = False) -> str:
        done = () if weekly else (self.done,)
        every = (time, *done, *conditions, self.where)
        return f'FROM "{self.counted.name}" WHERE {" AND ".join(every)}'

    def _of_a_day(self, day: str, *conditions: str) -> str:
        rows = self._from(day, *conditions)
        if not self.summed:
            return rows
        tags = f'"{self.split}", "{self.name}"'
        return f'FROM (SELECT sum("{self.unit}") AS "{self.unit}" {rows} GROUP BY {tags})'

    @property
    def _named(self) -> str:
        return f"\"{self.split}\" != '{OTHER}'"

    @property
    def _other(self) -> str:
        return f"\"{self.split}\" = '{OTHER}'"

    def _chosen(self, sign: str) -> str:
        return f'"{self.split}" {sign} /^${{{self.variable}:regex}}$/'

    @property
    def _as_value(self) -> str:
        return f'"{self.split}"' if self.split == VALUE else f'"{self.split}" AS "{VALUE}"'

    def _rows(self, rows: str, *, weekly: bool) -> str:
        """One row for each day and value."""
        field = WEEKLY.name if weekly else self.unit
        if self.summed:
            rows = (
                f'FROM (SELECT sum("{field}") AS "{self.unit}" {rows}'
                f' GROUP BY time(1d), "{self.split}" fill(none))'
            )
            field = self.unit
        renamed = f'"{field}"' if field == self.unit else f'"{field}" AS "{self.unit}"'
        return f"SELECT {renamed}, {self._as_value} {rows}"

    def chosen(self, time: str, *, weekly: bool = False) -> str:
        """Rows of the greatest values by day; `weekly` on complete Sundays alone."""
        rows = self._from(time, self._named, self._chosen("=~"), weekly=weekly)
        return self._rows(rows, weekly=weekly)

    def rest(self, time: str, *, weekly: bool = False) -> str:
        """The sum of all other named values by day."""
        field = WEEKLY.name if weekly else self.unit
        rows = self._from(time, self._named, self._chosen("!~"), weekly=weekly)
        summed = (
            f'SELECT sum("{field}") AS "{self.unit}" {rows}'
            f' GROUP BY time(1d), "{self.name}" fill(none)'
        )
        return f'SELECT "{self.unit}", "{self.name}" AS "{VALUE}" FROM ({summed})'

    def other(self, time: str, *, weekly: bool = False) -> str:
        """The row `other` by day."""
        return self._rows(self._from(time, self._other, weekly=weekly), weekly=weekly)

    def bars(self, day: str, most: int = MOST_BARS) -> tuple[str, str, str]:
        """The greatest values of one day, the rest with its number of values, and `other`."""
        named = self._of_a_day(day, self._named)
        greatest = f'top("{self.unit}", "{self.split}", {most}) AS "{self.unit}"'
        both = (
            f'(SELECT "{self.unit}" + {_PLACE} AS "both" {named} GROUP BY "{self.name}"),'
            f' (SELECT -1 * ("{self.unit}" + {_PLACE}) AS "both"'
            f' FROM (SELECT {greatest} {named} GROUP BY "{self.name}"))'
        )
        # A range around the day: without one, InfluxDB takes all time for the outer query.
        summed = f'SELECT sum("both") AS "both" FROM {both} WHERE {day} GROUP BY "{self.name}"'
        rest = (
            f'SELECT ("both" - "both" % {_PLACE}) / {_PLACE} AS "{MORE}",'
            f' "both" % {_PLACE} AS "{self.unit}", "{self.name}" AS "{VALUE}" FROM ({summed})'
            f' WHERE "both" >= {_PLACE}'
        )
        other = self._of_a_day(day, self._other)
        named_greatest = f"SELECT {greatest} {named}"
        return (
            f'SELECT "{self.unit}", {self._as_value} FROM ({named_greatest})',
            rest,
            f'SELECT "{self.unit}", {self._as_value} {other}',
        )

    def greatest(self, source: Source, time: str, most: int = MOST_IN_STACK) -> Json:
        """The hidden variable of the values with the greatest counts in a range.

        A value weighs what it counts in all days, and a hundred times its last count, so that what
        is new has a name before it is as great as what has been.
        """
        weights = (
            f'SELECT sum("{self.unit}") + 100 * last("{self.unit}") AS "weight"'
            f' {self._from(time, self._named)} GROUP BY "{self.split}"'
        )
        statement = (
            f'SELECT "{self.split}", "top" FROM (SELECT top("weight", "{self.split}", {most})'
            f' AS "top" FROM ({weights}))'
        )
        return asked(self.variable, "", statement, source, hidden=True)
