"""Numbers of days that a day's published numbers look back. Needs no library, to load quickly."""

from __future__ import annotations

from typing import Final

PRESENCE_DAYS: Final = 31
"""Days that the window counts and upgrades of a day need: the day itself and the 30 before."""
HISTORY_DAYS: Final = 7
"""Days before an hour that its expected values are medians of."""
