"""Aggregates of one day's raw rows, from which its series are computed. Pure.

Each node and each server counts once a day, with the tags of its last report of the day.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields
from typing import Final, NamedTuple

from collector.builds import build_name
from collector.days import NS_PER_HOUR
from collector.influx import frames
from collector.lazy import pl
from collector.rollup.labels import kernel_series, published_label
from collector.schema import (
    ASL_VERSION,
    ASTERISK_VERSION,
    KERNEL,
    NODE_DIMENSIONS,
    NODE_REPORT,
    QUARANTINE,
    SERVER_DIMENSIONS,
    SERVER_REPORT,
    UNKNOWN,
    UPTIME,
    Measurement,
)
from collector.suspicion import LONGEST_UPTIME_S

HOURS: Final = 24
_S_PER_HOUR: Final = 3600
_PACKAGES: Final = "packages"
_COUNTS: Final = ("count", "reports", "node_reports")
_NO_LABELS: Final = frozenset({_PACKAGES, UPTIME, KERNEL})
"""Columns that are no tags, and so are published otherwise than under their values' labels."""
_COLUMNS: Final = {
    NODE_REPORT.name: ("node", *NODE_DIMENSIONS),
    SERVER_REPORT.name: ("server", *SERVER_DIMENSIONS, UPTIME, KERNEL, _PACKAGES),
}


def columns(measurement: Measurement) -> tuple[str, ...]:
    """The columns of a raw measurement that the facts are computed from."""
    return _COLUMNS[measurement.name]


@dataclass(frozen=True, slots=True)
class DayUnits:
    """Nodes and servers of one day, or of a range of pseudonyms, as frames.

    Pseudonyms are unsigned 64-bit numbers, tags are published labels.

    - `nodes`: `node`, `hours` (bit h set: reported in hour h), `first` and `last` (its AllStarLink
      version in its first and last report)
    - `servers`: `server`, `hours`
    - `moves`: `node`, `from`, `to`: each AllStarLink version `to` that a node changed to during the
      day, with the version `from` of the report before
    """

    nodes: pl.DataFrame
    servers: pl.DataFrame
    moves: pl.DataFrame

    @classmethod
    def names(cls) -> list[str]:
        """The names of the frames."""
        return [field.name for field in fields(cls)]


@dataclass(frozen=True, slots=True)
class DayTables:
    """Counts of one day without pseudonyms; those of disjoint ranges of pseudonyms add up.

    - `nodes`, `servers`: the number of nodes and of servers
    - `node_profiles`, `server_profiles`: the number (`count`) of nodes or servers with each
      combination of tags
    - `kernels`: the number (`count`) of servers with each series of `kernel`
    - `uptimes`: the number (`count`) of servers by `uptime`, in whole hours; null if unknown
    - `package_sets`: the number (`count`) of servers with each set of packages (`packages`, JSON)
    - `hourly`: `hour`, `reports`, `node_reports`; hours without reports are left out
    """

    nodes: int
    servers: int
    node_profiles: pl.DataFrame
    server_profiles: pl.DataFrame
    kernels: pl.DataFrame
    uptimes: pl.DataFrame
    package_sets: pl.DataFrame
    hourly: pl.DataFrame

    @property
    def reports(self) -> int:
        """The number of reports of the day."""
        return int(self.hourly["reports"].sum())

    @property
    def node_reports(self) -> int:
        """The number of nodes in those reports; a node counts once for each report."""
        return int(self.hourly["node_reports"].sum())

    def __add__(self, other: DayTables) -> DayTables:
        return DayTables(
            self.nodes + other.nodes,
            self.servers + other.servers,
            *(
                _sum(getattr(self, field.name), getattr(other, field.name))
                for field in fields(self)[2:]
            ),
        )


def _sum(one: pl.DataFrame, other: pl.DataFrame) -> pl.DataFrame:
    counts = [name for name in one.columns if name in _COUNTS]
    return (
        pl.concat([one, other])
        .group_by([name for name in one.columns if name not in counts])
        .agg(pl.col(counts).sum())
    )


@dataclass(frozen=True, slots=True)
class DayFacts:
    """Aggregates of one day, or of a range of pseudonyms."""

    units: DayUnits
    tables: DayTables


class Rows(frames.Rows):
    """Parser for the rows of one raw measurement.

    With `marked`, the last column holds the quarantine mark, and rows in quarantine are dropped.
    """

    def __init__(self, measurement: Measurement, *, marked: bool = False) -> None:
        self._names = columns(measurement)
        self._marks = (QUARANTINE,) if marked else ()
        super().__init__(dict.fromkeys([*self._names, *self._marks], pl.String()), self._described)

    def frame(self) -> pl.DataFrame:
        """The rows in order: the node or server as a number, `hour` (0..23), labels, packages.

        Of a server there is `uptime` too, in whole hours; null if it is unknown or cannot be.

        A node or server that is not a pseudonym is null; such a row counts as a report only.
        """
        rows = super().frame()
        return rows.with_columns(
            pl.col(name).cast(pl.String).replace(changed).cast(pl.Categorical)
            for name in self._names[1:]
            if name not in _NO_LABELS and (changed := _relabelled(rows[name], name))
        )

    def _described(self, raw: pl.LazyFrame) -> pl.LazyFrame:
        unit, *others = self._names
        for mark in self._marks:
            raw = raw.filter(pl.col(mark).is_null() | (pl.col(mark) == "0"))
        return raw.select(
            pl.col(unit).str.to_integer(base=16, dtype=pl.UInt64, strict=False),
            (pl.col("time") // NS_PER_HOUR % HOURS).cast(pl.UInt8).alias("hour"),
            *(_hours(name) if name == UPTIME else _category(name) for name in others),
        )


def _hours(name: str) -> pl.Expr:
    seconds = pl.col(name).cast(pl.Int64, strict=False)
    possible = seconds.is_between(0, LONGEST_UPTIME_S)
    return pl.when(possible).then(seconds // _S_PER_HOUR).alias(name)


def _category(name: str) -> pl.Expr:
    missing = "{}" if name == _PACKAGES else UNKNOWN
    # Filling holes of text first takes as long as all the rest of parsing.
    return pl.col(name).cast(pl.Categorical).fill_null(missing)


def _relabelled(column: pl.Series, name: str) -> dict[str, str]:
    """Map the values of a column to their published labels, where the two differ."""
    label = _published_build if name == ASTERISK_VERSION.name else published_label
    return {
        value: published
        for value in column.unique().cast(pl.String)
        if (published := label(value)) != value
    }


def _published_build(value: str) -> str:
    return build_name(published_label(value))


class NodeFacts(NamedTuple):
    """The part of a day's facts that its `node_report` rows tell; see `DayUnits`, `DayTables`."""

    nodes: pl.DataFrame
    moves: pl.DataFrame
    profiles: pl.DataFrame
    hourly: pl.DataFrame


class ServerFacts(NamedTuple):
    """The part of a day's facts that its `server_report` rows tell."""

    servers: pl.DataFrame
    profiles: pl.DataFrame
    kernels: pl.DataFrame
    uptimes: pl.DataFrame
    package_sets: pl.DataFrame
    hourly: pl.DataFrame


def node_facts(rows: pl.DataFrame) -> NodeFacts:
    """Compute the facts of `node_report` rows (see `Rows`)."""
    nodes, version = _units(rows, "node"), rows[ASL_VERSION.name]
    return NodeFacts(
        nodes.select(
            "node",
            "hours",
            version.gather(nodes["first"]).alias("first"),
            version.gather(nodes["last"]).alias("last"),
        ),
        _moves(rows, nodes),
        _profiles(rows, nodes, NODE_DIMENSIONS),
        _counted(rows["hour"], "node_reports"),
    )


def server_facts(rows: pl.DataFrame) -> ServerFacts:
    """Compute the facts of `server_report` rows (see `Rows`)."""
    servers = _units(rows, "server")
    return ServerFacts(
        servers.select("server", "hours"),
        _profiles(rows, servers, SERVER_DIMENSIONS),
        _by_series(_values(rows, servers, KERNEL)),
        _values(rows, servers, UPTIME),
        _values(rows, servers, _PACKAGES),
        _counted(rows["hour"], "reports"),
    )


def join_facts(nodes: NodeFacts, servers: ServerFacts) -> DayFacts:
    """The facts of a day, or of a range of pseudonyms, of those of its two measurements."""
    tables = DayTables(
        nodes=nodes.nodes.height,
        servers=servers.servers.height,
        node_profiles=nodes.profiles,
        server_profiles=servers.profiles,
        kernels=servers.kernels,
        uptimes=servers.uptimes,
        package_sets=servers.package_sets,
        hourly=servers.hourly.join(nodes.hourly, on="hour", how="full", coalesce=True)
        .fill_null(0)
        .sort("hour"),
    )
    return DayFacts(DayUnits(nodes.nodes, servers.servers, nodes.moves), tables)


def gather(node_rows: pl.DataFrame, server_rows: pl.DataFrame) -> DayFacts:
    """Compute the facts of a day from its `node_report` and `server_report` rows (see `Rows`)."""
    return join_facts(node_facts(node_rows), server_facts(server_rows))


def _units(rows: pl.DataFrame, unit: str) -> pl.DataFrame:
    """One row for each node or server: `hours`, the number of `rows`, the `first` and `last` row.

    `first` and `last` are row numbers: looking tags up by them is faster than grouping them.
    """
    hour = pl.lit(1, pl.UInt32).mul(2 ** pl.col("hour").cast(pl.UInt32)).cast(pl.UInt32)
    row = pl.int_range(pl.len(), dtype=pl.UInt32)
    return (
        rows.lazy()
        .select(unit, hour.alias("hours"), row.alias("row"))
        .filter(pl.col(unit).is_not_null())
        .group_by(unit)
        .agg(
            pl.col("hours").bitwise_or(),
            pl.len().alias("rows"),
            pl.col("row").min().alias("first"),
            pl.col("row").max().alias("last"),
        )
        .collect()
    )


def _moves(rows: pl.DataFrame, nodes: pl.DataFrame) -> pl.DataFrame:
    repeated = rows.select("node", pl.col(ASL_VERSION.name).alias("to")).join(
        nodes.filter(pl.col("rows") > 1).select("node"),
        on="node",
        how="semi",
        maintain_order="left",
    )
    moved = repeated.with_columns(
        pl.col("to").shift().over("node").alias("from"),
        pl.col("to").first().over("node").alias("begun"),
    )
    return (
        moved.filter((pl.col("from") != pl.col("to")) & (pl.col("to") != pl.col("begun")))
        .select("node", "from", "to")
        .unique(["node", "to"], keep="first", maintain_order=True)
    )


def _profiles(rows: pl.DataFrame, units: pl.DataFrame, names: tuple[str, ...]) -> pl.DataFrame:
    """Count the units by their tags; tables are summed over these few rows, not over all units."""
    return (
        rows.select(names)[units["last"]]
        .lazy()
        .group_by(names)
        .agg(pl.len().cast(pl.Int64).alias("count"))
        .with_columns(pl.col(pl.Categorical).cast(pl.String))
        .collect()
    )


def _values(rows: pl.DataFrame, units: pl.DataFrame, name: str) -> pl.DataFrame:
    """Count the units by one column."""
    values = _counted(rows[name].gather(units["last"]), "count")
    return values.with_columns(pl.col(pl.Categorical).cast(pl.String))


def _by_series(kernels: pl.DataFrame) -> pl.DataFrame:
    """The servers by series of their kernel, made from those by its release."""
    found: Counter[str] = Counter()
    for release, count in kernels.iter_rows():
        found[kernel_series(release)] += count
    columns = {KERNEL: list(found), "count": list(found.values())}
    return pl.DataFrame(columns, schema={KERNEL: pl.String(), "count": pl.Int64()})


def _counted(values: pl.Series, name: str) -> pl.DataFrame:
    """Count each value of a column; a tenth of the time of a `group_by`."""
    return values.value_counts(name=name).with_columns(pl.col(name).cast(pl.Int64))
