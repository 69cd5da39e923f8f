"""Counts over several days: distinct nodes and servers, new and lapsed nodes, upgrades. Pure.

A `Presence` summarises the last 31 days: for each pseudonym a bit mask in which bit i means "seen i
days ago", and for each node its last and its earlier versions. `advance` moves it on by one day, so
that a window never needs more than two days in memory.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import astuple, dataclass
from typing import Final

from collector.lazy import pl
from collector.rollup.facts import DayUnits
from collector.rollup.labels import one_name
from collector.rollup.lookback import PRESENCE_DAYS
from collector.schema import ASL_VERSION, UNKNOWN

_TODAY: Final = 1
_WEEK: Final = 2**7 - 1
_MONTH: Final = 2**30 - 1
_ALL: Final = 2**PRESENCE_DAYS - 1
_THIRTY_BACK: Final = 2**30
_MONTH_DAYS: Final = 30

_LINE_END: Final = "\n"
"""Separator of versions; labels never contain it."""


@dataclass(frozen=True, slots=True)
class Presence:
    """Nodes and servers seen in the last 31 days.

    - `nodes`: `node`, `days`, `version` (in its last report)
    - `servers`: `server`, `days`
    - `earlier`: `node`, `version`, `age`: versions that a node had before its last one; `age`
      is the number of days (0..29) since it last had that version
    """

    nodes: pl.DataFrame
    servers: pl.DataFrame
    earlier: pl.DataFrame


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """Window counts of one day; fields have the names of `daily_usage`."""

    nodes_7d: int
    nodes_30d: int
    servers_7d: int
    servers_30d: int
    new_nodes: int
    lapsed_nodes: int

    def __add__(self, other: WindowCounts) -> WindowCounts:
        return WindowCounts(*map(int.__add__, astuple(self), astuple(other)))


def empty_presence() -> Presence:
    """A presence without nodes and servers, for the time before the first day."""
    unsigned, version = pl.UInt32(), pl.Categorical()
    return Presence(
        pl.DataFrame(schema={"node": pl.UInt64(), "days": unsigned, "version": version}),
        pl.DataFrame(schema={"server": pl.UInt64(), "days": unsigned}),
        pl.DataFrame(schema={"node": pl.UInt64(), "version": version, "age": unsigned}),
    )


def advance(before: Presence, day: DayUnits | None) -> Presence:
    """The presence one day later; `day` holds that day's facts, None if there were no reports."""
    nodes, servers = _aged(before.nodes), _aged(before.servers)
    if day is None:
        return Presence(nodes.collect(), servers.collect(), _older(before.earlier))
    today = pl.lit(_TODAY, pl.UInt32).alias("today")
    nodes = nodes.join(
        day.nodes.lazy().select("node", today, "last"), on="node", how="full", coalesce=True
    )
    servers = servers.join(
        day.servers.lazy().select("server", today), on="server", how="full", coalesce=True
    )
    days = pl.col("days").fill_null(0) | pl.col("today").fill_null(0)
    return Presence(
        nodes.select("node", days, pl.coalesce("last", "version").alias("version")).collect(),
        servers.select("server", days).collect(),
        _earlier(before, day),
    )


def _aged(presence: pl.DataFrame) -> pl.LazyFrame:
    older = (pl.col("days").cast(pl.UInt64) * 2 & _ALL).cast(pl.UInt32)
    return presence.lazy().with_columns(older.alias("days")).filter(pl.col("days") != 0)


def _older(earlier: pl.DataFrame) -> pl.DataFrame:
    return earlier.with_columns(pl.col("age") + 1).filter(pl.col("age") < _MONTH_DAYS)


def _earlier(before: Presence, day: DayUnits) -> pl.DataFrame:
    """The frame `earlier` of a presence after a day with these facts."""
    today = day.nodes.lazy().filter(pl.col("first") != pl.col("last"))
    moved = day.moves.lazy().join(day.nodes.lazy().select("node", "last"), on="node")
    left = (
        before.nodes.lazy()
        .join(day.nodes.lazy().select("node", "last"), on="node")
        .filter(pl.col("version") != pl.col("last"))
    )
    now = pl.lit(0, pl.UInt32).alias("age")
    # The lowest set bit is the last day on which the node was seen.
    seen = pl.col("days").bitwise_trailing_zeros().cast(pl.UInt32).alias("age")
    found = [
        _older(before.earlier).lazy(),
        _older(left.select("node", "version", seen).collect()).lazy(),
        today.select("node", pl.col("first").alias("version"), now),
        moved.filter(pl.col("to") != pl.col("last")).select(
            "node", pl.col("to").alias("version"), now
        ),
    ]
    return pl.concat(found).group_by("node", "version").agg(pl.col("age").min()).collect()


def window_counts(presence: Presence) -> WindowCounts:
    """Compute the window counts of the last day of a presence."""
    nodes, servers = presence.nodes["days"], presence.servers["days"]
    return WindowCounts(
        nodes_7d=_seen(nodes, _WEEK),
        nodes_30d=_seen(nodes, _MONTH),
        servers_7d=_seen(servers, _WEEK),
        servers_30d=_seen(servers, _MONTH),
        new_nodes=int((nodes == _TODAY).sum()),
        lapsed_nodes=int((nodes == _THIRTY_BACK).sum()),
    )


def nodes_of_month(presence: Presence) -> pl.Series:
    """The nodes seen in the last 30 days."""
    return presence.nodes.filter((pl.col("days") & _MONTH) != 0)["node"]


def _seen(days: pl.Series, window: int) -> int:
    return int(((days & window) != 0).sum())


def moves_of(before: Presence, day: DayUnits) -> pl.DataFrame:
    """Count the nodes (`count`) by the changes (`moves`) of AllStarLink version they made in a day.

    `moves` is text of lines: `from` and `to` of a change, then those of the next.

    `before` is the presence at the end of the previous day. A node changes to a version with the
    first report that names it; it changes from the version in its previous report, if that is at
    most 30 days old. A version that the node had in the 30 days before, or earlier in the day, does
    not count: two machines that report in turn under one number are not a series of upgrades.
    Unknown versions do not count.
    """
    recent = before.nodes.lazy().filter((pl.col("days") & _MONTH) != 0)
    overnight = (
        day.nodes.lazy()
        .select("node", pl.col("first").alias("to"))
        .join(recent.select("node", pl.col("version").alias("from")), on="node")
        .filter(pl.col("from") != pl.col("to"))
    )
    had = pl.concat(
        [
            before.earlier.lazy().select("node", "version"),
            recent.select("node", "version"),
        ]
    )
    change = pl.concat_str(pl.col("from", "to").cast(pl.String), separator=_LINE_END)
    return (
        pl.concat([each.select("node", "from", "to") for each in (overnight, day.moves.lazy())])
        .filter((pl.col("from") != UNKNOWN) & (pl.col("to") != UNKNOWN))
        .join(had, left_on=["node", "to"], right_on=["node", "version"], how="anti")
        .select("node", change.alias("moves"))
        .group_by("node")
        .agg(pl.col("moves").sort().str.join(_LINE_END))
        .group_by("moves")
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .collect()
    )


def upgrades(moves: pl.DataFrame, node_profiles: pl.DataFrame) -> Counter[tuple[str, str]]:
    """Count the nodes that changed from one AllStarLink version to another in a day.

    `moves` are those of `moves_of`, a row or several for each. Versions that look alike are one
    (`collector.rollup.labels`), under the name that most nodes have in `DayTables.node_profiles`.
    """
    changes = [(text.split(_LINE_END), count) for text, count in moves.iter_rows()]
    versions = dict.fromkeys((version for both, _ in changes for version in both), 0)
    versions |= dict(
        node_profiles.group_by(ASL_VERSION.name).agg(pl.col("count").sum()).iter_rows()
    )
    names = one_name(versions)
    flows: Counter[tuple[str, str]] = Counter()
    for both, count in changes:
        renamed = [names[version] for version in both]
        for origin, target in set(zip(renamed[::2], renamed[1::2], strict=True)):
            if origin != target:
                flows[origin, target] += count
    return flows
