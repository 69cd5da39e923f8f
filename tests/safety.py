"""Checks of series published with a k against exact counts: correct, consistent, and safe."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import Any

from tests.oracle import CHANNELS, DAY, NODE_KEYS, SERVER_KEYS, Points, Series

REGISTERED = ("registered_http", "registered_iax", "unregistered")
WITHHELD = {*CHANNELS, "other_channels", *REGISTERED}
"""Fields of `daily_usage` that may be absent or differ from the exact count."""

ALONE = ("kernel", "uptime")
"""Dimensions of servers that are counted for the whole network only."""

Table = tuple[int, str, str, str]
"""A published table: time, dimension, within, within_value."""


def unsafe(found: Series, exact: Series, k: int) -> list[str]:
    """Describe each defect of the published series; an empty list if there is none."""
    wrong = [*_usage(found, exact, k)]
    if found["hourly_usage"] != exact["hourly_usage"]:
        wrong.append("hourly_usage is not exact")
    for measurement, unit, keys in (
        ("daily_nodes", "nodes", NODE_KEYS),
        ("daily_servers", "servers", SERVER_KEYS),
    ):
        totals = {time: fields[unit] for (time, _), fields in exact["daily_usage"].items()}
        wrong += _cells(found[measurement], exact[measurement], unit, k, totals)
        wrong += _tables(found[measurement], unit, keys, totals, k)
    wrong += _packages(found, exact, k)
    wrong += _upgrades(found, exact, k)
    return wrong


def _usage(found: Series, exact: Series, k: int) -> Iterator[str]:
    if found["daily_usage"].keys() != exact["daily_usage"].keys():
        yield "daily_usage has other days"
        return
    published = {
        (time, dict(tags)["value"]): fields["nodes"]
        for (time, tags), fields in found["daily_nodes"].items()
        if dict(tags)["dimension"] == "channel" and dict(tags)["within"] == "all"
    }
    known: dict[int, int] = defaultdict(int)
    for (time, tags), fields in exact["daily_servers"].items():
        if dict(tags)["dimension"] == "uptime" and dict(tags)["value"] != "unknown":
            known[time] += fields["servers"]
    for (time, _), whole in exact["daily_usage"].items():
        day = found["daily_usage"][time, ()]
        for name in whole.keys() | day:
            if name == "other_channels":
                expected: Any = whole["nodes"] - sum(day.get(channel, 0) for channel in CHANNELS)
            elif name == "uptime_median" and known[time] < k:
                expected = None
            elif name in WITHHELD and name not in day:
                # A channel that is published cannot be withheld.
                expected = None if (time, name) not in published else whole[name]
            else:
                expected = whole.get(name)
            if day.get(name) != expected:
                yield f"daily_usage of {time // DAY}: {name} is {day.get(name)}, not {expected}"


def _cells(
    found: Points, exact: Points, unit: str, k: int, totals: dict[int, int]
) -> Iterator[str]:
    for (time, tags), fields in found.items():
        count, named = fields[unit], dict(tags)
        if count < k and totals[time] >= k:
            yield f"{unit} of {time // DAY}: {named} has {count}"
        if named["value"] != "other" and fields != exact.get((time, tags)):
            yield f"{unit} of {time // DAY}: {named} is {count}, not {exact.get((time, tags))}"
        if named["value"] != "other" and count < k:
            yield f"{unit} of {time // DAY}: {named} is shown for {count}"


def _tables(
    found: Points, unit: str, keys: tuple[str, ...], totals: dict[int, int], k: int
) -> Iterator[str]:
    sums: dict[Table, int] = defaultdict(int)
    for (time, tags), fields in found.items():
        named = dict(tags)
        sums[time, named["dimension"], named["within"], named["within_value"]] += fields[unit]
    expected: dict[Table, int] = {
        (time, dimension, "all", "all"): total
        for time, total in totals.items()
        if total
        for dimension in (*keys, *(ALONE if unit == "servers" else ()))
    }
    for (time, tags), fields in found.items():
        named = dict(tags)
        # With k = 1 nothing is suppressed, and a sender's `other` is a value like any.
        crossed = named["within"] == "all" and named["dimension"] not in ALONE
        if crossed and (k == 1 or named["value"] != "other"):
            for other in keys:
                if other != named["dimension"] and {other, named["dimension"]} != {
                    "distro",
                    "release",
                }:
                    table = (time, other, named["dimension"], named["value"])
                    expected[table] = fields[unit]
    for name in sums.keys() | expected:
        if sums.get(name) != expected.get(name):
            yield f"{unit}: table {name} sums to {sums.get(name)}, not {expected.get(name)}"


def _packages(found: Series, exact: Series, k: int) -> Iterator[str]:
    whole, shown = (_by_package(series["daily_packages"]) for series in (exact, found))
    for name, versions in shown.items():
        time, package = name
        servers = exact["daily_usage"][time, ()]["servers"]
        if sum(versions.values()) != servers:
            yield f"{package} of {time // DAY} sums to {sum(versions.values())}, not {servers}"
        if servers - whole[name].get("none", 0) < k:
            yield f"{package} of {time // DAY} is named for under {k} servers"
        for version, count in versions.items():
            if count < k or (version != "other" and count != whole[name].get(version)):
                yield f"{package} {version} of {time // DAY} is {count}"
    for name, versions in whole.items():
        if min(versions.values()) >= k and shown.get(name) != versions:
            yield f"{name} needs no suppression and is {shown.get(name)}, not {versions}"


def _by_package(points: Points) -> dict[tuple[int, str], dict[str, int]]:
    packages: dict[tuple[int, str], dict[str, int]] = defaultdict(dict)
    for (time, tags), fields in points.items():
        packages[time, dict(tags)["package"]][dict(tags)["version"]] = fields["servers"]
    return packages


def _upgrades(found: Series, exact: Series, k: int) -> Iterator[str]:
    totals: dict[int, int] = defaultdict(int)
    sums: dict[int, int] = defaultdict(int)
    for (time, _), fields in exact["daily_upgrades"].items():
        totals[time] += fields["nodes"]
    for (time, tags), fields in found["daily_upgrades"].items():
        sums[time] += fields["nodes"]
        hidden = set(dict(tags).values()) == {"other"}
        if fields["nodes"] < k or (
            not hidden and fields != exact["daily_upgrades"].get((time, tags))
        ):
            yield f"upgrades of {time // DAY}: {dict(tags)} is {fields}"
    for time in totals.keys() | sums:
        expected = totals[time] if totals[time] >= k else 0
        if sums[time] != expected:
            yield f"upgrades of {time // DAY} sum to {sums[time]}, not {expected}"
