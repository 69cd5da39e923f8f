"""Models of the downloads' JSON, from which the OpenAPI schemas are made."""

from __future__ import annotations

from datetime import date
from typing import Any, Final, Generic, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from collector.public.datasets import DAILY, LICENCE, NODES, PACKAGES, SERVERS, UPGRADES, Dataset
from collector.public.definitions import MEASURES
from collector.schema import (
    ALL,
    DAILY_PACKAGES,
    DAILY_UPGRADES,
    DIMENSION,
    NODE_DIMENSIONS,
    VALUE,
    WITHIN,
    WITHIN_VALUE,
)

_PACKAGE, _VERSION, _ = DAILY_PACKAGES.tags
_FROM_VERSION, _TO_VERSION = DAILY_UPGRADES.tags


class Row(BaseModel):
    """Fields that every row has."""

    model_config = ConfigDict(extra="forbid")

    day: date = Field(description="the UTC day")
    count: int = Field(ge=0, description="how many")
    unit: str = Field(description="of what: nodes, servers, reports, versions, or `h` (hours)")
    window: str = Field(pattern=r"^\d+d$", description="the days that end with this one, as `7d`")
    final: bool = Field(description="whether the day is complete; an open day's counts still rise")


class DailyRow(Row):
    """One count of a day: a field of `daily_usage`."""

    measure: str = Field(
        description="; ".join(f"`{item.name}`: {item.meaning}" for item in MEASURES),
        json_schema_extra={"enum": [item.name for item in MEASURES]},
    )
    imported: bool = Field(description="whether the day came from an older server's database")


class TableRow(Row):
    """One count by a property, in the whole network or within one value of another property."""

    dimension: str = Field(
        description=DIMENSION.meaning, json_schema_extra={"enum": list(NODE_DIMENSIONS)}
    )
    within: str = Field(
        description=WITHIN.meaning, json_schema_extra={"enum": [ALL, *NODE_DIMENSIONS]}
    )
    within_value: str = Field(description=WITHIN_VALUE.meaning)
    value: str = Field(description=VALUE.meaning)


class ServerRow(TableRow):
    """One count of servers by a property, which may be one of servers alone."""

    dimension: str = Field(
        description=DIMENSION.meaning, json_schema_extra={"enum": list(SERVERS.dimensions)}
    )


class PackageRow(Row):
    """Number of servers with a version of a package."""

    package: str = Field(description=_PACKAGE.meaning)
    version: str = Field(description=_VERSION.meaning)


class UpgradeRow(Row):
    """Number of nodes that changed from one AllStarLink version to another."""

    from_version: str = Field(description=_FROM_VERSION.meaning)
    to_version: str = Field(description=_TO_VERSION.meaning)


R = TypeVar("R", bound=Row)


class Download(BaseModel, Generic[R]):
    """A series: its span of days, its licence, and its rows."""

    series: str = Field(description="its path below /v1")
    licence: Literal["CC0-1.0"] = Field(default=LICENCE, description="no rights reserved")
    first: date | None = Field(alias="from", description="first day; null if there is none")
    last: date | None = Field(alias="to", description="last day; null if there is none")
    rows: list[R]


class DailyDownload(Download[DailyRow]):
    """Counts of each day."""


class TableDownload(Download[TableRow]):
    """Counts by properties."""


class ServerDownload(Download[ServerRow]):
    """Counts of servers by properties."""


class PackageDownload(Download[PackageRow]):
    """Counts of servers by package and version."""


class UpgradeDownload(Download[UpgradeRow]):
    """Counts of nodes by change of version."""


MODELS: Final[dict[Dataset, tuple[type[Row], type[Download[Any]]]]] = {
    DAILY: (DailyRow, DailyDownload),
    NODES: (TableRow, TableDownload),
    SERVERS: (ServerRow, ServerDownload),
    PACKAGES: (PackageRow, PackageDownload),
    UPGRADES: (UpgradeRow, UpgradeDownload),
}
"""The row and the download model of each series."""
