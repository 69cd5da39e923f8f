"""A day's exact counts from its raw rows. Pure.

A node, or a server, counts once a day, as its last report of the day describes it.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations
from typing import Final

import polars as pl

from collector.rollup.tables import TableInput
from collector.schema import (
    CONTAINED,
    NODE_DIMENSIONS,
    NODE_REPORT,
    OTHER,
    SERVER_DIMENSIONS,
    SERVER_REPORT,
    UNKNOWN,
    Measurement,
)

_UNITS: Final = {NODE_REPORT.name: "node", SERVER_REPORT.name: "server"}
_COUNT: Final = "count"


@dataclass(frozen=True, slots=True)
class DayCounts:
    """The exact counts of one day, by nodes and by servers."""

    reports: int
    nodes: int
    servers: int
    asterisk_versions: int
    asl_versions: int
    node_tables: TableInput
    server_tables: TableInput


def columns(measurement: Measurement) -> list[str]:
    """The columns of a raw measurement that the day's counts need: the unit, then its tags."""
    return [_UNITS[measurement.name], *(tag.name for tag in measurement.tags)]


def read(measurement: Measurement, csv: bytes) -> pl.DataFrame:
    """Rows of a raw measurement from InfluxDB's CSV (oldest first), in their order.

    No bytes at all is an answer without rows.
    """
    wanted = columns(measurement)
    if not csv:
        return pl.DataFrame(schema=dict.fromkeys(wanted, pl.String))
    frame = pl.read_csv(
        csv, columns=wanted, schema_overrides=dict.fromkeys(wanted, pl.String), low_memory=False
    )
    return frame.with_columns(pl.col(wanted[1:]).fill_null(UNKNOWN))


def count_day(node_rows: pl.DataFrame, server_rows: pl.DataFrame) -> DayCounts:
    """Count the rows that `read` gave of `node_report` and `server_report` of one day."""
    nodes = _profiles(node_rows, "node")
    servers = _profiles(server_rows, "server")
    return DayCounts(
        reports=server_rows.height,
        nodes=int(nodes[_COUNT].sum()),
        servers=int(servers[_COUNT].sum()),
        asterisk_versions=_distinct(nodes["asterisk_version"]),
        asl_versions=_distinct(nodes["asl_version"]),
        node_tables=_tables(nodes, NODE_DIMENSIONS),
        server_tables=_tables(servers, SERVER_DIMENSIONS),
    )


def _profiles(rows: pl.DataFrame, unit: str) -> pl.DataFrame:
    """How many units share each combination of tags, by each unit's last row.

    Every table is a sum over these few rows rather than over all units.
    """
    tags = [name for name in rows.columns if name != unit]
    last = rows.unique(subset=unit, keep="last", maintain_order=False)
    counted = last.group_by(tags).agg(pl.len().cast(pl.Int64).alias(_COUNT))
    return counted.with_columns(release=_release_label())


def _release_label() -> pl.Expr:
    """Release with its distribution, `Debian 12`, so that a value means one thing.

    `other` where either is; `unknown` where both are.
    """
    distro, release = pl.col("distro"), pl.col("release")
    return (
        pl.when((distro == OTHER) | (release == OTHER))
        .then(pl.lit(OTHER))
        .when((distro == UNKNOWN) & (release == UNKNOWN))
        .then(pl.lit(UNKNOWN))
        .otherwise(distro + " " + release)
    )


def _distinct(values: pl.Series) -> int:
    return values.filter(values != UNKNOWN).n_unique()


def _tables(profiles: pl.DataFrame, dimensions: tuple[str, ...]) -> TableInput:
    one_way = {
        d: dict(profiles.group_by(d).agg(pl.col(_COUNT).sum()).iter_rows()) for d in dimensions
    }
    two_way = {
        (d, e): {
            (v, w): count
            for v, w, count in profiles.group_by(d, e).agg(pl.col(_COUNT).sum()).iter_rows()
        }
        for d, e in combinations(dimensions, 2)
        if CONTAINED.get(d) != e and CONTAINED.get(e) != d
    }
    parents = dict(
        profiles.filter(pl.col("release") != OTHER).select("release", "distro").unique().iter_rows()
    )
    return TableInput(one_way, two_way, parents)
