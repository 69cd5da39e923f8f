"""Check for the client library of NATS, an optional extra of the product."""

from __future__ import annotations

from importlib.util import find_spec

from collector.settings import Settings, SettingsError


def check_installed(settings: Settings) -> None:
    """Raise SettingsError if COLLECTOR_NATS_URL is set and a library of the extra is missing."""
    if settings.nats_url and any(find_spec(name) is None for name in ("nats", "nacl")):
        raise SettingsError(
            "COLLECTOR_NATS_URL is set, and the client library of NATS is not installed: install"
            " the extra `usage-collector[nats]` (with hashes: `requirements/nats.txt`)"
        )
