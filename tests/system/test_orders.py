"""An erasure reaches every hop of a cluster: outboxes, the stream, both InfluxDBs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from collector.jetstream.board import Board
from collector.jetstream.connection import Connection
from collector.jetstream.participants import behind
from collector.memory import Memory, State
from collector.outbox import FILE, Entry, OutboxFile
from collector.privacy import ServerPseudonym
from collector.schema import RAW
from collector.settings import Settings
from tests.conftest import InfluxServer, Serve, StartServe
from tests.nats_servers import answered, waiting_in
from tests.network import lines_of
from tests.owners import OWN, OWNER, ask, body_of, holding, uuid_of
from tests.sender import eventually, lay_key, node_name, post, server_name
from tools.embedded import EmbeddedInflux
from tools.nats import NatsCluster

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

TRACES = (OWNER, uuid_of(0), node_name(100_000), node_name(100_001))
NEIGHBOUR = server_name(uuid_of(1))


@dataclass
class Cluster:
    """Two receivers, a writer and a publisher around three NATS servers and two InfluxDBs."""

    nats: NatsCluster
    raw: EmbeddedInflux
    published: EmbeddedInflux
    serve: StartServe
    directory: Path

    @property
    def environment(self) -> dict[str, str]:
        return {
            "COLLECTOR_INFLUX_URL": self.published.url,
            "COLLECTOR_INFLUX_RAW_URL": self.raw.url,
            "COLLECTOR_NATS_URL": self.nats.urls,
            "COLLECTOR_NATS_REPLICAS": "3",
            "COLLECTOR_NATS_STREAM_MAX": "64MiB",
            "COLLECTOR_K_ANONYMITY": "1",
            # The first erasure waits as long for the lock of the rollup, which nobody has had yet.
            "COLLECTOR_LEASE": "5s",
        }

    def state(self, name: str) -> Path:
        return self.directory / name

    def start(self, role: str, number: int = 1) -> Serve:
        name = f"{role}-{number}"
        if role == "receive" and not self.state(name).exists():
            lay_key(self.state(name))
        own = {"COLLECTOR_STATE_DIR": str(self.state(name)), "COLLECTOR_INSTANCE": str(number)}
        return self.serve({**self.environment, **own}, role=role)

    def behind(self) -> list[str]:
        """The participants that have not carried out all orders."""

        async def look() -> list[str]:
            settings = Settings(nats_url=self.nats.urls.split(","), nats_replicas=3)
            async with Connection(settings, name="test") as to:
                found = await answered(lambda: behind(Board(to, settings)))
                return [one.name for one in found]

        return asyncio.run(look())

    def raw_of(self, server: str) -> int:
        """The number of raw reports of a server."""
        where = f"\"server\" = '{server}'"
        databases = InfluxServer(self.raw.url)
        return len(databases.query(f"SELECT nodes FROM server_report WHERE {where}", RAW))


@pytest.fixture
def cluster(nats_cluster: NatsCluster, serve: StartServe, tmp_path: Path) -> Iterator[Cluster]:
    # They compact what was not written to for a second, which removes deleted data.
    both = [EmbeddedInflux(tmp_path / f"{name}-influxdb", compact_after="1s") for name in "rp"]
    for influx in both:
        influx.start()
    raw, published = both
    yield Cluster(nats_cluster, raw, published, serve, tmp_path)
    for influx in both:
        influx.kill()


def test_after_an_erasure_no_hop_has_a_byte_of_the_pseudonym(cluster: Cluster) -> None:
    first, second = cluster.start("receive", 1), cluster.start("receive", 2)
    writer, publisher = cluster.start("write"), cluster.start("publish")
    for collector in (first, second):
        for number in range(3):
            assert post(collector.url, body_of(number)).status == 200
    eventually(lambda: cluster.raw_of(NEIGHBOUR) == 2)
    eventually(lambda: cluster.raw_of(OWNER) == 2)
    # Without a writer, reports stay in the stream; without a receiver, in its outbox.
    assert writer.terminate() == 0
    for collector in (first, second):
        assert post(collector.url, OWN).status == 200
        assert post(collector.url, body_of(1)).status == 200
    eventually(lambda: waiting_in(cluster.nats) == 4)
    assert second.terminate() == 0
    with OutboxFile(cluster.state("receive-2") / FILE) as outbox:
        for server, body in ((OWNER, OWN), (NEIGHBOUR, body_of(1))):
            at = time.time_ns()
            lines = lines_of([(at, body)])
            outbox.append(Entry(at, ServerPseudonym(server), len(lines), "\n".join(lines).encode()))

    # On a machine that stands still the lock may be lost, and the erasure be done later.
    assert ask(first.url, "/erase").status in {200, 202}
    eventually(lambda: cluster.raw_of(OWNER) == 0)
    # What does not run has not carried it out.
    assert {"receive", "write"} <= {name.split("-")[0] for name in cluster.behind()}
    writer, second = cluster.start("write"), cluster.start("receive", 2)
    # The neighbour's reports in the stream and in the outbox are stored, the owner's are not.
    eventually(lambda: cluster.raw_of(NEIGHBOUR) == 5)
    eventually(lambda: not cluster.behind())
    assert cluster.raw_of(OWNER) == 0
    # A receiver that carries out the order of another one looks for rows in InfluxDB, too.
    receivers = [Memory(cluster.state(f"receive-{number}")) for number in (1, 2)]
    pending = (State.ACCEPTED, State.PLANNED)
    eventually(lambda: not any(memory.erasures.all(*pending) for memory in receivers))
    for process in (first, second, writer, publisher):
        assert process.terminate() == 0
    logs = [process.log for process in (first, second, writer, publisher)]
    states = [cluster.state(f"{name}-1") for name in ("receive", "write", "publish")]
    stores = [server.store for server in cluster.nats.servers]
    places = [*states, cluster.state("receive-2"), *stores, *logs]
    # A neighbour's pseudonym is in the outboxes, and in no message.
    assert holding(NEIGHBOUR, *states)
    assert not holding(NEIGHBOUR, *stores)
    for trace in TRACES:
        assert holding(trace, *places) == [], trace
        eventually(lambda: not holding(trace, cluster.raw.directory, cluster.published.directory))  # noqa: B023
    assert cluster.raw_of(NEIGHBOUR) == 5
