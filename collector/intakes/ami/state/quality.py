"""Speech quality, from the reports of RTP's control protocol (RTCP, RFC 3550). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from collector.asterisk_names import Names
from collector.intakes.ami.message import Message
from collector.intakes.ami.state.spread import Spread
from collector.intakes.series import Add
from collector.schema.ami import RTP

_FRACTION: Final = 256
"""Unit of the share of lost packets in a report, RFC 3550 section 6.4.1."""
_CLOCK: Final = 8000
"""Clock of the timestamps that the jitter is given in, in Hz: that of G.711 and most codecs."""
_MOST_JITTER: Final = 60 * _CLOCK
_MOST_RTT: Final = 60.0
_BEST_SCORE: Final = 100.0


@dataclass(slots=True)
class _Reports:
    count: int = 0
    loss: Spread = field(default_factory=Spread)
    jitter: Spread = field(default_factory=Spread)
    rtt: Spread = field(default_factory=Spread)
    mes: Spread = field(default_factory=Spread)


class Quality:
    """Speech quality of one Asterisk's calls, by direction and trunk."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._reports: dict[tuple[str, str], _Reports] = {}

    def received(self, message: Message, now_ns: int) -> None:
        """RTCPSent: Asterisk reports what it received."""
        self._take("received", message)

    def sent(self, message: Message, now_ns: int) -> None:
        """RTCPReceived: the far end reports what it received, and the round trip is known."""
        reports = self._take("sent", message)
        rtt = message.finite("RTT")
        # The round trip of a channel's first report is 0, since it answers no earlier report.
        if reports is not None and rtt is not None and 0 < rtt <= _MOST_RTT:
            reports.rtt.add(rtt)

    def _take(self, direction: str, message: Message) -> _Reports | None:
        lost = message.whole("Report0FractionLost")
        if lost is None or lost >= _FRACTION:
            # No packet has been received yet, so the report is empty.
            return None
        key = (direction, self._names.trunk(message.get("Channel")))
        reports = self._reports.setdefault(key, _Reports())
        reports.count += 1
        reports.loss.add(lost / _FRACTION)
        jitter = message.whole("Report0IAJitter")
        if jitter is not None and jitter <= _MOST_JITTER:
            reports.jitter.add(jitter / _CLOCK)
        score = message.finite("MES")
        if score is not None and 0 <= score <= _BEST_SCORE:
            reports.mes.add(score)
        return reports

    def flush(self, add: Add) -> None:
        """Add the points of a flush and reset the counts."""
        for (direction, trunk), reports in sorted(self._reports.items()):
            fields: dict[str, int | float] = {
                "reports": reports.count,
                **reports.loss.fields("loss"),
                **reports.jitter.fields("jitter"),
                **reports.rtt.fields("rtt"),
            }
            if reports.mes.count:
                fields["mes_p50"] = reports.mes.fields("mes")["mes_p50"]
                fields["mes_min"] = reports.mes.least
            add(RTP.name, {"direction": direction, "trunk": trunk}, fields)
        self._reports.clear()
