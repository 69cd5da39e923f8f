"""Records of telemetrics-client for tests."""

from __future__ import annotations

from typing import Any

from collector.records.record import Record


def record_of(stamp: int, **fields: Any) -> Record:
    """A record with this stamp; other fields as given or believable."""
    given: dict[str, Any] = {
        "owner": f"{stamp % 97:016x}",
        "ts_capture": stamp // 10**9,
        "machine_id": f"{stamp % 97:016x}",
        "machine_type": "Dell|XPS|1",
        "arch": "x86_64",
        "build": "32000",
        "classification": "org.clearlinux/hello/world",
        "severity": 1,
        "kernel_version": "6.1.0-31",
        "record_format_version": 4,
        "payload_format_version": 1,
        "system_name": "clear-linux-os",
        "board_name": "board",
        "bios_version": "1.0",
        "cpu_model": "cpu",
        "event_id": "0" * 32,
        "external": False,
        "payload": b"hello\n",
    }
    return Record(stamp=stamp, **given | fields)
