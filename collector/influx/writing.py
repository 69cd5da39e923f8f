"""Writes that store all lines or raise."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from collector.influx.client import Denied, Influx, Rejected, TooLarge, Unavailable, Written
from collector.influx.errors import InfluxError, InfluxUnavailable

BATCH: Final = 5000
"""Lines in one write."""


async def write_all(influx: Influx, database: str, what: str, lines: Sequence[str | bytes]) -> None:
    """Write lines in batches; `what` names them in errors.

    Raises InfluxUnavailable if the same write may succeed later, InfluxError if InfluxDB refused
    it. In both cases earlier batches are stored.
    """
    for first in range(0, len(lines), BATCH):
        batch = [
            line if isinstance(line, bytes) else line.encode()
            for line in lines[first : first + BATCH]
        ]
        match await influx.write(database, b"\n".join(batch)):
            case Written():
                continue
            case Unavailable(reason):
                raise InfluxUnavailable(f"{what} could not be written: {reason}")
            case Rejected(reason):
                raise InfluxError(f"{what} could not be written: {reason}")
            case Denied(status, reason):
                raise InfluxError(f"{what} could not be written ({status}): {reason}")
            case TooLarge():
                raise InfluxError(f"{what} could not be written: too large for InfluxDB")
