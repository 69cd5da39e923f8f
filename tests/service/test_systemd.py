"""What a service manager hears of a collector, on a socket of its own as systemd's is."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from collector.systemd import Notifier
from tests.conftest import Databases, StartServe
from tests.sender import eventually, until


class Manager:
    """A datagram socket, and what came."""

    def __init__(self, address: str) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(address)
        self.socket.setblocking(False)
        self.heard: list[str] = []

    def hear(self) -> list[str]:
        while True:
            try:
                self.heard.append(self.socket.recv(4096).decode())
            except BlockingIOError:
                return self.heard

    def count(self, word: str) -> int:
        return self.hear().count(word)


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    found = Manager(str(tmp_path / "notify"))
    yield found
    found.socket.close()


def test_serve_says_that_it_is_ready_and_alive_and_stopping(
    manager: Manager, databases: Databases, serve: StartServe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", str(manager.socket.getsockname()))
    monkeypatch.setenv("WATCHDOG_USEC", "600000")
    collector = serve(databases.environment)
    eventually(lambda: manager.count("WATCHDOG=1") >= 5)
    assert manager.heard[0] == "READY=1"
    assert manager.heard.count("READY=1") == 1
    assert collector.terminate() == 0
    assert manager.hear()[-1] == "STOPPING=1"


async def test_no_sign_of_life_where_a_part_has_ended(manager: Manager) -> None:
    address = str(manager.socket.getsockname())
    alive = True
    notifier = Notifier({"NOTIFY_SOCKET": address, "WATCHDOG_USEC": "60000"})
    async with notifier.serving(lambda: alive):
        await until(lambda: manager.count("WATCHDOG=1") >= 2)
        alive = False
        await asyncio.sleep(0.05)
        before = manager.count("WATCHDOG=1")
        await asyncio.sleep(0.2)
        assert manager.count("WATCHDOG=1") == before
    assert manager.hear()[-1] == "STOPPING=1"


async def test_abstract_socket_is_told_and_no_watchdog_where_none_is_wanted() -> None:
    manager = Manager(f"\0collector-test-{os.getpid()}")
    address = f"@collector-test-{os.getpid()}"
    async with Notifier({"NOTIFY_SOCKET": address}).serving(lambda: True):
        await asyncio.sleep(0.05)
    assert manager.hear() == ["READY=1", "STOPPING=1"]
    manager.socket.close()


@pytest.mark.parametrize(
    ("environment", "interval"),
    [
        ({}, None),
        ({"WATCHDOG_USEC": "3000000"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000"}, 1.0),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "3000000", "WATCHDOG_PID": "1"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "0"}, None),
        ({"NOTIFY_SOCKET": "/x", "WATCHDOG_USEC": "soon"}, None),
    ],
)
def test_signs_of_life_are_wanted_where_the_environment_says_so(
    environment: dict[str, str], interval: float | None
) -> None:
    assert Notifier(environment).interval_s == interval


async def test_socket_that_is_gone_does_not_stop_the_service(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with Notifier({"NOTIFY_SOCKET": str(tmp_path / "none")}).serving(lambda: True):
        pass
    assert "could not be notified" in capsys.readouterr().out
