"""Reachability of the trunks that the operator named. Pure."""

from __future__ import annotations

from collections import defaultdict

from collector.asterisk_names import Names
from collector.intakes.series import Add
from collector.schema.ami import TRUNKS


class Trunks:
    """States of the endpoints of the operator's trunks; a trunk may have several."""

    def __init__(self, names: Names) -> None:
        self._trunks = names.trunks
        self._reachable: dict[str, bool] = {}

    def set(self, endpoint: str, *, is_reachable: bool | None) -> None:
        """Set whether an endpoint, such as `PJSIP/provider`, is reachable; None: unknown."""
        if endpoint not in self._trunks:
            return
        if is_reachable is None:
            self._reachable.pop(endpoint, None)
        else:
            self._reachable[endpoint] = is_reachable

    def lost(self) -> None:
        """Discard all states at the end of the connection."""
        self._reachable.clear()

    def flush(self, add: Add) -> None:
        """Add the points of a flush: a trunk is up while one of its endpoints is."""
        found: dict[str, list[bool]] = defaultdict(list)
        for endpoint, is_reachable in self._reachable.items():
            found[self._trunks[endpoint]].append(is_reachable)
        for trunk, endpoints in sorted(found.items()):
            add(TRUNKS.name, {"trunk": trunk}, {"up": int(any(endpoints))})
