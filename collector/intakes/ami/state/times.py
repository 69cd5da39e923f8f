"""Time differences, and the certainty of a part of the state. Pure."""

from __future__ import annotations

from typing import Final

from collector.schema.live import UNCERTAIN

NS_PER_S: Final = 10**9


def since(then_ns: int, now_ns: int) -> int:
    """Time between two moments, in ns; 0 if the clock was set back between them."""
    return max(0, now_ns - then_ns)


class Knowledge:
    """Certainty of one part of the state: nothing is known, only changes, or all of it.

    All of it is known from the answer to its question on. If the question cannot be asked, only
    changes since the login are known, and the values are uncertain since then.
    """

    def __init__(self) -> None:
        self.is_known = False
        """Whether anything is known."""
        self.is_whole = False
        """Whether the question was answered in full during this connection."""
        self._since: int | None = None

    def complete(self) -> None:
        """Record that the question was answered in full."""
        self.is_whole = True
        self._since = None

    def asked(self, now_ns: int) -> None:
        """Record that all questions that can be answered are."""
        self.is_known = True
        if not self.is_whole and self._since is None:
            self._since = now_ns

    def lose(self, now_ns: int) -> None:
        """Record that the connection ended: nothing is known until the next login."""
        self.is_known = False
        self.is_whole = False
        if self._since is None:
            self._since = now_ns

    def fields(self, now_ns: int) -> dict[str, int]:
        """The field `uncertain`, in s, if the values may be wrong."""
        if self.is_whole or self._since is None:
            return {}
        return {UNCERTAIN: since(self._since, now_ns) // NS_PER_S}
