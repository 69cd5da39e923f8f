"""The hosts of the Asterisks, as Telegraf tells of them: names are those of its plugins.

`deploy/telegraf/telegraf.conf` names what is sent; a test compares the two.
"""

from __future__ import annotations

from typing import Final

from tools.dashboards.kinds import lines, table
from tools.dashboards.live_parts import FLUSH, GAP_MS, MOST_SERIES, NOW, live, source
from tools.dashboards.model import Override, Panel

MEASUREMENTS: Final = ("cpu", "mem", "disk", "net", "systemd_units")
"""Measurements that Telegraf writes into the live database."""
_NONE: Final = "no Telegraf"
_NOT_ACTIVE: Final = '"active_code" > 0'
_EACH: Final = f'GROUP BY time($__interval), "asterisk" SLIMIT {MOST_SERIES}'


def _shares(title: str, description: str, measurement: str, *drawn: tuple[str, str]) -> Panel:
    return lines(
        title,
        description,
        tuple(
            live(
                f"SELECT {expression} FROM {source(measurement, '$timeFilter')} {_EACH}",
                f"$tag_asterisk {words}",
            )
            for words, expression in drawn
        ),
        width=8,
        unit="percent",
        fill=0,
        no_value=_NONE,
        gap_ms=GAP_MS,
        interval=FLUSH,
    )


_FIRST: Final = (
    _shares(
        "Host: processor in use",
        "Share of the processors' time that is not idle, and that other virtual machines took.",
        "cpu",
        ("busy", '100 - mean("usage_idle")'),
        ("taken", 'mean("usage_steal")'),
    ),
    _shares(
        "Host: memory in use",
        "Memory in use, without what can be freed at once.",
        "mem",
        ("in use", '100 - mean("available_percent")'),
    ),
    lines(
        "Host: disks in use",
        "Used share of each disk.",
        (
            live(
                'SELECT last("used_percent") FROM'
                f" {source('disk', '$timeFilter')} GROUP BY time($__interval),"
                f' "asterisk", "path" SLIMIT {MOST_SERIES}',
                "$tag_asterisk $tag_path",
            ),
        ),
        width=8,
        unit="percent",
        fill=0,
        no_value=_NONE,
        gap_ms=GAP_MS,
        interval=FLUSH,
    ),
)
_SECOND: Final = (
    lines(
        "Host: network a second",
        "Bytes received and sent a second, and packets that were received and dropped (right); of"
        " all cards.",
        tuple(
            live(
                f"SELECT {expression} FROM"
                f' (SELECT non_negative_derivative(max("{field}"), 1s) AS "{field}"'
                f" FROM {source('net', '$timeFilter')}"
                ' GROUP BY time($__interval), "asterisk", "interface")'
                f" WHERE $timeFilter {_EACH}",
                f"$tag_asterisk {words}",
            )
            for field, expression, words in (
                ("bytes_recv", 'sum("bytes_recv")', "received"),
                ("bytes_sent", 'sum("bytes_sent")', "sent"),
                ("drop_in", 'sum("drop_in")', "dropped"),
            )
        ),
        width=16,
        unit="Bps",
        fill=0,
        overrides=(
            Override(
                "byRegexp",
                "/ dropped$/",
                {"unit": "suffix: packets", "custom.axisPlacement": "right"},
            ),
        ),
        no_value=_NONE,
        gap_ms=GAP_MS,
        interval=FLUSH,
    ),
    table(
        "Host: units not active",
        "systemd units that are not active now: 2 is inactive, 3 failed, 4 starting, 5 stopping.",
        live(
            f'SELECT top("active_code", "asterisk", "name", {MOST_SERIES})'
            f" FROM {source('systemd_units', NOW, _NOT_ACTIVE)}",
            table=True,
        ),
        width=8,
        height=8,
        names={"asterisk": "Asterisk", "name": "unit", "top": "state"},
        sort="state",
        no_value="all run",
    ),
)
ROWS: Final = (_FIRST, _SECOND)
"""Two rows of panels."""
