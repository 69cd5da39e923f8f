"""The databases (1.x) or buckets (2.x) of the schema, with their retention."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Final

from collector.influx.client import Influx
from collector.influx.errors import InfluxError
from collector.influx.policies import Policy
from collector.influx.quoting import identifier
from collector.influx.v2 import api, bucket, speaks_v2
from collector.schema import RAW

if TYPE_CHECKING:
    from influxdb_client import BucketRetentionRules

_DAY_S: Final = 86_400
_LONG_S: Final = 28 * _DAY_S
_YEAR_S: Final = 52 * 7 * _DAY_S


def shard_seconds(database: str, retention: int) -> int:
    """The shard duration of a database in seconds; data expires a whole shard at a time.

    One day for raw data, which is read, deleted and expired by the day. Daily series are small and
    cover many years, and a query opens each of its series in every shard; so shards take a year if
    nothing expires (docs/decisions/0051-queries-of-years.md).
    """
    if database == RAW or 0 < retention < 2 * _LONG_S:
        return _DAY_S
    return _LONG_S if retention else _YEAR_S


async def ensure(influx: Influx, retention: Mapping[str, int]) -> list[str]:
    """Create missing databases, with their retention in seconds (0: unlimited).

    Returns the names of those created; existing ones are not changed. Raises InfluxUnavailable,
    InfluxError.
    """
    return [
        name
        for server, databases in influx.by_server(retention).items()
        for name in await _ensure(server, {one: retention[one] for one in databases})
    ]


async def _ensure(influx: Influx, retention: Mapping[str, int]) -> list[str]:
    if speaks_v2(await influx.ping()):
        return await asyncio.to_thread(_ensure_buckets, influx, dict(retention))
    present = await names(influx)
    made = []
    for database, seconds in retention.items():
        name = influx.name(database)
        if name in present:
            continue
        await influx.query(
            None,
            # Without REPLICATION, a cluster keeps as many copies as it does of other databases.
            f"CREATE DATABASE {identifier(name)} WITH DURATION {_literal(seconds)}"
            f" SHARD DURATION {shard_seconds(database, seconds)}s NAME autogen",
        )
        influx.policies.forget(database)
        made.append(name)
    return made


async def retentions(influx: Influx, databases: Iterable[str]) -> dict[str, int | None]:
    """The retention of each database in seconds; 0: unlimited; None: it does not exist.

    Raises InfluxUnavailable, InfluxError.
    """
    wanted = list(databases)
    found = {}
    for server, held in influx.by_server(wanted).items():
        found.update(await retentions_at(server, held))
    return {database: found[database] for database in wanted}


async def retentions_at(influx: Influx, wanted: list[str]) -> dict[str, int | None]:
    """As `retentions`, of databases on this server, whether or not they belong on it."""
    if speaks_v2(await influx.ping()):
        return await asyncio.to_thread(_bucket_retentions, influx, wanted)
    present = await names(influx)
    return {
        database: (await _policy(influx, database)).seconds
        if influx.name(database) in present
        else None
        for database in wanted
    }


async def set_retention(influx: Influx, database: str, seconds: int) -> None:
    """Set the retention of an existing database in seconds (0: unlimited).

    InfluxDB then deletes older points at its next check, by default within half an hour. Raises
    InfluxUnavailable, InfluxError.
    """
    influx = influx.of(database)
    if speaks_v2(await influx.ping()):
        await asyncio.to_thread(_set_bucket_retention, influx, database, seconds)
        return
    policy = await _policy(influx, database)
    await influx.query(
        None,
        f"ALTER RETENTION POLICY {identifier(policy.name)} ON {identifier(influx.name(database))}"
        f" DURATION {_literal(seconds)} SHARD DURATION {shard_seconds(database, seconds)}s",
    )


async def names(influx: Influx) -> set[str]:
    """The databases of a 1.x server that our user may see."""
    found = await influx.query(None, "SHOW DATABASES")
    return {row[0] for series in found for row in series.values}


async def _policy(influx: Influx, database: str) -> Policy:
    """Read the retention policy of a 1.x server that holds our points. Raises InfluxError."""
    influx.policies.forget(database)
    held = await influx.policies.of(database)
    if held is None:
        raise InfluxError(
            f"InfluxDB shows no retention policy of {influx.name(database)} to this user"
        )
    return held.own


def _literal(seconds: int) -> str:
    return f"{seconds}s" if seconds else "INF"


def _rules(database: str, seconds: int) -> list[BucketRetentionRules]:
    from influxdb_client import BucketRetentionRules

    return [
        BucketRetentionRules(
            type="expire",
            every_seconds=seconds,
            shard_group_duration_seconds=shard_seconds(database, seconds),
        )
    ]


def _ensure_buckets(influx: Influx, retention: Mapping[str, int]) -> list[str]:
    made = []
    with api(influx, "create buckets") as client:
        for database, seconds in retention.items():
            if bucket(client, influx, database) is None:
                name = influx.name(database)
                client.buckets_api().create_bucket(
                    bucket_name=name, retention_rules=_rules(database, seconds)
                )
                made.append(name)
    return made


def _bucket_retentions(influx: Influx, databases: list[str]) -> dict[str, int | None]:
    with api(influx, "list the buckets") as client:
        found = {database: bucket(client, influx, database) for database in databases}
    return {
        database: None if there is None else _every_seconds(there.retention_rules)
        for database, there in found.items()
    }


def _every_seconds(rules: list[BucketRetentionRules] | None) -> int:
    return int(rules[0].every_seconds) if rules else 0


def _set_bucket_retention(influx: Influx, database: str, seconds: int) -> None:
    with api(influx, f"change the retention of bucket {influx.name(database)}") as client:
        found = bucket(client, influx, database)
        if found is None:
            raise InfluxError(f"InfluxDB shows no bucket {influx.name(database)} to this token")
        found.retention_rules = _rules(database, seconds)
        client.buckets_api().update_bucket(found)
