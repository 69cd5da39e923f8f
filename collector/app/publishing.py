"""The part that publishes: the rollup of all series, pages, downloads and badges."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

from collector.app.part import Base, OpenPart, Part
from collector.parts import made_by, other_days_of, reconciler_of, retention
from collector.problems import Reason, Refusal
from collector.public.series import PublicSeries
from collector.public.site import reader_operations
from collector.retention import prepare
from collector.rollup.schedule import Schedule
from collector.settings import Settings
from collector.signals import ERASED, ROLLED
from collector.state import PUBLISHER_LOCK, locked


@asynccontextmanager
async def publishing(base: Base) -> AsyncIterator[OpenPart]:
    """Serve the published series from entry to exit, and in the first worker roll up the days.

    Raises StateError.
    """
    async with AsyncExitStack() as stack:
        series = PublicSeries(base.influx)
        base.signals.listen(ROLLED, series.forget)
        if base.worker.first:
            stack.enter_context(locked(base.whole.state_dir, file=PUBLISHER_LOCK))
            _, rolled = made_by(base.influx, retention(base.settings, base.intakes))
            schedule = Schedule(
                base.daily,
                reconciler_of(base.settings, base.published),
                base.metrics,
                changed=partial(base.signals.tell, ROLLED),
                others=other_days_of(base.settings, base.published),
                lock=base.turns.lock,
                make_database=partial(prepare, base.influx, rolled) if rolled else None,
            )

            def erased() -> None:
                # What it holds of the owner in memory was perhaps erased by another process.
                base.daily.forget(())
                schedule.wake()

            base.signals.listen(ERASED, erased)
            rollup = base.turns.lead(schedule.run)
            await stack.enter_async_context(base.supervisor.loop("rollup", rollup))
        yield OpenPart(series=series)


def _elsewhere(settings: Settings) -> Refusal:
    at = settings.public_url or "the address of `collector publish`"
    return Refusal(
        Reason.NOT_FOUND,
        f"`collector receive` serves this address and takes reports; the pages are at {at}",
    )


PUBLISHING: Final = Part(
    "publishing", publishing, lambda settings, _: reader_operations(settings), _elsewhere
)
