"""Intake of StatsD, as Asterisk and its dialplan send it.

`sockets` receives datagrams, `station` assigns each to its Asterisk, `intake` saves and flushes,
`figures` updates the metrics. The other modules are pure: `line` parses, `mapping` and `names` turn
names into measurements and tags, `aggregate` aggregates values into the points of a flush.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

import structlog

from collector.intakes.intake import Intake, IntakeContext
from collector.intakes.statsd.sockets import (
    BUFFER_BYTES,
    Bound,
    Datagrams,
    bound,
    buffer_bytes,
    receiving,
)
from collector.schema import LIVE
from collector.schema.live import STATSD_MEASUREMENTS

if TYPE_CHECKING:
    from collector.intakes.statsd.intake import OpenStatsd

NAME: Final = "statsd"

log = structlog.get_logger("collector.statsd")


class Statsd(Intake):
    """The intake of StatsD."""

    name = NAME
    measurements = STATSD_MEASUREMENTS
    switch = "statsd_listen"
    retentions = MappingProxyType({LIVE: "retention_live"})
    privacy_values = MappingProxyType({"live": "retention_live"})

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[OpenStatsd]:
        """Receive until the context ends, in the first worker alone.

        Raises SettingsError, MemoryUnavailable, and OSError for an address that cannot be used.
        """
        from collector.asterisks import asterisks
        from collector.intakes.statsd.intake import OpenStatsd, mapping_of
        from collector.intakes.statsd.station import Stations

        settings = context.settings
        stations = Stations(
            asterisks(settings),
            mapping_of(settings),
            lambda reason: context.metrics.statsd_dropped.labels(reason).inc(),
            all_of_first=not settings.asterisk_file,
        )
        statsd = OpenStatsd(context, stations)
        if not context.is_first:
            yield statsd
            return
        with _sockets(context) as sockets:
            statsd.readers = [
                Datagrams(one, stations, context.clock)
                for one in sockets
                if not one.endpoint.transport.is_stream
            ]
            await statsd.restore()
            stop_hearing = context.true_state.subscribe(statsd.truth)
            try:
                async with (
                    context.loop("statsd", statsd.run),
                    receiving(sockets, statsd.readers, stations, context.clock),
                ):
                    context.on_reload(statsd.reload)
                    _tell_of(sockets, context)
                    yield statsd
            finally:
                stop_hearing()
                await asyncio.shield(statsd.stop())


def _sockets(context: IntakeContext) -> AbstractContextManager[list[Bound]]:
    """The sockets that the parent has bound, or else sockets that this process binds until exit."""
    if not context.statsd:
        return bound(context.settings.statsd_listen)
    listen = context.settings.statsd_listen
    return nullcontext([Bound(listen[place], one) for place, one in context.statsd])


def _tell_of(sockets: Sequence[Bound], context: IntakeContext) -> None:
    """Log the addresses, and measure the receive buffers."""
    sizes = [buffer_bytes(one.socket) for one in sockets if not one.endpoint.transport.is_stream]
    if sizes:
        context.metrics.statsd_buffer_bytes.set(min(sizes))
    log.info(
        "receiving StatsD", at=[one.shown for one in sockets], buffer_bytes=min(sizes, default=None)
    )
    if min(sizes, default=BUFFER_BYTES) < BUFFER_BYTES:
        log.warning(
            "the receive buffer of StatsD is smaller than asked for: raise net.core.rmem_max, or a"
            " burst is dropped",
            buffer_bytes=min(sizes),
            asked=BUFFER_BYTES,
        )
