"""Recordings are played as they were made, and begin again when they are over."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from collector.asterisks import asterisks
from collector.settings import Settings
from tests.sender import GUARD_S
from tools.demo.asterisks import ASTERISKS, Asterisks, Recorded
from tools.replay.ami_script import Script, Step
from tools.replay.ami_server import SECRET, USER, AmiServer, event
from tools.replay.play import send_statsd, serve_ami

LIMIT_S = GUARD_S


async def ended(player: Coroutine[Any, Any, None], while_: Coroutine[Any, Any, None]) -> None:
    """Play until the other is done."""
    task = asyncio.create_task(player)
    try:
        await asyncio.wait_for(while_, LIMIT_S)
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def test_statsd_is_sent_in_order_from_its_address_again_and_again() -> None:
    datagrams = [(0.0, b"a:+1|g"), (0.01, b"a:-1|g"), (0.02, b"b:1|c")]

    async def run() -> None:
        loop = asyncio.get_running_loop()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
            receiver.setblocking(False)
            receiver.bind(("127.0.0.1", 0))

            async def receive() -> None:
                for _, wanted in 2 * datagrams:
                    datagram, (source, _port) = await loop.sock_recvfrom(receiver, 100)
                    assert (datagram, source) == (wanted, "127.0.0.2")

            to = receiver.getsockname()
            await ended(send_statsd(datagrams, to, source="127.0.0.2", pause_s=0), receive())

    asyncio.run(run())


def test_manager_interface_tells_its_events_and_restarts_at_the_end() -> None:
    told = event("Newchannel", "call", Uniqueid="1.1", Linkedid="1.1")
    script = Script(begins=1.0, steps=[Step(1.0, told), Step(1.05, told)])

    async def heard(server: AmiServer) -> bytes:
        """What a client is told from its login until the connection ends."""
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(f"Action: Login\r\nUsername: {USER}\r\nSecret: {SECRET}\r\n\r\n".encode())
        found = b""
        with suppress(ConnectionError):
            while piece := await reader.read(4096):
                found += piece
        writer.close()
        return found

    async def visit(server: AmiServer) -> None:
        # A login may come late in a recording, and hear the next one alone.
        for _ in range(2):
            while told not in await heard(server):
                pass

    async def run() -> None:
        server = AmiServer()
        async with server.listening():
            await ended(serve_ami(server, script, (), pause_s=0.2), visit(server))

    asyncio.run(run())


def test_recording_that_cannot_be_played_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # An address that no host has as its own: TEST-NET-1.
    foreign = Recorded("far", "192.0.2.1", statsd="01d-confbridge")
    monkeypatch.setattr("tools.demo.asterisks.ASTERISKS", (foreign,))

    async def run() -> None:
        made = Asterisks(tmp_path)
        async with made.listening(), made.playing():
            made.check()
            async with asyncio.timeout(LIMIT_S):
                while True:
                    await asyncio.sleep(0)
                    made.check()

    with pytest.raises(OSError, match="assign"):
        asyncio.run(run())


def test_file_of_the_demos_asterisks_is_one_that_the_collector_takes(tmp_path: Path) -> None:
    made = Asterisks(tmp_path)

    async def run() -> None:
        async with made.listening():
            found = asterisks(Settings(asterisk_file=str(made.file)))
            assert [one.name for one in found] == [one.name for one in ASTERISKS]
            for one, recorded in zip(found, ASTERISKS, strict=True):
                assert (one.ami is not None) == bool(recorded.ami)

    asyncio.run(run())
