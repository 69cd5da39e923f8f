"""Colours by what they mean: those of the palette's ring, so that they differ for everybody."""

from __future__ import annotations

from typing import Final

from tools.dashboards.palette import PALE

GREEN: Final = "#3ca578"
RED: Final = "#e10000"
ORANGE: Final = "#c38700"
BLUE: Final = "#0096ff"
DARK_BLUE: Final = "#005aff"
PURPLE: Final = "#a53cb4"
MAUVE: Final = "#a587b4"
TEAL: Final = "#1e7887"
GREY: Final = PALE
"""What is neither good nor wrong."""
