"""One suite of promises for every target of delivery, each with the real thing behind it."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import pytest
from sqlalchemy import select

from collector.delivery.influx import InfluxTarget
from collector.delivery.jetstream import JetStreamTarget
from collector.delivery.loop import Delivery
from collector.delivery.records import RecordsTarget
from collector.delivery.target import Blocked, Target
from collector.influx import Influx
from collector.influx.databases import ensure
from collector.jetstream.connection import Connection
from collector.metrics import Metrics
from collector.outbox import FILE, Entry, Outbox, OutboxFile, Queue
from collector.outbox.delivering import DeliveryLock
from collector.records.store import RecordsStore
from collector.records.tables import RECORDS as RECORDS_TABLE
from collector.schema import RECORDS
from collector.settings import Settings
from tests import postgresql
from tests.nats_servers import entries_in
from tests.records import record_of
from tests.sender import until
from tools.embedded import EmbeddedInflux
from tools.nats import NatsServer

DATABASES: tuple[str, ...] = ("usage_raw", "another_sender")
MAX_PAYLOAD = 16 << 10


class Place(Protocol):
    """What a target stores into, and how it is taken away and brought back."""

    queue: Queue
    databases: tuple[str, ...]
    """Targets that entries of its queue may name."""

    def target(self) -> Target[Any]: ...

    def line(self, n: int) -> bytes:
        """The line of entry number `n`."""
        ...

    def away(self) -> None: ...

    def back(self) -> None: ...

    async def stored(self, database: str) -> list[int]:
        """The numbers of the entries that are stored, in order."""
        ...

    def refused(self) -> bytes:
        """A line that the target refuses for good."""
        ...


class InfluxPlace:
    """An InfluxDB of the test's own."""

    queue = Queue.INFLUX
    databases = DATABASES

    def __init__(self, server: EmbeddedInflux, influx: Influx) -> None:
        self._server = server
        self._influx = influx

    def target(self) -> Target[Any]:
        wanted = dict.fromkeys(DATABASES, 0)
        return InfluxTarget(self._influx, Metrics(), lambda: ensure(self._influx, wanted))

    def line(self, n: int) -> bytes:
        return b"m n=%di %d" % (n, n)

    def away(self) -> None:
        self._server.kill()

    def back(self) -> None:
        self._server.start()

    async def stored(self, database: str) -> list[int]:
        found = await self._influx.query(database, "SELECT n FROM m")
        return [int(n) for series in found for _, n in series.values]

    def refused(self) -> bytes:
        return b"m n= 1"


@asynccontextmanager
async def influx_place(directory: Path) -> AsyncIterator[Place]:
    async with EmbeddedInflux(directory / "influx") as server, Influx(server.url) as influx:
        yield InfluxPlace(server, influx)


class RecordsPlace:
    """A records store of the test's own; `off` and `on` take it away and bring it back."""

    queue = Queue.RECORDS
    databases: tuple[str, ...] = (RECORDS,)

    def __init__(
        self, url: str, directory: Path, off: Callable[[], object], on: Callable[[], object]
    ) -> None:
        self._store = RecordsStore(url, directory=directory)
        self._away, self._back = off, on

    def target(self) -> Target[Any]:
        return RecordsTarget(self._store, Metrics())

    def line(self, n: int) -> bytes:
        return record_of(n).line()

    def away(self) -> None:
        self._store.close()
        self._away()

    def back(self) -> None:
        self._back()

    async def stored(self, database: str) -> list[int]:
        rows = await asyncio.to_thread(
            self._store.rows, select(RECORDS_TABLE.c.stamp).order_by(RECORDS_TABLE.c.id)
        )
        self._store.close()
        return [row["stamp"] for row in rows]

    def refused(self) -> bytes:
        return b'{"owner": 1} 17'


@asynccontextmanager
async def sqlite_place(directory: Path) -> AsyncIterator[Place]:
    folder = directory / "records"
    folder.mkdir()
    gone = directory / "gone"
    yield RecordsPlace(
        f"sqlite:///{folder}/records.sqlite3",
        directory,
        lambda: shutil.move(folder, gone),
        lambda: shutil.move(gone, folder),
    )


@asynccontextmanager
async def postgresql_place(directory: Path) -> AsyncIterator[Place]:
    with postgresql.running() as server:
        server.run("CREATE DATABASE records")
        yield RecordsPlace(server.url("records"), directory, server.kill, server.start)


class JetStreamPlace:
    """A stream on a NATS server of the test's own, for the entries of one queue."""

    def __init__(
        self, server: NatsServer, to: Connection, settings: Settings, queue: Queue
    ) -> None:
        self._server, self._to, self._settings = server, to, settings
        self.queue = queue
        self.databases: tuple[str, ...] = DATABASES if queue is Queue.INFLUX else (RECORDS,)

    def target(self) -> Target[Any]:
        return JetStreamTarget(self._to, self._settings, Metrics(), self.queue)

    def line(self, n: int) -> bytes:
        return b"m n=%di %d" % (n, n)

    def away(self) -> None:
        self._server.kill()

    def back(self) -> None:
        self._server.start()

    async def stored(self, database: str) -> list[int]:
        return [
            int(entry.lines.rpartition(b" ")[2])
            for entry in await entries_in(self._to, self._settings)
            if entry.target == database
        ]

    def refused(self) -> bytes:
        return b'm n="%b" 1' % (b"x" * MAX_PAYLOAD)


@asynccontextmanager
async def jetstream_place(directory: Path, queue: Queue = Queue.INFLUX) -> AsyncIterator[Place]:
    server = NatsServer(directory / "nats", options=[f"max_payload: {MAX_PAYLOAD}"])
    server.start()
    settings = Settings(nats_url=[server.url], nats_replicas=1)
    try:
        async with Connection(settings, name="test", patience_s=1) as to:
            yield JetStreamPlace(server, to, settings, queue)
    finally:
        server.kill()


PLACES: dict[str, Callable[[Path], AbstractAsyncContextManager[Place]]] = {
    "influx": influx_place,
    "jetstream": jetstream_place,
    "jetstream-records": partial(jetstream_place, queue=Queue.RECORDS),
    "postgresql": postgresql_place,
    "sqlite": sqlite_place,
}
"""How each target that there is gets a place of its own."""


@pytest.fixture(params=sorted(PLACES))
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        yield await stack.enter_async_context(PLACES[request.param](tmp_path))


@asynccontextmanager
async def outbox_in(directory: Path) -> AsyncIterator[Outbox]:
    outbox = Outbox(directory / FILE, max_bytes=1 << 30, keep_seconds=3600, metrics=Metrics())
    try:
        yield outbox
    finally:
        await outbox.close()


@asynccontextmanager
async def delivered(outbox: Outbox, place: Place, directory: Path) -> AsyncIterator[None]:
    """Deliver until the end of the context."""
    loop = Delivery(outbox, place.target(), Metrics(), DeliveryLock(directory), queue=place.queue)
    task = asyncio.create_task(loop.run())
    try:
        yield
    finally:
        loop.stop()
        await task


def entries(place: Place, numbers: Sequence[int], database: int = 0) -> list[Entry]:
    target = place.databases[database]
    return [Entry(time.time_ns(), None, 1, place.line(n), target, "toy") for n in numbers]


async def test_entries_of_several_databases_arrive_each_in_its_own(
    place: Place, tmp_path: Path
) -> None:
    async with outbox_in(tmp_path) as outbox:
        last = len(place.databases) - 1
        mixed = zip(
            entries(place, range(1, 50, 2)), entries(place, range(2, 50, 2), last), strict=False
        )
        await outbox.append(*[entry for pair in mixed for entry in pair])
        async with delivered(outbox, place, tmp_path):
            await until(lambda: not _left(tmp_path))
    wanted: dict[str, list[int]] = {database: [] for database in place.databases}
    for n in range(1, 49):
        wanted[place.databases[0 if n % 2 else last]].append(n)
    for database, numbers in wanted.items():
        assert await place.stored(database) == numbers


async def test_entries_wait_while_the_target_is_away_and_arrive_once_when_it_is_back(
    place: Place, tmp_path: Path
) -> None:
    place.away()
    async with outbox_in(tmp_path) as outbox:
        await outbox.append(*entries(place, range(1, 20)))
        async with delivered(outbox, place, tmp_path):
            await asyncio.sleep(0.5)
            assert _left(tmp_path) == 19
            await asyncio.to_thread(place.back)
            await until(lambda: not _left(tmp_path))
    assert await place.stored(place.databases[0]) == list(range(1, 20))


async def test_line_that_is_refused_is_set_aside_and_the_others_arrive(
    place: Place, tmp_path: Path
) -> None:
    async with outbox_in(tmp_path) as outbox:
        wrong = Entry(time.time_ns(), None, 1, place.refused(), place.databases[-1], "toy")
        await outbox.append(*entries(place, range(1, 8)), wrong, *entries(place, range(8, 12)))
        async with delivered(outbox, place, tmp_path):
            await until(lambda: not _left(tmp_path))
    assert await place.stored(place.databases[0]) == list(range(1, 12))
    with OutboxFile(tmp_path / FILE) as file:
        letters = file.dead_letters()
    assert [(letter.line, letter.target, letter.sender) for letter in letters] == [
        (place.refused(), place.databases[-1], "toy")
    ]


async def test_replayed_entries_are_stored_once(place: Place, tmp_path: Path) -> None:
    async with outbox_in(tmp_path) as outbox:
        await outbox.append(*entries(place, range(1, 10)))
        for _ in range(2):
            async with delivered(outbox, place, tmp_path):
                await until(lambda: not _left(tmp_path))
            with OutboxFile(tmp_path / FILE) as file:
                assert file.replay(since_ns=0) == 9
    assert await place.stored(place.databases[0]) == list(range(1, 10))


async def test_target_that_is_away_says_so_and_stores_nothing_by_halves(place: Place) -> None:
    target = place.target()
    await target.prepare()
    packed = await target.pack([])
    assert list(await target.store(packed)) == []
    place.away()
    with pytest.raises(Blocked) as blocked:
        await place.target().prepare()
    assert blocked.value.reason == "unavailable"


def _left(directory: Path) -> int:
    with OutboxFile(directory / FILE) as file:
        return file.stats().reports
