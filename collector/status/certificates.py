"""Ends of the TLS certificates at the https:// addresses of the settings."""

from __future__ import annotations

import asyncio
import ssl
import urllib.parse
from datetime import UTC, datetime
from typing import Final

from collector.parts import influx_servers
from collector.settings import Settings, variable
from collector.status.report import Certificate

_PATIENCE_S: Final = 3.0
_NAMES: Final = ("influx_url", "influx_raw_url", "public_url", "grafana_url", "nodelist_url")


async def certificates(settings: Settings) -> list[Certificate]:
    """The certificate of each https:// address, one an address. It raises nothing."""
    published, raw = influx_servers(settings)
    ca_files = {"influx_url": published.ca_file, "influx_raw_url": raw.ca_file}
    found: dict[str, tuple[str, str]] = {}
    for name in _NAMES:
        parts = urllib.parse.urlsplit(str(getattr(settings, name)))
        if parts.scheme == "https" and parts.hostname:
            address = f"{parts.hostname}:{parts.port or 443}"
            found.setdefault(address, (name, ca_files.get(name, "")))
    looks = (_certificate(name, address, ca) for address, (name, ca) in found.items())
    return list(await asyncio.gather(*looks))


async def _certificate(name: str, address: str, ca_file: str) -> Certificate:
    host, _, port = address.rpartition(":")
    made = Certificate(setting=variable(name), address=address)
    try:
        context = ssl.create_default_context()
        if ca_file:
            context.load_verify_locations(ca_file)
        async with asyncio.timeout(_PATIENCE_S):
            _, writer = await asyncio.open_connection(host, int(port), ssl=context)
            said = writer.get_extra_info("peercert")
            writer.close()
    except ssl.SSLCertVerificationError as error:
        return made.model_copy(update={"problem": error.verify_message})
    except (OSError, TimeoutError) as error:
        return made.model_copy(update={"problem": f"not reached: {str(error) or 'no answer'}"})
    ends = datetime.fromtimestamp(ssl.cert_time_to_seconds(said["notAfter"]), UTC)
    return made.model_copy(update={"ends": ends})
