"""One colour for one value, on every dashboard and in any company; `other` is grey."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from collector.schema import (
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    DISTRO,
    NONE,
    OTHER,
    REGISTRATION,
    RELEASE,
    UNKNOWN,
)
from tools.dashboards.model import Override

GREY: Final = "#6e7079"
PALE: Final = "#9fa3ad"

_RING: Final = (
    "#5794f2",
    "#ff9830",
    "#73bf69",
    "#b877d9",
    "#f2cc0c",
    "#37b5b6",
    "#f2495c",
    "#8ab8ff",
    "#c8f2c2",
    "#e0752d",
    "#a352cc",
    "#7eb26d",
)
# A value that is not named below has the colour of its last character.
_LAST: Final = ("0co", "1dp", "2eq", "3fr", "4gs", "5ht", "6iu", "7jv", "8kw", "9lx", "amy", "bnz")

_NAMED: Final = {
    ARCH.name: {
        "aarch64": "#5794f2",
        "x86_64": "#ff9830",
        "armv7l": "#73bf69",
        "armv6l": "#37b5b6",
        "i686": "#b877d9",
        "riscv64": "#f2cc0c",
    },
    DISTRO.name: {
        "Debian": "#d6455d",
        "Raspbian": "#b877d9",
        "Ubuntu": "#ff9830",
        "Linuxmint": "#73bf69",
        "Kali": "#5794f2",
        "Arch": "#37b5b6",
        "Gentoo": "#8ab8ff",
    },
    RELEASE.name: {
        "Debian 11": "#8c2f45",
        "Debian 12": "#d6455d",
        "Debian 13": "#ff9eb0",
        "Debian 14": "#ffd0d8",
        "Raspbian 11": "#7c2ea3",
        "Raspbian 12": "#b877d9",
        "Raspbian 13": "#deb6f2",
        "Ubuntu 20.04": "#b86200",
        "Ubuntu 22.04": "#ff9830",
        "Ubuntu 24.04": "#ffc06e",
        "Ubuntu 26.04": "#ffe0b8",
    },
    CHANNEL.name: {
        "simpleusb": "#5794f2",
        "usbradio": "#ff9830",
        "usrp": "#73bf69",
        "voter": "#b877d9",
        "dahdi": "#f2cc0c",
        "tlb": "#37b5b6",
        "beagle": "#8ab8ff",
        "pseudo": "#e0752d",
        "local": "#f2495c",
        "pciradio": "#c8f2c2",
    },
    REGISTRATION.name: {
        "http": "#5794f2",
        "iax": "#ff9830",
        "both": "#73bf69",
        NONE: "#f2cc0c",
    },
}
PACKAGE_VERSION: Final = "package_version"
"""The versions of a package, which is no dimension."""

# Of a version the minor number makes the colour, so that neighbours in time differ: in the first
# form as it is, in those after it turned and darker; lighter and darker again by what it ends in.
_VERSIONS: Final = {
    ASL_VERSION.name: (r"/^asl3-3\.{minor}/", r"/^asl\d*-[^3]\.{minor}/"),
    ASTERISK_VERSION.name: (r"/^22\.{minor}/", r"/^20\.{minor}/", r"/^(18|21|23)\.{minor}/"),
    PACKAGE_VERSION: (r"/^[\d:]*\d+\.{minor}/",),
}
_MINOR: Final = r"\d*{digit}(?!\d)"
_TINTS: Final = {
    ASL_VERSION.name: r".*\.\d*[13579]$",
    ASTERISK_VERSION.name: r".*\.\d*[13579]$",
    PACKAGE_VERSION: r".*deb13$",
}
_SHADES: Final = {PACKAGE_VERSION: r".*deb11$"}
_TURN: Final = 3
_DIGITS: Final = 10
_WHITE, _BLACK = 255, 0


def painted(name: str, colour: str) -> Override:
    """One series, by its name, in one colour."""
    return Override("byName", name, {"color": _fixed(colour)})


def colours(dimension: str = "") -> tuple[Override, ...]:
    """Overrides that paint each value of a dimension; the last that fits holds."""
    ring = [
        Override("byRegexp", f"/[{letters}]$/i", {"color": _fixed(colour)})
        for letters, colour in zip(_LAST, _RING, strict=True)
    ]
    ring += _of_versions(dimension)
    named = [painted(value, colour) for value, colour in _NAMED.get(dimension, {}).items()]
    return (*ring, *named, painted(UNKNOWN, PALE), painted(OTHER, GREY))


def _of_versions(dimension: str) -> Iterator[Override]:
    for turn, form in enumerate(_VERSIONS.get(dimension, ())):
        for digit in range(_DIGITS):
            colour = _RING[(digit + turn * _TURN) % _DIGITS]
            if turn:
                colour = _mixed(colour, _BLACK)
            minor = _MINOR.format(digit=digit)
            for ending, towards in (
                ("", None),
                (_TINTS[dimension], _WHITE),
                (_SHADES.get(dimension), _BLACK),
            ):
                if ending is not None:
                    pattern = form.format(minor=minor + ending)
                    shown = colour if towards is None else _mixed(colour, towards)
                    yield Override("byRegexp", pattern, {"color": _fixed(shown)})


def _mixed(colour: str, towards: int) -> str:
    """A colour `#rrggbb` moved by four tenths towards a grey, 0 black to 255 white."""
    parts = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    return "#" + "".join(f"{round(0.6 * part + 0.4 * towards):02x}" for part in parts)


def _fixed(colour: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": colour}
