"""The lock of the rollup, for commands that change series beside a running collector."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.cli.common import a_duration, warn, worded_errors
from collector.state import LockBusy, RollingLock, StateError, prepare

if TYPE_CHECKING:
    from collector.settings import Settings

DEFAULT_WAIT_S: Final = 600


Wait = Annotated[
    int,
    typer.Option(
        "--wait",
        parser=a_duration,
        metavar="DURATION",
        help="longest wait while a running collector computes days or erases",
        show_default="10m",
    ),
]


class RollupLock:
    """The rollup's lock of a state directory, held for one unit of a command's work at a time.

    The first wait is told on standard error.
    """

    def __init__(self, configured: Settings, wait_s: int) -> None:
        with worded_errors():
            # As a starting collector does: the lock is a file in this directory.
            prepare(configured.state_dir)
        self._settings = configured
        self._wait_s = wait_s
        self._told = False
        self._lock: RollingLock | None = None

    @asynccontextmanager
    async def held(self) -> AsyncIterator[None]:
        """Hold the lock for one unit of work. Raises StateError after too long a wait."""
        from collector.parts import rollup_lock

        async with AsyncExitStack() as stack:
            lock = await stack.enter_async_context(rollup_lock(self._settings, "a command"))
            busy = partial(self._tell_waiting, lock)
            try:
                await stack.enter_async_context(lock.held(limit_s=self._wait_s, busy=busy))
            except LockBusy:
                raise StateError(
                    f"{lock.holder} is still computing or erasing; nothing more was changed:"
                    " try again later, or with a longer --wait"
                ) from None
            self._lock = lock
            yield

    def check(self) -> None:
        """Raise NotHeld if the lock was lost since it was taken; a guard of writes."""
        if self._lock is not None:
            self._lock.check()

    def _tell_waiting(self, lock: RollingLock) -> None:
        if not self._told:
            from collector.setting_types import format_duration

            warn(
                f"{lock.holder} is computing or erasing;"
                f" waiting for up to {format_duration(self._wait_s)}"
            )
        self._told = True
