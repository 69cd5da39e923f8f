"""Starts all processes of the cluster, and keeps them running."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

from collector import parts
from collector.influx.databases import ensure
from collector.schema.budgets import ASL_BUDGETS
from collector.settings import Settings
from tools.cluster.members import Balancer, MemberError, Role, find_haproxy
from tools.embedded import HOST, Embedded, EmbeddedInflux, free_port
from tools.nats import NatsCluster, NatsServer, find_server
from tools.simulation.fleet import Fleet
from tools.simulation.sending import converter_of_past, lay_down

PAST_DAYS: Final = 7
"""Days before today that a simulated fleet has reported; the publishers compute them."""
_PAST_SERVERS: Final = 60
_RETENTION_S: Final = 90 * 86_400


@dataclass(frozen=True)
class Plant:
    """The members of a running cluster by name, in the order of the data's way."""

    directory: Path
    key: bytes
    balancer: Balancer
    receivers: Mapping[str, Role]
    nats: Mapping[str, NatsServer]
    writers: Mapping[str, Role]
    raw: EmbeddedInflux
    published: EmbeddedInflux
    publishers: Mapping[str, Role]

    @property
    def members(self) -> dict[str, Embedded]:
        """All processes by name."""
        return {
            "balancer": self.balancer,
            **self.receivers,
            **self.nats,
            **self.writers,
            "influxdb-raw": self.raw,
            "influxdb": self.published,
            **self.publishers,
        }

    @property
    def kinds(self) -> list[list[str]]:
        """The names of the members, those of a kind together."""
        apart = [["balancer"], ["influxdb-raw"], ["influxdb"]]
        of_many = (self.receivers, self.nats, self.writers, self.publishers)
        return [*(list(kind) for kind in of_many), *apart]


@asynccontextmanager
async def running(
    directory: Path, *, lease_s: int, say: Callable[[str], object]
) -> AsyncIterator[Plant]:
    """Run the cluster from entry to exit, with a past of some days in raw data's InfluxDB.

    `lease_s` is the publisher's lease. Raises MemberError, NatsStartError, InfluxdStartError,
    InfluxdNotFoundError, InfluxError.
    """
    find_haproxy()
    find_server()
    plant = _planned(directory, lease_s)
    try:
        stores = {**plant.nats, "influxdb-raw": plant.raw, "influxdb": plant.published}
        await _started(stores)
        say("three NATS servers and two InfluxDBs run")
        await _lay_past(plant)
        say(f"{PAST_DAYS} past days of a simulated fleet are in raw data's InfluxDB")
        await _started({**plant.receivers, **plant.writers, **plant.publishers})
        await _started({"balancer": plant.balancer})
        say("two receivers behind a balancer, two writers, publisher and standby run")
        yield plant
    finally:
        # Their data is made up and removed: nothing needs time to end well.
        for member in plant.members.values():
            member.kill()


async def _started(members: Mapping[str, Embedded]) -> None:
    """Start members at the same time, and wait until all are ready."""
    for member in members.values():
        # In this thread, with which they end.
        member.launch()
    await asyncio.gather(*(asyncio.to_thread(member.wait_ready) for member in members.values()))


def _planned(directory: Path, lease_s: int) -> Plant:
    key = secrets.token_bytes(32)
    key_file = directory / "pseudonym.key"
    key_file.touch(mode=0o600)
    key_file.write_text(key.hex() + "\n")
    cluster = NatsCluster(directory)
    raw = EmbeddedInflux(directory / "influxdb-raw")
    published = EmbeddedInflux(directory / "influxdb")
    port, metrics_port = free_port(), free_port()
    settings = {
        "COLLECTOR_INFLUX_URL": published.url,
        "COLLECTOR_INFLUX_RAW_URL": raw.url,
        "COLLECTOR_NATS_URL": cluster.urls,
        "COLLECTOR_PSEUDONYM_KEY_FILE": str(key_file),
        "COLLECTOR_LEASE": f"{lease_s}s",
        "COLLECTOR_TRUSTED_PROXIES": HOST,
        # All simulated senders have the same address.
        "COLLECTOR_RATE_LIMIT": "0",
    }

    def role(name: str, number: int, of: str, **own: str) -> Role:
        return Role(
            directory / name,
            of,
            host=f"127.0.0.{number}",
            port=port,
            metrics_port=metrics_port,
            settings=settings | own,
        )

    receivers = {
        f"receiver-{n}": role(f"receiver-{n}", 10 + n, "receive", COLLECTOR_INSTANCE=str(100 * n))
        for n in (1, 2)
    }
    publishers = {f"publisher-{n}": role(f"publisher-{n}", 30 + n, "publish") for n in (1, 2)}
    return Plant(
        directory=directory,
        key=key,
        balancer=Balancer(
            directory / "balancer",
            receivers=[one.address for one in receivers.values()],
            publishers=[one.address for one in publishers.values()],
            health_port=metrics_port,
        ),
        receivers=receivers,
        nats={server.name: server for server in cluster.servers},
        writers={f"writer-{n}": role(f"writer-{n}", 20 + n, "write") for n in (1, 2)},
        raw=raw,
        published=published,
        publishers=publishers,
    )


async def _lay_past(plant: Plant) -> None:
    """Store the reports of the days before today. Raises InfluxError."""
    settings = Settings.model_construct(
        influx_url=plant.published.url, influx_raw_url=plant.raw.url
    )
    start = datetime.now(UTC).date() - timedelta(days=PAST_DAYS)
    fleet = Fleet(seed=1, servers=_PAST_SERVERS, start=start, days=PAST_DAYS)
    days = (fleet.day(start + timedelta(days=n)) for n in range(PAST_DAYS))
    converter = converter_of_past(
        plant.key, instance=900, budgets=ASL_BUDGETS, memory_days=PAST_DAYS
    )
    async with parts.influx_of(settings) as influx:
        await ensure(influx, parts.retention(settings))
        await lay_down(days, converter, influx, done=lambda: None)


__all__ = ["PAST_DAYS", "MemberError", "Plant", "running"]
