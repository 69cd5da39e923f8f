"""Colours of the public dashboards, measured: contrast with both themes, and distance.

Distance is CIEDE2000, for normal vision and for three kinds of colour blindness as simulated by
Machado and others (2009). 10 is a plain difference side by side; the whole of a hue is some 30.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import combinations, pairwise
from random import Random

from coloraide import Color

from tools.dashboards.asked import COMMUNITY, LIBRENMS, OPS, Json, boards
from tools.dashboards.palette import GREY, PALE, PLAIN, RING
from tools.simulation.catalogue import RELEASES

PUBLIC = [*boards(COMMUNITY), *boards(LIBRENMS)]
THEMES = {"dark": "#181b1f", "light": "#ffffff"}
"""Backgrounds of Grafana's panels."""
LEAST_CONTRAST = 3.0
"""WCAG 2.1, 1.4.11: of graphics with what is next to them."""
LEAST = 8.8
"""Least distance of any two colours that a chart may show."""
LEAST_IN_RING = 18.0
"""Least distance of neighbours in the ring, which successive versions have."""

ASL = [
    "asl2-1.0",
    "asl2-1.1",
    "asl2-1.2",
    "asl2-1.3",
    "asl3-1.0",
    "asl3-1.1",
    "asl3-1.2",
    "asl3-1.3",
    "asl3-1.4",
    "asl3-2.0",
    "asl3-2.1",
    "asl3-3.0.0",
    "asl3-3.0.2",
    "asl3-3.0.4",
    "asl3-3.0.8",
    "asl3-3.1.0",
    "asl3-3.2.0",
    "asl3-3.3.0",
    "asl3-3.3.1",
    "asl3-3.4.0",
    "asl3-3.5.0",
    "asl3-3.5.1",
    "asl3-3.6.1",
    "asl3-3.7.0",
    "asl3-3.8.0",
    "asl3-3.8.3",
    "asl3-3.9.0",
    "asl3-4.0.0",
    "asl3-4.1.0",
]
"""Five years of AllStarLink versions, those in the field among them, in the order of release."""
ASTERISK = [
    "18.9.0",
    "20.3.0",
    "20.4.0",
    "20.5.0",
    "20.6.0",
    "20.7.0",
    "20.8.1",
    "20.9.2",
    "20.9.3",
    "20.10.0",
    "20.11.1",
    "22.0.0",
    "22.1.0",
    "22.1.1",
    "22.2.0",
    "22.3.0",
    "22.4.1",
    "22.5.0",
    "22.5.2",
    "22.6.0",
    "22.7.0",
    "23.0.0",
    "23.1.0",
]
PACKAGE = [
    "3.0.0",
    "3.0.2",
    "3.2.0",
    "3.4.6",
    "3.5.1",
    "3.6.0",
    "3.7.1",
    "3.8.0",
    "3.9.0",
    "3.10.0",
]


@cache
def seen(colour: str) -> tuple[Color, ...]:
    """A colour as people with normal vision and with the three kinds of blindness see it."""
    whole = Color(colour)
    return (
        whole,
        *(whole.filter(kind, method="machado") for kind in ("protan", "deutan", "tritan")),
    )


@cache
def distance(one: str, other: str) -> float:
    """The least distance of two colours among all kinds of vision."""
    return min(
        float(a.delta_e(b, method="2000")) for a, b in zip(seen(one), seen(other), strict=True)
    )


def colour_of(panel: Json, name: str) -> str:
    """The colour in which Grafana paints a series: of the last override that fits."""
    found = str(panel["fieldConfig"]["defaults"]["color"].get("fixedColor", ""))
    for override in panel["fieldConfig"]["overrides"]:
        matcher, options = override["matcher"]["id"], override["matcher"]["options"]
        if matcher == "byRegexp":
            pattern, flags = re.fullmatch(r"/(.*)/(i?)", options).groups()  # type: ignore[union-attr]
            fits = re.search(pattern, name, re.IGNORECASE if flags else 0) is not None
        else:
            fits = matcher == "byName" and options == name
        for each in override["properties"]:
            if fits and each["id"] == "color":
                found = each["value"]["fixedColor"]
    return found


def split(what: str) -> Iterator[Json]:
    """Panels that paint values of a property, each in its colour."""
    for board in boards(COMMUNITY):
        for panel in board["panels"]:
            if what in panel["title"] and len(panel["fieldConfig"]["overrides"]) > 5:
                yield panel


def test_any_two_colours_differ_for_everybody() -> None:
    for one, other in combinations((*RING, PLAIN, GREY, PALE), 2):
        assert distance(one, other) >= LEAST, (one, other)
    for one, other in pairwise((*RING, RING[0])):
        assert distance(one, other) >= LEAST_IN_RING, (one, other)


def test_every_colour_of_every_panel_stands_out_from_both_themes() -> None:
    measured = set()
    for board in boards(COMMUNITY):
        for panel in board["panels"]:
            defaults = panel.get("fieldConfig", {}).get("defaults", {})
            found = {defaults.get("color", {}).get("fixedColor")}
            found |= {step["color"] for step in defaults.get("thresholds", {}).get("steps", ())}
            for override in panel.get("fieldConfig", {}).get("overrides", ()):
                for each in override["properties"]:
                    if each["id"] == "color":
                        found.add(each["value"]["fixedColor"])
            # Grafana has text, and its blue, in a shade for each theme.
            for colour in found - {None, "text", "blue"}:
                measured.add(colour)
                for theme, background in THEMES.items():
                    contrast = Color(colour).contrast(background, method="wcag21")
                    assert contrast >= LEAST_CONTRAST, (panel["title"], colour, theme)
    assert len(measured) >= len(RING)


def test_versions_in_a_row_differ_over_five_years() -> None:
    for what, versions in (
        ("AllStarLink version", ASL),
        ("Asterisk version", ASTERISK),
        ("$package version", PACKAGE),
    ):
        panels = list(split(what))
        assert panels
        for panel in panels:
            painted = [colour_of(panel, version) for version in versions]
            assert set(painted) <= set(RING)
            for (old, a), (new, b) in pairwise(zip(versions, painted, strict=True)):
                assert distance(a, b) >= LEAST, (panel["title"], old, new)


def test_releases_of_the_simulated_fleet_differ_from_all_that_are_shown_beside_them() -> None:
    asl = [release.asl for release in RELEASES]
    asterisk = [release.asterisk for release in RELEASES]
    package = [release.asl3.rpartition("-")[0] for release in RELEASES]
    for what, versions in (
        ("AllStarLink version", asl),
        ("Asterisk version", asterisk),
        ("$package version", package),
    ):
        for panel in split(what):
            painted = {version: colour_of(panel, version) for version in versions}
            for one, other in combinations(versions, 2):
                assert distance(painted[one], painted[other]) >= LEAST, (one, other)


def test_families_with_the_same_number_differ() -> None:
    for panel in split("AllStarLink version"):
        for number in ("1.0", "1.2", "1.3", "2.0", "3.0.4"):
            one, other = (colour_of(panel, f"asl{family}-{number}") for family in (2, 3))
            assert distance(one, other) >= LEAST, number


def test_neighbours_in_a_stack_of_versions_differ_on_every_day_of_five_years() -> None:
    chance = Random(18)
    for what, versions, most in (
        ("AllStarLink version", ASL, 0.0),
        ("$package version", PACKAGE, 0.02),
        # 11 colours for over 20 versions of several branches at once.
        ("Asterisk version", ASTERISK, 0.01),
    ):
        same = days = 0
        panel = next(split(what))
        painted = {version: colour_of(panel, version) for version in versions}
        for day in range(0, 5 * 365, 3):
            order = by_size(versions, day, chance)
            for one, other in pairwise(order):
                days += 1
                same += distance(painted[one], painted[other]) < LEAST
        assert days > 900
        assert same <= days * most, f"{what}: {same} of {days}"


def by_size(versions: Sequence[str], day: int, chance: Random) -> list[str]:
    """The versions that a fleet runs on a day, greatest first.

    One comes out every so many days; each node takes the newest in half a year or so, and a few
    stay with what they have.
    """
    every = 5 * 365 / len(versions)
    sizes: dict[str, float] = {}
    left = 1.0
    for place in range(len(versions) - 1, -1, -1):
        age = day - place * every
        if age < 0:
            continue
        taken = left * (1 - 2 ** (-age / 60)) * 0.98
        sizes[versions[place]] = taken * chance.uniform(0.97, 1.03)
        left -= taken
    shown = [version for version, size in sizes.items() if size > 0.005]
    return sorted(shown, key=lambda version: -sizes[version])[:10]


def test_known_values_of_a_property_have_colours_of_their_own() -> None:
    for what, values in {
        "machine architecture": ("aarch64", "x86_64", "armv7l", "armv6l", "i686", "riscv64"),
        "distribution": ("Debian", "Raspbian", "Ubuntu", "Linuxmint", "Kali"),
        "channel driver": ("simpleusb", "usbradio", "usrp", "voter", "dahdi", "tlb", "local"),
        "registration": ("http", "iax", "both", "none"),
        "release": ("Debian 11", "Debian 12", "Debian 13", "Raspbian 12", "Ubuntu 24.04"),
    }.items():
        for panel in split(f"by {what}"):
            painted = [colour_of(panel, value) for value in (*values, "other")]
            for one, other in combinations(painted, 2):
                assert distance(one, other) >= LEAST, (panel["title"], one, other)


def test_the_rest_and_other_are_two_greys() -> None:
    for panel in split("Nodes by"):
        assert colour_of(panel, "other") == GREY
        for name in ("asl_version", "asl_version 7", "arch 12"):
            if (
                panel["type"] == "bargauge"
                or panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "percent"
            ):
                assert colour_of(panel, name) == PALE


def test_colours_of_the_operators_are_of_the_ring() -> None:
    seen: set[str] = set()
    for board in boards(OPS):
        for panel in board["panels"]:
            fields = panel.get("fieldConfig", {"overrides": []})
            for override in fields["overrides"]:
                for each in override["properties"]:
                    if each["id"] == "color":
                        seen.add(each["value"]["fixedColor"])
    assert seen <= {*RING, PALE}
    assert len(seen) > 7
