"""When days are rolled up: "when next?" is pure; the loop that waits is apart."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog

from collector.influx import InfluxError
from collector.metrics import Metrics
from collector.rollup.daily import Daily, DayResult, is_final

log = structlog.get_logger("collector.rollup")

EVERY: Final = timedelta(minutes=15)
_RETRY: Final = timedelta(seconds=30)


def next_run(now: datetime) -> datetime:
    """The next quarter of an hour (UTC) after `now`."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + EVERY * ((now - midnight) // EVERY + 1)


def days_due(now: datetime, final: date | None) -> list[date]:
    """The days to compute at `now`: the current one, and the one before unless it was final.

    `final` is the last day known to be stored as final.
    """
    today = now.date()
    yesterday = today - timedelta(days=1)
    return [today] if final == yesterday else [yesterday, today]


class Schedule:
    """Rolls up what is due every 15 minutes. `changed` is called after each day that was stored."""

    def __init__(
        self,
        daily: Daily,
        metrics: Metrics,
        *,
        changed: Callable[[], None],
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._daily = daily
        self._metrics = metrics
        self._changed = changed
        self._clock = clock
        self._final: date | None = None

    async def run(self) -> None:
        """Roll up now and at each quarter of an hour, until cancelled."""
        while True:
            due = next_run(self._clock()) if await self.once() else self._clock() + _RETRY
            await asyncio.sleep(max(0.0, (due - self._clock()).total_seconds()))

    async def once(self) -> bool:
        """Roll up what is due; False where InfluxDB did not let us."""
        now = self._clock()
        for day in days_due(now, self._final):
            begun = time.perf_counter()
            try:
                result = await self._daily.roll(day, now)
            except InfluxError as error:
                self._metrics.rollup_runs.labels("failed").inc()
                log.warning("a day could not be rolled up", day=day.isoformat(), why=str(error))
                return False
            self._observe(result, time.perf_counter() - begun)
            if is_final(day, now):
                self._final = day
        return True

    def _observe(self, result: DayResult, seconds: float) -> None:
        self._metrics.rollup_runs.labels(result.outcome.value).inc()
        self._metrics.rollup_seconds.observe(seconds)
        self._metrics.rollup_last_success.set_to_current_time()
        log.info(
            "day rolled up",
            day=result.day.isoformat(),
            outcome=result.outcome.value,
            reports=result.reports,
            nodes=result.nodes,
            final=result.final,
            seconds=round(seconds, 3),
        )
        self._changed()
