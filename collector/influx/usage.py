"""Contents of a database: its number of points, their time range, and its size on disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date, timedelta
from http import HTTPStatus
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from collector.days import day_ns, day_of
from collector.influx.client import Influx
from collector.influx.contents import Contents
from collector.influx.errors import InfluxError, InfluxUnavailable
from collector.influx.quoting import identifier
from collector.influx.reading import Select, read
from collector.influx.v2 import api, bucket, speaks_v2
from collector.schema import MEASUREMENTS, Measurement

_SHARD_SIZE: Final = "storage_shard_disk_size"


@dataclass(frozen=True, slots=True)
class Usage:
    """Contents of a database. Times are ns since 1970, None if it holds no point.

    `disk_bytes` is None if InfluxDB does not report it, or not to this token.
    """

    points: int
    oldest: int | None
    newest: int | None
    disk_bytes: int | None


async def usage(influx: Influx, database: str) -> Usage:
    """Read the contents of an existing database. Raises InfluxUnavailable, InfluxError."""
    counts = [await count(influx, one) for one in MEASUREMENTS if one.database == database]
    oldest, newest = await time_range(influx, database) or (None, None)
    return Usage(sum(counts), oldest, newest, await _disk_bytes(influx, database))


async def time_range(influx: Influx, database: str) -> tuple[int, int] | None:
    """The times (ns) of the oldest and newest point of a database; None if it is empty."""
    names = (one.name for one in MEASUREMENTS if one.database == database)
    return await Contents(influx, database).extent(*names)


async def count(influx: Influx, measurement: Measurement, where: str = "") -> int:
    """Count the points of a measurement; `where` (InfluxQL) narrows it. Raises InfluxError."""
    # In measurements with tags, every point has the first field. In those without, any field may be
    # missing; they are small, and the most frequent field is in every point.
    chosen = identifier(measurement.fields[0].name) if measurement.tags else "*"
    found = await read(
        influx, Select(measurement.database, measurement.name, [f"count({chosen})"], where)
    )
    return max((int(n) for series in found for n in series.values[0][1:] if n), default=0)


async def points_by_day(
    influx: Influx, database: str, first: date, last: date, only: Measurement | None = None
) -> dict[date, int]:
    """The number of points of each UTC day from `first` to `last` that has any.

    `only` counts those of one measurement. Raises InfluxError.
    """
    where = f"time >= {day_ns(first)} AND time < {day_ns(last + timedelta(days=1))}"
    days: dict[date, int] = {}
    for measurement in MEASUREMENTS:
        if measurement.database != database or only not in (None, measurement):
            continue
        chosen = f"count({identifier(measurement.fields[0].name)})"
        found = await read(
            influx,
            Select(database, measurement.name, [chosen], where, "GROUP BY time(1d) fill(none)"),
        )
        for series in found:
            for time, count in series.values:
                days[day_of(time)] = days.get(day_of(time), 0) + count
    return dict(sorted(days.items()))


async def _disk_bytes(influx: Influx, database: str) -> int | None:
    influx = influx.of(database)
    try:
        if speaks_v2(await influx.ping()):
            return await _bucket_bytes(influx, database)
        found = await influx.query(None, "SHOW STATS FOR 'shard'")
    except InfluxUnavailable:
        raise
    except InfluxError:
        # On 1.x only administrators may read this; on 2.x operators can turn it off.
        return None
    name = influx.name(database)
    return sum(
        int(series.values[0][series.columns.index("diskBytes")])
        for series in found
        if series.tags["database"] == name
    )


async def _bucket_bytes(influx: Influx, database: str) -> int | None:
    """Read the size from the server's metrics, which label a bucket by its id."""
    found = await asyncio.to_thread(_bucket_id, influx, database)
    try:
        async with influx.session.get(f"{influx.url}/metrics", allow_redirects=False) as response:
            if response.status != HTTPStatus.OK:
                return None
            # The page grows with the number of buckets, and only one line in hundreds is needed.
            lines = [
                line
                async for line in response.content
                if line.startswith(_SHARD_SIZE.encode() + b"{")
            ]
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        raise InfluxUnavailable(f"InfluxDB's metrics: {type(error).__name__}") from error
    sizes = [
        sample.value
        for family in text_string_to_metric_families(b"".join(lines).decode())
        for sample in family.samples
        if sample.labels["bucket"] == found
    ]
    return int(sum(sizes)) if sizes else None


def _bucket_id(influx: Influx, database: str) -> str | None:
    with api(influx, "list the buckets") as client:
        found = bucket(client, influx, database)
    return None if found is None else str(found.id)
