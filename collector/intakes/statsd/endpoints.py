"""Interprets changes of the number of endpoints: modules loaded or unloaded, and reloads. Pure.

Source: res_endpoint_stats.c. It adds all endpoints when it is loaded and subtracts all when it is
unloaded, and single ones in between. PJSIP endpoints that a reload deletes mostly stay.
"""

from __future__ import annotations

from enum import Enum, auto

from collector.intakes.statsd.starts import NS_PER_S, SET_GROWS_NS


class Finding(Enum):
    """The meaning of a change."""

    USUAL = auto()
    """The gauges are as certain as before."""
    NEW_SET = auto()
    """The first endpoint of a complete new set; no earlier endpoint is left."""
    UNCLEAR = auto()
    """A reload added it, and the endpoints that the reload deleted are unknown; or a start added as
    many as before its first zero, so that the earlier ones may not have been its own."""
    UNLOADED = auto()
    """Most endpoints left at once: changes are not sent until the module is loaded again."""


class EndpointSet:
    """The endpoints of one Asterisk as a set that modules add and remove."""

    def __init__(self) -> None:
        self._is_new = False
        self._is_clear = True
        self._grew = 0
        self._fell = 0
        self._fell_from = 0.0
        self._gone = 0
        self._was_certain = False
        # Endpoints that the last start added before its first zero, and after it.
        self._before = 0.0
        self._after = 0.0

    def started(self, now_ns: int, before: float, *, is_clear: bool) -> None:
        """Record a start of Asterisk that added `before` endpoints before its first zero.

        Unless `is_clear`, the complete set is expected at once or not at all.
        """
        self._is_new = before == 0
        self._is_clear = is_clear
        self._grew = now_ns
        self._before, self._after = before, 0.0

    def state_fell(self) -> None:
        """Record that an endpoint left a state: all modules are loaded, so the set is complete."""
        self._grew = 0

    def change(self, count: float, delta: float, now_ns: int, *, is_certain: bool) -> Finding:
        """The meaning of a change by `delta` of the number of all endpoints, `count` before it.

        `is_certain`: that number is known to be right.
        """
        if delta < 0:
            if now_ns - self._fell > NS_PER_S:
                self._fell_from, self._gone, self._was_certain = count, 0, is_certain
            self._fell = now_ns
            self._gone += 1
            # One that goes from an unknown number need not be the last.
            is_last = count + delta <= 0 and (self._gone > 1 or self._was_certain)
            self._is_new = self._is_clear = is_last
            return Finding.UNLOADED if count + delta <= self._fell_from / 2 else Finding.USUAL
        if self._is_new and (self._is_clear or now_ns - self._grew <= SET_GROWS_NS):
            self._is_new = False
            self._grew = now_ns
            self._before = 0.0
            return Finding.NEW_SET
        if now_ns - self._grew <= SET_GROWS_NS:
            self._grew = now_ns
            self._after += delta
            return Finding.UNCLEAR if 0 < self._before <= self._after else Finding.USUAL
        return Finding.UNCLEAR
