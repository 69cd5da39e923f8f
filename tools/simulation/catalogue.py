"""Software of simulated servers: releases, distributions and kernels, in order of time.

Ages are in days before the last day of the fleet, so that a fleet of any year develops alike.
Pure: no I/O, no clock, no globals that change.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Release:
    """A release of AllStarLink: versions published together, `age` days before the last day."""

    age: float
    asterisk: str
    asl: str
    asl3: str
    menu: str
    allmon3: str
    commits: tuple[str, ...]

    def version(self, suffix: str) -> str:
        """The version of the package, such as `20.7.0+asl3-1.3-1.deb12`."""
        return f"{self.asterisk}+{self.asl}-1{suffix}"

    def packages(self, suffix: str, extras: frozenset[str]) -> dict[str, str]:
        """Map package names to versions, in dpkg's order; `extras` are the optional ones."""
        every = {
            "allmon3": self.allmon3 + suffix,
            "asl-apt-repos": "1.4-1" + suffix,
            "asl3": self.asl3 + suffix,
            "asl3-asterisk": f"2:{self.version(suffix)}",
            "asl3-asterisk-dev": "",
            "asl3-menu": self.menu + suffix,
            "asl3-pi-appliance": "1.10.0-1" + suffix,
            "asl3-tts": "1.0.2-1" + suffix,
            "asl3-update-nodelist": "1.5.1-1" + suffix,
            "dahdi": "1:3.1.0-2",
            "dahdi-source": "",
        }
        return {
            name: version
            for name, version in every.items()
            if name not in OPTIONAL_PACKAGES or name in extras
        }


OPTIONAL_PACKAGES = {
    "allmon3": 0.7,
    "asl3-asterisk-dev": 0.5,
    "asl3-pi-appliance": 0.4,
    "asl3-tts": 0.15,
    "dahdi": 0.6,
    "dahdi-source": 0.5,
}
"""Fraction of servers that list each optional package; every server has the others."""

RELEASES = (
    Release(900, "20.7.0", "asl3-1.3", "3.0.0-3", "1.3-1", "1.2.1-2", ("0c6a1f9", "9d3e774")),
    Release(700, "20.9.2", "asl3-2.0", "3.0.2-1", "1.7-1", "1.3.0-1", ("a1b2c3d", "51f08be")),
    Release(540, "20.9.3", "asl3-3.0.4", "3.2.0-1", "1.9-1", "1.4.1-1", ("e07d5a2",)),
    Release(400, "20.11.1", "asl3-3.2.0", "3.4.6-1", "1.10-1", "1.4.2-1", ("77c4b10", "f3a9e68")),
    Release(270, "22.2.0", "asl3-3.3.0", "3.5.1-1", "1.11-1", "1.5.0-1", ("2b8d6f5",)),
    Release(150, "22.4.1", "asl3-3.5.0", "3.6.0-1", "1.13-1", "1.5.1-1", ("d94e1c3", "68a07fb")),
    Release(40, "22.5.2", "asl3-3.6.1", "3.7.1-1", "1.14-1", "1.6.0-1", ("b5f2093", "1ce84d7")),
)
"""Releases, oldest first; the newest is recent enough to spread during any ten days shown."""


def newest_release(age: float) -> int:
    """Index in RELEASES of the newest release at that age; 0 before the first."""
    out = (index for index, release in enumerate(RELEASES) if release.age >= age)
    return max(out, default=0)


@dataclass(frozen=True, slots=True)
class Platform:
    """A distribution on an architecture.

    `weight` is its relative frequency among new servers from `age` on, `suffix` the end of its
    packages' versions, `kernels` its kernels with their ages, oldest first.
    """

    weight: float
    distro: str
    release: str
    arch: str
    suffix: str
    kernels: tuple[tuple[float, str], ...]
    age: float = 10_000

    def kernel(self, age: float) -> str:
        """The newest kernel at that age; the oldest one before the first."""
        found = self.kernels[0][1]
        for since, name in self.kernels:
            if since >= age:
                found = name
        return found


def _kernels(pattern: str, *versions: str) -> tuple[tuple[float, str], ...]:
    # Distributions publish a notable kernel about three times a year.
    ages = range(120 * len(versions) - 65, 0, -120)
    return tuple((age, pattern.format(each)) for age, each in zip(ages, versions, strict=True))


_PI = ("6.6.31", "6.6.51", "6.6.74", "6.12.25", "6.12.47")
_BOOKWORM = ("6.1.0-21", "6.1.0-25", "6.1.0-31", "6.1.0-37", "6.1.0-40")
_TRIXIE = ("6.12.41", "6.12.48")

PLATFORMS = (
    Platform(46, "Debian", "12", "aarch64", ".deb12", _kernels("{}+rpt-rpi-v8", *_PI)),
    Platform(10, "Debian", "12", "aarch64", ".deb12", _kernels("{}+rpt-rpi-2712", *_PI)),
    Platform(3, "Debian", "12", "aarch64", ".deb12", _kernels("{}-arm64", *_BOOKWORM)),
    Platform(24, "Debian", "12", "x86_64", ".deb12", _kernels("{}-amd64", *_BOOKWORM)),
    Platform(0.5, "Debian", "12", "armv7l", ".deb12", _kernels("{}-armmp", *_BOOKWORM)),
    Platform(0.4, "Debian", "12", "i686", ".deb12", _kernels("{}-686-pae", *_BOOKWORM)),
    Platform(60, "Debian", "13", "aarch64", ".deb13", _kernels("{}+rpt-rpi-v8", *_TRIXIE), 140),
    Platform(25, "Debian", "13", "x86_64", ".deb13", _kernels("{}+deb13-amd64", *_TRIXIE), 140),
    Platform(5, "Raspbian", "12", "armv7l", ".deb12", _kernels("{}-v7+", "6.1.21", "6.6.51")),
    Platform(2, "Raspbian", "12", "aarch64", ".deb12", _kernels("{}+rpt-rpi-v8", *_PI)),
    Platform(1.5, "Raspbian", "11", "armv7l", ".deb11", _kernels("{}-v7l+", "5.15.84", "6.1.21")),
    Platform(
        2, "Ubuntu", "22.04", "x86_64", "", _kernels("5.15.0-{}-generic", "119", "130", "151")
    ),
    Platform(2.5, "Ubuntu", "24.04", "x86_64", "", _kernels("6.8.0-{}-generic", "38", "51", "79")),
    Platform(1, "Ubuntu", "24.04", "aarch64", "", _kernels("6.8.0-{}-raspi", "1017", "1036")),
)

RARE_PLATFORMS = (
    Platform(3, "Linuxmint", "22", "x86_64", "", _kernels("6.8.0-{}-generic", "51", "79")),
    Platform(2, "Kali", "2024.4", "aarch64", ".deb12", _kernels("{}-Re4son-v8l+", "5.15.44")),
    Platform(2, "Armbian", "25.8", "riscv64", ".deb13", _kernels("{}-riscv64", "6.12.10")),
    Platform(1, "Gentoo", "2.17", "x86_64", "", _kernels("{}-gentoo-dist", "6.6.62")),
    Platform(1, "Arch", "rolling", "x86_64", "", _kernels("{}-arch1-1", "6.12.4", "6.15.2")),
)
"""Platforms too rare to be published at any threshold; `weight` is a number of servers."""


def platforms_at(age: float) -> list[Platform]:
    """The platforms available to a new server at that age."""
    return [platform for platform in PLATFORMS if platform.age >= age]


def successor(platform: Platform) -> Platform | None:
    """The platform that an in-place upgrade of this one leads to; None if there is none."""
    for other in PLATFORMS:
        if (
            (platform.distro, platform.release) == ("Debian", "12")
            and (other.distro, other.release) == ("Debian", "13")
            and other.arch == platform.arch
        ):
            return other
    return None
