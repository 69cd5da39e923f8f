"""An HTTP server that answers writes like a failing InfluxDB, with scripted faults."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections import deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from aiohttp import web

from tests.sender import GUARD_S, until
from tests.servers import stop

GZIP = 16 + zlib.MAX_WBITS


@dataclass(frozen=True)
class Answer:
    """An answer to a write; with `hangs` there is none."""

    status: int = 204
    error: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    hangs: bool = False


@dataclass(frozen=True)
class Seen:
    """A received write."""

    at: float
    lines: tuple[str, ...]
    headers: Mapping[str, str]
    params: Mapping[str, str]
    connection: int
    status: int


@dataclass
class Upstream:
    """A server that gives scripted answers in order, then `always`; it records the writes."""

    port: int = 0
    script: deque[Answer] = field(default_factory=deque)
    always: Answer = field(default_factory=Answer)
    query: Answer = field(default_factory=lambda: Answer(200))
    refuses: str = ""
    """A write with this text in a line is refused entirely, with a 400 without `dropped=N`."""
    most_lines: int = 1 << 30
    """A write with more lines than this gets 413."""
    seen: list[Seen] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def stored(self) -> list[str]:
        """Accepted lines in order, repeated ones included."""
        return [line for write in self.seen if write.status == 204 for line in write.lines]

    async def wait_stored(self, count: int, *, within: float = GUARD_S) -> None:
        await until(lambda: len(set(self.stored)) >= count, within=within)

    async def wait_seen(self, count: int, *, within: float = GUARD_S) -> None:
        await until(lambda: len(self.seen) >= count, within=within)

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Upstream]:
        application = web.Application()
        application.router.add_post("/write", self._write)
        application.router.add_post("/query", self._query)
        application.router.add_get("/ping", self._ping)
        # Bodies are inspected as received, still compressed.
        runner = web.AppRunner(application, auto_decompress=False, shutdown_timeout=0.1)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", self.port)
            await site.start()
            self.port = runner.addresses[0][1]
            yield self
        finally:
            await stop(runner)

    def _answer_to(self, lines: tuple[str, ...]) -> Answer:
        if self.script:
            return self.script.popleft()
        if len(lines) > self.most_lines:
            return Answer(413, "Request Entity Too Large")
        if self.refuses and any(self.refuses in line for line in lines):
            return Answer(400, f"unable to parse '{self.refuses}'")
        return self.always

    async def _write(self, request: web.Request) -> web.Response:
        body = await request.read()
        if request.headers.get("Content-Encoding") == "gzip":
            body = zlib.decompress(body, wbits=GZIP)
        lines = tuple(body.decode().split("\n"))
        answer = self._answer_to(lines)
        self.seen.append(
            Seen(
                time.monotonic(),
                lines,
                dict(request.headers),
                dict(request.query),
                id(request.transport),
                0 if answer.hangs else answer.status,
            )
        )
        if answer.hangs:
            await asyncio.sleep(600)
        if answer.status == 204:
            return web.Response(status=204)
        return web.json_response(
            {"error": answer.error}, status=answer.status, headers=dict(answer.headers)
        )

    async def _query(self, request: web.Request) -> web.Response:
        if self.query.status != 200:
            return web.json_response({"error": self.query.error}, status=self.query.status)
        asked = str((await request.post())["q"])
        names = [["usage_raw"], ["usage_daily"]]
        series: list[dict[str, object]] = []
        if asked == "SHOW DATABASES":
            series = [{"name": "databases", "columns": ["name"], "values": names}]
        elif asked.startswith("SHOW RETENTION POLICIES"):
            columns = ["name", "duration", "shardGroupDuration", "replicaN", "default"]
            duration = "2160h0m0s" if "usage_raw" in asked else "0s"
            series = [{"columns": columns, "values": [["autogen", duration, "24h0m0s", 1, True]]}]
        return web.json_response({"results": [{"statement_id": 0, "series": series}]})

    async def _ping(self, _request: web.Request) -> web.Response:
        return web.Response(status=204, headers={"X-Influxdb-Version": "1.6.7"})
