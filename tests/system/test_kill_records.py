"""Records that were answered 201 are in the records store and in the counts, once, whatever fails.

Properties: all that was acknowledged is stored once in both; both hold the same records; after the
fault new records are taken.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from sqlalchemy import select

from collector.records.store import RecordsStore
from collector.records.tables import RECORDS
from tests import postgresql
from tests.conftest import Databases, Serve, StartServe
from tests.sender import GUARD_S, eventually, metric, until

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

SENDERS = 8
HEADERS = {
    "X-Telemetry-TID": "6907c830-eed9-4ce9-81ae-76daf8d88f0f",
    "record_format_version": "2",
    "payload_format_version": "1",
    "system_name": "clear-linux-os",
    "arch": "x86_64",
    "build": "32000",
    "creation_timestamp": "1505235249",
    "classification": "org.clearlinux/hello/world",
    "host_type": "any",
    "kernel_version": "6.1.0-31",
    "severity": "1",
}
SETTINGS = {"COLLECTOR_TELEMETRICS": "1", "COLLECTOR_RATE_LIMIT": "0"}


@dataclass
class Senders:
    """Clients that each send one record after the other, with a payload of its own."""

    url: str
    acknowledged: set[str] = field(default_factory=set)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    async def _send(self, session: aiohttp.ClientSession) -> None:
        payload = f"record {next(self.numbers)}"
        headers = HEADERS | {"machine_id": f"machine{len(payload)}"}
        try:
            async with session.post(self.url, data=payload, headers=headers) as response:
                if response.status == 201:
                    self.acknowledged.add(payload)
        except (aiohttp.ClientError, TimeoutError):
            await asyncio.sleep(0.05)

    async def _send_on(self, session: aiohttp.ClientSession) -> None:
        while True:
            await self._send(session)

    @asynccontextmanager
    async def sending(self) -> AsyncIterator[None]:
        """Send until the end of the context."""
        timeout = aiohttp.ClientTimeout(total=GUARD_S)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            tasks = [asyncio.create_task(self._send_on(session)) for _ in range(SENDERS)]
            try:
                yield
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)

    async def more(self, count: int) -> None:
        """Wait until so many more records are acknowledged."""
        wanted = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= wanted)


async def check_stored_once(
    senders: Senders, collector: Serve, databases: Databases, store: RecordsStore
) -> None:
    """Both stores have every acknowledged record once, and the same records."""
    name = f"{databases.prefix}telemetrics"

    def waiting() -> float:
        names = ("influx", "records")
        found = [
            metric(collector.metrics_url, "collector_outbox_reports", target=one) for one in names
        ]
        return sum(found)

    def same() -> bool:
        rows = store.rows(select(RECORDS.c.stamp))
        counted = databases.server.count(name, "record", "payload_bytes")
        return waiting() == 0 and len(rows) == counted >= len(senders.acknowledged)

    await asyncio.to_thread(_eventually, same)
    rows = store.rows(select(RECORDS.c.payload, RECORDS.c.stamp))
    payloads = Counter(bytes(row["payload"]).decode() for row in rows)
    assert senders.acknowledged <= payloads.keys()
    assert set(payloads.values()) == {1}


def _eventually(holds: Callable[[], object]) -> None:
    eventually(lambda: bool(holds()))


async def test_records_acked_before_kills_are_stored_once_in_store_and_counts(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment | SETTINGS)
    senders = Senders(f"{collector.url}/v2/collector")
    async with senders.sending():
        for _ in range(2):
            await senders.more(300)
            await asyncio.to_thread(collector.kill)
            collector = await asyncio.to_thread(serve, collector.environment)
        await senders.more(300)
    store = RecordsStore("", directory=collector.state_dir)
    await check_stored_once(senders, collector, databases, store)
    store.close()


@pytest.fixture
def server() -> Iterator[postgresql.PostgreSql]:
    with postgresql.running() as found:
        found.run("CREATE DATABASE records")
        yield found


async def test_lost_connections_and_a_crash_of_postgresql_lose_and_double_nothing(
    databases: Databases, serve: StartServe, server: postgresql.PostgreSql, tmp_path: Path
) -> None:
    url = server.url("records")
    collector = serve(databases.environment | SETTINGS | {"COLLECTOR_RECORDS_URL": url})
    senders = Senders(f"{collector.url}/v2/collector")
    async with senders.sending():
        for _ in range(2):
            await senders.more(150)
            # Until a connection was there to be cut.
            await asyncio.to_thread(_eventually, server.cut_connections)
        await asyncio.to_thread(server.kill)
        # Records are taken while the server is away.
        await senders.more(150)
        await asyncio.to_thread(server.start)
        await senders.more(150)
    store = RecordsStore(url, directory=tmp_path)
    await check_stored_once(senders, collector, databases, store)
    store.close()
    log = collector.logs()
    assert "no progress to a target" in log
    assert postgresql.PASSWORD not in log
