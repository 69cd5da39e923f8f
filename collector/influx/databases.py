"""The databases (1.x) or buckets (2.x) of the schema, with their retention."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from collector.influx.client import Influx, InfluxError, identifier
from collector.influx.v2 import api, bucket, speaks_v2
from collector.schema import RAW

if TYPE_CHECKING:
    from influxdb_client import BucketRetentionRules

_DAY_S: Final = 86_400
_LONG_S: Final = 28 * _DAY_S
_YEAR_S: Final = 52 * 7 * _DAY_S
_GO_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


def shard_seconds(database: str, retention: int) -> int:
    """How much time a shard of a database spans, which is the step in which it expires.

    A day for raw data: it is read, deleted and expired by the day. Daily series are small and
    many years long, and a query opens each of its series in every shard: where nothing expires, a
    shard is a year (docs/decisions/0051-queries-of-years.md).
    """
    if database == RAW or 0 < retention < 2 * _LONG_S:
        return _DAY_S
    return _LONG_S if retention else _YEAR_S


async def ensure(influx: Influx, retention: Mapping[str, int]) -> list[str]:
    """Make the databases that are missing, with retention in seconds (0: for ever).

    Returns the names made. What exists stays as it is. Raises InfluxUnavailable, InfluxError.
    """
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
            f"CREATE DATABASE {identifier(name)} WITH DURATION {_literal(seconds)} REPLICATION 1"
            f" SHARD DURATION {shard_seconds(database, seconds)}s NAME autogen",
        )
        made.append(name)
    return made


async def kept(influx: Influx, databases: Iterable[str]) -> dict[str, int | None]:
    """How long each database keeps its points, in seconds; 0: for ever; None: it is not there.

    Raises InfluxUnavailable, InfluxError.
    """
    wanted = list(databases)
    if speaks_v2(await influx.ping()):
        return await asyncio.to_thread(_buckets_kept, influx, wanted)
    present = await names(influx)
    return {
        database: (await _policy(influx, database)).seconds
        if influx.name(database) in present
        else None
        for database in wanted
    }


async def keep(influx: Influx, database: str, seconds: int) -> None:
    """Set how long a database that is there keeps its points (0: for ever).

    What is older then goes at InfluxDB's next look, within half an hour as it is shipped. Raises
    InfluxUnavailable, InfluxError.
    """
    if speaks_v2(await influx.ping()):
        await asyncio.to_thread(_keep_bucket, influx, database, seconds)
        return
    policy = await _policy(influx, database)
    await influx.query(
        None,
        f"ALTER RETENTION POLICY {identifier(policy.name)} ON {identifier(influx.name(database))}"
        f" DURATION {_literal(seconds)} SHARD DURATION {shard_seconds(database, seconds)}s",
    )


async def names(influx: Influx) -> set[str]:
    """The databases that a 1.x server shows to us."""
    found = await influx.query(None, "SHOW DATABASES")
    return {row[0] for series in found for row in series.values}


@dataclass(frozen=True, slots=True)
class _Policy:
    name: str
    seconds: int


async def _policy(influx: Influx, database: str) -> _Policy:
    """The retention policy that a 1.x server writes to and reads from where none is named."""
    name = influx.name(database)
    for series in await influx.query(None, f"SHOW RETENTION POLICIES ON {identifier(name)}"):
        for values in series.values:
            row = dict(zip(series.columns, values, strict=True))
            if row["default"]:
                return _Policy(row["name"], _seconds(row["duration"]))
    raise InfluxError(f"database {name} has no default retention policy")


def _seconds(text: str) -> int:
    """Seconds in a duration as Go writes it, `2160h0m0s`."""
    found = _GO_DURATION.fullmatch(text)
    if found is None:
        raise InfluxError(f"a retention that is not InfluxDB's: {text!r}")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds


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
    with api(influx, "make buckets") as client:
        for database, seconds in retention.items():
            if bucket(client, influx, database) is None:
                name = influx.name(database)
                client.buckets_api().create_bucket(
                    bucket_name=name, retention_rules=_rules(database, seconds)
                )
                made.append(name)
    return made


def _buckets_kept(influx: Influx, databases: list[str]) -> dict[str, int | None]:
    with api(influx, "look at the buckets") as client:
        found = {database: bucket(client, influx, database) for database in databases}
    return {
        database: None if there is None else _every_seconds(there.retention_rules)
        for database, there in found.items()
    }


def _every_seconds(rules: list[BucketRetentionRules] | None) -> int:
    return int(rules[0].every_seconds) if rules else 0


def _keep_bucket(influx: Influx, database: str, seconds: int) -> None:
    with api(influx, f"change the retention of bucket {influx.name(database)}") as client:
        found = bucket(client, influx, database)
        if found is None:
            raise InfluxError(f"InfluxDB shows no bucket {influx.name(database)} to this token")
        found.retention_rules = _rules(database, seconds)
        client.buckets_api().update_bucket(found)
