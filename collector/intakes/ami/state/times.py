"""Times in the state, and how certain a part of it is. Pure."""

from __future__ import annotations

from typing import Final

from collector.schema.live import UNCERTAIN

NS_PER_S: Final = 10**9


def since(then_ns: int, now_ns: int) -> int:
    """The time from one moment to another in ns; 0 where the clock was set back between."""
    return max(0, now_ns - then_ns)


class Knowledge:
    """How much is known of one part of the state: nothing, only changes, or all of it.

    All is known from an answer to a question on. Where a question cannot be asked, changes alone
    are known from the connection on, and the values are uncertain since then.
    """

    def __init__(self) -> None:
        self._is_connected = False
        self._is_whole = False
        self._since: int | None = None

    @property
    def is_known(self) -> bool:
        """Whether there is any value: the connection is there."""
        return self._is_connected

    @property
    def is_whole(self) -> bool:
        """Whether the question was answered in full since the connection is there."""
        return self._is_whole

    def complete(self) -> None:
        """A question was answered in full."""
        self._is_whole = True
        self._since = None

    def asked(self, now_ns: int) -> None:
        """All questions that can be answered are."""
        self._is_connected = True
        if not self._is_whole and self._since is None:
            self._since = now_ns

    def lose(self, now_ns: int) -> None:
        """The connection has ended: nothing is known until it is back."""
        self._is_connected = False
        self._is_whole = False
        if self._since is None:
            self._since = now_ns

    def fields(self, now_ns: int) -> dict[str, int]:
        """The field `uncertain`, in s, where the values may be wrong."""
        if self._is_whole or self._since is None:
            return {}
        return {UNCERTAIN: since(self._since, now_ns) // NS_PER_S}
