"""InfluxDB as a delivery target: writes each entry's lines to the database that it names."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import TYPE_CHECKING, Any, NamedTuple

import structlog

from collector.delivery.target import Blocked, Dead, Target
from collector.influx import Influx, InfluxError, InfluxUnavailable
from collector.influx.client import Denied, Rejected, TooLarge, Unavailable, WriteResult, Written
from collector.metrics import Metrics
from collector.outbox import Pending, Queue

if TYPE_CHECKING:
    from collector.delivery.records import RecordsTarget

log = structlog.get_logger("collector.delivery")


class _Request(NamedTuple):
    """A write request: the entries of one database, and the body that stores them."""

    database: str
    entries: list[Pending]
    body: bytes


@dataclass(eq=False)
class InfluxTarget:
    """Stores entries in InfluxDB.

    `make_databases` creates missing databases. It is called until it succeeds, and again after each
    denied write.
    """

    influx: Influx
    metrics: Metrics
    make_databases: Callable[[], Awaitable[object]]
    _prepared: bool = field(default=False, init=False)
    _why: str = field(default="", init=False)
    """Why the databases could not be made; logged once, not at each try of a denied write."""
    _silent: Influx | None = field(default=None, init=False)
    """The server that did not answer the last write."""
    _sent: bool = field(default=False, init=False)
    """Whether a request of the current batch has reached InfluxDB."""

    async def prepare(self) -> None:
        """Create the databases if that is not done yet; after a failure, ping InfluxDB first.

        Raises Blocked while InfluxDB is unavailable.
        """
        try:
            if self._silent is not None:
                await self._silent.ping()
                self._silent = None
            if self._prepared:
                return
            await self.make_databases()
        except InfluxUnavailable as error:
            raise Blocked("unavailable", str(error), sent=False) from error
        except InfluxError as error:
            # A token with write permission alone is enough; a denied write shows a lack of it.
            if str(error) != self._why:
                log.warning("databases could not be made or looked at", why=str(error))
            self._why = str(error)
        self._prepared = True

    async def pack(self, entries: Sequence[Pending]) -> list[_Request]:
        """Build one request for each database; its lines are in the order of the entries."""
        requests = []
        # The sort is stable: entries of one database stay in order.
        for database, alike in groupby(
            sorted(entries, key=attrgetter("target")), attrgetter("target")
        ):
            rows = list(alike)
            body = await self.influx.packed(database, b"\n".join([entry.lines for entry in rows]))
            requests.append(_Request(database, rows, body))
        return requests

    async def store(self, packed: list[_Request]) -> Sequence[Dead]:
        """Store entries; return the lines that InfluxDB refuses for good. Raises Blocked."""
        dead: list[Dead] = []
        self._sent = False
        for request in packed:
            result = await self._write(request.database, request.body)
            if not isinstance(result, Written):
                lines = [
                    (entry, line) for entry in request.entries for line in entry.lines.split(b"\n")
                ]
                dead += await self._isolate(request.database, lines, result)
        return dead

    async def _isolate(
        self, database: str, lines: list[tuple[Pending, bytes]], result: WriteResult
    ) -> list[Dead]:
        """Find the lines that InfluxDB refuses, after it answered `result` to all of `lines`.

        Writes ever smaller halves. Lines stored already overwrite themselves. Raises Blocked.
        """
        match result:
            case Written():
                return []
            case Unavailable(reason, retry_after, sent):
                self._silent = self.influx.of(database)
                raise Blocked("unavailable", reason, retry_after, sent=sent or self._sent)
            case Denied(status, reason):
                # The database may have been dropped.
                self._prepared = False
                raise Blocked("denied", f"InfluxDB answers {status}: {reason}")
            case Rejected(reason, dropped) if len(lines) == 1 or dropped == len(lines):
                return [Dead(entry, line, reason) for entry, line in lines]
            case TooLarge() if len(lines) == 1:
                return [Dead(entry, line, "too large for InfluxDB") for entry, line in lines]
        middle = len(lines) // 2
        dead: list[Dead] = []
        for half in (lines[:middle], lines[middle:]):
            body = await self.influx.packed(database, b"\n".join([line for _, line in half]))
            dead += await self._isolate(database, half, await self._write(database, body))
        return dead

    async def _write(self, database: str, body: bytes) -> WriteResult:
        begun = time.perf_counter()
        result = await self.influx.write_packed(database, body)
        self.metrics.writer_seconds.labels(Queue.INFLUX).observe(time.perf_counter() - begun)
        self.metrics.writer_requests.labels(Queue.INFLUX, type(result).__name__.lower()).inc()
        if not isinstance(result, Unavailable) or result.sent:
            self._sent = True
        return result


def store_targets(
    influx: Influx,
    make_databases: Callable[[], Awaitable[object]],
    make_records: Callable[[Metrics], RecordsTarget],
    metrics: Metrics,
    *,
    records: bool,
) -> dict[Queue, Target[Any]]:
    """Return the target of each queue; that of the records store only if it is wanted.

    `make_databases` creates the databases of InfluxDB; `make_records` returns the target of the
    records store.
    """
    found: dict[Queue, Target[Any]] = {Queue.INFLUX: InfluxTarget(influx, metrics, make_databases)}
    if records:
        # The library behind it is loaded only now: most collectors have no records.
        found[Queue.RECORDS] = make_records(metrics)
    return found
