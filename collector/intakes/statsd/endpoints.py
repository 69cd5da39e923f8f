"""Changes of the number of endpoints: what they tell of Asterisk's modules and reloads. Pure.

Source: res_endpoint_stats.c. It adds all endpoints when it is loaded, takes all away when it is
unloaded, and single ones as they come and go; but PJSIP's that a reload deletes mostly stay.
"""

from __future__ import annotations

from enum import Enum, auto

from collector.intakes.statsd.starts import NS_PER_S, SET_GROWS_NS


class Finding(Enum):
    """The meaning of a change."""

    USUAL = auto()
    """The gauges are as right as before."""
    NEW_SET = auto()
    """The first of a whole new set: nothing is left of earlier ones."""
    RELOADED = auto()
    """A reload has added it, and nothing tells which ones the reload has deleted."""
    UNLOADED = auto()
    """Most went at once: nobody counts until the module is loaded again."""


class EndpointSet:
    """The endpoints of one Asterisk as a set that modules add and take away."""

    def __init__(self) -> None:
        self._is_new = False
        self._grew = 0
        self._fell = 0
        self._fell_from = 0.0

    def started(self, now_ns: int, *, is_there: bool) -> None:
        """Asterisk has started; `is_there`: it has already added its endpoints."""
        self._is_new = not is_there
        self._grew = now_ns

    def state_fell(self) -> None:
        """An endpoint has left a state: all modules are loaded, so the set is complete."""
        self._grew = 0

    def change(self, count: float, delta: float, now_ns: int) -> Finding:
        """The meaning of a change of the number of all endpoints, `count` before it."""
        if delta < 0:
            if now_ns - self._fell > NS_PER_S:
                self._fell_from = count
            self._fell = now_ns
            self._is_new = count + delta <= 0
            return Finding.UNLOADED if count + delta <= self._fell_from / 2 else Finding.USUAL
        if self._is_new:
            self._is_new = False
            self._grew = now_ns
            return Finding.NEW_SET
        if now_ns - self._grew <= SET_GROWS_NS:
            self._grew = now_ns
            return Finding.USUAL
        return Finding.RELOADED
