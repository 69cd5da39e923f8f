"""Sends reports during a fault, and compares the replies with the points in InfluxDB."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import aiohttp

from collector.outbox import FILE
from collector.outbox.peek import peek
from collector.worker import directories
from tests.conftest import Databases, Serve
from tests.reliability import Row, Suite, record
from tests.sender import GUARD_S, encoded, eventually, key_of, node_name, report, until

FIRST = 100_000
SENDERS = 10
ANSWER_S = GUARD_S


@dataclass
class Ledger:
    """Senders of reports with one node each, whose number is unique; and the replies."""

    url: str
    numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(FIRST))
    sent: int = 0
    acknowledged: set[int] = field(default_factory=set)
    refused: set[int] = field(default_factory=set)
    answers: Counter[int] = field(default_factory=Counter)
    unanswered: set[int] = field(default_factory=set)
    times: dict[int, tuple[float, float]] = field(default_factory=dict)
    """Times at which each acknowledged report was sent and answered, in s since 1970."""

    async def send(self, session: aiohttp.ClientSession) -> None:
        """Send one report, without retries, like the real client."""
        number = next(self.numbers)
        self.sent += 1
        begun = time.time()
        try:
            async with session.post(f"{self.url}/usage", data=encoded(report([number]))) as answer:
                self.answers[answer.status] += 1
                (self.acknowledged if answer.status == 200 else self.refused).add(number)
                if answer.status == 200:
                    self.times[number] = (begun, time.time())
                if answer.status == 503:
                    assert int(answer.headers["Retry-After"]) > 0
        except aiohttp.ClientConnectorError:
            # Nothing listens, so nothing was sent.
            self.sent -= 1
            await asyncio.sleep(0.05)
        except (aiohttp.ClientError, TimeoutError):
            self.unanswered.add(number)
            await asyncio.sleep(0.05)

    async def send_all(self, count: int) -> None:
        """Send this many reports, concurrently."""
        left = itertools.repeat(None, count)

        async def sender(session: aiohttp.ClientSession) -> None:
            for _ in left:
                await self.send(session)

        async with self._session() as session:
            await asyncio.gather(*(sender(session) for _ in range(4 * SENDERS)))

    @asynccontextmanager
    async def sending(self, *, pause: float = 0.02) -> AsyncIterator[None]:
        """Send reports from entry to exit; exit waits for pending replies."""
        ended = asyncio.Event()

        async def sender(session: aiohttp.ClientSession) -> None:
            while not ended.is_set():
                await self.send(session)
                await asyncio.sleep(pause)

        async with self._session() as session:
            senders = [asyncio.ensure_future(sender(session)) for _ in range(SENDERS)]
            try:
                yield
            finally:
                ended.set()
                await asyncio.gather(*senders)

    @staticmethod
    def _session() -> aiohttp.ClientSession:
        # One connection per report, like many separate senders.
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(force_close=True),
            timeout=aiohttp.ClientTimeout(total=ANSWER_S),
        )

    async def more(self, count: int) -> None:
        """Wait until this many more reports are acknowledged."""
        wanted = len(self.acknowledged) + count
        await until(lambda: len(self.acknowledged) >= wanted)


def node_points(databases: Databases) -> Counter[str]:
    """The number of points in InfluxDB for each node, by pseudonym."""
    rows = databases.server.query('SELECT "node" FROM "node_report"', databases.raw)
    return Counter(str(row["node"]) for row in rows)


async def delivered(databases: Databases, collector: Serve, numbers: set[int]) -> Counter[str]:
    """Wait until all these nodes are stored, and return the points of each; fail if it lasts."""
    key = key_of(collector.state_dir)
    wanted = {node_name(number, key) for number in numbers}
    found: Counter[str] = Counter()
    deadline = time.monotonic() + GUARD_S
    while time.monotonic() < deadline:
        found = await asyncio.to_thread(node_points, databases)
        if wanted <= found.keys():
            return found
        await asyncio.sleep(0.2)
    raise AssertionError(f"{len(wanted - found.keys())} acknowledged reports are missing")


async def emptied(collector: Serve) -> None:
    """Wait until no outbox has anything left to deliver."""
    # Not by its metric, which is measured every few seconds.
    await asyncio.to_thread(
        eventually,
        lambda: not any(peek(own / FILE).reports for own in directories(collector.state_dir)),
    )


async def settled(
    ledger: Ledger,
    databases: Databases,
    collector: Serve,
    *,
    fault: str,
    rounds: int,
    ended: float,
    told_lost: int = 0,
    clocks: Sequence[int] = (0,),
) -> Row:
    """Check the product's promises after a fault that ended at `ended` (monotonic); record its row.

    `told_lost` is the number of reports in a destroyed part of a file. Each point must have the
    time at which its report was sent, by one of `clocks` (s ahead of the real one).
    """
    if not told_lost:
        await delivered(databases, collector, ledger.acknowledged)
    recovery = time.monotonic() - ended
    await emptied(collector)
    points = await asyncio.to_thread(node_points, databases)
    key = key_of(collector.state_dir)
    row = Row(
        fault=fault,
        rounds=rounds,
        sent=ledger.sent,
        acknowledged=len(ledger.acknowledged),
        in_influxdb=len(points),
        lost=len({node_name(number, key) for number in ledger.acknowledged} - points.keys()),
        doubled=sum(count > 1 for count in points.values()),
        refused=len(ledger.refused),
        unanswered=len(ledger.unanswered),
        recovery_s=round(recovery, 1),
    )
    record(Suite.CHAOS, row)
    await asyncio.to_thread(_dated_right, ledger, databases, key, clocks)
    refused = {node_name(number, key) for number in ledger.refused}
    assert not refused & points.keys(), "a refused report is stored"
    assert ledger.answers.keys() <= {200, 503}, ledger.answers
    assert row.sent == row.acknowledged + row.refused + row.unanswered
    assert row.doubled == 0
    assert row.lost <= told_lost, row
    return row


def _dated_right(ledger: Ledger, databases: Databases, key: bytes, clocks: Sequence[int]) -> None:
    rows = databases.server.query('SELECT "node" FROM "node_report"', databases.raw)
    sent = {node_name(number, key): times for number, times in ledger.times.items()}
    for row in rows:
        begun, answered = sent.get(str(row["node"]), (0.0, 2.0**40))
        at = row["time"] / 1e9
        assert any(begun - 1 <= at - clock <= answered + 3 for clock in clocks), (at, begun)
