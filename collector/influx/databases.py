"""The databases (1.x) or buckets (2.x) of the schema, with their retention."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from influxdb_client import BucketRetentionRules, InfluxDBClient
from influxdb_client.rest import ApiException
from urllib3.exceptions import HTTPError

from collector.influx.client import Influx, InfluxError, identifier

_SHARD_S = 86_400
"""A day: raw data is read, deleted and expired by the day."""


def speaks_v2(version: str) -> bool:
    """Whether a server's version (from `Influx.ping`) has buckets in place of databases."""
    return version.startswith("2")


async def ensure(influx: Influx, retention: Mapping[str, int]) -> list[str]:
    """Make the databases that are missing, with retention in seconds (0: for ever).

    Returns the names made. What exists stays as it is. Raises InfluxUnavailable, InfluxError.
    """
    if speaks_v2(await influx.ping()):
        return await asyncio.to_thread(_ensure_buckets, influx, dict(retention))
    found = await influx.query(None, "SHOW DATABASES")
    present = {row[0] for series in found for row in series.values}
    made = []
    for database, seconds in retention.items():
        name = influx.name(database)
        if name in present:
            continue
        duration = f"{seconds}s" if seconds else "INF"
        await influx.query(
            None,
            f"CREATE DATABASE {identifier(name)} WITH DURATION {duration} REPLICATION 1"
            f" SHARD DURATION {_SHARD_S if seconds else 28 * _SHARD_S}s NAME autogen",
        )
        made.append(name)
    return made


def _ensure_buckets(influx: Influx, retention: Mapping[str, int]) -> list[str]:
    made = []
    try:
        with InfluxDBClient(influx.url, token=influx.token, org=influx.org) as client:
            buckets = client.buckets_api()
            for database, seconds in retention.items():
                name = influx.name(database)
                if buckets.find_bucket_by_name(name) is not None:
                    continue
                rules = BucketRetentionRules(
                    type="expire",
                    every_seconds=seconds,
                    shard_group_duration_seconds=_SHARD_S if seconds else 28 * _SHARD_S,
                )
                buckets.create_bucket(bucket_name=name, retention_rules=rules)
                made.append(name)
    except (ApiException, HTTPError) as error:
        raise InfluxError(f"buckets cannot be made: {_words(error)}") from error
    return made


def _words(error: Exception) -> str:
    if isinstance(error, ApiException):
        return f"InfluxDB answers {error.status}: {error.message or error.reason}"
    return type(error).__name__
