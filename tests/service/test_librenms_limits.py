"""LibreNMS's clients where the outbox is full, or many large reports arrive at once."""

from __future__ import annotations

import asyncio
import io
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pydantic import ByteSize

from tests.conftest import Databases
from tests.librenms import FORM, clearing, report, serving, settings_of, today, uuid_of

LARGE = [{"total": 1, "hardware": f"model {n} " + "x" * 40} for n in range(3000)]


def large(number: int) -> bytes:
    return today(report(uuid_of(number), hardware=LARGE))


async def sent(session: aiohttp.ClientSession, page: str, body: bytes) -> tuple[int, Any]:
    data = io.BytesIO(body)
    # A pooled connection may be closed for its idleness while it is taken for the next request.
    headers = FORM | {"Connection": "close"}
    async with session.post(f"/{page}.php", data=data, headers=headers) as response:
        return response.status, await response.json()


@pytest.mark.usefixtures("brief_stop")
async def test_full_outbox_refuses_reports_and_takes_requests_to_erase(
    databases: Databases, state_dir: Path
) -> None:
    settings = settings_of(databases, state_dir, outbox_max=ByteSize(1 << 20)).model_copy(
        update={"influx_url": "http://127.0.0.1:9"}
    )
    async with serving(settings) as session:
        status, said = 0, dict[str, str]()
        for number in range(40):
            status, said = await sent(session, "log", large(number))
            if status == 503:
                break
        assert (status, said["reason"]) == (503, "unavailable")
        assert await sent(session, "clear", clearing(uuid_of(0))) == (202, {"status": "delayed"})


async def test_slow_large_reports_of_one_address_leave_the_small_ones_alone(
    databases: Databases, state_dir: Path
) -> None:
    settings = settings_of(databases, state_dir, read_timeout=3)
    async with serving(settings) as session:
        at = session._base_url  # noqa: SLF001 - where the collector listens
        assert at is not None
        slow = [await asyncio.open_connection(at.host, at.port) for _ in range(4)]
        for _, writer in slow:
            writer.write(
                b"POST /log.php HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n"
                b"Content-Type: application/x-www-form-urlencoded\r\n\r\ndata="
            )
            await writer.drain()
        # They are begun once the fifth has to wait.
        waiting = asyncio.create_task(sent(session, "log", large(5)))
        assert (await sent(session, "log", today(report(uuid_of(6)))))[0] == 200
        replies = [await reader.readline() for reader, _ in slow]
        assert replies == [b"HTTP/1.1 408 Request Timeout\r\n"] * 4
        for _, writer in slow:
            writer.close()
        status, said = await waiting
        assert status == 200 or said["reason"] == "unavailable"
        # On a machine that stands still for a while, even a quick sender is slow.
        while (last := (await sent(session, "log", large(7)))[0]) == 408:
            pass
        assert last == 200
