"""Simulated machines with telemetrics-client: crashes, machine checks, heat and updates.

Pure: no I/O, no clock, no globals that change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Final

from tools.simulation.timeline import DAY, SECOND

_ROTATES_DAYS: Final = 3
"""A client takes a new machine id after so many days."""
_BUILDS: Final = ("43690", "43700", "43720", "43750")
_BUILD_DAYS: Final = 9
_GUILTIES: Final = (
    ("gst_buffer_map", "libgstreamer-1.0.so.0"),
    ("g_object_unref", "libgobject-2.0.so.0"),
    ("wl_proxy_marshal", "libwayland-client.so.0"),
    ("QObject::disconnect", "libQt6Core.so.6"),
    ("pa_stream_drop", "libpulse.so.0"),
    ("cairo_surface_flush", "libcairo.so.2"),
    ("dbus_message_ref", "libdbus-1.so.3"),
)
_PROCESSES: Final = ("/usr/bin/totem", "/usr/bin/nautilus", "/usr/bin/kwin_wayland")
_KINDS: Final = {
    # Classification: severity, and how common it is.
    "org.clearlinux/heartbeat/ping": (1, 30.0),
    "org.clearlinux/crash/clr": (3, 14.0),
    "org.clearlinux/swupd-client/update": (2, 14.0),
    "org.clearlinux/mce/corrected": (2, 5.0),
    "org.clearlinux/mce/thermal": (2, 5.0),
    "org.clearlinux/kernel/warning": (2, 4.0),
    "org.clearlinux/boot/failed": (4, 1.0),
}


@dataclass(frozen=True, slots=True)
class RecordSent:
    """A record as a client sends it: its time of arrival (UTC, ns), its fields and its payload."""

    received_ns: int
    fields: Mapping[str, str]
    payload: bytes

    @property
    def json(self) -> bytes:
        """The body of clients from 2.4 on; earlier ones send the fields as headers."""
        return json.dumps({**self.fields, "payload": self.payload.decode()}).encode()


class Machines:
    """A number of machines that send some records a day for `days` days from `start` on."""

    def __init__(self, *, seed: int, machines: int, start: date, days: int) -> None:
        self._seed, self._machines, self._days = seed, machines, days
        self._start = (start - date(1970, 1, 1)).days

    def day(self, day: date) -> list[RecordSent]:
        """A UTC day's records in order of time."""
        number = (day - date(1970, 1, 1)).days
        rng = Random(f"{self._seed}/records/{number}")  # noqa: S311 - a simulation has no secrets
        times = sorted(rng.randrange(DAY) for _ in range(self._machines))
        return [self._record(rng, number * DAY + at) for at in times]

    def _record(self, rng: Random, at: int) -> RecordSent:
        machine = rng.randrange(self._machines)
        day = at // DAY - self._start
        # A machine follows the newest build within some days.
        newest = len(_BUILDS) - 1 - max(0, self._days - 1 - day + machine % 7) // _BUILD_DAYS
        place = max(0, newest)
        kinds = list(_KINDS)
        kind = rng.choices(kinds, [_KINDS[each][1] for each in kinds])[0]
        turn = (at // DAY + machine) // _ROTATES_DAYS
        id_rng = Random(f"{self._seed}/{machine}/{turn}")  # noqa: S311 - as above
        fields = {
            "record_format_version": "4",
            "classification": kind,
            "severity": str(_KINDS[kind][0]),
            "machine_id": f"{id_rng.getrandbits(128):032x}",
            "creation_timestamp": str(at // SECOND - rng.randint(1, 90)),
            "arch": "x86_64" if machine % 9 else "aarch64",
            "host_type": "Dell Inc.|XPS 13|1.0" if machine % 2 else "LENOVO|20XW|ThinkPad X1",
            "build": _BUILDS[place],
            "kernel_version": "6.16.4-1566.native",
            "payload_format_version": "1",
            "system_name": "clear-linux-os",
            "board_name": "0XPS13|A00",
            "cpu_model": "12th Gen Intel Core i7-1260P",
            "bios_version": "1.24.0",
            "event_id": f"{rng.getrandbits(128):032x}",
        }
        return RecordSent(at, fields, _payload(rng, kind, place).encode())


def _payload(rng: Random, kind: str, place: int) -> str:
    if kind.endswith("crash/clr"):
        function, module = rng.choices(_GUILTIES, range(len(_GUILTIES), 0, -1))[0]
        return (
            f"Process: {rng.choice(_PROCESSES)}\nPID: {rng.randrange(300, 30000)}\nSignal: 11\n\n"
            "Backtrace (TID 1):\n"
            f"#0 raise() - [libc.so.6]\n#1 abort() - [libc.so.6]\n#2 {function}() - [{module}]\n"
            "#3 main() - [app]\n"
        )
    if kind.endswith("update"):
        old = _BUILDS[max(0, place - rng.choice((1, 1, 2)))]
        failed = int(rng.random() < 0.1)
        return f"current_version={old}\nserver_version={_BUILDS[place]}\nresult={failed}\n"
    if kind.endswith("corrected"):
        bank, status = rng.randrange(4), rng.choice(("8c000042", "9020004f"))
        return f"Corrected error\nCPU {rng.randrange(8)} BANK {bank}\nSTATUS {status} MCGSTATUS 0\n"
    if kind.endswith("thermal"):
        words = rng.choice(
            ("heated above trip temperature. Throttling enabled.", "below trip temperature.")
        )
        return f"Processor {rng.randrange(8)} {words}\n"
    if kind.endswith("warning"):
        return "Reason: WARNING\n[<0>] ? native_queued_spin_lock+0x1\n"
    return "hello\n"
