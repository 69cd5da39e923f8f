"""What a database holds: points, from when to when, and how much of the disk."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from collector.influx.client import Influx
from collector.influx.errors import InfluxError, InfluxUnavailable
from collector.influx.quoting import identifier
from collector.influx.reading import Select, read
from collector.influx.v2 import api, bucket, speaks_v2
from collector.schema import MEASUREMENTS, Measurement

_SHARD_SIZE: Final = "storage_shard_disk_size"


@dataclass(frozen=True, slots=True)
class Usage:
    """What a database holds. Times are ns; both are None where it holds no point.

    `disk_bytes` is None where InfluxDB does not say it, or not to this token.
    """

    points: int
    oldest: int | None
    newest: int | None
    disk_bytes: int | None


async def usage(influx: Influx, database: str) -> Usage:
    """What a database that is there holds. Raises InfluxUnavailable, InfluxError."""
    points = 0
    for measurement in MEASUREMENTS:
        if measurement.database == database:
            points += await count(influx, measurement)
    oldest, newest = await ends(influx, database) or (None, None)
    return Usage(points, oldest, newest, await _disk_bytes(influx, database))


async def ends(influx: Influx, database: str) -> tuple[int, int] | None:
    """The times (ns) of a database's oldest and newest point; None where there is no point."""
    found = []
    for measurement in MEASUREMENTS:
        if measurement.database == database:
            found += await measurement_ends(influx, database, measurement.name)
    return (min(found), max(found)) if found else None


async def count(influx: Influx, measurement: Measurement, where: str = "") -> int:
    """How many points a measurement has; `where` (InfluxQL) may narrow it. Raises InfluxError."""
    # With tags, the first field is in every point. Without, there may be points that lack any
    # given one, but those measurements are small, and each point has the commonest.
    chosen = identifier(measurement.fields[0].name) if measurement.tags else "*"
    found = await read(
        influx, Select(measurement.database, measurement.name, [f"count({chosen})"], where)
    )
    return max((int(n) for series in found for n in series.values[0][1:] if n), default=0)


async def measurement_ends(influx: Influx, database: str, measurement: str) -> list[int]:
    """The times (ns) of the oldest and the newest point of a measurement; none where empty."""
    times = []
    for order in ("ASC", "DESC"):
        found = await read(
            influx, Select(database, measurement, ["*"], more=f"ORDER BY time {order} LIMIT 1")
        )
        times += [int(series.values[0][0]) for series in found]
    return times


async def _disk_bytes(influx: Influx, database: str) -> int | None:
    try:
        if speaks_v2(await influx.ping()):
            return await _bucket_bytes(influx, database)
        found = await influx.query(None, "SHOW STATS FOR 'shard'")
    except InfluxUnavailable:
        raise
    except InfluxError:
        # On 1.x an administrator's right, on 2.x something that an operator can turn off.
        return None
    name = influx.name(database)
    return sum(
        int(series.values[0][series.columns.index("diskBytes")])
        for series in found
        if series.tags["database"] == name
    )


async def _bucket_bytes(influx: Influx, database: str) -> int | None:
    """From the server's metrics, which name a bucket by its id."""
    found = await asyncio.to_thread(_bucket_id, influx, database)
    try:
        async with influx.session.get(f"{influx.url}/metrics", allow_redirects=False) as response:
            if response.status != HTTPStatus.OK:
                return None
            # One line in a few hundred, and the lines grow with all buckets that there are.
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
    with api(influx, "look at the buckets") as client:
        found = bucket(client, influx, database)
    return None if found is None else str(found.id)
