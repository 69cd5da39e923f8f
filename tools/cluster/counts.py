"""Counts where the reports of a running cluster are, and whether any is lost or stored twice.

Reports go from the receivers' outboxes through the stream to InfluxDB, and are counted in that
order: one that moves on meanwhile is counted once or twice, never not at all.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import aiohttp

from collector.outbox import FILE, OutboxUnavailable
from collector.outbox.peek import peek
from collector.schema import DAILY, DAILY_USAGE, NODE_REPORT, RAW
from collector.worker import directories
from tools.cluster.plant import Plant
from tools.cluster.senders import Senders
from tools.embedded import HOST

STREAM: Final = "usage"
_ANSWER_S: Final = 2.0
_QUERY_S: Final = 10.0
_PATIENCE_S: Final = 300.0
_AGAIN_S: Final = 0.5
_AGAIN: Final = 10
_BEFORE_S: Final = 5.0
_FAILURES: Final = (aiohttp.ClientError, TimeoutError, ValueError, KeyError, LookupError)
"""A server that is away or stopped does not answer, or not to the end."""


@dataclass(frozen=True, slots=True)
class Counts:
    """Numbers of reports at a moment; None where a server did not answer."""

    sent: int
    acknowledged: int
    in_outboxes: int | None
    in_stream: int | None
    stored: int | None
    lost: int | None
    """Acknowledged, and neither in InfluxDB nor accounted for by outboxes and stream."""
    doubled: int | None
    days: int | None
    """Days whose series are published, today included."""
    leader: str
    """The publisher that holds the lease, as it says itself; empty for none."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing is under way any more, and all answered."""
        return self.in_outboxes == self.in_stream == self.lost == 0 and self.days is not None


class Counter:
    """Counts the reports of `senders` in the cluster since the counter was made."""

    def __init__(self, plant: Plant, senders: Senders, session: aiohttp.ClientSession) -> None:
        self._plant = plant
        self._senders = senders
        self._session = session
        self._since_ns = time.time_ns() - int(_BEFORE_S * 1e9)
        self.begun = datetime.now(UTC).date()
        self._seen: set[str] = set()
        """Acknowledged nodes that have been found in InfluxDB."""

    async def counts(self) -> Counts:
        """Count. What seems to be lost is counted again: a server may just have been behind."""
        found = await self._once()
        for _ in range(_AGAIN):
            if not found.lost:
                break
            await asyncio.sleep(_AGAIN_S)
            found = await self._once()
        return found

    async def all_stored(self) -> list[str]:
        """Return the node of each report in InfluxDB. Raises aiohttp's errors, TimeoutError."""
        rows = await self._nodes('"node"', self._since_ns, patience_s=_PATIENCE_S)
        return [str(row[1]) for row in rows]

    async def published(self) -> tuple[int, int]:
        """Return the number of published days, and of the reports of those since the begin.

        Raises aiohttp's errors, TimeoutError.
        """
        midnight = datetime.combine(self.begun, datetime.min.time(), UTC)
        (days, _), (_, reports) = (
            await self._usage(patience_s=_PATIENCE_S),
            await self._usage(int(midnight.timestamp()) * 10**9, patience_s=_PATIENCE_S),
        )
        return days, reports

    async def _once(self) -> Counts:
        pending = {
            node: at for node, at in self._senders.acknowledged.items() if node not in self._seen
        }
        acknowledged, sent = len(self._senders.acknowledged), self._senders.sent
        outboxes = await asyncio.to_thread(self._in_outboxes)
        stream = await self._in_stream()
        stored = doubled = lost = None
        try:
            await self._find(pending)
            # The greater number is read last, so that reports which come meanwhile do not seem to
            # be doubled.
            points = await self._number('count("node")')
            nodes = await self._number('count(distinct("node"))')
        except _FAILURES:
            pass
        else:
            stored, doubled = nodes, max(0, points - nodes)
            missing = len(pending.keys() - self._seen)
            if outboxes is not None and stream is not None:
                lost = max(0, missing - outboxes - stream)
        days, leader = await asyncio.gather(self._days(), self._leader())
        return Counts(
            sent=sent,
            acknowledged=acknowledged,
            in_outboxes=outboxes,
            in_stream=stream,
            stored=stored,
            lost=lost,
            doubled=doubled,
            days=days,
            leader=leader,
        )

    def _in_outboxes(self) -> int | None:
        """Reports that are not in the stream yet, read from the receivers' files."""
        try:
            return sum(
                peek(directory / FILE).reports
                for receiver in self._plant.receivers.values()
                for directory in directories(receiver.state)
                if (directory / FILE).exists()
            )
        except OutboxUnavailable:
            # A receiver has just been killed, or is just being started.
            return None

    async def _in_stream(self) -> int | None:
        """Messages that no writer has acknowledged, by the server that leads the stream."""
        pages = await asyncio.gather(
            *(
                self._json(f"http://{HOST}:{one.monitor_port}/jsz?streams=true")
                for one in self._plant.nats.values()
            )
        )
        for name, page in zip(self._plant.nats, pages, strict=True):
            for account in page.get("account_details") or ():
                for stream in account.get("stream_detail") or ():
                    leads = (stream.get("cluster") or {}).get("leader") == name
                    if stream.get("name") == STREAM and leads:
                        return int(stream["state"]["messages"])
        return None

    async def _find(self, pending: dict[str, float]) -> None:
        """Look for nodes in InfluxDB, from the time of the oldest of them on."""
        if not pending:
            return
        rows = await self._nodes('"node"', int((min(pending.values()) - _BEFORE_S) * 1e9))
        self._seen |= pending.keys() & {str(row[1]) for row in rows}

    async def _number(self, column: str) -> int:
        rows = await self._nodes(column, self._since_ns)
        return int(rows[0][1]) if rows else 0

    async def _days(self) -> int | None:
        try:
            return (await self._usage())[0]
        except _FAILURES:
            return None

    async def _nodes(
        self, column: str, since_ns: int, *, patience_s: float = _QUERY_S
    ) -> list[list[Any]]:
        """Read a column of the reports of nodes since a time."""
        words = f'SELECT {column} FROM "{NODE_REPORT.name}" WHERE time >= {since_ns}'  # noqa: S608
        return await self._query(self._plant.raw.url, RAW, words, patience_s)

    async def _usage(self, since_ns: int = 0, *, patience_s: float = _QUERY_S) -> tuple[int, int]:
        """Return the number of published days since a time, and the sum of their reports."""
        columns = 'count("reports"), sum("reports")'
        words = f'SELECT {columns} FROM "{DAILY_USAGE.name}" WHERE time >= {since_ns}'  # noqa: S608
        rows = await self._query(self._plant.published.url, DAILY, words, patience_s)
        return (int(rows[0][1]), int(rows[0][2])) if rows else (0, 0)

    async def _leader(self) -> str:
        pages = await asyncio.gather(
            *(
                self._text(f"http://{one.host}:{one.metrics_port}/metrics")
                for one in self._plant.publishers.values()
            )
        )
        at_work = [
            name
            for name, page in zip(self._plant.publishers, pages, strict=True)
            if "\ncollector_publisher_leads 1" in page
        ]
        return ", ".join(at_work)

    async def _query(
        self, url: str, database: str, query: str, patience_s: float
    ) -> list[list[Any]]:
        """Return the rows of a query; its column of time is the first."""
        timeout = aiohttp.ClientTimeout(total=patience_s)
        async with self._session.get(
            f"{url}/query", params={"db": database, "q": query, "epoch": "ns"}, timeout=timeout
        ) as answer:
            (result,) = (await answer.json())["results"]
        if "error" in result:
            raise LookupError(result["error"])
        (series,) = result.get("series") or ({"values": []},)
        rows: list[list[Any]] = series["values"]
        return rows

    async def _json(self, url: str) -> dict[str, Any]:
        try:
            async with self._session.get(url) as answer:
                found: dict[str, Any] = await answer.json(content_type=None)
        except _FAILURES:
            return {}
        return found

    async def _text(self, url: str) -> str:
        try:
            async with self._session.get(url) as answer:
                return await answer.text()
        except _FAILURES:
            return ""


def session() -> aiohttp.ClientSession:
    """Return a session for a counter; who does not answer in time is away."""
    return aiohttp.ClientSession(
        timeout=aiohttp.ClientTimeout(total=_ANSWER_S),
        connector=aiohttp.TCPConnector(force_close=True),
    )
