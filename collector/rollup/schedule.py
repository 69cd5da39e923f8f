"""The rollup's schedule: the time of the next run (pure), and the loop that runs the rollup."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Protocol

import structlog

from collector.backoff import backoff
from collector.influx import CutShort, InfluxError, InfluxUnavailable, NoDatabase
from collector.logs import place
from collector.metrics import Metrics
from collector.rollup.compute import Outcome
from collector.rollup.daily import Daily
from collector.rollup.reconcile import Reconciler
from collector.sqlite.errors import StoreUnavailable
from collector.state import NotHeld
from collector.supervisor import wait_at_most

log = structlog.get_logger("collector.rollup")

EVERY: Final = timedelta(minutes=15)
_RETRY: Final = timedelta(seconds=30)
_DAY_RETRY: Final = timedelta(minutes=1)
_DAY_RETRY_MOST: Final = timedelta(hours=6)
_CURRENT: Final = timedelta(days=1)
"""The series are not up to date while the current day or the one before fails."""
_ASL: Final = "asl"
"""Name of the first sender's series in the log."""
AWAY_AFTER: Final = 3
"""After this many consecutive days without an answer from InfluxDB, a run is abandoned."""


def next_run(now: datetime) -> datetime:
    """The next quarter of an hour (UTC) after `now`."""
    midnight = now.replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight + EVERY * ((now - midnight) // EVERY + 1)


def is_away(error: Exception) -> bool:
    """Whether InfluxDB gave no answer at all, which does not depend on the day."""
    return isinstance(error, InfluxUnavailable) and not isinstance(error, CutShort)


class Failures:
    """Days that failed, each with the time of its next try; delays double with each failure."""

    def __init__(self) -> None:
        self._tried: dict[date, tuple[int, datetime]] = {}
        self._why: dict[date, str] = {}

    def __len__(self) -> int:
        return len(self._tried)

    def add(self, day: date, now: datetime) -> timedelta:
        """Record a failure at `now` and return the delay until the next try.

        The delay doubles from one minute to six hours. A day that still changes waits at most a
        quarter of an hour, because parts of it may be computed.
        """
        failures = self._tried.get(day, (0, now))[0] + 1
        most = EVERY if day >= (now - _CURRENT).date() else _DAY_RETRY_MOST
        pause = backoff(failures, first_s=_DAY_RETRY.total_seconds(), most_s=most.total_seconds())
        wait = timedelta(seconds=pause)
        self._tried[day] = (failures, now + wait)
        return wait

    def remove(self, day: date) -> None:
        """Remove a day that was computed."""
        self._tried.pop(day, None)
        self._why.pop(day, None)

    def keep_only(self, days: Iterable[date]) -> None:
        """Remove all days but these, since no other is due any more."""
        wanted = set(days)
        for day in self._tried.keys() - wanted:
            self.remove(day)

    def repeats(self, day: date, why: str) -> bool:
        """Whether the day's last failure had the same reason; remembers the reason."""
        repeats = self._why.get(day) == why
        self._why[day] = why
        return repeats

    def waits(self, day: date, now: datetime) -> bool:
        """Whether the next try of a day is still in the future."""
        return day in self._tried and now < self._tried[day][1]

    def any_from(self, day: date) -> bool:
        """Whether this day or a later one has failed."""
        return any(each >= day for each in self._tried)

    def next(self) -> datetime | None:
        """The time of the earliest next try; None if no day has failed."""
        return min((at for _, at in self._tried.values()), default=None)


@dataclass(frozen=True, slots=True)
class RolledDay:
    """Result of a day of another sender's series.

    `outcome` is `written`, `refused` (it would lose too much), or why it is left unchanged.
    """

    outcome: str
    reports: int = 0
    final: bool = False


class DaySeries(Protocol):
    """The daily series of a sender beside `asl-telemetry`; `name` is the sender's."""

    name: str

    async def due(self, now: datetime) -> list[date]:
        """The days to compute at `now`, oldest first. Raises InfluxError, StoreUnavailable."""
        ...

    async def roll(self, day: date, now: datetime, *, force: bool = False) -> RolledDay:
        """Compute and store a day. Raises InfluxError, StoreUnavailable."""
        ...


class Schedule:
    """Background loop that computes the days that are due, at start and every 15 minutes.

    Due are the current day, the previous day until it is final, and days that are missing or have
    changed; the oldest comes first. A day that fails is counted, logged and skipped; all others are
    computed. `changed` is called after each day that was stored. `others` are the series of other
    senders, computed after the days of `asl-telemetry` and by the same rules. `make_database`
    creates the database of the series, where delivery does not; it is called until it succeeds.
    """

    def __init__(
        self,
        daily: Daily,
        reconciler: Reconciler,
        metrics: Metrics,
        *,
        changed: Callable[[], None],
        others: Sequence[DaySeries] = (),
        lock: AbstractAsyncContextManager[None] | None = None,
        make_database: Callable[[], Awaitable[object]] | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._daily = daily
        self._reconciler = reconciler
        self._metrics = metrics
        self._changed = changed
        self._make_database = make_database
        self._clock = clock
        self._refused: dict[tuple[str, date], int] = {}
        self._failures = Failures()
        self._others = {series.name: (series, Failures()) for series in others}
        self._woken = asyncio.Event()
        self.lock = lock or asyncio.Lock()
        """Held while days are read or computed; code that deletes raw reports must take it."""

    async def run(self) -> None:
        """Run now, at each quarter of an hour and when woken, until cancelled.

        Raises NotHeld when this process may not compute days now.
        """
        while True:
            self._woken.clear()
            succeeded = await self.once()
            now = self._clock()
            due = next_run(now) if succeeded else now + _RETRY
            for failures in self._all_failures():
                again = failures.next()
                if again is not None:
                    due = min(due, max(again, now + _RETRY))
            await wait_at_most(max(0.0, (due - self._clock()).total_seconds()), self._woken)

    def wake(self) -> None:
        """Start the next run at once, because raw reports have changed."""
        self._woken.set()

    async def once(self) -> bool:
        """Compute all days that are due; return False if InfluxDB is not available.

        Days that fail by themselves do not count: they have retries of their own.
        """
        try:
            await self._prepare()
            async with self.lock:
                days = await self._reconciler.due(self._clock())
        except (InfluxError, StoreUnavailable) as error:
            self._count_failure()
            # Before the first delivery there is no database.
            tell = log.info if isinstance(error, NoDatabase) else log.warning
            tell("the series could not be brought up to date", why=str(error))
            return False
        self._keep_due(_ASL, days, self._failures)
        away = await self._all(days)
        for series, failures in self._others.values():
            away = away or await self._other(series, failures)
        self._metrics.rollup_days_failing.set(sum(map(len, self._all_failures())))
        if away:
            return False
        self._metrics.rollup_days_due.set(sum(map(len, self._all_failures())))
        current = (self._clock() - _CURRENT).date()
        if not any(failures.any_from(current) for failures in self._all_failures()):
            self._metrics.rollup_last_success.set_to_current_time()
        self._daily.forget_expired(self._clock())
        return True

    async def _prepare(self) -> None:
        if self._make_database is None:
            return
        try:
            await self._make_database()
        except InfluxUnavailable:
            raise
        except InfluxError as error:
            # A token that may write is enough; without the database, the days themselves fail.
            log.warning("the database could not be made or looked at", why=str(error))
        self._make_database = None

    async def _all(self, days: Sequence[date]) -> bool:
        """Compute days; return True if InfluxDB gave no answer for several in a row."""
        away: list[date] = []
        for number, day in enumerate(days):
            self._metrics.rollup_days_due.set(len(days) - number)
            if self._failures.waits(day, self._clock()):
                continue
            try:
                async with self.lock:
                    failed = await self._roll(day, left=len(days) - number - 1)
            except NotHeld:
                raise
            # An error in one day must not prevent the others from being computed.
            except Exception as error:  # noqa: BLE001
                self._fail(day, error, self._failures, _ASL)
                away = [*away, day] if is_away(error) else []
                if len(away) == AWAY_AFTER:
                    # InfluxDB failed, not these days: they need no delays of their own.
                    for each in away:
                        self._failures.remove(each)
                    return True
            else:
                away = []
                if failed is None:
                    self._failures.remove(day)
                else:
                    self._fail(day, failed, self._failures, _ASL)
        return False

    def _all_failures(self) -> list[Failures]:
        return [self._failures, *(failures for _, failures in self._others.values())]

    async def _other(self, series: DaySeries, failures: Failures) -> bool:
        """Compute the days of another sender; return True if InfluxDB gave no answer."""
        try:
            async with self.lock:
                days = await series.due(self._clock())
        except (InfluxError, StoreUnavailable) as error:
            self._count_failure()
            log.warning(
                "the series could not be brought up to date", series=series.name, why=str(error)
            )
            return True
        self._keep_due(series.name, days, failures)
        for day in days:
            if failures.waits(day, self._clock()):
                continue
            try:
                async with self.lock:
                    rolled = await series.roll(day, self._clock())
            except NotHeld:
                raise
            # An error in one day must not prevent the others from being computed.
            except Exception as error:  # noqa: BLE001
                if is_away(error):
                    self._count_failure()
                    return True
                self._fail(day, error, failures, series.name)
                continue
            failures.remove(day)
            self._metrics.rollup_runs.labels(rolled.outcome).inc()
            if rolled.outcome == Outcome.REFUSED:
                self._refuse(day, rolled.reports, series.name)
                continue
            self._accept(day, series.name)
            if rolled.outcome == Outcome.WRITTEN:
                log.info(
                    "day rolled up",
                    series=series.name,
                    day=day.isoformat(),
                    reports=rolled.reports,
                    final=rolled.final,
                )
                self._changed()
        return False

    def _keep_due(self, series: str, days: Sequence[date], failures: Failures) -> None:
        """Forget refusals and failures of days that are no longer due, repaired or expired."""
        wanted = set(days)
        for name, day in list(self._refused):
            if name == series and day not in wanted:
                self._accept(day, series)
        failures.keep_only(days)

    def _fail(self, day: date, error: Exception, failures: Failures, series: str) -> None:
        wait = failures.add(day, self._clock())
        self._count_failure()
        why = str(error) if isinstance(error, InfluxError) else place(error)
        if not failures.repeats(day, why):
            log.error(
                "a day could not be computed; it is skipped and tried again",
                series=series,
                day=day.isoformat(),
                why=why,
                wait=int(wait.total_seconds()),
            )

    def _count_failure(self) -> None:
        self._metrics.rollup_runs.labels("failed").inc()

    async def _roll(self, day: date, *, left: int) -> Exception | None:
        """Compute a day; return the error in a part of it that was left unchanged, or None."""
        begun = time.perf_counter()
        result = await self._daily.roll(day, self._clock())
        seconds = time.perf_counter() - begun
        self._metrics.rollup_runs.labels(result.outcome.value).inc()
        self._metrics.rollup_seconds.observe(seconds)
        if result.outcome is Outcome.REFUSED:
            self._refuse(day, result.reports, _ASL)
            return None
        self._accept(day, _ASL)
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

    def _refuse(self, day: date, reports: int, series: str) -> None:
        """Log a refused day, once for each number of reports found."""
        command = "" if series == _ASL else f" {series}"
        if self._refused.get((series, day)) != reports:
            log.error(
                "a final day would lose over 20 %; it is left unchanged",
                reason="refused",
                series=series,
                day=day.isoformat(),
                reports=reports,
                todo=f"inspect with `collector{command} verify`; repair with"
                f" `collector{command} rollup --force`",
            )
        self._refused[series, day] = reports
        self._metrics.rollup_days_refused.set(len(self._refused))

    def _accept(self, day: date, series: str) -> None:
        """Forget the refusal of a day, if there was one."""
        self._refused.pop((series, day), None)
        self._metrics.rollup_days_refused.set(len(self._refused))
