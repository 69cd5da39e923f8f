"""Published points of a day, computed from its facts with suppression under k. Pure."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from operator import attrgetter
from types import MappingProxyType
from typing import Any, Final

from collector.lazy import pl
from collector.lines import NS_PER_DAY, FieldValue
from collector.privacy import suppress_line
from collector.rollup.facts import DayTables
from collector.rollup.labels import one_name, published_label, release_label
from collector.rollup.tables import Cell, TableInput, published_tables, usage_counts
from collector.rollup.uptimes import uptime_median, uptime_table
from collector.schema import (
    ALL,
    ASL_VERSION,
    ASTERISK_VERSION,
    CONTAINED,
    DISTRO,
    FINAL,
    KERNEL,
    NODE_DIMENSIONS,
    NONE,
    OTHER,
    RELEASE,
    SERVER_DIMENSIONS,
    UNKNOWN,
    UPTIME,
    WEEKLY,
)

Tags = tuple[tuple[str, str], ...]
"""The tags of a point, sorted by name."""
Key = tuple[int, Tags]
"""The time (ns since 1970) and the tags of a point."""
Points = dict[Key, dict[str, FieldValue]]
"""Points of one measurement: fields by time and tags."""

_FEW: Final = 2_000
"""Up to so many combinations of tags, counts are added up in a loop."""
_WEEK: Final = 7
_SUNDAY: Final = 3
"""Weekday number of Sunday, counted from 1970-01-01, a Thursday."""
_WORDS: Final = frozenset({ALL, NONE, OTHER, UNKNOWN})


def usage_points(
    day: DayTables, time: int, *, k: int, final: bool
) -> tuple[Points, Points, Points]:
    """`daily_usage`, `daily_nodes` and `daily_servers` of a day that starts at `time`.

    The fields of `daily_usage` that are counted over several days are left out.
    """
    nodes = _tables(day.node_profiles, NODE_DIMENSIONS)
    alone = {KERNEL: dict(day.kernels.iter_rows()), UPTIME: uptime_table(day.uptimes)}
    servers = _tables(day.server_profiles, SERVER_DIMENSIONS, alone)
    node_cells = published_tables(nodes, k)
    median = uptime_median(day.uptimes, k)
    fields: dict[str, FieldValue] = {
        "reports": day.reports,
        "node_reports": day.node_reports,
        "servers": day.servers,
        "nodes": day.nodes,
        "asterisk_versions": _versions(nodes, ASTERISK_VERSION.name),
        "asl_versions": _versions(nodes, ASL_VERSION.name),
        **({} if median is None else {"uptime_median": median}),
        **usage_counts(node_cells, nodes.one_way, k),
        FINAL.name: int(final),
    }
    return (
        {(time, ()): fields},
        _with_totals(_cells(node_cells, time, "nodes", final=final), node_cells),
        _cells(published_tables(servers, k), time, "servers", final=final),
    )


def package_points(day: DayTables, time: int, *, k: int, final: bool) -> Points:
    """`daily_packages`: the number of servers with each version of each package.

    The table of a package covers all servers, those without it included, so that the difference
    from the day's servers isolates nobody. Packages that fewer than k servers have are left out.
    """
    servers = day.servers
    points: Points = {}
    by_package = _packages(day.package_sets)
    for package, versions in sorted(by_package.items()):
        having = versions.total()
        if having < k:
            continue
        cells = {v: n for v, n in versions.items() if v not in (NONE, OTHER)}
        if having < servers:
            cells[NONE] = servers - having
        published = suppress_line(cells, servers, k)
        if not published.keys() - {NONE}:
            # No version is left to publish.
            continue
        if loss := servers - sum(published.values()):
            published[OTHER] = loss
        for version, count in published.items():
            tags = (
                ("package", package),
                ("upstream", upstream_version(version)),
                ("version", version),
            )
            points[time, tags] = _counted("servers", count, time, final=final)
    return points


def upstream_version(version: str) -> str:
    """A version of a Debian package without its epoch and revision: `3.6.0` of `2:3.6.0-1.deb12`.

    A version of which nothing or a word of the tables would be left is returned unchanged.
    Format: https://www.debian.org/doc/debian-policy/ch-controlfields.html#version
    """
    epoch, colon, rest = version.partition(":")
    rest = rest if colon and epoch.isdigit() else version
    upstream = rest.rpartition("-")[0] or rest
    reads_as_itself = bool(upstream) and published_label(upstream) == upstream
    return upstream if reads_as_itself and upstream not in _WORDS else version


def _packages(sets: pl.DataFrame) -> dict[str, Counter[str]]:
    """The number of servers with each version of each package."""
    installed = [(_installed(text), count) for text, count in sets.iter_rows()]
    servers: Counter[str] = Counter()
    for packages, count in installed:
        servers.update(dict.fromkeys(packages, count))
    names = one_name(servers)
    found: dict[str, Counter[str]] = {}
    for packages, count in installed:
        for package, version in {names[p]: v for p, v in packages.items()}.items():
            found.setdefault(package, Counter())[version] += count
    return {package: _named(versions) for package, versions in found.items()}


def _installed(text: str) -> dict[str, str]:
    """Parse a server's packages, with their versions; empty if the text is no JSON object.

    If two packages have the same label, the last by name counts.
    """
    try:
        installed = json.loads(text)
    except (ValueError, RecursionError):
        return {}
    if not isinstance(installed, dict):
        return {}
    return {
        published_label(package): published_label(version)
        for package, version in sorted(installed.items())
        if version and isinstance(version, str)
    }


def _named(counts: Mapping[str, int]) -> Counter[str]:
    """Add up the counts of labels that look alike."""
    names = one_name(counts)
    found: Counter[str] = Counter()
    for value, count in counts.items():
        found[names[value]] += count
    return found


def upgrade_points(
    moves: Mapping[tuple[str, str], int], time: int, *, k: int, final: bool
) -> Points:
    """`daily_upgrades`; counts under k are one row from `other` to `other`, or left out."""
    total = sum(moves.values())
    if total < k:
        return {}
    published = suppress_line(moves, total, k)
    if loss := total - sum(published.values()):
        published[OTHER, OTHER] = loss
    points: Points = {}
    for (origin, target), count in published.items():
        points[time, (("from_version", origin), ("to_version", target))] = {
            "nodes": count,
            FINAL.name: int(final),
        }
    return points


def _cells(cells: Iterable[Cell], time: int, field: str, *, final: bool) -> Points:
    return {
        (
            time,
            (
                ("dimension", cell.dimension),
                ("value", cell.value),
                ("within", cell.within),
                ("within_value", cell.within_value),
            ),
        ): _counted(field, cell.count, time, final=final)
        for cell in cells
    }


def _with_totals(points: Points, cells: Sequence[Cell]) -> Points:
    """Add to the points of `cells`, in their order, the sum of the table that each is a row of."""
    table_of = attrgetter("dimension", "within", "within_value")
    totals: Counter[tuple[str, str, str]] = Counter()
    for cell in cells:
        totals[table_of(cell)] += cell.count
    return {
        key: fields | {"total": totals[table_of(cell)]}
        for cell, (key, fields) in zip(cells, points.items(), strict=True)
    }


def _counted(field: str, count: int, time: int, *, final: bool) -> dict[str, FieldValue]:
    fields: dict[str, FieldValue] = {field: count, FINAL.name: int(final)}
    if final and time // NS_PER_DAY % _WEEK == _SUNDAY:
        fields[WEEKLY.name] = count
    return fields


def _versions(tables: TableInput, dimension: str) -> int:
    return sum(1 for value in tables.one_way[dimension] if value != UNKNOWN)


Columns = dict[str, list[Any]]
"""Combinations of tags as a list of each dimension's labels, and their `count`."""


def _tables(
    profiles: pl.DataFrame,
    dimensions: tuple[str, ...],
    alone: Mapping[str, Mapping[str, int]] = MappingProxyType({}),
) -> TableInput:
    """The counts of units; `alone` are those of dimensions that are not crossed with others."""
    columns: Columns = profiles.to_dict(as_series=False)
    releases = [*zip(columns[DISTRO.name], columns[RELEASE.name], strict=True)]
    labels = {pair: release_label(*pair) for pair in set(releases)}
    columns[RELEASE.name] = [labels[pair] for pair in releases]
    one_way = _one_way(columns, dimensions)
    for dimension, counts in one_way.items():
        # Labels that look alike are merged.
        changed = {label: name for label, name in one_name(counts).items() if name != label}
        if changed:
            columns[dimension] = [changed.get(label, label) for label in columns[dimension]]
            one_way |= _one_way(columns, [dimension])
    pairs = [
        (d, e)
        for d, e in combinations(dimensions, 2)
        if CONTAINED.get(d) != e and CONTAINED.get(e) != d
    ]
    parents = dict(zip(columns[RELEASE.name], columns[DISTRO.name], strict=True))
    return TableInput(
        {**one_way, **alone},
        {
            (d, e): {(v, w): count for (v, w), count in cells.items()}
            for (d, e), cells in zip(pairs, _summed(columns, pairs), strict=True)
        },
        {child: parent for child, parent in parents.items() if child != OTHER},
    )


def _one_way(columns: Columns, dimensions: Sequence[str]) -> dict[str, dict[str, int]]:
    """The counts of each dimension, by its values."""
    sums = _summed(columns, [(dimension,) for dimension in dimensions])
    return {
        dimension: {value: count for (value,), count in cells.items()}
        for dimension, cells in zip(dimensions, sums, strict=True)
    }


def _summed(
    columns: Columns, groups: Sequence[tuple[str, ...]]
) -> list[dict[tuple[str, ...], int]]:
    """The counts of each group of dimensions, by their values."""
    if len(columns["count"]) > _FEW:
        profiles = pl.LazyFrame(columns)
        tables = pl.collect_all(
            [profiles.group_by(group).agg(pl.col("count").sum()) for group in groups]
        )
        return [{row[:-1]: row[-1] for row in table.iter_rows()} for table in tables]
    # A query of polars takes longer than a loop over so few rows.
    found = []
    for group in groups:
        cells: dict[tuple[str, ...], int] = {}
        values = zip(*(columns[name] for name in group), strict=True)
        for cell, count in zip(values, columns["count"], strict=True):
            cells[cell] = cells.get(cell, 0) + count
        found.append(cells)
    return found
