"""Reasons why a connection to a manager interface ends."""

from __future__ import annotations

from enum import StrEnum


class End(StrEnum):
    """Reasons why a connection ended or was not made, as in log and metric."""

    REFUSED = "refused"
    """Nothing listens there."""
    UNREACHABLE = "unreachable"
    """The host name has no address, or there is no route to it."""
    TLS = "tls"
    """The TLS handshake failed, or the certificate is not trusted."""
    TIMEOUT = "timeout"
    """No connection, banner or answer to the login in time."""
    NOT_AMI = "not-ami"
    """The first line is not Asterisk's banner."""
    NO_CHALLENGE = "no-challenge"
    """No MD5 login is offered, and the connection is not confidential."""
    LOGIN_REFUSED = "login-refused"
    """Wrong user or secret, or the address is not allowed: Asterisk does not say which."""
    SHUTTING_DOWN = "shutting-down"
    """Asterisk is shutting down and accepts no login."""
    CLOSED = "closed"
    """Asterisk, or a device between, closed the connection."""
    SILENT = "silent"
    """Nothing arrived, not even the answer to a Ping or a question."""


class Lost(Exception):
    """The connection has ended or was not made; `end` is the reason, `detail` explains it."""

    def __init__(self, end: End, detail: str = "") -> None:
        super().__init__(end.value)
        self.end, self.detail = end, detail
