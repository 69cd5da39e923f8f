"""Checks of StatsD's settings and sockets for `collector check`, without side effects."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from collector.asterisks import asterisks
from collector.intakes.statsd.intake import mapping_of
from collector.intakes.statsd.sockets import BUFFER_BYTES, bound, buffer_bytes
from collector.setting_types import Endpoint
from collector.settings import Settings, SettingsError

Found = tuple[bool, str]
"""The result of a check: whether it is good, and its text."""


def examine(settings: Settings) -> Iterator[Found]:
    """Check the mapping, that each Asterisk has a source, and each address.

    An unreadable file of Asterisks is not reported here, since AMI uses it too.
    """
    try:
        mapping_of(settings)
    except SettingsError as error:
        yield from ((False, line) for line in str(error).splitlines())
    else:
        yield True, "the mapping of StatsD can be read"
    with suppress(SettingsError):
        yield from _sources(settings)
    for endpoint in settings.statsd_listen:
        yield from _address(endpoint)


def _sources(settings: Settings) -> Iterator[Found]:
    """Check that each Asterisk's datagrams can be received. Raises SettingsError."""
    if not settings.asterisk_file or not settings.statsd_listen:
        return
    paths = {one.at for one in settings.statsd_listen if isinstance(one.at, str)}
    for asterisk in asterisks(settings):
        for path in asterisk.statsd_sockets:
            if path not in paths:
                yield (
                    False,
                    f"[{asterisk.name}] sends to unix:{path}, which COLLECTOR_STATSD_LISTEN does"
                    " not name",
                )
        if asterisk.statsd_from and len(paths) == len(settings.statsd_listen):
            yield (
                False,
                f"[{asterisk.name}] sends from an address, but COLLECTOR_STATSD_LISTEN names unix"
                " sockets alone",
            )


def _address(endpoint: Endpoint) -> Iterator[Found]:
    """Check that an address can be bound, or that a collector has it already."""
    if isinstance(endpoint.at, str):
        yield _path(endpoint.at)
        return
    try:
        with bound([endpoint]) as sockets:
            sizes = [
                buffer_bytes(one.socket) for one in sockets if not one.endpoint.transport.is_stream
            ]
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            yield (True, f"StatsD at {endpoint}: in use, by a running collector or another program")
        else:
            yield False, f"StatsD at {endpoint}: {error.strerror or error}"
        return
    yield True, f"StatsD at {endpoint}: can be listened on"
    if min(sizes, default=BUFFER_BYTES) < BUFFER_BYTES:
        yield (
            False,
            f"StatsD at {endpoint}: the kernel gives a receive buffer of {min(sizes)} bytes, and a"
            f" burst over it is dropped: `sysctl -w net.core.rmem_max={BUFFER_BYTES // 2}`",
        )


def _path(path: str) -> Found:
    """Check that a unix socket can be created; an existing one belongs to a collector."""
    there, directory = Path(path), Path(path).parent
    if there.is_socket():
        return True, f"StatsD at unix:{path}: the socket is there"
    if there.exists():
        return False, f"StatsD at unix:{path}: is a file, and no socket"
    if not directory.is_dir():
        return False, f"StatsD at unix:{path}: there is no directory {directory}"
    if not os.access(directory, os.W_OK | os.X_OK):
        return False, f"StatsD at unix:{path}: no socket may be made in {directory}"
    return True, f"StatsD at unix:{path}: can be listened on"
