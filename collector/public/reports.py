"""Text reports in the format of ASL3-Usage 1.4: `/reports/basic` and `/reports/daily`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from functools import partial
from typing import Final

from aiohttp import web

from collector.influx import InfluxError
from collector.problems import Reason, Refusal
from collector.public.responses import age_headers
from collector.public.series import PublicSeries, Snapshot, UsageDay
from collector.schema import OTHER, UNKNOWN

_RULE: Final = "-" * 130
_HEADING: Final = (
    " Collected            | Node Cnt | Server Cnt| SimpleUSB Cnt | USBRadio Cnt | DAHDI Cnt"
    " | Voter Cnt | Diff Ast Ver | Diff ASL Ver "
)
_COLUMNS: Final = (
    ("nodes", 10),
    ("servers", 10),
    ("simpleusb", 14),
    ("usbradio", 13),
    ("dahdi", 10),
    ("voter", 10),
    ("asterisk_versions", 13),
    ("asl_versions", 13),
)
_WITHHELD: Final = "-"
_ARCH_NAMES: Final = {"x86_64": "x86_64/amd64", "aarch64": "ARM64/arm64"}
_CHANNEL_NAMES: Final = {
    UNKNOWN: "",
    "dahdi": "DAHDI",
    "usbradio": "USBRadio",
    "simpleusb": "SimpleUSB",
    "voter": "Voter",
    "usrp": "USRP",
}
_RETRY_AFTER_S: Final = 60


def daily_text(days: Iterable[UsageDay]) -> str:
    """The daily table, newest day first; `-` stands for a suppressed count."""
    rows = [_RULE, _HEADING, _RULE]
    for day in sorted(days, key=lambda item: item.day, reverse=True):
        cells = [f"{day.fields.get(name, _WITHHELD):>{width}}" for name, width in _COLUMNS]
        rows.append(f"  {day.day} 00:00:00 |{cells[0]}|{' |'.join(cells[1:])}")
    return "\n".join([*rows, _RULE]) + "\n"


def basic_text(snapshot: Snapshot) -> str:
    """Servers, nodes, architectures and channel types of the last complete day."""
    fields = snapshot.tables_day.fields if snapshot.tables_day else {}
    rows = [
        _row("Distinct Servers", fields.get("servers", 0)),
        _row("Distinct Nodes", fields.get("nodes", 0)),
        "",
        *_table("Arch Types", snapshot.tables.get("arch", {}), _ARCH_NAMES),
        "",
        "",
        *_table("Channel Types", snapshot.tables.get("channel", {}), _CHANNEL_NAMES),
    ]
    return "\n".join(rows) + "\n"


def _table(title: str, counts: dict[str, int], names: dict[str, str]) -> list[str]:
    order = {name: place for place, name in enumerate(names)}
    values = sorted(counts, key=lambda each: (each == OTHER, order.get(each, len(order)), each))
    return [
        f"{title:>20}",
        "  " + "-" * 24,
        *(_row(names.get(value, value), counts[value]) for value in values),
    ]


def _row(name: str, count: int) -> str:
    return f"{name:>20}:{count:>5}"


class Reports:
    """The routes of the text reports."""

    def __init__(self, series: PublicSeries) -> None:
        self._series = series
        self._daily: tuple[str, str] = ("", "")

    def routes(self) -> list[web.RouteDef]:
        """`/reports/basic`, `/reports/daily`, and `/reports/dump`, which is gone."""
        return [
            web.get("/reports/basic", partial(self._show, basic_text)),
            web.get("/reports/daily", partial(self._show, self._all_days)),
            web.get("/reports/dump", self.dump),
        ]

    async def dump(self, _request: web.Request) -> web.Response:
        """410: the report showed which server runs which nodes."""
        return Refusal(
            Reason.GONE,
            "this report listed node numbers beside server identities; it is no longer made",
        ).response()

    async def _show(self, text: Callable[[Snapshot], str], _request: web.Request) -> web.Response:
        try:
            snapshot = await self._series.snapshot()
        except InfluxError:
            reason = "the series cannot be read now"
            return Refusal(Reason.UNAVAILABLE, reason, _RETRY_AFTER_S).response()
        return web.Response(
            text=await asyncio.to_thread(text, snapshot),
            content_type="text/plain",
            charset="utf-8",
            headers=age_headers(snapshot.as_of),
        )

    def _all_days(self, snapshot: Snapshot) -> str:
        made, text = self._daily
        if made != snapshot.revision:
            text = daily_text(snapshot.days)
            self._daily = (snapshot.revision, text)
        return text
