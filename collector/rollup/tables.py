"""Published one-way and two-way tables of one day, with cell suppression. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import chain
from operator import attrgetter

from collector.privacy import suppress_grid, suppress_line
from collector.schema import ALL, CHANNEL, CHANNEL_FIELDS, CONTAINED, OTHER, REGISTRATION

Pair = tuple[str, str]

_USAGE_PARTS: dict[str, dict[str, tuple[str, ...]]] = {
    CHANNEL.name: {name: (name,) for name in CHANNEL_FIELDS},
    REGISTRATION.name: {
        "registered_http": ("http", "both"),
        "registered_iax": ("iax", "both"),
        "unregistered": ("none",),
    },
}
"""Fields of `daily_usage` that are sums over values of a dimension, with those values."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One published count of `daily_nodes` or `daily_servers`; fields are named as its tags."""

    dimension: str
    value: str
    within: str
    within_value: str
    count: int


@dataclass(frozen=True, slots=True)
class TableInput:
    """Exact counts of a day; every mapping counts each unit (node or server) once.

    `one_way[d][v]` counts the units whose dimension d has value v; `two_way[d, e][v, w]` those that
    also have value w of e. A pair of dimensions is given once, in either order. `parents` maps each
    value of a contained dimension (schema.CONTAINED: `Debian 12`) to the value that contains it
    (`Debian`); only OTHER has none. A value that a tag's budget replaced by OTHER is just OTHER,
    without a distribution or release.

    Raises ValueError if the counts are inconsistent (a count under 0, totals that differ between
    dimensions, margins of a pair that are not the one-way counts), if a dimension is crossed with
    its container, with a dimension that its container is not crossed with, or twice with the same
    one, and if a contained value has no parent.
    """

    one_way: Mapping[str, Mapping[str, int]]
    two_way: Mapping[Pair, Mapping[Pair, int]]
    parents: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len({sum(counts.values()) for counts in self.one_way.values()}) > 1:
            raise ValueError("dimensions count different numbers of units")
        singles = (n for counts in self.one_way.values() for n in counts.values())
        crossed = (n for cells in self.two_way.values() for n in cells.values())
        if min(chain(singles, crossed), default=0) < 0:
            raise ValueError("a count is under 0")
        for (first, second), cells in self.two_way.items():
            if (
                first == second
                or (second, first) in self.two_way
                or CONTAINED.get(first) == second
                or CONTAINED.get(second) == first
                or {first, second} <= CONTAINED.keys()
            ):
                raise ValueError(f"{first} may not be crossed with {second}, or is twice")
            self._check_margin(first, ((v, n) for (v, _), n in cells.items()))
            self._check_margin(second, ((w, n) for (_, w), n in cells.items()))
        for child, parent in CONTAINED.items():
            for value in self.one_way.get(child, ()):
                if value != OTHER and self.parents.get(value) not in self.one_way.get(parent, ()):
                    raise ValueError(f"{child} {value!r} is in no {parent}")
            for third in self.one_way:
                if self.crosses(child, third) and not self.crosses(parent, third):
                    raise ValueError(f"{third} is crossed with {child} but not with {parent}")

    def crosses(self, first: str, second: str) -> bool:
        """Whether the counts of this pair of dimensions are given, in either order."""
        return (first, second) in self.two_way or (second, first) in self.two_way

    def _check_margin(self, dimension: str, parts: Iterator[tuple[str, int]]) -> None:
        sums: dict[str, int] = {}
        for value, count in parts:
            sums[value] = sums.get(value, 0) + count
        whole = self.one_way.get(dimension, {})
        if {v: n for v, n in sums.items() if n} != {v: n for v, n in whole.items() if n}:
            raise ValueError(f"a table of {dimension} has other margins than its one-way counts")


def published_tables(day: TableInput, k: int) -> list[Cell]:
    """All published rows of a day, sorted by their tags; independent of the order of the input.

    Each table (a dimension, for the whole network or within one value of another dimension) sums to
    the total that it is a part of. Suppressed counts are summed in its row OTHER; a table without
    suppression has no such row. Published counts are at least k, and so is every OTHER, except on a
    day of fewer than k units, where OTHER is the only row. Besides counts under k and the secondary
    suppressions (see `collector.privacy.suppress_grid`), these are suppressed:

    - OTHER of the input, since it is an unknown mixture of values;
    - in every two-way table, values that are suppressed one-way;
    - counts that a containing value would disclose: `Debian` less the published `Debian x` is 0 or
      at least k, in the whole network and within each value of a third dimension, and no
      `Debian x` is published if `Debian` is not.

    A two-way table is published within either dimension, from the same cells. With k = 1 nothing is
    suppressed and OTHER is an ordinary value.

    Raises ValueError if k is under 1.
    """
    if k < 1:
        raise ValueError(f"k is {k}; it is 1 or more")
    one_way = _one_way(day, k)
    total = sum(next(iter(day.one_way.values()), {}).values())
    rows: list[Cell] = []
    for dimension, counts in one_way.items():
        rows += _table(dimension, ALL, ALL, counts, total)
    for (within, dimension), cells in _two_way(day, one_way, k).items():
        tables: dict[str, dict[str, int]] = {value: {} for value in one_way[within]}
        for (within_value, value), count in cells.items():
            tables[within_value][value] = count
        for within_value, counts in tables.items():
            part = one_way[within][within_value]
            rows += _table(dimension, within, within_value, counts, part)
    return sorted(rows, key=attrgetter("dimension", "value", "within", "within_value"))


def _table(
    dimension: str, within: str, within_value: str, counts: Mapping[str, int], total: int
) -> Iterator[Cell]:
    for value, count in counts.items():
        yield Cell(dimension, value, within, within_value, count)
    if loss := total - sum(counts.values()):
        yield Cell(dimension, OTHER, within, within_value, loss)


def _one_way(day: TableInput, k: int) -> dict[str, dict[str, int]]:
    """The published values of each dimension, with their counts."""
    if k == 1:
        return {d: {v: n for v, n in counts.items() if n} for d, counts in day.one_way.items()}
    published: dict[str, dict[str, int]] = {}
    # The published values of a container are the lines of the dimension it contains.
    for dimension in sorted(day.one_way, key=lambda name: (name in CONTAINED, name)):
        values = {v: n for v, n in day.one_way[dimension].items() if v != OTHER}
        if dimension not in CONTAINED:
            published[dimension] = suppress_line(values, sum(day.one_way[dimension].values()), k)
            continue
        published[dimension] = {}
        for container, total in published[CONTAINED[dimension]].items():
            parts = {v: n for v, n in values.items() if day.parents[v] == container}
            published[dimension] |= suppress_line(parts, total, k)
    return published


def _two_way(
    day: TableInput, one_way: Mapping[str, Mapping[str, int]], k: int
) -> dict[Pair, dict[Pair, int]]:
    """The published cells of each pair of dimensions, every pair in both orders."""
    counts: dict[Pair, Mapping[Pair, int]] = dict(day.two_way)
    counts |= {(e, d): _transposed(cells) for (d, e), cells in day.two_way.items()}

    published: dict[Pair, dict[Pair, int]] = {}
    for first, second in sorted(counts, key=lambda pair: (pair[1] in CONTAINED, pair)):
        if (first, second) in published or first in CONTAINED:
            continue
        cells, columns = counts[first, second], one_way[second]
        if second in CONTAINED and k > 1:
            # Each published cell of the container is a line, so that its difference from the
            # published values inside it is protected like any other loss.
            lines = published[first, CONTAINED[second]]
            inside = {((v, day.parents[w]), w): n for (v, w), n in cells.items() if w in columns}
            shown = {
                (v, w): n for ((v, _), w), n in suppress_grid(inside, lines, columns, k).items()
            }
        else:
            shown = suppress_grid(cells, one_way[first], columns, k)
        published[first, second] = shown
        published[second, first] = _transposed(shown)
    return published


def _transposed(cells: Mapping[Pair, int]) -> dict[Pair, int]:
    return {(w, v): n for (v, w), n in cells.items()}


def usage_counts(
    cells: Iterable[Cell], one_way: Mapping[str, Mapping[str, int]], k: int
) -> dict[str, int]:
    """The channel and registration fields of `daily_usage`; suppressed ones are left out.

    `cells` are the day's `published_tables` of nodes for this `k`, `one_way` their exact counts.
    Every field is a sum of published counts, so that subtracting one measurement from the
    other discloses nothing: a channel's field is present if its value is published or truly 0, and
    `other_channels` counts all other nodes; `registered_http` (http and both), `registered_iax`
    (iax and both) and `unregistered` are present if each part is published or truly 0.

    If zeros are published, an absent value is known to have at least one unit; m absent values
    among fewer than k + m - 1 suppressed units would then be known to be under k each. In that case
    zeros are left out too.
    """
    published: dict[str, dict[str, int]] = {dimension: {} for dimension in _USAGE_PARTS}
    for cell in cells:
        if cell.within == ALL and cell.dimension in published and cell.value != OTHER:
            published[cell.dimension][cell.value] = cell.count
    fields: dict[str, int] = {}
    for dimension, parts in _USAGE_PARTS.items():
        counts, shown = one_way[dimension], published[dimension]
        named = {value for values in parts.values() for value in values}
        absent = sum(1 for value in named if counts.get(value, 0) and value not in shown)
        loss = sum(counts.values()) - sum(shown.values())
        if loss == 0 or loss >= k + max(absent, 1) - 1:
            shown |= {value: 0 for value in named if not counts.get(value, 0)}
        for name, values in parts.items():
            if all(value in shown for value in values):
                fields[name] = sum(shown[value] for value in values)
    nodes = sum(one_way[CHANNEL.name].values())
    fields["other_channels"] = nodes - sum(fields.get(name, 0) for name in CHANNEL_FIELDS)
    return fields
