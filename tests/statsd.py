"""A plain sender of StatsD, and what a collector has stored of it, read without its code."""

from __future__ import annotations

import socket
from types import TracebackType
from typing import Self

from collector.setting_types import Address, Endpoint, parse_endpoint
from tests.conftest import Databases, Row

LIVE = "asterisk_live"


class Sender:
    """Sends datagrams, or lines on a connection, to an address as in COLLECTOR_STATSD_LISTEN."""

    def __init__(self, to: str, *, source: str = "") -> None:
        endpoint: Endpoint = parse_endpoint(to)
        kind = socket.SOCK_STREAM if endpoint.transport.is_stream else socket.SOCK_DGRAM
        if isinstance(endpoint.at, Address):
            family = socket.AF_INET6 if ":" in endpoint.at.host else socket.AF_INET
            self._to: tuple[str, int] | str = (endpoint.at.host, endpoint.at.port)
        else:
            family = socket.AF_UNIX
            self._to = endpoint.at
        self._ends_lines = endpoint.transport.is_stream
        self._socket = socket.socket(family, kind)
        if source:
            self._socket.bind((source, 0))
        # A datagram socket that is connected would fail while nobody listens.
        if self._ends_lines or family == socket.AF_UNIX:
            self._socket.connect(self._to)

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            if self._ends_lines:
                self._socket.sendall(datagram + b"\n")
            elif isinstance(self._to, str):
                self._socket.send(datagram)
            else:
                self._socket.sendto(datagram, self._to)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._socket.close()


def live(databases: Databases, statement: str) -> list[Row]:
    """Rows of a query of the live database; none if it does not exist yet."""
    return databases.server.query(statement, f"{databases.prefix}{LIVE}")


def total(databases: Databases, counter: str, asterisk: str = "default") -> float:
    """The sum of a counter over all flushes."""
    rows = live(
        databases,
        'SELECT sum("value") AS n FROM "statsd_counter"'
        f" WHERE \"name\" = '{counter}' AND \"asterisk\" = '{asterisk}'",
    )
    return float(rows[0]["n"]) if rows else 0.0


def gauges(
    databases: Databases,
    measurement: str,
    field: str,
    asterisk: str = "default",
    *,
    function: str = "last",
) -> dict[tuple[str, ...], float]:
    """The newest value (or another function) of each series, by its tags without the Asterisk."""
    rows = live(
        databases,
        f'SELECT {function}("{field}") AS n FROM "{measurement}"'
        f" WHERE \"asterisk\" = '{asterisk}' GROUP BY *",
    )
    return {_tags(row, {"n"}): float(row["n"]) for row in rows}


def newest(databases: Databases, measurement: str, asterisk: str) -> dict[tuple[str, ...], Row]:
    """The newest point of each series, by its tags without the Asterisk."""
    rows = live(
        databases,
        f'SELECT * FROM "{measurement}" WHERE "asterisk" = \'{asterisk}\''
        " GROUP BY * ORDER BY time DESC LIMIT 1",
    )
    return {_tags(row, {"count", "value", "uncertain"}): row for row in rows}


def _tags(row: Row, fields: set[str]) -> tuple[str, ...]:
    return tuple(str(row[tag]) for tag in sorted(row.keys() - {"time", "asterisk"} - fields))
