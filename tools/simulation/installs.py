"""Simulated installs of LibreNMS: the networks that they watch, and their daily reports.

Pure: no I/O, no clock, no globals that change.
"""

from __future__ import annotations

import json
import urllib.parse
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from random import Random
from typing import Any, Final
from uuid import UUID

from tools.simulation.fleet import Submission
from tools.simulation.timeline import DAY, SECOND

_RELEASES: Final = ("26.8.0", "26.9.1", "26.10.0", "26.11.0")
_RELEASE_DAYS: Final = 30
_DATABASES: Final = (
    "MariaDB 10.11.11-MariaDB-0+deb12u1",
    "MariaDB 11.8.3-MariaDB-0+deb13u1",
    "MySQL 8.0.43",
)
_PYTHONS: Final = ("3.11.2", "3.13.5", "3.12.3")
_PHPS: Final = ("8.2.29", "8.4.11", "8.3.6")
_SYSTEMS: Final = ("Debian GNU/Linux 12", "Debian GNU/Linux 13", "Ubuntu 24.04.3 LTS")
_DEVICES: Final = {
    # Operating system: type, models, ports and sensors of a device, and how common it is.
    "linux": ("server", ("Generic x86 64-bit",), 3, 6, 30.0),
    "ios": ("network", ("WS-C2960X-24TS-L", "WS-C3750G-24PS-S"), 28, 8, 12.0),
    "iosxe": ("network", ("C9300-48P", "C9200L-24P-4G"), 52, 14, 8.0),
    "junos": ("network", ("EX2200-48T-4G", "EX3400-48P"), 56, 18, 6.0),
    "routeros": ("network", ("RB4011iGS+", "CCR2004-16G-2S+"), 14, 9, 6.0),
    "arubaos-cx": ("network", ("6200F 48G",), 52, 12, 3.0),
    "fortigate": ("firewall", ("FortiGate 100F",), 22, 5, 2.5),
    "pfsense": ("firewall", ("Generic x86 64-bit",), 6, 4, 2.0),
    "windows": ("server", ("AMD64 Family 25",), 4, 0, 5.0),
    "ping": ("", ("",), 0, 0, 1.5),
}
_PORTS: Final = {
    "ethernetCsmacd": 0.82,
    "l2vlan": 0.1,
    "propVirtual": 0.05,
    "softwareLoopback": 0.03,
}
_SENSORS: Final = {
    "temperature": 0.5,
    "voltage": 0.2,
    "fanspeed": 0.12,
    "power": 0.1,
    "state": 0.08,
}
_APPLICATIONS: Final = ("smart", "nginx", "mysql", "bind", "zfs", "postgres")


@dataclass(frozen=True, slots=True)
class _Install:
    uuid: str
    devices: Mapping[str, int]
    software: int
    applications: Mapping[str, int]
    v3: float
    lag: int
    at: int
    """Time of day of its reports, in ns."""

    def report(self, day: int, days: int) -> dict[str, Any]:
        """The report of a day; of `days`, the last has the newest release."""
        # Networks grow a little.
        grown = {os: round(n * (1 + 0.1 * day / days)) or 1 for os, n in self.devices.items()}
        types: dict[str, int] = {}
        models: dict[str, int] = {}
        ports = sensors = 0
        for os, count in grown.items():
            kind, names, each, sensing, _ = _DEVICES[os]
            types[kind] = types.get(kind, 0) + count
            model = names[self.software % len(names)]
            models[model] = models.get(model, 0) + count
            ports += each * count
            sensors += sensing * count
        total = sum(grown.values())
        v3 = round(total * self.v3)
        back = max(0, days - day - 1 + self.lag) // _RELEASE_DAYS
        release = _RELEASES[max(0, len(_RELEASES) - 1 - back)]
        return {
            "uuid": self.uuid,
            "data": {
                "alert_rules": _rows("severity", {"critical": 12, "warning": 7}),
                "applications": _rows("app_type", self.applications),
                "snmp_version": _rows("snmpver", {"v2c": total - v3, "v3": v3}),
                "os": _rows("os", grown),
                "type": _rows("type", types),
                "hardware": _rows("hardware", models),
                "port_type": _rows("ifType", _shared(ports, _PORTS)),
                "sensors": _rows("sensor_class", _shared(sensors, _SENSORS)),
                "pollers": [{"total": 1}],
                "database_version": _one("version", _DATABASES[self.software]),
                "php_version": _one("version", _PHPS[self.software]),
                "python_version": _one("version", _PYTHONS[self.software]),
                "os_version": _one("version", _SYSTEMS[self.software]),
                "librenms_release": _one("release", release),
            },
            "info": [],
        }


class Installs:
    """A number of installs that report once a day for `days` days from `start` on."""

    def __init__(self, *, seed: int, installs: int, start: date, days: int) -> None:
        self._start = (start - date(1970, 1, 1)).days
        self._days = days
        rng = Random(f"{seed}/librenms")  # noqa: S311 - a simulation has no secrets
        self._installs = [_drawn(rng) for _ in range(installs)]

    def day(self, day: date) -> list[Submission]:
        """A UTC day's reports in order of time: bodies of `POST /log.php`."""
        number = (day - date(1970, 1, 1)).days
        found = [
            Submission(number * DAY + each.at, _body(each.report(number - self._start, self._days)))
            for each in self._installs
        ]
        return sorted(found, key=lambda each: each.received_ns)


def _drawn(rng: Random) -> _Install:
    weights = [each[-1] for each in _DEVICES.values()]
    size = int(rng.lognormvariate(3.6, 0.8)) + 3
    devices: dict[str, int] = {}
    for os in rng.choices(list(_DEVICES), weights, k=size):
        devices[os] = devices.get(os, 0) + 1
    applications = rng.sample(_APPLICATIONS, rng.randint(1, 4))
    return _Install(
        uuid=str(UUID(int=rng.getrandbits(128), version=4)),
        devices=devices,
        software=rng.choices(range(len(_SYSTEMS)), (5, 3, 3))[0],
        applications={name: rng.randint(1, 8) for name in applications},
        v3=rng.choice((0.0, 0.1, 0.5, 0.9)),
        lag=rng.choice((0, 0, 0, 5, 20, 60)),
        at=rng.randrange(DAY // SECOND) * SECOND,
    )


def _rows(column: str, counts: Mapping[str, int]) -> list[dict[str, Any]]:
    return [{"total": total, column: value} for value, total in counts.items() if total]


def _one(column: str, value: str) -> list[dict[str, Any]]:
    return [{"total": 1, column: value}]


def _shared(total: int, shares: Mapping[str, float]) -> dict[str, int]:
    return {name: round(total * share) for name, share in shares.items()}


def _body(report: Mapping[str, Any]) -> bytes:
    """The form of today's client; PHP's json_encode escapes slashes."""
    text = json.dumps(report, separators=(",", ":")).replace("/", "\\/")
    return urllib.parse.urlencode({"data": text}).encode()


def until(submissions: Iterable[Submission], now_ns: int) -> Sequence[Submission]:
    """Those that arrive up to a time."""
    return [each for each in submissions if each.received_ns <= now_ns]
