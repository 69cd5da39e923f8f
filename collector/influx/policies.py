"""Finds the retention policy of InfluxDB 1.x that holds a database's points.

Every request names this policy. Requests without one use the default policy, so that an operator
who creates a new default would hide all existing points. InfluxDB 2 has a bucket in place of
database and policy, which is found by its name alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from collector.influx.errors import InfluxError, InfluxUnavailable, NoDatabase
from collector.influx.quoting import identifier
from collector.influx.responses import rows_of
from collector.schema import MEASUREMENTS

if TYPE_CHECKING:
    from collector.influx.client import Influx

_GO_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(frozen=True, slots=True)
class Policy:
    """A retention policy: its name, retention in s (0: unlimited), whether it is the default."""

    name: str
    seconds: int
    is_default: bool


@dataclass(frozen=True, slots=True)
class DatabasePolicies:
    """The policies of a database: `own` holds our points, `others` are the remaining ones."""

    own: Policy
    others: tuple[Policy, ...] = ()

    @property
    def default(self) -> Policy:
        """The policy that requests without a policy use."""
        return next((one for one in self.others if one.is_default), self.own)

    def default_warning(self, database: str) -> str:
        """A warning, with the remedy, that another policy is the default; empty if ours is."""
        if self.default == self.own:
            return ""
        own, default = identifier(self.own.name), identifier(self.default.name)
        return (
            f"database {database}: its default retention policy is {default}, but our points are in"
            f" {own}, where the collector reads and writes. Grafana reads the default: run"
            f" ALTER RETENTION POLICY {own} ON {identifier(database)} DEFAULT"
        )


class Policies:
    """Cache of the policies of the databases of one InfluxDB."""

    def __init__(self, influx: Influx) -> None:
        self._influx = influx
        self._known: dict[str, DatabasePolicies | None] = {}

    async def of(self, database: str) -> DatabasePolicies | None:
        """The policies of a database; None if requests must not name one.

        That is the case on InfluxDB 2, and for users who may not list policies. Raises NoDatabase,
        InfluxUnavailable.
        """
        if (server := self._influx.of(database)) is not self._influx:
            return await server.policies.of(database)
        if database not in self._known:
            self._known[database] = await self._find(database)
        return self._known[database]

    def forget(self, database: str) -> None:
        """Drop the cached policies of a database."""
        self._known.pop(database, None)
        if (server := self._influx.of(database)) is not self._influx:
            server.policies.forget(database)

    def forget_if_gone(self, database: str, error: InfluxError | str) -> None:
        """Drop the cached policies of a database if an error says that one of them is gone."""
        if isinstance(error, NoDatabase) or "retention policy not found" in str(error):
            self.forget(database)

    async def _find(self, database: str) -> DatabasePolicies | None:
        if not (await self._influx.ping()).startswith("1."):
            return None
        try:
            policies = await listed(self._influx, database)
            if not policies:
                return None
            if len(policies) == 1:
                return DatabasePolicies(policies[0])
            oldest = {one: await self._oldest(database, one) for one in policies}
        except (InfluxUnavailable, NoDatabase):
            raise
        except InfluxError:
            return None
        # The policy that was in use before the default changed holds the oldest points. If all are
        # empty, the default is chosen.
        own = min(
            policies,
            key=lambda one: (oldest[one] is None, oldest[one] or 0, not one.is_default),
        )
        return DatabasePolicies(own, tuple(one for one in policies if one != own))

    async def _oldest(self, database: str, policy: Policy) -> int | None:
        """The time (ns) of our oldest point in a policy; None if there is none."""
        times = []
        for measurement in MEASUREMENTS:
            if measurement.database == database:
                source = f"{identifier(policy.name)}.{identifier(measurement.name)}"
                found = await self._influx.query(
                    database, f"SELECT * FROM {source} ORDER BY time ASC LIMIT 1"
                )
                times += [int(row["time"]) for row in rows_of(found)]
        return min(times, default=None)


async def listed(influx: Influx, database: str) -> list[Policy]:
    """All policies of a database of a 1.x server. Raises NoDatabase, InfluxError."""
    name = identifier(influx.name(database))
    found = await influx.query(None, f"SHOW RETENTION POLICIES ON {name}")
    return [
        Policy(row["name"], _seconds(row["duration"]), bool(row["default"]))
        for row in rows_of(found)
    ]


def _seconds(text: str) -> int:
    """Parse a duration in Go's format, such as `2160h0m0s`, to seconds."""
    found = _GO_DURATION.fullmatch(text)
    if found is None:
        raise InfluxError(f"a retention that is not InfluxDB's: {text!r}")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds
