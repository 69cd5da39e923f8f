"""The shipped configuration of the balancer in a real HAProxy, before receivers that fail."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from tests.sender import GUARD_S, until
from tests.servers import stop
from tools.cluster.members import CONFIGURATION, Balancer, MemberError, find_haproxy
from tools.embedded import free_port

BODY = b"x" * 60_000
"""About as large as a report may be."""

Answer = Callable[[], Awaitable[web.StreamResponse]]


async def accepted() -> web.StreamResponse:
    return web.Response(text="accepted")


async def full() -> web.StreamResponse:
    return web.Response(status=503, text="full", headers={"Retry-After": "60"})


@dataclass
class Receiver:
    """A server at an address of loopback that counts the whole reports that it gets."""

    host: str
    port: int
    answer: Answer = accepted
    got: int = 0
    senders: set[str] = field(default_factory=set)
    runner: web.AppRunner | None = None

    async def start(self) -> None:
        application = web.Application()
        application.add_routes([web.post("/usage", self._take), web.get("/{any:.*}", self._read)])
        self.runner = web.AppRunner(application, shutdown_timeout=0)
        await self.runner.setup()
        await web.TCPSite(self.runner, self.host, self.port).start()

    async def stop(self) -> None:
        if self.runner is not None:
            await stop(self.runner)

    async def _take(self, request: web.Request) -> web.StreamResponse:
        self.got += await request.read() == BODY
        self.senders.add(request.headers["X-Forwarded-For"])
        if self.answer is hung_up:
            assert request.transport is not None
            request.transport.abort()
        return await self.answer()

    async def _read(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(text=self.host)


async def hung_up() -> web.StreamResponse:
    return web.Response()


def patient(path: Path) -> Path:
    """Write the shipped configuration with time limits that a machine which stands still keeps."""
    text = CONFIGURATION.read_text(encoding="utf-8")
    limit = re.compile(r"(timeout (?:connect|client|server|http-request)) \d+s")
    text, changed = limit.subn(rf"\1 {GUARD_S:.0f}s", text)
    assert changed == 4
    path.write_text(text.replace("mode http\n", f"mode http\n\ttimeout check {GUARD_S:.0f}s\n", 1))
    return path


@dataclass
class Balanced:
    """Two receivers and a publisher behind the balancer."""

    receivers: list[Receiver]
    url: str
    session: aiohttp.ClientSession

    async def post(self, **headers: str) -> int:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        async with self.session.post(f"{self.url}/usage", data=BODY, headers=sent) as answer:
            return answer.status

    async def both_are_up(self) -> None:
        """Wait until the balancer sends reports to both."""

        async def look() -> bool:
            before = [one.got for one in self.receivers]
            await asyncio.gather(*(self.post() for _ in range(4)))
            return all(one.got > old for one, old in zip(self.receivers, before, strict=True))

        async with asyncio.timeout(GUARD_S):
            while not await look():  # noqa: ASYNC110 - the balancer tells nobody when it looks
                await asyncio.sleep(0.1)


@pytest.fixture
async def balanced(tmp_path: Path) -> AsyncIterator[Balanced]:
    try:
        find_haproxy()
    except MemberError as missing:
        pytest.skip(f"{missing} `make dev` unpacks Debian's.")
    port = free_port()
    receivers = [Receiver(f"127.0.0.{n}", port) for n in (41, 42)]
    publisher = Receiver("127.0.0.43", port)
    balancer = Balancer(
        tmp_path / "balancer",
        receivers=[f"{one.host}:{port}" for one in receivers],
        publishers=[f"{publisher.host}:{port}", f"127.0.0.44:{port}"],
        health_port=port,
        configuration=patient(tmp_path / "haproxy.cfg"),
    )
    async with AsyncExitStack() as stack:
        for one in (*receivers, publisher):
            await one.start()
            stack.push_async_callback(one.stop)
        await stack.enter_async_context(balancer)
        session = aiohttp.ClientSession(connector=aiohttp.TCPConnector(force_close=True))
        await stack.enter_async_context(session)
        yield Balanced(receivers, balancer.url, session)


async def test_no_report_fails_when_a_receiver_goes_and_comes_back(balanced: Balanced) -> None:
    first, second = balanced.receivers
    await balanced.both_are_up()
    await first.stop()
    before = second.got
    assert {await balanced.post() for _ in range(20)} == {200}
    assert second.got == before + 20
    await first.start()
    await balanced.both_are_up()


async def test_a_report_that_a_full_receiver_refuses_goes_to_the_other(balanced: Balanced) -> None:
    first, second = balanced.receivers
    await balanced.both_are_up()
    first.answer = full
    before = second.got
    assert {await balanced.post() for _ in range(10)} == {200}
    assert second.got == before + 10
    second.answer = full
    async with balanced.session.post(f"{balanced.url}/usage", data=BODY) as answer:
        assert (answer.status, answer.headers["Retry-After"]) == (503, "60")


async def test_a_report_that_was_sent_and_not_answered_is_not_sent_again(
    balanced: Balanced,
) -> None:
    await balanced.both_are_up()
    before = sum(one.got for one in balanced.receivers)
    for one in balanced.receivers:
        one.answer = hung_up
    assert await balanced.post() == 502
    assert sum(one.got for one in balanced.receivers) == before + 1


async def test_a_sender_cannot_say_that_it_has_another_address(balanced: Balanced) -> None:
    """All senders here have the address of the trusted proxy, so one of another is needed."""
    connector = aiohttp.TCPConnector(local_addr=("127.0.0.50", 0), force_close=True)
    claimed = {"X-Forwarded-For": "192.0.2.7", "Forwarded": "for=192.0.2.7"}
    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.post(f"{balanced.url}/usage", data=BODY, headers=claimed) as answer,
    ):
        assert answer.status == 200
    assert {sender for one in balanced.receivers for sender in one.senders} == {"127.0.0.50"}
    assert await balanced.post(X_Forwarded_For="192.0.2.8") == 200
    await until(lambda: any("192.0.2.8" in one.senders for one in balanced.receivers))


async def test_pages_come_from_the_publisher_and_records_from_receivers(balanced: Balanced) -> None:
    hosts = {}
    for path in ("/", "/v1/daily", "/api/records"):
        async with balanced.session.get(f"{balanced.url}{path}") as answer:
            hosts[path] = await answer.text()
    assert hosts["/"] == hosts["/v1/daily"] == "127.0.0.43"
    assert hosts["/api/records"] in ("127.0.0.41", "127.0.0.42")
