"""Diagnosis of failed connections to InfluxDB: error texts with their remedies."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import ssl
import urllib.parse
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import aiohttp

from collector.influx.errors import InfluxError, InfluxUnavailable

VARIABLES: Final = "COLLECTOR_INFLUX"
"""Beginning of the names of the settings of InfluxDB."""
RAW_VARIABLES: Final = "COLLECTOR_INFLUX_RAW"
"""The same of the InfluxDB of raw data, where that is another."""
_TITLE: Final = re.compile(r"<title[^>]*>([^<]{1,80})", re.IGNORECASE)
_PROBE_S: Final = 5.0
_OLDEST_REFUSED: Final = 3


class NotSupported(InfluxError):
    """The version of InfluxDB is not supported."""


class NotInfluxDB(InfluxUnavailable):
    """The server at the address is not InfluxDB."""


def subject(variables: str = VARIABLES) -> str:
    """The words for the server that these settings name."""
    return "InfluxDB" if variables == VARIABLES else "the InfluxDB of raw data"


def unreachable(error: Exception, variables: str = VARIABLES) -> str:
    """The meaning of a connection error, with its remedy if there is a known one.

    `variables` begins the names of the server's settings.
    """
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _untrusted(error.certificate_error, variables)
        case aiohttp.ClientConnectorSSLError() if "WRONG_VERSION_NUMBER" in str(error):
            return (
                "the port does not speak TLS, although the address begins with https://:"
                f" set {variables}_URL to http://…, or turn TLS on in InfluxDB"
            )
        case aiohttp.ClientConnectorSSLError():
            return f"TLS fails ({' '.join(str(error.os_error).split())})"
        case TimeoutError():
            return f"{subject(variables)} does not answer in time"
        case aiohttp.ClientConnectorError(host=host, port=port, os_error=why):
            # Of a name that is not found the number is negative, and of several addresses None.
            number = why.errno or 0
            reason = os.strerror(number) if number > 0 else why.strerror or type(why).__name__
            return f"{subject(variables)} cannot be reached at {host}:{port} ({reason})"
    return f"{subject(variables)} cannot be reached ({type(error).__name__})"


def _untrusted(error: Exception, variables: str) -> str:
    reason = str(getattr(error, "verify_message", "") or error)
    if isinstance(error, ssl.CertificateError) and "mismatch" in reason.lower():
        return (
            f"its certificate is for another name ({reason}): use a name of the certificate in"
            f" {variables}_URL"
        )
    return (
        f"its certificate is not trusted ({reason}): set {variables}_CA_FILE to a file (PEM) with"
        " the certificate of its authority, or with the certificate itself if it is self-signed"
    )


def version_of(
    status: int, headers: Mapping[str, str], body: bytes, variables: str = VARIABLES
) -> str:
    """The version in a response to /ping.

    Raises NotSupported for InfluxDB 3 and later, NotInfluxDB if the server is another one,
    InfluxUnavailable if it cannot answer now.
    """
    version = headers.get("X-Influxdb-Version", "") or _version_in(body)
    version = version.removeprefix("v")
    major = version.partition(".")[0]
    if major.isdigit() and int(major) >= _OLDEST_REFUSED:
        raise NotSupported(
            f"InfluxDB {version} is not supported: it cannot delete points, which erasures and"
            " corrections of days need, reads only a few days at a time, and has no read-only"
            " tokens for a public Grafana. Use InfluxDB 1.6 to 1.12 or 2.x"
        )
    if status == HTTPStatus.NO_CONTENT:
        return version or "unknown"
    if body.lstrip()[:1] == b"<" or "html" in headers.get("Content-Type", ""):
        found = _TITLE.search(body.decode(errors="replace"))
        title = f" ({' '.join(found[1].split())!r})" if found else ""
        raise NotInfluxDB(
            f"a web page{title} answers /ping with {status}, not InfluxDB: {variables}_URL"
            " must lead to InfluxDB itself, not to a proxy's own pages or logins"
        )
    if b"HTTP request to an HTTPS server" in body:
        raise NotInfluxDB(_speaks_tls_words(variables))
    raise InfluxUnavailable(f"/ping answers {status}, not 204")


def _speaks_tls_words(variables: str) -> str:
    return (
        f"the port speaks TLS, although the address begins with http://: set {variables}_URL to"
        " https://…"
    )


def _version_in(body: bytes) -> str:
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    return str(said.get("version", "")) if isinstance(said, dict) else ""


async def speaks_tls(url: str) -> bool:
    """Whether the port of an http:// address accepts a TLS handshake. Never raises."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return False
    # No data is sent on this connection, so its certificate need not be trusted.
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        async with asyncio.timeout(_PROBE_S):
            _, writer = await asyncio.open_connection(parts.hostname, parts.port or 80, ssl=context)
    except (OSError, TimeoutError):
        return False
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
    return True


async def diagnose(url: str, error: InfluxUnavailable, variables: str = VARIABLES) -> str:
    """The text of an error, or, if that is its cause, that the port uses TLS."""
    cause = error.__cause__
    is_garbled = isinstance(
        cause, aiohttp.ServerDisconnectedError | aiohttp.ClientResponseError | aiohttp.ClientOSError
    ) and not isinstance(cause, aiohttp.ClientConnectorError)
    if is_garbled and await speaks_tls(url):
        return _speaks_tls_words(variables)
    return str(error)
