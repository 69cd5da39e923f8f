"""Asterisks that send StatsD: finds the sender of a datagram, and holds the state of each."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Final

import structlog

from collector.asterisks import Asterisk
from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.mapping import NameMapping
from collector.lines import Point
from collector.logs import place
from collector.memory import Journaled
from collector.schema.live import STATSD_TRAFFIC, UNCERTAIN

_JOURNAL_MOST: Final = 32 << 20
"""Most bytes of one Asterisk's datagrams that are journalled between two flushes."""
_ADDRESSES_MOST: Final = 4096
"""Most addresses whose Asterisk is cached."""


log = structlog.get_logger("collector.statsd")


class Station:
    """One Asterisk: its aggregator, and its datagrams that are not yet in the journal."""

    def __init__(self, asterisk: Asterisk, mapping: NameMapping) -> None:
        self.name = asterisk.name
        self.asterisk = asterisk
        self.gone = False
        """Whether it is no longer in the operator's file, and so accepts no more datagrams."""
        self._mapping = mapping
        self.aggregator = Aggregator(asterisk.name, mapping)
        self.datagrams = 0
        """Number of datagrams since the start of the process."""
        self.failures = 0
        """Number of datagrams and flushes that failed because of an error in this program."""
        self.heard_ns: int | None = None
        """Time of the last datagram, in ns since 1970."""
        self.uncertain = 0
        """Number of uncertain gauges at the last flush."""
        self._unsaved: list[bytes] = []
        self._gap = False
        self._journalled = 0

    def take(self, datagram: bytes, now_ns: int) -> None:
        """Handle a datagram, or one line of a connection. Never raises."""
        self._unsaved.append(datagram)
        self._count(datagram, now_ns)

    def _count(self, datagram: bytes, now_ns: int) -> None:
        self.heard_ns = now_ns
        try:
            self.aggregator.take(datagram, now_ns)
        # A datagram that this program cannot handle must not lose the others.
        except Exception as error:  # noqa: BLE001
            if not self.failures:
                log.error("a datagram failed", asterisk=self.name, why=place(error))
            self.failures += 1

    def restore(self, known: Mapping[str, str], now_ns: int, *, lost: bool) -> None:
        """Restore the state after the last flush of an earlier process.

        `lost` is whether datagrams may have been sent since that no process received.
        """
        try:
            self.aggregator.restore(known, now_ns, lost=lost)
        except (ValueError, TypeError, KeyError) as error:
            # The file is intact, so another version wrote this row, or somebody changed it.
            log.error(
                "the saved state of an Asterisk is unreadable; its gauges start again",
                asterisk=self.name,
                why=type(error).__name__,
            )
            self.aggregator = Aggregator(self.name, self._mapping)

    def remap(self, mapping: NameMapping) -> None:
        """Use another mapping from now on."""
        self._mapping = mapping
        self.aggregator.remap(mapping)

    def replay(self, journaled: Journaled) -> None:
        """Handle again the datagrams that an earlier process journalled after its last flush."""
        if journaled.datagrams is None:
            self.aggregator.lost(journaled.at_ns)
        for datagram in journaled.datagrams or ():
            self._count(datagram, journaled.at_ns)

    def unsaved(self, now_ns: int) -> Journaled | None:
        """Datagrams to be journalled now; None if there are none."""
        taken, self._unsaved = self._unsaved, []
        if not taken and not self._gap:
            return None
        self.datagrams += len(taken)
        self._journalled += sum(map(len, taken))
        if self._gap or self._journalled > _JOURNAL_MOST:
            self._gap = False
            return Journaled(self.name, now_ns, None)
        return Journaled(self.name, now_ns, taken)

    def mark_gap(self) -> None:
        """Record that datagrams could not be journalled: gauges are uncertain after a crash."""
        self._gap = True

    def flush(self, at_ns: int) -> list[Point]:
        """The points of the flush that ends at `at_ns`, a multiple of the interval.

        Never raises: if a flush fails, only its own points are lost.
        """
        self.datagrams += len(self._unsaved)
        self._unsaved.clear()
        self._journalled, self._gap = 0, False
        try:
            points = self.aggregator.flush(at_ns)
        # A flush that fails for one Asterisk must not lose the others' points.
        except Exception as error:  # noqa: BLE001
            log.error("a flush failed", asterisk=self.name, why=place(error))
            self.failures += 1
            return []
        self.uncertain = sum(
            UNCERTAIN in one.fields and one.time == at_ns and one.measurement != STATSD_TRAFFIC.name
            for one in points
        )
        return points


class Stations:
    """All Asterisks; finds the sender of a datagram, and counts datagrams of unknown senders.

    `drop` is called with the reason of each dropped datagram, line or connection. With
    `all_of_first` all datagrams belong to the first Asterisk, because no file names addresses.
    """

    def __init__(
        self,
        asterisks: Sequence[Asterisk],
        mapping: NameMapping,
        drop: Callable[[str], None],
        *,
        all_of_first: bool,
    ) -> None:
        self.all = tuple(Station(asterisk, mapping) for asterisk in asterisks)
        self.drop = drop
        self._by_address: dict[str, Station | None] = {}
        self.only = self.all[0] if all_of_first else None
        """The only Asterisk, to which all datagrams belong; None if addresses matter."""

    def follow(self, asterisks: Sequence[Asterisk], mapping: NameMapping) -> None:
        """Accept the datagrams of these Asterisks from now on, with a mapping.

        Other Asterisks accept no more datagrams, and stay in `all` until `forget_gone`.
        """
        known = {station.name: station for station in self.all}
        for station in self.all:
            station.gone = True
        for asterisk in asterisks:
            station = known.setdefault(asterisk.name, Station(asterisk, mapping))
            station.asterisk, station.gone = asterisk, False
            station.remap(mapping)
        self.all = tuple(known.values())
        self._by_address.clear()

    def forget_gone(self) -> list[Station]:
        """Remove and return the Asterisks that are no longer in the file."""
        gone = [station for station in self.all if station.gone]
        self.all = tuple(station for station in self.all if not station.gone)
        return gone

    def of_address(self, host: str) -> Station | None:
        """The Asterisk at an IP address; None if there is none."""
        try:
            return self._by_address[host]
        except KeyError:
            pass
        # Bounded, because anyone can make up addresses.
        if len(self._by_address) >= _ADDRESSES_MOST:
            self._by_address.clear()
        address = ipaddress.ip_address(host.partition("%")[0])
        found = self._first(
            lambda asterisk: any(address in network for network in asterisk.statsd_from)
        )
        self._by_address[host] = found
        return found

    def of_path(self, path: str) -> Station | None:
        """The Asterisk that writes to a unix socket; None if there is none."""
        return self.only or self._first(lambda asterisk: path in asterisk.statsd_sockets)

    def _first(self, sends: Callable[[Asterisk], bool]) -> Station | None:
        return next((one for one in self.all if not one.gone and sends(one.asterisk)), None)
