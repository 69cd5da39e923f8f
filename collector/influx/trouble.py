"""Words for what keeps a client from InfluxDB, each with its remedy."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import ssl
import urllib.parse
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import aiohttp

from collector.influx.errors import InfluxError, InfluxUnavailable

CA_SETTING: Final = "COLLECTOR_INFLUX_CA_FILE"
_TITLE: Final = re.compile(r"<title[^>]*>([^<]{1,80})", re.IGNORECASE)
_PROBE_S: Final = 5.0
_OLDEST_REFUSED: Final = 3


class NotSupported(InfluxError):
    """An InfluxDB whose line this collector cannot work with."""


class NotInfluxDB(InfluxUnavailable):
    """Something else answers at the address."""


def unreachable(error: Exception) -> str:
    """What an error of the connection means, and what to do where that is known."""
    match error:
        case aiohttp.ClientConnectorCertificateError():
            return _untrusted(error.certificate_error)
        case aiohttp.ClientConnectorSSLError() if "WRONG_VERSION_NUMBER" in str(error):
            return (
                "the port does not speak TLS, though the address begins with https://:"
                " set COLLECTOR_INFLUX_URL to http://…, or turn TLS on in InfluxDB"
            )
        case aiohttp.ClientConnectorSSLError():
            return f"TLS fails ({' '.join(str(error.os_error).split())})"
        case TimeoutError():
            return "InfluxDB does not answer in time"
    return f"InfluxDB cannot be reached ({type(error).__name__})"


def _untrusted(error: Exception) -> str:
    reason = str(getattr(error, "verify_message", "") or error)
    if isinstance(error, ssl.CertificateError) and "mismatch" in reason.lower():
        return (
            f"its certificate is for another name ({reason}): use a name that the certificate"
            " holds in COLLECTOR_INFLUX_URL"
        )
    return (
        f"its certificate is not trusted ({reason}): set {CA_SETTING} to a file with the"
        " certificate of its authority, of a self-signed one itself (PEM)"
    )


def version_of(status: int, headers: Mapping[str, str], body: bytes) -> str:
    """The version in an answer to /ping.

    Raises NotSupported for InfluxDB 3 and later, NotInfluxDB where something else answers,
    InfluxUnavailable where it cannot answer now.
    """
    version = headers.get("X-Influxdb-Version", "") or _version_in(body)
    version = version.removeprefix("v")
    major = version.partition(".")[0]
    if major.isdigit() and int(major) >= _OLDEST_REFUSED:
        raise NotSupported(
            f"InfluxDB {version} is not supported: it cannot delete points, which erasures and"
            " corrections of days need, reads a few days at a time, and has no token that only"
            " reads for a public Grafana. Use InfluxDB 1.6 to 1.12 or 2.x"
        )
    if status == HTTPStatus.NO_CONTENT:
        return version or "unknown"
    if body.lstrip()[:1] == b"<" or "html" in headers.get("Content-Type", ""):
        found = _TITLE.search(body.decode(errors="replace"))
        title = f" ({' '.join(found[1].split())!r})" if found else ""
        raise NotInfluxDB(
            f"a web page{title} answers /ping with {status}, not InfluxDB: COLLECTOR_INFLUX_URL"
            " must lead to InfluxDB itself, past a proxy's own pages and logins"
        )
    if b"HTTP request to an HTTPS server" in body:
        raise NotInfluxDB(_SPEAKS_TLS)
    raise InfluxUnavailable(f"/ping answers {status}, not 204")


_SPEAKS_TLS: Final = (
    "the port speaks TLS, though the address begins with http://: set COLLECTOR_INFLUX_URL to"
    " https://…"
)


def _version_in(body: bytes) -> str:
    try:
        said = json.loads(body)
    except ValueError:
        return ""
    return str(said.get("version", "")) if isinstance(said, dict) else ""


async def speaks_tls(url: str) -> bool:
    """Whether the port of an http:// address answers a TLS handshake. Never raises."""
    parts = urllib.parse.urlsplit(url)
    if parts.scheme != "http" or not parts.hostname:
        return False
    # Nothing is sent on this connection, so that its certificate need not be trusted.
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


async def explained(url: str, error: InfluxUnavailable) -> str:
    """The words of an error; that the port speaks TLS, where that is the cause."""
    cause = error.__cause__
    is_answer_garbled = isinstance(
        cause, aiohttp.ServerDisconnectedError | aiohttp.ClientResponseError | aiohttp.ClientOSError
    ) and not isinstance(cause, aiohttp.ClientConnectorError)
    if is_answer_garbled and await speaks_tls(url):
        return _SPEAKS_TLS
    return str(error)
