"""Runs `collector serve` as a child process of the demo, as an operator would run it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import aiohttp

from collector.settings import PREFIX, SECRETS, Settings, shown, variable
from tools.embedded import start_child

_READY_S: Final = 30.0
# More than the 10 s in which a collector drains its outbox at the end.
_STOP_S: Final = 20.0
_POLL_S: Final = 0.05
_LOG_TAIL: Final = 2000


class ServeError(Exception):
    """The collector did not start, or has ended; the text holds the end of its log."""


class Serving:
    """A `collector serve` process that runs from entry to exit, with only the given settings.

    Its log goes to `log`. Entry returns once it is ready; raises ServeError if it does not start.
    """

    def __init__(self, settings: Settings, log: Path) -> None:
        self.settings = settings
        self.log = log
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether the process runs."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id. Raises ServeError if it does not run."""
        if self._process is None or not self.running:
            raise self.failed("has ended")
        return self._process.pid

    async def __aenter__(self) -> Self:
        outside = {k: v for k, v in os.environ.items() if not k.startswith(PREFIX)}
        # Started without an await: a demo cancelled during it would not know of the child.
        self._process = start_child(
            [sys.executable, "-m", "collector", "serve"],
            log=self.log,
            environment=outside | self.environment_of(self.settings),
            # It drains its outbox at the end.
            at_end=signal.SIGTERM,
        )
        try:
            await self._wait_until_ready()
        except BaseException:
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    def failed(self, how: str) -> ServeError:
        """Build an error with the end of the log, since the log itself is removed."""
        tail = self.log.read_text(errors="replace")[-_LOG_TAIL:].strip()
        return ServeError(f"The collector {how}. Its log:\n{tail}")

    @staticmethod
    def environment_of(settings: Settings) -> dict[str, str]:
        """The settings as variables; `shown` hides those that are secrets."""
        secrets = {variable(n): getattr(settings, n).get_secret_value() for n in SECRETS}
        return shown(settings) | secrets

    async def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _READY_S
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2)) as session:
            while time.monotonic() < deadline:
                if not self.running:
                    raise self.failed("ended at its start")
                try:
                    async with session.get(f"http://{self.settings.metrics_listen}/readyz") as got:
                        if got.ok:
                            return
                except (aiohttp.ClientError, TimeoutError):
                    pass  # It does not listen yet.
                await asyncio.sleep(_POLL_S)
        raise self.failed(f"was not ready in {_READY_S:.0f} s")

    async def _stop(self) -> None:
        if self._process is None:
            return
        if self.running:
            self._process.terminate()
        try:
            await asyncio.to_thread(self._process.wait, _STOP_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
