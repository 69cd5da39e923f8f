"""Distinct nodes and servers over several days, who is new, who lapsed, who upgraded. Pure.

A presence is what is known of the last 31 days at the end of one: for each pseudonym a number of
which bit i says "seen i days before", and of a node the version in its last report. One step of
`advance` takes it a day on, so that no window ever needs more than two days at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import polars as pl

from collector.rollup.facts import DayFacts
from collector.schema import UNKNOWN

DAYS: Final = 31
"""Days that a presence spans: the day itself and the 30 before."""
_TODAY: Final = 1
_WEEK: Final = 2**7 - 1
_MONTH: Final = 2**30 - 1
_ALL: Final = 2**DAYS - 1
_THIRTY_BACK: Final = 2**30

_NODES: Final = {"node": pl.UInt64(), "days": pl.UInt32(), "version": pl.Categorical()}
_SERVERS: Final = {"server": pl.UInt64(), "days": pl.UInt32()}


@dataclass(frozen=True, slots=True)
class Presence:
    """The last 31 days: `nodes` (`node`, `days`, `version`) and `servers` (`server`, `days`)."""

    nodes: pl.DataFrame
    servers: pl.DataFrame


@dataclass(frozen=True, slots=True)
class WindowCounts:
    """What a presence says of its last day; the names are `daily_usage`'s."""

    nodes_7d: int
    nodes_30d: int
    servers_7d: int
    servers_30d: int
    new_nodes: int
    lapsed_nodes: int


def nobody() -> Presence:
    """The presence before the first day."""
    return Presence(pl.DataFrame(schema=_NODES), pl.DataFrame(schema=_SERVERS))


def advance(before: Presence, day: DayFacts | None) -> Presence:
    """The presence a day later, after a day of these facts (None: nobody reported)."""
    nodes, servers = _aged(before.nodes), _aged(before.servers)
    if day is None:
        return Presence(nodes.collect(), servers.collect())
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
    )


def _aged(presence: pl.DataFrame) -> pl.LazyFrame:
    older = (pl.col("days").cast(pl.UInt64) * 2 & _ALL).cast(pl.UInt32)
    return presence.lazy().with_columns(older.alias("days")).filter(pl.col("days") != 0)


def window_counts(presence: Presence) -> WindowCounts:
    """Count what a presence says of its last day."""
    nodes, servers = presence.nodes["days"], presence.servers["days"]
    return WindowCounts(
        nodes_7d=_seen(nodes, _WEEK),
        nodes_30d=_seen(nodes, _MONTH),
        servers_7d=_seen(servers, _WEEK),
        servers_30d=_seen(servers, _MONTH),
        new_nodes=int((nodes == _TODAY).sum()),
        lapsed_nodes=int((nodes == _THIRTY_BACK).sum()),
    )


def _seen(days: pl.Series, window: int) -> int:
    return int(((days & window) != 0).sum())


def upgrades(before: Presence, day: DayFacts) -> dict[tuple[str, str], int]:
    """How many nodes went from one AllStarLink version to another in a day.

    From each report to the node's next: within the day, and from its last one in the 30 days before
    (`before` is the presence at the end of the day before). A version that is unknown is none.
    """
    recent = before.nodes.lazy().filter((pl.col("days") & _MONTH) != 0)
    overnight = (
        day.nodes.lazy()
        .select("node", pl.col("first").alias("to"))
        .join(recent.select("node", pl.col("version").alias("from")), on="node")
        .filter(pl.col("from") != pl.col("to"))
    )
    flows = (
        pl.concat(
            [
                moves.select("node", pl.col("from", "to").cast(pl.String))
                for moves in (overnight, day.moves.lazy())
            ]
        )
        .unique()
        .filter((pl.col("from") != UNKNOWN) & (pl.col("to") != UNKNOWN))
        .group_by("from", "to")
        .len()
        .collect()
    )
    return {(before_, after): count for before_, after, count in flows.iter_rows()}
