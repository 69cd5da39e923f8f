"""Colours of values: one value has one colour, on every dashboard and in any company. Pure.

Any two colours of `RING`, `PLAIN` and the greys differ by at least 8.8 (CIEDE2000) for normal
vision and under simulated protanopia, deuteranopia and tritanopia; neighbours in the ring differ by
at least 18. Each has a contrast (WCAG 2.1) of at least 3 with the panels of both themes. A test
measures this on every panel.

Versions go round the ring in the order of their minor numbers, so that successive releases differ;
major, patch and family (`asl2`, `asl3`) turn the ring further.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

RING: Final = (
    "#0096ff",
    "#f05a69",
    "#1e7887",
    "#e10000",
    "#005aff",
    "#c32d69",
    "#c38700",
    "#a53cb4",
    "#3ca578",
    "#a587b4",
    "#4b780f",
)
PLAIN: Final = "#87784b"
"""Colour of `unknown`, and of what is not there."""
GREY: Final = "#696969"
"""Colour of `other`: values that too few have."""
PALE: Final = "#878787"
"""Colour of named values that a chart sums up for want of room."""

_SIZE: Final = len(RING)
_MOST_MINOR: Final = 4 * _SIZE
_LETTERS: Final = "0123456789abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True, slots=True)
class Versions:
    """The place in the ring of versions `PREFIX MAJOR.MINOR[.PATCH]`, followed by no digit.

    A place is the sum of the minor number, `family`, `major` times the major number, and `patch`
    times the remainder of the patch number by `patches` (5 or 10); without one it is 0. `majors`
    are those that have places of their own.
    """

    prefix: str
    majors: range
    major: int
    patch: int
    family: int = 0
    patches: int = 5

    def patterns(self) -> Iterator[tuple[str, str]]:
        """A regular expression (JavaScript's and Python's) for each colour of the ring, and it."""
        for place, colour in enumerate(RING):
            ways = []
            for turn in range(_SIZE):
                majors = [each for each in self.majors if each * self.major % _SIZE == turn]
                if not majors:
                    continue
                patches = (
                    f"{_numbers((place - turn - self.family - self.patch * patch) % _SIZE)}{text}"
                    for patch, text in enumerate(self._patches())
                )
                ways.append(f"{_any(majors)}\\.({'|'.join(patches)})")
            yield f"/^{self.prefix}({'|'.join(ways)})(?![\\d.])/", colour

    def _patches(self) -> Iterator[str]:
        """A regular expression for the patch numbers of each remainder."""
        for remainder in range(self.patches):
            last = "".join(str(digit) for digit in range(remainder, 10, self.patches))
            yield rf"\.\d*[{last}]" if remainder else rf"(\.\d*[{last}])?"


def _numbers(remainder: int) -> str:
    """A regular expression for the minor numbers with this remainder."""
    return _any(range(remainder, _MOST_MINOR, _SIZE))


def _any(numbers: range | list[int]) -> str:
    return f"({'|'.join(map(str, numbers))})"


def by_last_character() -> Iterator[tuple[str, str]]:
    """A regular expression for each colour: all values that end alike have one colour."""
    for place, colour in enumerate(RING):
        letters = "".join(_LETTERS[place::_SIZE])
        yield f"/[{letters}]$/i", colour


def one_each(*values: str) -> dict[str, str]:
    """The colours of known values, in the order of the ring; ValueError if they are too many."""
    if len(values) > _SIZE:
        raise ValueError(f"{len(values)} values for {_SIZE} colours")
    return dict(zip(values, RING, strict=False))
