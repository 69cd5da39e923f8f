"""Made-up figures of the Asterisks' hosts, in the form in which Telegraf writes them.

`deploy/telegraf/telegraf.conf` is the configuration that would send them. Pure.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from random import Random
from typing import Final

from tools.demo.asterisks import ASTERISKS

EVERY_S: Final = 10
PAST_S: Final = 3 * 3600
"""Seconds of past: the range of the dashboard."""
_UNITS: Final = ("asterisk.service", "fail2ban.service", "chrony.service", "telegraf.service")


def points(second: int) -> Iterator[str]:
    """Points of all hosts at a time (s since 1970, a multiple of EVERY_S)."""
    for number, each in enumerate(ASTERISKS):
        rng = Random(f"{each.name}/{second}")  # noqa: S311 - a simulation has no secrets
        # A slow swing with a little noise; each host has its own level and pace.
        swing = math.sin(second / (700 + 90 * number) + number)
        busy = 9 + 4 * number + 5 * swing + rng.random() * 4
        tag = f"asterisk={each.name}"
        at = second * 10**9
        yield f"cpu,{tag} usage_idle={100 - busy:.2f},usage_steal={rng.random() * 0.6:.2f} {at}"
        yield f"mem,{tag} available_percent={58 - 5 * number + 2 * swing:.2f} {at}"
        used = 31 + 6 * number + second % 86_400 / 43_200
        yield f"disk,{tag},path=/ used_percent={used:.3f} {at}"
        received = int((4_000 + 1_500 * number) * second + 90_000 * swing)
        yield (
            f"net,{tag},interface=eth0 bytes_recv={received}i,bytes_sent={received * 4 // 5}i,"
            f"drop_in={second // 600}i {at}"
        )
        for unit in _UNITS:
            yield f"systemd_units,{tag},name={unit} active_code=0i {at}"


def past(until: int) -> Iterator[str]:
    """The points of the past up to a time (s)."""
    for second in range(until - until % EVERY_S - PAST_S, until + 1, EVERY_S):
        yield from points(second)
