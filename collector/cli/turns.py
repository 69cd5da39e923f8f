"""The rollup's lock as commands take it, so that they and a running collector work in turn."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Annotated, Final

import typer

from collector.cli.common import warn
from collector.state import ROLLUP_LOCK, LockBusy, SharedLock, StateError, prepare

if TYPE_CHECKING:
    from collector.settings import Settings

DEFAULT_WAIT_S: Final = 600


def _a_duration(text: str | int) -> int:
    from collector.setting_types import parse_duration

    try:
        return parse_duration(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None


Wait = Annotated[
    int,
    typer.Option(
        "--wait",
        parser=_a_duration,
        metavar="DURATION",
        help="how long to wait while a running collector computes days or erases",
        show_default="10m",
    ),
]


class Turns:
    """Gives a command its turns with the series of a state directory.

    The first turn that has to be waited for is told in a sentence.
    """

    def __init__(self, configured: Settings, wait_s: int) -> None:
        # A state directory that is not there yet is made as a collector would.
        prepare(configured.state_dir)
        self._lock = SharedLock(configured.state_dir / ROLLUP_LOCK)
        self._wait_s = wait_s
        self._told = False

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """Hold the lock for one unit of work. Raises StateError after too long a wait."""
        try:
            held = await self._lock.take(limit_s=self._wait_s, busy=self._say_that_it_waits)
        except LockBusy:
            raise StateError(
                "the running collector is still at work on the series; nothing more was changed:"
                " try again later, or with a longer --wait"
            ) from None
        with held:
            yield

    def _say_that_it_waits(self) -> None:
        from collector.setting_types import format_duration

        if not self._told:
            from collector.setting_types import format_duration

            warn(
                "the running collector is at work on the series;"
                f" waiting for at most {format_duration(self._wait_s)}"
            )
        self._told = True
