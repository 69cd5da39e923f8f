"""The retention policy of InfluxDB 1.x that holds a database's points, named in every request.

A statement or a write that names none goes to the default policy. An operator who makes a new
default would thereby hide all points from us: InfluxDB answers from the new one, which is empty.
InfluxDB 2 has a bucket in place of database and policy, which is found by its name alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from collector.influx.errors import InfluxError, InfluxUnavailable, NoDatabase
from collector.influx.quoting import identifier
from collector.schema import MEASUREMENTS

if TYPE_CHECKING:
    from collector.influx.client import Influx

_GO_DURATION: Final = re.compile(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?")


@dataclass(frozen=True, slots=True)
class Policy:
    """A retention policy: its name, its retention in s (0: for ever), whether it is the default."""

    name: str
    seconds: int
    is_default: bool


@dataclass(frozen=True, slots=True)
class Held:
    """The policies of a database: `own` holds our points, `others` are all the rest."""

    own: Policy
    others: tuple[Policy, ...] = ()

    @property
    def default(self) -> Policy:
        """The policy that is used where none is named."""
        return next((one for one in self.others if one.is_default), self.own)

    def hidden_from_others(self, database: str) -> str:
        """That another policy is the default, and the remedy; empty where ours is."""
        if self.default == self.own:
            return ""
        own, default = identifier(self.own.name), identifier(self.default.name)
        return (
            f"database {database}: its default retention policy is {default}, but our points are in"
            f" {own}, where the collector reads and writes. Grafana reads the default: run"
            f" ALTER RETENTION POLICY {own} ON {identifier(database)} DEFAULT"
        )


class Policies:
    """Finds the policies of the databases of one InfluxDB and remembers them."""

    def __init__(self, influx: Influx) -> None:
        self._influx = influx
        self._known: dict[str, Held | None] = {}

    async def of(self, database: str) -> Held | None:
        """The policies of a database; None where none is to be named.

        That is InfluxDB 2, and a user who may not see the policies. Raises NoDatabase,
        InfluxUnavailable.
        """
        if database not in self._known:
            self._known[database] = await self._find(database)
        return self._known[database]

    def forget(self, database: str) -> None:
        """Look anew at the next request."""
        self._known.pop(database, None)

    def forget_if_gone(self, database: str, error: InfluxError | str) -> None:
        """Look anew at the next request where an error says that a policy or a database is gone."""
        if isinstance(error, NoDatabase) or "retention policy not found" in str(error):
            self.forget(database)

    async def _find(self, database: str) -> Held | None:
        if not (await self._influx.ping()).startswith("1."):
            return None
        try:
            policies = await listed(self._influx, database)
            if not policies:
                return None
            if len(policies) == 1:
                return Held(policies[0])
            oldest = {one: await self._oldest(database, one) for one in policies}
        except (InfluxUnavailable, NoDatabase):
            raise
        except InfluxError:
            return None
        # What was ours before the default changed holds the oldest points. Where none has any, the
        # default does as well as another.
        own = min(
            policies,
            key=lambda one: (oldest[one] is None, oldest[one] or 0, not one.is_default),
        )
        return Held(own, tuple(one for one in policies if one != own))

    async def _oldest(self, database: str, policy: Policy) -> int | None:
        """The time (ns) of the oldest point of ours in a policy; None where there is none."""
        times = []
        for measurement in MEASUREMENTS:
            if measurement.database == database:
                source = f"{identifier(policy.name)}.{identifier(measurement.name)}"
                found = await self._influx.query(
                    database, f"SELECT * FROM {source} ORDER BY time ASC LIMIT 1"
                )
                times += [int(row["time"]) for series in found for row in series.rows()]
        return min(times, default=None)


async def listed(influx: Influx, database: str) -> list[Policy]:
    """All policies of a database of a 1.x server. Raises NoDatabase, InfluxError."""
    name = identifier(influx.name(database))
    found = await influx.query(None, f"SHOW RETENTION POLICIES ON {name}")
    return [_policy(row) for series in found for row in series.rows()]


def _policy(row: dict[str, Any]) -> Policy:
    return Policy(row["name"], _seconds(row["duration"]), bool(row["default"]))


def _seconds(text: str) -> int:
    """Seconds in a duration as Go writes it, `2160h0m0s`."""
    found = _GO_DURATION.fullmatch(text)
    if found is None:
        raise InfluxError(f"a retention that is not InfluxDB's: {text!r}")
    hours, minutes, seconds = (int(part or 0) for part in found.groups())
    return hours * 3600 + minutes * 60 + seconds
