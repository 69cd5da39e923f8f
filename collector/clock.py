"""The system clock: detects a wrong clock and a clock that is set, and has reports redated.

UTC (`CLOCK_REALTIME`) can be set at any time; the time since boot (`CLOCK_BOOTTIME`) cannot. Their
difference changes only when the clock is set.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import structlog

from collector.clock_bounds import EARLIEST, EARLIEST_NS, TOLERANCE_NS, is_wrong
from collector.lines import LEAD_NS, ReportStamper
from collector.metrics import Metrics
from collector.outbox import Outbox, OutboxFile, OutboxUnavailable, Queue
from collector.outbox.dating import ClockReading, Redated
from collector.outbox.delivering import DeliveryLock
from collector.supervisor import wait_at_most

log = structlog.get_logger("collector.clock")

_LOOK_S: Final = 1.0
_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


def read_clock() -> ClockReading:
    """Read the clock. A systemd unit that hides /proc passes the boot's id as BOOT_ID."""
    boot = os.environ.get("BOOT_ID", "")
    if not boot:
        with suppress(OSError):
            boot = _BOOT_ID.read_text(encoding="ascii")
    return ClockReading(
        boot.strip().replace("-", ""),
        time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME),
    )


@dataclass(frozen=True, slots=True)
class ClockStart:
    """An outbox's clock data at a process's start.

    `used` are timestamps that must not be given again, `redates` is whether entries still wait
    for a correction, `sent` is the highest number of an entry of each queue that may have been
    sent.
    """

    used: list[int]
    redates: bool
    sent: Mapping[Queue, int]


def record_start(file: OutboxFile, metrics: Metrics) -> ClockStart:
    """Record the clock in an outbox at a process's start, before it receives anything.

    Corrects the times of waiting entries if the clock was set since the last process.
    """
    now = time.time_ns()
    with file.transaction():
        file.dating.begin(
            read_clock(), now_ns=now, earliest_ns=EARLIEST_NS, tolerance_ns=TOLERANCE_NS
        )
        done = [] if is_wrong(now) else file.dating.apply(now_ns=now)
    _log_redated(done, metrics)
    return ClockStart(file.used_stamps(), file.dating.has_steps(), file.dating.sent())


class Clock:
    """Gives the time and detects when the clock is set.

    Waiting reports are then moved by the same amount. Delivery stops while `holds` returns a
    reason.
    """

    def __init__(
        self, outbox: Outbox, metrics: Metrics, start: ClockStart, *, instance: int
    ) -> None:
        self._outbox = outbox
        self._metrics = metrics
        self.stamper = ReportStamper(instance=instance, used=start.used)
        self._reading = read_clock()
        self._redates = start.redates
        self._remembered: list[int] = []
        self._was_wrong = False
        self._woken = asyncio.Event()
        outbox.on_new_file = self._record_in

    def now_ns(self) -> int:
        """Return UTC in ns since 1970. Entries appended after a step use the new clock."""
        now = time.time_ns()
        offset = now - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        by = offset - self._reading.offset_ns
        if abs(by) > TOLERANCE_NS:
            self._reading = reading = ClockReading(self._reading.boot, offset)
            self._redates = True
            self._woken.set()
            # Queued after all entries received before the step, and before all later ones.
            noted = self._outbox.change(lambda file: file.dating.step(reading, now_ns=now))
            noted.add_done_callback(_log_failure)
            log.error("the clock was set", reason="clock", by_s=round(by / 10**9))
        return now

    def holds(self) -> str | None:
        """Return why nothing may be delivered now, or None."""
        now = self.now_ns()
        wrong = is_wrong(now)
        if wrong != self._was_wrong:
            self._was_wrong = wrong
            if wrong:
                log.error(
                    "the clock is wrong: set it; reports are accepted and wait until it is right",
                    reason="clock",
                    clock=datetime.fromtimestamp(now // 10**9, UTC).isoformat(),
                )
        self._metrics.clock_wrong.set(wrong)
        if wrong:
            return f"the clock is before {EARLIEST:%Y-%m-%d}"
        return "the times of waiting reports are being corrected" if self._redates else None

    def _record_in(self, file: OutboxFile) -> None:
        """Record the clock in a file that replaces a damaged one."""
        file.dating.begin(
            self._reading,
            now_ns=time.time_ns(),
            earliest_ns=EARLIEST_NS,
            tolerance_ns=TOLERANCE_NS,
        )
        file.dating.remember(self.stamper.marks)
        # Entries carried over from the damaged file may have been sent.
        for queue in Queue:
            file.dating.note_sent(queue, file.dating.last_id())

    async def run(self, lock: DeliveryLock, sent: Callable[[], Mapping[Queue, int]]) -> None:
        """Correct the times of waiting reports whenever the clock was set, until cancelled.

        `lock` is the delivery lock; `sent` returns the highest number of an entry of each queue
        that may have been sent.
        """
        while True:
            self._woken.clear()
            try:
                await self._look(lock, sent)
            except (OutboxUnavailable, OSError) as error:
                log.warning(
                    "the times of waiting reports cannot be corrected now",
                    reason="clock",
                    why=str(error),
                )
            await wait_at_most(_LOOK_S, self._woken)

    async def _look(self, lock: DeliveryLock, sent: Callable[[], Mapping[Queue, int]]) -> None:
        self.holds()
        now = time.time_ns()
        ahead = [mark for mark in self.stamper.marks if mark > now + LEAD_NS]
        if ahead and ahead != self._remembered:
            await self._outbox.change(lambda file: file.dating.remember(ahead))
            self._remembered = ahead
        if not self._redates or is_wrong(now):
            return
        done: list[Redated] = []
        async with lock.alone():
            await self._outbox.change(
                lambda file: done.extend(
                    file.dating.apply(now_ns=time.time_ns(), known_sent=sent())
                )
            )
        self._redates = await self._outbox.ask(lambda file: file.dating.has_steps())
        _log_redated(done, self._metrics)


def _log_redated(done: Iterable[Redated], metrics: Metrics) -> None:
    for redated in done:
        metrics.redated_reports.inc(redated.moved)
        if redated.by_ns is None:
            log.error(
                "reports of an earlier boot, received under a wrong clock, get the time of this"
                " start: their own time cannot be known",
                reason="clock",
                reports=redated.moved,
            )
        else:
            log.warning(
                "the times of waiting reports are corrected",
                reason="clock",
                by_s=round(redated.by_ns / 10**9),
                reports=redated.moved,
            )
        if redated.misdated:
            log.error(
                "reports were, or may have been, delivered with times of the wrong clock:"
                " they are on another day",
                reason="clock",
                reports=redated.misdated,
            )


def _log_failure(done: asyncio.Future[None]) -> None:
    if not done.cancelled() and (error := done.exception()) is not None:
        log.warning(
            "the clock was set, which the outbox could not record", reason="clock", why=str(error)
        )
