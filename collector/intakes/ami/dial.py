"""Opens the connection to an Asterisk's manager interface, with TLS or without."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl

from collector.asterisks import AmiAccount
from collector.intakes.ami.ends import End, Lost

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def dial(account: AmiAccount, seconds: float) -> tuple[Streams, bool]:
    """Connect within `seconds`; return the streams, and whether the connection is confidential.

    Connections with TLS and on loopback addresses are. Raises Lost.
    """
    try:
        async with asyncio.timeout(seconds):
            streams = await asyncio.open_connection(
                account.host, account.port, ssl=_tls(account) if account.tls else None
            )
    except TimeoutError:
        raise Lost(End.TIMEOUT) from None
    except ConnectionRefusedError:
        raise Lost(End.REFUSED) from None
    # These are OSErrors too.
    except ssl.SSLCertVerificationError as error:
        raise Lost(End.TLS, error.verify_message) from None
    except ssl.SSLError as error:
        raise Lost(End.TLS, error.reason or "") from None
    # A UnicodeError is a host name that cannot be one, such as `a..b`.
    except (OSError, UnicodeError):
        raise Lost(End.UNREACHABLE) from None
    return streams, account.tls or _is_loopback(streams[1].get_extra_info("peername"))


def _is_loopback(peer: tuple[str, int] | None) -> bool:
    """Whether a peer's address is a loopback address; `peer` is None if it has disconnected."""
    return peer is not None and ipaddress.ip_address(peer[0].split("%")[0]).is_loopback


def _tls(account: AmiAccount) -> ssl.SSLContext:
    context = ssl.create_default_context()
    if account.ca_file:
        context.load_verify_locations(account.ca_file)
    return context
