"""Overrides that paint values in their colours (`tools.dashboards.palette`)."""

from __future__ import annotations

from typing import Final

from collector.schema import (
    ARCH,
    ASL_VERSION,
    ASTERISK_VERSION,
    CHANNEL,
    DISTRO,
    KERNEL,
    NONE,
    OTHER,
    REGISTRATION,
    RELEASE,
    UNKNOWN,
    UPTIME,
    UPTIMES,
)
from tools.dashboards.model import Override
from tools.dashboards.palette import GREY, PALE, PLAIN, Versions, by_last_character, one_each

PACKAGE_VERSION: Final = "package_version"
"""The versions of a package, which is no dimension."""
REST: Final = "smaller ones"
"""Series of the named values for which a chart has no room."""

_KERNELS: Final = (
    *("6.12", "6.6", "6.1", "6.8", "5.15", "6.17"),
    *("5.10", "6.18", "4.19", "6.14", "5.4"),
)
"""Series of the kernels that Debian, Raspberry Pi OS and Ubuntu ship."""
_NAMED: Final = {
    ARCH.name: one_each("aarch64", "x86_64", "armv7l", "armv6l", "i686", "riscv64", "i386"),
    DISTRO.name: one_each(
        "Debian", "Ubuntu", "Raspbian", "Linuxmint", "Kali", "Arch", "Gentoo", "Fedora", "CentOS"
    ),
    RELEASE.name: one_each(
        "Debian 12",
        "Ubuntu 22.04",
        "Debian 13",
        "Raspbian 12",
        "Debian 11",
        "Ubuntu 24.04",
        "Raspbian 11",
        "Debian 10",
        "Ubuntu 20.04",
        "Raspbian 13",
        "Ubuntu 26.04",
    ),
    CHANNEL.name: one_each(
        "simpleusb",
        "usbradio",
        "usrp",
        "voter",
        "dahdi",
        "tlb",
        "local",
        "beagle",
        "pseudo",
        "pciradio",
        "echolink",
    ),
    REGISTRATION.name: one_each("http", "iax", "both"),
    UPTIME: one_each(*UPTIMES),
    KERNEL: one_each(*(f"Linux {series}" for series in _KERNELS)),
    # No release, like `unknown`.
    ASTERISK_VERSION.name: dict.fromkeys(("GIT", "SVN"), PLAIN),
}
_VERSIONS: Final = {
    ASL_VERSION.name: (
        Versions("asl3-", range(7), major=5, patch=5, family=4),
        Versions(r"asl[^3]?-", range(7), major=5, patch=5, family=10),
    ),
    ASTERISK_VERSION.name: (Versions("", range(10, 32), major=0, patch=8),),
    PACKAGE_VERSION: (Versions("", range(31), major=1, patch=2, patches=10),),
}


def painted(name: str, colour: str) -> Override:
    """One series, by its name, in one colour."""
    return Override("byName", name, {"color": _fixed(colour)})


def colours(dimension: str = "") -> tuple[Override, ...]:
    """Overrides that paint each value of a dimension; the last that fits holds."""
    found = list(by_last_character())
    for versions in _VERSIONS.get(dimension, ()):
        found += versions.patterns()
    by_form = (
        Override("byRegexp", pattern, {"color": _fixed(colour)}) for pattern, colour in found
    )
    named = (painted(value, colour) for value, colour in _NAMED.get(dimension, {}).items())
    return (
        *by_form,
        *named,
        painted(UNKNOWN, PLAIN),
        painted(NONE, PLAIN),
        painted(REST, PALE),
        painted(OTHER, GREY),
    )


def _fixed(colour: str) -> dict[str, str]:
    return {"mode": "fixed", "fixedColor": colour}
