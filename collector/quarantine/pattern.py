"""Selection of the servers of a batch, and of their reports. Pure.

Frames: `reports` (`time` ns, `server`, the server's tags, `uptime`, `reload_age`, `quarantine`) and
`nodes` (`time`, `node`, `server`, the node's tags, `quarantine`), each sorted by time.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Self

from collector.lazy import pl
from collector.lines import NS_PER_DAY
from collector.schema import NODE_TAGS, QUARANTINE, SERVER_TAGS
from collector.suspicion import LONGEST_UPTIME_S

REPORT_NS: Final = 1_000_000
"""A report's points have timestamps within one millisecond; the server's point is the first."""
_SERVER_TAGS: Final = frozenset(tag.name for tag in SERVER_TAGS)
_NODE_TAGS: Final = frozenset(tag.name for tag in NODE_TAGS)


@dataclass(frozen=True, slots=True)
class Pattern:
    """Criteria for servers; a server must meet all that are given.

    - `tags`: each (name, value) is in one of its reports or nodes
    - `first_seen`: it did not report in the 30 days before the span
    - `disputed`: on one day, at least this many of its nodes were also reported by another server
    - `impossible_uptime`: one of its reports has an impossible uptime
    - `servers`: it has one of these pseudonyms

    Raises ValueError if no criterion is given, or if a tag does not exist.
    """

    tags: tuple[tuple[str, str], ...] = ()
    first_seen: bool = False
    disputed: int = 0
    impossible_uptime: bool = False
    servers: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not any(asdict(self).values()):
            raise ValueError(
                "give at least one criterion: a batch cannot hold every report of a span"
            )
        for name, _ in self.tags:
            if name not in _NODE_TAGS:
                raise ValueError(
                    f"{name} is not a tag; the tags are {', '.join(sorted(_NODE_TAGS))}"
                )

    @classmethod
    def from_json(cls, fields: dict[str, Any]) -> Self:
        """Restore a pattern from the JSON of its `asdict`."""
        tags = tuple((str(name), str(value)) for name, value in fields["tags"])
        return cls(**(fields | {"tags": tags, "servers": tuple(fields["servers"])}))

    def words(self) -> str:
        """A readable description of the pattern, without pseudonyms."""
        parts = [f"{name}={value}" for name, value in self.tags]
        if self.first_seen:
            parts.append("first seen")
        if self.disputed:
            parts.append(f"{self.disputed} disputed nodes or more")
        if self.impossible_uptime:
            parts.append("impossible uptime")
        if self.servers:
            parts.append(f"{len(self.servers)} servers by name")
        return ", ".join(parts)

    def without_names(self) -> Pattern | None:
        """The pattern without pseudonyms; None if it has no other criterion."""
        try:
            return replace(self, servers=())
        except ValueError:
            return None


@dataclass(frozen=True, slots=True)
class Picked:
    """The rows of a batch: reports of servers, and all nodes in them."""

    reports: pl.DataFrame
    nodes: pl.DataFrame

    def days(self) -> pl.DataFrame:
        """Counts by `day` (days since 1970): `reports`, `servers`, `node_reports`, `nodes`."""
        day = (pl.col("time") // NS_PER_DAY).alias("day")
        reports = self.reports.group_by(day).agg(
            pl.len().alias("reports"), pl.col("server").n_unique().alias("servers")
        )
        nodes = self.nodes.group_by(day).agg(
            pl.len().alias("node_reports"), pl.col("node").n_unique().alias("nodes")
        )
        return reports.join(nodes, on="day", how="full", coalesce=True).fill_null(0).sort("day")

    def by_server(self) -> pl.DataFrame:
        """Counts by `server`: `reports` and distinct `nodes`; servers with most nodes first."""
        nodes = self.nodes.group_by("server").agg(pl.col("node").n_unique().alias("nodes"))
        reports = self.reports.group_by("server").agg(pl.len().alias("reports"))
        return (
            reports.join(nodes, on="server", how="left")
            .fill_null(0)
            .sort("nodes", "reports", "server", descending=[True, True, False])
        )


def pick(
    pattern: Pattern,
    reports: pl.DataFrame,
    nodes: pl.DataFrame,
    earlier: Set[str],
    *,
    batch: int = 0,
) -> Picked:
    """Select the reports of the servers that match a pattern and are in no other batch.

    `reports` are those of the span; `nodes` may extend a millisecond beyond it on either side;
    `earlier` are servers that reported before the span; `batch` is the batch's own number, if any.
    """
    free = pl.col(QUARANTINE).is_null() | pl.col(QUARANTINE).is_in([0, batch])
    reports = reports.filter(free)
    nodes = nodes.filter(free)
    servers = reports.select("server").unique()
    for name, value in pattern.tags:
        rows = reports if name in _SERVER_TAGS else nodes
        servers = _only(servers, rows.filter(pl.col(name) == value))
    if pattern.first_seen:
        servers = servers.filter(~pl.col("server").is_in(list(earlier)))
    if pattern.disputed:
        servers = _only(servers, _disputing(nodes, pattern.disputed))
    if pattern.impossible_uptime:
        impossible = (pl.col("uptime") > LONGEST_UPTIME_S) | (
            pl.col("reload_age") > pl.col("uptime")
        )
        servers = _only(servers, reports.filter(impossible))
    if pattern.servers:
        servers = servers.filter(pl.col("server").is_in(list(pattern.servers)))
    chosen = reports.join(servers, on="server", how="semi").sort("time")
    return Picked(chosen, nodes_of(chosen, nodes))


def nodes_of(reports: pl.DataFrame, nodes: pl.DataFrame) -> pl.DataFrame:
    """The node rows that belong to these reports."""
    heads = reports.select("time", "server", pl.col("time").alias("head"))
    return (
        nodes.sort("time")
        .join_asof(
            heads,
            on="time",
            by="server",
            strategy="backward",
            tolerance=REPORT_NS,
            check_sortedness=False,
        )
        .filter(pl.col("head").is_not_null())
        .drop("head")
    )


def _only(servers: pl.DataFrame, rows: pl.DataFrame) -> pl.DataFrame:
    return servers.join(rows, on="server", how="semi")


def _disputing(nodes: pl.DataFrame, least: int) -> pl.DataFrame:
    """Servers with at least `least` nodes on one day that other servers reported too."""
    named = nodes.select((pl.col("time") // NS_PER_DAY).alias("day"), "node", "server").unique()
    disputed = named.filter(pl.len().over("day", "node") > 1)
    return disputed.group_by("day", "server").len().filter(pl.col("len") >= least)
