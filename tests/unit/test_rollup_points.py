from __future__ import annotations

import json
import random
from datetime import UTC, datetime

import pytest

from collector.rollup.points import (
    Points,
    package_points,
    upgrade_points,
    upstream_version,
    usage_points,
)
from tests.days import One, day

TIME = 20_000 * 86_400 * 10**9
A, B, C = "asl3-1", "asl3-2", "asl3-3"


def packages(k: int, *servers: dict[str, str]) -> dict[str, dict[str, int]]:
    """`daily_packages` of servers with these packages: counts by package and version."""
    reports = [
        One((number,), server=number, packages=json.dumps(installed))
        for number, installed in enumerate(servers)
    ]
    found: dict[str, dict[str, int]] = {}
    for (time, tags), fields in package_points(day(*reports).tables, TIME, k=k, final=True).items():
        assert time == TIME
        named = dict(tags)
        assert fields.keys() == {"servers", "final"}
        found.setdefault(named["package"], {})[named["version"]] = int(fields["servers"])
    return found


def test_a_package_version_is_published_with_its_upstream_version() -> None:
    for version, upstream in {
        "2:3.6.0-1.deb12": "3.6.0",
        "1.14-1": "1.14",
        "2:22.4.1+asl3-3.5.0-1.deb12": "22.4.1+asl3-3.5.0",
        "3.6.0": "3.6.0",
        "1:3.1.0-2": "3.1.0",
        "a:b-1": "a:b",
        "-1": "-1",
        "1:": "1:",
        "other-1": "other-1",
        "1:N0ne-2": "1:N0ne-2",
        "none": "none",
        "other": "other",
    }.items():
        assert upstream_version(version) == upstream


def servers(*groups: tuple[int, dict[str, str]]) -> list[dict[str, str]]:
    return [installed for count, installed in groups for _ in range(count)]


def test_a_package_is_a_table_of_all_servers_with_none_for_those_without() -> None:
    found = packages(1, {"asl3": "1"}, {"asl3": "2"}, {}, {"asl3": "2", "allmon3": "1"})
    assert found == {
        "asl3": {"1": 1, "2": 2, "none": 1},
        "allmon3": {"1": 1, "none": 3},
    }


def test_a_package_that_every_server_has_has_no_row_of_none() -> None:
    assert packages(1, {"asl3": "1"}, {"asl3": "1"}) == {"asl3": {"1": 2}}


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        pytest.param([(5, {"p": "1"}), (5, {})], {"p": {"1": 5, "none": 5}}, id="all-shown"),
        pytest.param([(4, {"p": "1"}), (9, {})], {}, id="under-k-have-it"),
        pytest.param([(5, {"p": "1"}), (4, {"p": "2"}), (9, {})], {}, id="nothing-left-to-tell"),
        pytest.param(
            [(7, {"p": "1"}), (6, {"p": "2"}), (1, {"p": "3"}), (9, {})],
            {"p": {"1": 7, "none": 9, "other": 7}},
            id="the-smallest-hides-with-the-rare",
        ),
        pytest.param(
            [(9, {"p": "1"}), (8, {"p": "2"}), (3, {})],
            {"p": {"1": 9, "other": 11}},
            id="the-few-without-it-are-hidden",
        ),
        pytest.param([(3, {"p": "1"}), (3, {"p": "2"})], {}, id="only-rare-versions"),
        pytest.param(
            [(9, {"p": "1"}), (6, {"p": "other"}), (8, {})],
            {"p": {"1": 9, "none": 8, "other": 6}},
            id="a-version-called-other",
        ),
        pytest.param(
            [(9, {"p": "1"}), (6, {"p": "none"}), (8, {})],
            {"p": {"1": 9, "none": 8, "other": 6}},
            id="a-version-called-none",
        ),
    ],
)
def test_packages_under_a_k_of_five(
    groups: list[tuple[int, dict[str, str]]], expected: dict[str, dict[str, int]]
) -> None:
    assert packages(5, *servers(*groups)) == expected


def test_a_package_s_name_and_version_are_cleaned_and_an_empty_version_is_none() -> None:
    found = packages(1, {"a\nb": " 1\t2 ", "c": ""})
    assert found == {"a b": {"1 2": 1}}


def test_a_day_without_servers_has_no_packages() -> None:
    assert package_points(day().tables, TIME, k=1, final=True) == {}


def upgraded(k: int, moves: dict[tuple[str, str], int]) -> dict[tuple[str, str], int]:
    return {
        (dict(tags)["from_version"], dict(tags)["to_version"]): int(fields["nodes"])
        for (_, tags), fields in upgrade_points(moves, TIME, k=k, final=True).items()
    }


@pytest.mark.parametrize(
    ("moves", "expected"),
    [
        pytest.param({}, {}, id="nobody"),
        pytest.param({(A, B): 4}, {}, id="under-k-in-all"),
        pytest.param({(A, B): 2, (B, C): 3}, {("other", "other"): 5}, id="k-in-all"),
        pytest.param({(A, B): 5, (B, C): 9}, {(A, B): 5, (B, C): 9}, id="all-shown"),
        pytest.param(
            {(A, B): 6, (B, C): 9, (A, C): 1},
            {(B, C): 9, ("other", "other"): 7},
            id="the-smallest-hides-with-the-rare",
        ),
        pytest.param({(A, B): 9, (A, C): 1}, {("other", "other"): 10}, id="one-hides-the-other"),
    ],
)
def test_upgrades_under_a_k_of_five(
    moves: dict[tuple[str, str], int], expected: dict[tuple[str, str], int]
) -> None:
    assert upgraded(5, moves) == expected


def test_every_upgrade_is_shown_with_a_k_of_one() -> None:
    assert upgraded(1, {(A, B): 1, (B, A): 1}) == {(A, B): 1, (B, A): 1}


def values(points: Points, dimension: str) -> dict[str, int]:
    return {
        dict(tags)["value"]: int(fields["nodes"])
        for (_, tags), fields in points.items()
        if (dict(tags)["dimension"], dict(tags)["within"]) == (dimension, "all")
    }


@pytest.mark.parametrize(
    ("distro", "release", "label"),
    [
        ("Debian", "12", "Debian 12"),
        ("Debian", "", "Debian unknown"),
        ("", "12", "unknown 12"),
        ("", "", "unknown"),
        ("other", "12", "other"),
        ("Debian", "other", "other"),
    ],
)
def test_a_release_is_named_with_its_distribution(distro: str, release: str, label: str) -> None:
    facts = day(One((1,), distro=distro, release=release))
    _, nodes, _ = usage_points(facts.tables, TIME, k=1, final=True)
    assert values(nodes, "release") == {label: 1}


def test_an_unknown_version_is_no_version() -> None:
    facts = day(One((1,), asl="unknown", asterisk="18.9.0"), One((2,), asl="", asterisk=""))
    usage, _, _ = usage_points(facts.tables, TIME, k=1, final=True)
    fields = usage[TIME, ()]
    assert (fields["asterisk_versions"], fields["asl_versions"]) == (1, 0)


@pytest.mark.parametrize("final", [True, False])
def test_every_row_of_a_day_says_whether_the_day_is_complete(final: bool) -> None:
    facts = day(One((1,), packages='{"asl3": "1.3"}'))
    found = (
        *usage_points(facts.tables, TIME, k=1, final=final),
        package_points(facts.tables, TIME, k=1, final=final),
        upgrade_points({("asl3-1.2", "asl3-1.3"): 7}, TIME, k=1, final=final),
    )
    assert all(found)
    assert {fields["final"] for points in found for fields in points.values()} == {int(final)}


def test_a_day_of_silence_is_zeros_without_tables() -> None:
    usage, nodes, servers = usage_points(day().tables, TIME, k=5, final=False)
    assert set(usage[TIME, ()].values()) == {0}
    assert (nodes, servers) == ({}, {})


@pytest.mark.parametrize(
    ("days_after_sunday", "final", "weekly"),
    [(0, True, 2), (0, False, None), (1, True, None), (6, True, None), (7, True, 2)],
)
def test_count_is_told_again_on_sundays_that_are_complete(
    days_after_sunday: int, final: bool, weekly: int | None
) -> None:
    sunday = int(datetime(2026, 3, 29, tzinfo=UTC).timestamp()) * 10**9
    time = sunday + days_after_sunday * 86_400 * 10**9
    facts = day(*(One((number,), server=number, packages='{"p":"1"}') for number in (1, 2)))
    (packages,) = package_points(facts.tables, time, k=1, final=final).values()
    assert (packages["servers"], packages.get("weekly")) == (2, weekly)
    _, nodes, _ = usage_points(facts.tables, time, k=1, final=final)
    assert all(
        fields.get("weekly") == (fields["nodes"] if weekly else None) for fields in nodes.values()
    )


def test_tables_are_the_same_however_many_combinations_of_tags_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    chance = random.Random(7)
    reports = [
        One(
            (number,),
            server=number,
            asl=chance.choice((A, B, C)),
            distro=(distro := chance.choice(("Debian", "Ubuntu"))),
            release=f"{distro}-{chance.randrange(3)}",
            arch=chance.choice(("x86_64", "aarch64")),
            channel=chance.choice(("simpleusb", "voter")),
        )
        for number in range(300)
    ]
    tables = day(*reports).tables

    def points() -> tuple[Points, Points, Points]:
        return usage_points(tables, TIME, k=5, final=True)

    few = points()
    assert len(few[1]) > 100
    monkeypatch.setattr("collector.rollup.points._FEW", 0)
    assert points() == few
