"""When days are looked at: "when next?" is pure; the loop that waits is apart."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Final

import structlog

from collector.influx import CutShort, InfluxError, InfluxUnavailable
from collector.logs import place
from collector.metrics import Metrics
from collector.rollup.daily import Daily, Outcome
from collector.rollup.reconcile import Reconciler
from collector.state import SharedLock

log = structlog.get_logger("collector.rollup")

EVERY: Final = timedelta(minutes=15)
_RETRY: Final = timedelta(seconds=30)
_DAY_RETRY: Final = timedelta(minutes=1)
_DAY_RETRY_MOST: Final = timedelta(hours=6)
_CURRENT: Final = timedelta(days=1)
"""While the open day or the one before it fails, the series are not up to date."""
AWAY_AFTER: Final = 3
"""Days in a row for which InfluxDB gave no answer, after which the others are not tried."""


def next_run(now: datetime) -> datetime:
    """The next quarter of an hour (UTC) after `now`."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + EVERY * ((now - midnight) // EVERY + 1)


def is_away(error: Exception) -> bool:
    """Whether InfluxDB gave no answer at all, which is no single day's trouble."""
    return isinstance(error, InfluxUnavailable) and not isinstance(error, CutShort)


class Failures:
    """Days whose computation fails: left behind, and tried again later and later."""

    def __init__(self) -> None:
        self._tried: dict[date, tuple[int, datetime]] = {}
        self._why: dict[date, str] = {}

    def __len__(self) -> int:
        return len(self._tried)

    def add(self, day: date, now: datetime) -> timedelta:
        """Note a failure at `now`; returns after how long the day is to be tried again.

        From a minute to six hours, twice as long each time; a day that still changes waits for a
        quarter of an hour at most, as parts of it may be computed.
        """
        times = self._tried.get(day, (0, now))[0]
        most = EVERY if day >= (now - _CURRENT).date() else _DAY_RETRY_MOST
        wait: timedelta = min(_DAY_RETRY * 2 ** min(times, 20), most)
        self._tried[day] = (times + 1, now + wait)
        return wait

    def passed(self, day: date) -> None:
        """Forget a day that was computed."""
        self._tried.pop(day, None)
        self._why.pop(day, None)

    def keep_only(self, days: Iterable[date]) -> None:
        """Forget all days but these: no other is due any more."""
        wanted = set(days)
        for day in self._tried.keys() - wanted:
            self.passed(day)

    def known(self, day: date, why: str) -> bool:
        """Whether a day last failed for this reason; remembers it."""
        known = self._why.get(day) == why
        self._why[day] = why
        return known

    def waits(self, day: date, now: datetime) -> bool:
        """Whether it is too early to try a day again."""
        return day in self._tried and now < self._tried[day][1]

    def since(self, day: date) -> bool:
        """Whether one of them is this day or later."""
        return any(each >= day for each in self._tried)

    def next(self) -> datetime | None:
        """When the first of them is to be tried again."""
        return min((at for _, at in self._tried.values()), default=None)


class Schedule:
    """Computes the days that are due, at its start and every 15 minutes, oldest first.

    That is the open day, the day before until it is final, and whatever was missed or has changed.
    A day that fails is counted, logged by the place of the failure, and left behind: all others are
    computed. `changed` is called after each day that was stored.
    """

    def __init__(
        self,
        daily: Daily,
        reconciler: Reconciler,
        metrics: Metrics,
        *,
        changed: Callable[[], None],
        lock: asyncio.Lock | SharedLock | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._daily = daily
        self._reconciler = reconciler
        self._metrics = metrics
        self._changed = changed
        self._clock = clock
        self._refused: dict[date, int] = {}
        self._failures = Failures()
        self._woken = asyncio.Event()
        self.lock = lock or asyncio.Lock()
        """Held while days are looked at or computed: who deletes raw reports takes it."""

    async def run(self) -> None:
        """Look now, at each quarter of an hour and when woken, until cancelled."""
        while True:
            self._woken.clear()
            looked = await self.once()
            now = self._clock()
            due = next_run(now) if looked else now + _RETRY
            again = self._failures.next()
            if again is not None:
                due = min(due, max(again, now + _RETRY))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.0, (due - self._clock()).total_seconds())):
                    await self._woken.wait()

    def wake(self) -> None:
        """Look soon: raw reports have changed."""
        self._woken.set()

    async def once(self) -> bool:
        """Compute all that is due; False where InfluxDB did not let us.

        True also where single days failed: they are tried again by themselves.
        """
        try:
            async with self.lock:
                days = await self._reconciler.due(self._clock())
        except InfluxError as error:
            self._count_failure()
            log.warning("the series could not be brought up to date", why=str(error))
            return False
        # What an operator has mended, or has expired, is refused and fails no longer.
        self._refused = {day: self._refused[day] for day in self._refused.keys() & set(days)}
        self._metrics.rollup_days_refused.set(len(self._refused))
        self._failures.keep_only(days)
        away = await self._all(days)
        self._metrics.rollup_days_failing.set(len(self._failures))
        if away:
            return False
        self._metrics.rollup_days_due.set(len(self._failures))
        if not self._failures.since((self._clock() - _CURRENT).date()):
            self._metrics.rollup_last_success.set_to_current_time()
        self._daily.forget_expired(self._clock())
        return True

    async def _all(self, days: Sequence[date]) -> bool:
        """Compute these days; True where InfluxDB was away for several in a row."""
        away: list[date] = []
        for number, day in enumerate(days):
            self._metrics.rollup_days_due.set(len(days) - number)
            if self._failures.waits(day, self._clock()):
                continue
            try:
                async with self.lock:
                    failed = await self._roll(day, left=len(days) - number - 1)
            # Whatever goes wrong with one day must not keep the others from being computed.
            except Exception as error:  # noqa: BLE001
                self._leave(day, error)
                away = [*away, day] if is_away(error) else []
                if len(away) == AWAY_AFTER:
                    # It is InfluxDB's trouble and not theirs: they need not wait for each other.
                    for each in away:
                        self._failures.passed(each)
                    return True
            else:
                away = []
                if failed is None:
                    self._failures.passed(day)
                else:
                    self._leave(day, failed)
        return False

    def _leave(self, day: date, error: Exception) -> None:
        wait = self._failures.add(day, self._clock())
        self._count_failure()
        why = str(error) if isinstance(error, InfluxError) else place(error)
        if not self._failures.known(day, why):
            log.error(
                "a day could not be computed; it is left behind and tried again",
                day=day.isoformat(),
                why=why,
                wait=int(wait.total_seconds()),
            )

    def _count_failure(self) -> None:
        self._metrics.rollup_runs.labels("failed").inc()

    async def _roll(self, day: date, *, left: int) -> Exception | None:
        """Compute a day; what went wrong with a part of it that stays as it was."""
        begun = time.perf_counter()
        result = await self._daily.roll(day, self._clock())
        seconds = time.perf_counter() - begun
        self._metrics.rollup_runs.labels(result.outcome.value).inc()
        self._metrics.rollup_seconds.observe(seconds)
        if result.outcome is Outcome.REFUSED:
            self._refuse(day, result.reports)
            return None
        self._refused.pop(day, None)
        self._metrics.rollup_days_refused.set(len(self._refused))
        if result.outcome is Outcome.WRITTEN:
            log.info(
                "day rolled up",
                day=day.isoformat(),
                reports=result.reports,
                nodes=result.nodes,
                final=result.final,
                seconds=round(seconds, 3),
                left=left,
            )
            self._changed()
        return result.failed

    def _refuse(self, day: date, reports: int) -> None:
        """Tell the operator, once for each number of reports found."""
        if self._refused.get(day) != reports:
            log.error(
                "a final day would lose over 20 %; it stays as it is",
                reason="refused",
                day=day.isoformat(),
                reports=reports,
                todo="look with `collector verify`; mend with `collector rollup --force`",
            )
        self._refused[day] = reports
        self._metrics.rollup_days_refused.set(len(self._refused))
