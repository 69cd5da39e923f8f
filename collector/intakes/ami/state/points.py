"""Type of the function by which the parts of the state add their points. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping

Add = Callable[[str, Mapping[str, str], Mapping[str, int | float | str]], None]
"""Adds a point: measurement, tags without `asterisk`, fields."""
