"""Runs the demos of `make` as programs, and sees that they leave nothing."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import clean_environment
from tests.sender import GUARD_S

TOLD_S = 2 * GUARD_S
STOP_S = GUARD_S


@dataclass
class Demo:
    """A running demo, whose temporary files are made in `temporary`."""

    process: subprocess.Popen[bytes]
    output: Path
    temporary: Path

    def said(self) -> str:
        return self.output.read_text()

    def wait_for(self, words: str) -> str:
        return self.wait_until(lambda said: words in said, words)

    def wait_until(self, holds: Callable[[str], bool], words: str = "what is awaited") -> str:
        """Wait until what it has said is so; return that."""
        deadline = time.monotonic() + TOLD_S
        while not holds(self.said()):
            assert self.process.poll() is None, f"it ended:\n{self.said()}"
            assert time.monotonic() < deadline, f"no {words!r} in:\n{self.said()}"
            time.sleep(0.05)
        return self.said()

    def address(self, name: str) -> str:
        found = re.search(rf"^  {name}\s+(\S+)", self.said(), re.MULTILINE)
        assert found, self.said()
        return found[1]

    def stop(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(STOP_S)

    def children(self) -> list[int]:
        """The process ids of its children, which live in sessions of their own."""
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for task in tasks for pid in task.read_text().split()]

    def assert_nothing_is_left(self, children: list[int]) -> None:
        assert children
        assert not [pid for pid in children if lives(pid)]
        assert list(self.temporary.iterdir()) == []


def lives(pid: int) -> bool:
    """Whether a process runs, or is stopped."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def run(
    tmp_path: Path, module: str, *arguments: str, environment: dict[str, str] | None = None
) -> Demo:
    """Start a demo as a stranger does, without the settings of this environment."""
    temporary, output = tmp_path / "tmp", tmp_path / "said"
    temporary.mkdir()
    with output.open("wb") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            env=clean_environment() | {"TMPDIR": str(temporary)} | (environment or {}),
            cwd=tmp_path,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
        )
    return Demo(process, output, temporary)
