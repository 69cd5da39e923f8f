"""The running StatsD intake: journals datagrams each second and flushes on a grid of times."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import structlog

from collector.asterisks import asterisks
from collector.intakes.intake import IntakeContext, OpenIntake
from collector.intakes.live import NS_PER_S, entries, grid, until_next
from collector.intakes.series import Series
from collector.intakes.statsd import NAME
from collector.intakes.statsd.figures import Figures
from collector.intakes.statsd.mapping import MappingError, NameMapping, read, shipped
from collector.intakes.statsd.sockets import Datagrams
from collector.intakes.statsd.station import Stations
from collector.lines import Point
from collector.memory import Flushed, MemoryUnavailable
from collector.outbox import Entry, OutboxUnavailable
from collector.settings import Settings, SettingsError, variable

log = structlog.get_logger("collector.statsd")

_SAVE_S: Final = 1.0
_NOBODY: Final = ""
"""Name that no Asterisk has, under which the mark of a clean stop is saved."""
_STOPPED: Final = "stopped"
"""Key of the mark of a clean stop, whose value is the kernel's counts of drops by socket."""


_FAILURES: Final = {
    "kernel": (
        "the kernel drops datagrams of StatsD, because the receive buffer is full; gauges may be"
        " wrong (docs/senders/statsd.md)",
        "the kernel drops no more datagrams of StatsD",
    ),
    "memory": (
        "what StatsD sends cannot be saved: it is held in this process alone, and a crash loses it",
        "what StatsD sends is saved again",
    ),
    "unavailable": (
        "the outbox takes no flush of StatsD: values are counted on, and stored later",
        "the outbox takes flushes of StatsD again",
    ),
}
"""Log messages for the first failure of a step, and for its recovery."""


def mapping_of(settings: Settings) -> NameMapping:
    """The mapping that the settings name, or the shipped one. Raises SettingsError."""
    if not settings.statsd_mapping:
        return shipped()
    where = f"{variable('statsd_mapping')}={settings.statsd_mapping!r}"
    try:
        return read(Path(settings.statsd_mapping).read_text("utf-8"))
    except MappingError as error:
        raise SettingsError(f"{where}: {error}") from None
    except (OSError, ValueError) as error:
        raise SettingsError(f"{where}: cannot be read ({error})") from None


class OpenStatsd(OpenIntake):
    """Aggregates received datagrams, and stores them by way of the memory and the outbox.

    `readers` are the datagram sockets, asked each second for what the kernel dropped.
    """

    def __init__(self, context: IntakeContext, stations: Stations) -> None:
        self._context = context
        self._stations = stations
        self._interval = context.settings.statsd_flush
        self._flushed_ns = grid(context.clock(), self._interval)
        self._waiting: list[Entry] = []
        """The last flush, until the outbox has it."""
        self._stored = False
        """Whether the memory still holds a flush that the outbox has."""
        self._changed: dict[str, dict[str, str | None]] = {}
        """Changes of state that are not in the memory yet, by Asterisk and key."""
        self._step_lock = asyncio.Lock()
        self._failing: set[str] = set()
        self._figures = Figures(context.metrics, stations)
        self.readers: Sequence[Datagrams] = ()

    async def restore(self) -> None:
        """Restore the state of an earlier process, stopped or killed. Raises MemoryUnavailable."""
        live, now = self._context.memory.live, self._context.clock()
        saved = await asyncio.to_thread(live.read)
        # The mark of a clean stop goes with the Asterisks that are no longer in the file.
        await asyncio.to_thread(live.forget, but=[one.name for one in self._stations.all])
        lost = not self._goes_on(saved.states.get(_NOBODY, {}).get(_STOPPED))
        self._waiting = [Entry(one.received_ns, None, *one[1:]) for one in saved.flushes]
        await self._deliver()
        last: dict[str, int] = {}
        stations = {station.name: station for station in self._stations.all}
        for known in self._stations.all:
            known.restore(saved.states.get(known.name, {}), now, lost=lost)
        for journaled in saved.journal:
            station = stations.get(journaled.asterisk)
            if station is not None:
                station.replay(journaled)
                last[station.name] = journaled.at_ns
            await asyncio.sleep(0)
        for name, at_ns in last.items():
            stations[name].aggregator.lost(at_ns)
        if last:
            due = grid(max(last.values()), self._interval) + self._interval * NS_PER_S
            if due <= self._flushed_ns:
                await self._flush(due)

    def _goes_on(self, stopped: str | None) -> bool:
        """Whether the sockets hold every datagram since an earlier process, but for kernel drops.

        True if that process stopped cleanly and its sockets stayed open. The kernel's drops since
        then are counted here.
        """
        if stopped is None or not self._context.statsd:
            return False
        for reader, seen in zip(self.readers, json.loads(stopped), strict=False):
            reader.drops_seen = seen
        return True

    async def run(self) -> None:
        """Save each second and flush at each multiple of the interval, until cancelled."""
        while True:
            pause = until_next(self._context.clock(), self._interval)
            await asyncio.sleep(min(pause, _SAVE_S))
            async with self._step_lock:
                await self._step()

    async def stop(self) -> None:
        """Flush the values since the last flush, with the present time."""
        async with self._step_lock:
            self._look_at_kernel()
            seen = json.dumps([reader.drops_seen for reader in self.readers])
            self._changed[_NOBODY] = {_STOPPED: seen}
            now = self._context.clock()
            # Whole microseconds, so that the instance's number can be added.
            await self._flush(now - now % 1000)
            self._figures.update()

    def truth(self, asterisk: str, values: Mapping[Series, float]) -> None:
        """Set gauges of an Asterisk to their true values, from AMI."""
        now = self._context.clock()
        for station in self._stations.all:
            if station.name == asterisk:
                for series, value in values.items():
                    station.aggregator.truth(series, value, now)

    def reload(self) -> None:
        """Read the mapping and the file of Asterisks again; an invalid file changes nothing."""
        settings = self._context.settings
        try:
            mapping, found = mapping_of(settings), asterisks(settings)
        except SettingsError as error:
            log.error("the mapping and the Asterisks are not changed", why=str(error))
            return
        self._stations.follow(found, mapping)
        log.info("the mapping and the Asterisks are read again", asterisks=len(found))

    async def _step(self) -> None:
        self._look_at_kernel()
        due = grid(self._context.clock(), self._interval)
        if due < self._flushed_ns - self._interval * NS_PER_S:
            # The clock was set back.
            self._flushed_ns = due
        if due > self._flushed_ns:
            # Datagrams from before the end of the flush may still wait in the sockets.
            for reader in self.readers:
                reader.read()
            await self._flush(due)
        else:
            await self._save()
        self._figures.update()

    def _look_at_kernel(self) -> None:
        dropped = sum(reader.kernel_drops() for reader in self.readers)
        if dropped:
            self._context.metrics.statsd_dropped.labels("kernel").inc(dropped)
            now = self._context.clock()
            # The kernel does not tell which Asterisk sent them.
            for station in self._stations.all:
                station.aggregator.lost(now)
        self._tell("kernel", f"{dropped} datagrams" if dropped else None)

    async def _save(self) -> None:
        now = self._context.clock()
        journaled = [one for station in self._stations.all if (one := station.unsaved(now))]
        await self._deliver()
        if not journaled and not self._stored:
            return
        try:
            await asyncio.to_thread(
                self._context.memory.live.save, journaled, delivered=self._stored
            )
        except MemoryUnavailable as error:
            self._tell("memory", str(error))
            for station in self._stations.all:
                station.mark_gap()
        else:
            self._tell("memory", None)
            self._stored = False

    async def _flush(self, at_ns: int) -> None:
        """Flush at a time; while the outbox is unavailable, values stay for the next flush."""
        self._flushed_ns = max(self._flushed_ns, grid(at_ns, self._interval))
        if (why := self._context.outbox.unavailable) is not None:
            self._tell("unavailable", why)
        if why is not None or not await self._deliver():
            await self._save()
            self._context.metrics.statsd_flushes.labels("put-off").inc()
            return
        points: list[Point] = []
        for station in self._stations.all:
            points += station.flush(at_ns)
            known = self._changed.setdefault(station.name, {})
            known.update(station.aggregator.changed())
            # Lets datagrams be read between two Asterisks.
            await asyncio.sleep(0)
        for entry in entries(
            points,
            sender=NAME,
            received_ns=self._context.clock(),
            instance=self._context.settings.instance,
        ):
            self._waiting.append(entry)
            await asyncio.sleep(0)
        held = [Flushed(one.received_ns, *one[2:]) for one in self._waiting]
        try:
            await asyncio.to_thread(self._context.memory.live.flush, self._changed, held)
        except MemoryUnavailable as error:
            self._tell("memory", str(error))
        else:
            self._changed.clear()
            self._tell("memory", None)
        outcome = "stored" if await self._deliver() else "put-off"
        self._context.metrics.statsd_flushes.labels(outcome).inc()
        await self._forget_gone()

    async def _forget_gone(self) -> None:
        """Remove Asterisks that are no longer in the file, after their last flush."""
        gone = self._stations.forget_gone()
        if not gone:
            return
        for station in gone:
            self._changed.pop(station.name, None)
            self._figures.forget(station)
        # If this fails, the next start removes them.
        with contextlib.suppress(MemoryUnavailable):
            await asyncio.to_thread(
                self._context.memory.live.forget, but=[one.name for one in self._stations.all]
            )

    async def _deliver(self) -> bool:
        """Append the last flush to the outbox; return whether it succeeded."""
        if not self._waiting:
            return True
        try:
            await self._context.outbox.append(*self._waiting)
        except OutboxUnavailable as error:
            self._tell("unavailable", str(error))
            return False
        self._tell("unavailable", None)
        self._waiting.clear()
        self._stored = True
        return True

    def _tell(self, what: str, why: str | None) -> None:
        """Log the first failure of a step, or its recovery (`why` is None)."""
        begun, ended = _FAILURES[what]
        if why is not None and what not in self._failing:
            self._failing.add(what)
            log.error(begun, reason=what, why=why)
        elif why is None and what in self._failing:
            self._failing.discard(what)
            log.info(ended, reason=what)
