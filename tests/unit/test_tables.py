from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import astuple
from itertools import combinations
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.rollup.tables import Cell, TableInput, published_tables, usage_counts
from collector.schema import ALL, CHANNEL_FIELDS, CONTAINED, NODE_DIMENSIONS, OTHER
from tests.length import seeds

K = TypeVar("K")
V = TypeVar("V")
Unit = dict[str, str]
Counts = dict[str, dict[str, int]]
Crossed = dict[tuple[str, str], dict[tuple[str, str], int]]
Table = tuple[str, str, str]
"""A dimension, and the value of another one that it is counted within."""
Line = tuple[str, str, str, str]
"""The dimension, value, within and within_value of the count that the cells are a part of."""

REGISTRATIONS = ("http", "iax", "both", "none")
RELEASES = ("Debian 12", "Debian 11", "Debian 13", "Raspbian 12", "Raspbian 11", "Arch rolling")


def day_of(units: list[Unit], dimensions: tuple[str, ...] = NODE_DIMENSIONS) -> TableInput:
    return TableInput(
        {d: Counter(unit[d] for unit in units) for d in dimensions},
        {
            (d, e): Counter((unit[d], unit[e]) for unit in units)
            for d, e in combinations(dimensions, 2)
            if CONTAINED.get(d) != e and CONTAINED.get(e) != d
        },
        {unit["release"]: unit["distro"] for unit in units if unit["release"] != OTHER},
    )


def shuffled(mapping: Mapping[K, V], shuffle: random.Random) -> dict[K, V]:
    items = list(mapping.items())
    shuffle.shuffle(items)
    return dict(items)


def shuffled_day(day: TableInput, shuffle: random.Random) -> TableInput:
    """The same day, each mapping in another order and some pairs the other way round."""
    two_way: dict[tuple[str, str], dict[tuple[str, str], int]] = {}
    for (d, e), cells in shuffled(day.two_way, shuffle).items():
        if shuffle.random() < 0.5:
            two_way[d, e] = shuffled(cells, shuffle)
        else:
            two_way[e, d] = shuffled({(w, v): n for (v, w), n in cells.items()}, shuffle)
    one_way = {d: shuffled(n, shuffle) for d, n in shuffled(day.one_way, shuffle).items()}
    return TableInput(one_way, two_way, shuffled(day.parents, shuffle))


@st.composite
def units(draw: st.DrawFn) -> list[Unit]:
    """A small network, skewed so that counts lie about k; `other` is what a tag budget leaves."""
    few = st.sampled_from(("a", "a", "a", "a", "b", "b", "c", "d", OTHER))
    made: list[Unit] = []
    for _ in range(draw(st.integers(0, 12))):
        release = draw(st.sampled_from((*RELEASES, "Debian 12", "Debian 12", OTHER)))
        distro = (
            draw(st.sampled_from(("Debian", OTHER))) if release == OTHER else release.split()[0]
        )
        unit = {
            "asl_version": draw(few),
            "arch": draw(few),
            "distro": distro,
            "release": release,
            "channel": draw(st.sampled_from((*CHANNEL_FIELDS, "usrp", OTHER))),
            "registration": draw(st.sampled_from(REGISTRATIONS)),
        }
        made += [unit] * draw(st.sampled_from((1, 1, 2, 3, 4, 5, 9, 30)))
    return made


SMALL = ("asl_version", "arch", "distro", "release", "channel", "registration")
LEAST = st.integers(2, 6)


def tables_of(cells: list[Cell]) -> dict[Table, dict[str, int]]:
    tables: dict[Table, dict[str, int]] = {}
    for cell in cells:
        table = tables.setdefault((cell.dimension, cell.within, cell.within_value), {})
        assert cell.value not in table
        table[cell.value] = cell.count
    return tables


def differences(day: TableInput, cells: list[Cell]) -> Iterator[tuple[int, str]]:
    """Each difference of published counts that a table or a container invites a reader to take."""
    tables = tables_of(cells)
    for (dimension, within, within_value), table in tables.items():
        if dimension != "distro":
            continue
        inside = tables.get(("release", within, within_value), {})
        for distro, count in table.items():
            if distro != OTHER:
                shown = sum(n for r, n in inside.items() if day.parents.get(r) == distro)
                yield count - shown, f"{distro} {within} {within_value}"
    for (dimension, within, _), table in tables.items():
        if within == ALL:
            continue
        for value in table.keys() - {OTHER}:
            across = tables[within, dimension, value]
            shown = sum(
                t.get(value, 0) for (d, w, _), t in tables.items() if (d, w) == (dimension, within)
            )
            assert shown == sum(n for v, n in across.items() if v != OTHER)
            yield tables[dimension, ALL, ALL][value] - shown, f"{dimension} {value} over {within}"


@given(units(), LEAST)
def test_every_published_count_and_loss_is_of_at_least_k(made: list[Unit], k: int) -> None:
    for cell in published_tables(day_of(made, SMALL), k):
        assert cell.count >= k or (cell.value == OTHER and cell.count == len(made))


@given(units(), LEAST)
def test_every_table_sums_to_the_number_that_it_is_a_part_of(made: list[Unit], k: int) -> None:
    tables = tables_of(published_tables(day_of(made, SMALL), k))
    for (_, within, within_value), table in tables.items():
        whole = len(made) if within == ALL else tables[within, ALL, ALL][within_value]
        assert sum(table.values()) == whole


@given(units(), LEAST)
def test_every_published_value_is_split_by_every_other_dimension(made: list[Unit], k: int) -> None:
    day = day_of(made, SMALL)
    tables = tables_of(published_tables(day, k))
    wanted = {(d, ALL, ALL) for d in SMALL} if made else set()
    for d in SMALL if made else ():
        for e in SMALL:
            if (d, e) in day.two_way or (e, d) in day.two_way:
                wanted |= {(d, e, w) for w in tables[e, ALL, ALL] if w != OTHER}
    assert tables.keys() == wanted


@given(units(), LEAST)
def test_no_container_and_no_line_gives_away_fewer_than_k(made: list[Unit], k: int) -> None:
    day = day_of(made, SMALL)
    for difference, name in differences(day, published_tables(day, k)):
        assert difference == 0 or difference >= k, name


@given(units(), LEAST)
def test_counts_are_true_and_the_same_in_both_directions(made: list[Unit], k: int) -> None:
    day = day_of(made, SMALL)
    cells = [cell for cell in published_tables(day, k) if cell.value != OTHER]
    counts = {
        (cell.dimension, cell.value, cell.within, cell.within_value): cell.count for cell in cells
    }
    for (dimension, value, within, within_value), count in counts.items():
        if within == ALL:
            assert count == day.one_way[dimension][value]
        else:
            assert count == counts[within, within_value, dimension, value]
            assert count == sum(u[dimension] == value and u[within] == within_value for u in made)


@given(units(), LEAST)
def test_a_contained_value_is_published_only_where_its_container_is(
    made: list[Unit], k: int
) -> None:
    day = day_of(made, SMALL)
    tables = tables_of(published_tables(day, k))
    for (dimension, within, within_value), table in tables.items():
        if dimension == "release":
            containers = {day.parents[release] for release in table.keys() - {OTHER}}
            assert containers <= tables["distro", within, within_value].keys()


@given(units())
def test_with_k_1_everything_is_published_as_it_was_counted(made: list[Unit]) -> None:
    day = day_of(made, SMALL)
    wanted = [
        Cell(d, v, ALL, ALL, n) for d, counts in day.one_way.items() for v, n in counts.items()
    ]
    for (d, e), cells in day.two_way.items():
        wanted += [Cell(d, v, e, w, n) for (v, w), n in cells.items()]
        wanted += [Cell(e, w, d, v, n) for (v, w), n in cells.items()]

    assert published_tables(day, 1) == sorted(wanted, key=astuple)


@given(units(), LEAST, st.randoms(use_true_random=False))
def test_tables_are_the_same_for_any_order_of_the_input(
    made: list[Unit], k: int, shuffle: random.Random
) -> None:
    day = day_of(made, SMALL)

    assert published_tables(day, k) == published_tables(shuffled_day(day, shuffle), k)


def hidden_by_tables(day: TableInput, cells: list[Cell]) -> dict[tuple[str, str], int]:
    """Units in OTHER of each pair of dimensions."""
    hidden = dict.fromkeys(day.two_way, 0)
    for cell in cells:
        if (cell.within, cell.dimension) in hidden and cell.value != OTHER:
            hidden[cell.within, cell.dimension] -= cell.count
    total = sum(day.one_way["arch"].values())
    return {pair: total + minus for pair, minus in hidden.items()}


def hidden_one_cell_at_a_time(
    day: TableInput, cells: list[Cell], k: int
) -> dict[tuple[str, str], int]:
    """The same where the smallest cell of any line that is not safe is hidden until all are.

    Which values may appear, and which cells of the containers, is taken from `cells`.
    """
    published = {
        (c.dimension, c.value, c.within, c.within_value): c.count for c in cells if c.value != OTHER
    }

    def line_of(dimension: str, value: str, crossing: str, crossing_value: str) -> Line:
        if crossing in CONTAINED:
            return CONTAINED[crossing], day.parents[crossing_value], dimension, value
        return dimension, value, ALL, ALL

    hidden: dict[tuple[str, str], int] = {}
    for (d, e), counts in day.two_way.items():
        left: dict[tuple[Line, Line], int] = {}
        for (v, w), n in sorted(counts.items()):
            if (d, v, ALL, ALL) in published and (e, w, ALL, ALL) in published and n >= k:
                lines = line_of(d, v, e, w), line_of(e, w, d, v)
                if all(line in published for line in lines):
                    left[lines] = n
        while smallest := next(unsafe_lines(left, published, k), None):
            del left[smallest]
        hidden[d, e] = sum(counts.values()) - sum(left.values())
    return hidden


def unsafe_lines(
    left: dict[tuple[Line, Line], int], totals: dict[Line, int], k: int
) -> Iterator[tuple[Line, Line]]:
    """The smallest cell of each line whose loss is 1..k-1."""
    for line in sorted({line for lines in left for line in lines}):
        counts = sorted((n, lines) for lines, n in left.items() if line in lines)
        if 0 < totals[line] - sum(n for n, _ in counts) < k:
            yield counts[0][1]


@given(units(), LEAST)
def test_no_table_hides_half_as_many_units_again_as_one_cell_at_a_time_does(
    made: list[Unit], k: int
) -> None:
    day = day_of(made, SMALL)
    cells = published_tables(day, k)
    hidden, plain = hidden_by_tables(day, cells), hidden_one_cell_at_a_time(day, cells, k)

    assert all(hidden[pair] <= 1.5 * plain[pair] for pair in day.two_way)


def fleet(seed: int, nodes: int = 8000) -> list[Unit]:
    """A believable network: servers of 1 to 8 nodes, few versions with most of them."""
    chance = random.Random(seed)

    def pick(**shares: float) -> str:
        return chance.choices(list(shares), list(shares.values()))[0]

    asterisk = [f"{20 + n // 8}.{n % 8}.{n % 3}" for n in range(13)]
    versions = [
        (f"asl3-{1 + n // 4}.{n % 4}-{part}", version)
        for n, version in enumerate(asterisk)
        for part in range(chance.choice((1, 1, 2, 3)))
    ]
    chance.shuffle(versions)
    skew = [1 / (rank + 1) ** 1.5 for rank in range(len(versions))]
    made: list[Unit] = []
    while len(made) < nodes:
        asl_version, asterisk_version = chance.choices(versions, skew)[0]
        if chance.random() < 0.01:
            own_builds = (*(f"GIT-master-{n:07x}" for n in range(9)), asterisk[2], asterisk[9])
            asl_version, asterisk_version = "unknown", chance.choice(own_builds)
        arch = pick(aarch64=0.6, x86_64=0.33, armv7l=0.065, i686=0.005)
        shares = (
            (0.1, 0, 0, 0.7, 0.2, 0) if arch == "armv7l" else (0.78, 0.05, 0.06, 0.05, 0.01, 0.05)
        )
        release = chance.choices(RELEASES, shares)[0]
        server = {
            "asterisk_version": asterisk_version,
            "asl_version": asl_version,
            "distro": release.split()[0],
            "release": release,
            "arch": arch,
        }
        made += [
            server
            | {
                "channel": pick(
                    simpleusb=0.62, usbradio=0.25, dahdi=0.04, voter=0.02, usrp=0.06, unknown=0.01
                ),
                "registration": pick(http=0.82, iax=0.14, both=0.002, none=0.038),
            }
            for _ in range(chance.choices((1, 2, 3, 5, 8), (0.7, 0.2, 0.06, 0.03, 0.01))[0])
        ]
    return made[:nodes]


@pytest.mark.parametrize("seed", seeds(2, 20))
def test_of_8000_nodes_whole_tables_lose_2_in_100_at_most_and_filtered_ones_12(seed: int) -> None:
    day = day_of(fleet(seed))
    cells = published_tables(day, 5)
    lost = {c.dimension: c.count / 8000 for c in cells if c.within == ALL and c.value == OTHER}
    hidden = hidden_by_tables(day, cells)
    plain = hidden_one_cell_at_a_time(day, cells, 5)

    assert all(share <= 0.02 for share in lost.values())
    assert all(n / 8000 < 0.12 for n in hidden.values())
    assert sorted(hidden.values())[len(hidden) // 2] / 8000 < 0.04
    assert sum(hidden.values()) <= 1.01 * sum(plain.values())
    for difference, name in differences(day, cells):
        assert difference == 0 or difference >= 5, name


def test_a_day_under_k_is_all_other() -> None:
    made = [unit | {"arch": "armv7l"} for unit in fleet(1, 3)]

    assert published_tables(day_of(made), 5) == [
        Cell(d, OTHER, ALL, ALL, 3) for d in sorted(NODE_DIMENSIONS)
    ]


def test_an_empty_day_publishes_nothing() -> None:
    assert published_tables(day_of([]), 5) == []
    assert published_tables(TableInput({}, {}), 5) == []


def test_a_release_that_would_give_away_a_rare_one_is_hidden_with_it() -> None:
    counts = {"Debian 12": 90, "Debian 11": 20, "Debian 13": 2, "Arch rolling": 3, "Ubuntu 24": 4}
    made = [
        {"distro": release.split()[0], "release": release, "arch": arch}
        for release, count in counts.items()
        for arch in ["x86_64"] * count
    ]
    cells = published_tables(day_of(made, ("distro", "release", "arch")), 5)

    assert tables_of(cells) == {
        ("arch", ALL, ALL): {"x86_64": 119},
        ("distro", ALL, ALL): {"Debian": 112, OTHER: 7},
        ("release", ALL, ALL): {"Debian 12": 90, OTHER: 29},
        ("distro", "arch", "x86_64"): {"Debian": 112, OTHER: 7},
        ("release", "arch", "x86_64"): {"Debian 12": 90, OTHER: 29},
        ("arch", "distro", "Debian"): {"x86_64": 112},
        ("arch", "release", "Debian 12"): {"x86_64": 90},
    }


@pytest.mark.parametrize("k", [0, -1])
def test_a_k_under_1_is_refused(k: int) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        published_tables(TableInput({}, {}), k)


@pytest.mark.parametrize(
    ("day", "message"),
    [
        (({"arch": {"a": 3}, "channel": {"b": 4}}, {}), "different numbers"),
        (({"arch": {"a": -1}}, {}), "under 0"),
        (
            ({"arch": {"a": 3}, "channel": {"b": 3}}, {("arch", "channel"): {("a", "b"): 2}}),
            "margin",
        ),
        (({"arch": {"a": 3}}, {("arch", "channel"): {("a", "b"): 3}}), "margin"),
        (({"arch": {"a": 3}}, {("arch", "arch"): {("a", "a"): 3}}), "not be crossed"),
        (({"distro": {"D": 3}, "release": {"D 1": 3}}, {}, {"D 1": "E"}), "in no distro"),
        (({"release": {"D 1": 3}}, {}, {"D 1": "D"}), "in no distro"),
        (
            (
                {"distro": {"D": 3}, "release": {"D 1": 3}},
                {("distro", "release"): {("D", "D 1"): 3}},
                {"D 1": "D"},
            ),
            "not be crossed",
        ),
        (
            (
                {"distro": {"D": 3}, "release": {"D 1": 3}, "arch": {"a": 3}},
                {("arch", "release"): {("a", "D 1"): 3}},
                {"D 1": "D"},
            ),
            "crossed with release but not with distro",
        ),
    ],
)
def test_counts_that_cannot_be_of_one_day_are_refused(
    day: tuple[Counts, Crossed] | tuple[Counts, Crossed, dict[str, str]], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        TableInput(*day)


def usage_of(channels: dict[str, int], registrations: dict[str, int], k: int) -> dict[str, int]:
    one_way = {"channel": channels, "registration": registrations}
    return usage_counts(published_tables(TableInput(one_way, {}), k), one_way, k)


@pytest.mark.parametrize(
    ("channels", "k", "fields"),
    [
        (
            {"simpleusb": 60, "usbradio": 20, "dahdi": 9, "usrp": 7},
            5,
            {"dahdi": 9, "simpleusb": 60, "usbradio": 20, "voter": 0, "other_channels": 7},
        ),
        (
            {"simpleusb": 60, "usbradio": 20, "dahdi": 9, "voter": 2, "usrp": 5},
            5,
            {"simpleusb": 60, "usbradio": 20, "dahdi": 9, "other_channels": 7},
        ),
        (
            {"simpleusb": 60, "usbradio": 20, "dahdi": 9, "usrp": 2},
            5,
            {"simpleusb": 60, "usbradio": 20, "voter": 0, "other_channels": 11},
        ),
        (
            {"simpleusb": 60, "dahdi": 1, "usbradio": 2, "voter": 2},
            5,
            {"simpleusb": 60, "other_channels": 5},
        ),
        ({"simpleusb": 60, "dahdi": 1, "usbradio": 1}, 2, {"simpleusb": 60, "other_channels": 2}),
        ({"simpleusb": 2}, 5, {"other_channels": 2}),
        (
            {"simpleusb": 2, OTHER: 1},
            1,
            {"dahdi": 0, "simpleusb": 2, "usbradio": 0, "voter": 0, "other_channels": 1},
        ),
        ({}, 5, {"dahdi": 0, "simpleusb": 0, "usbradio": 0, "voter": 0, "other_channels": 0}),
    ],
    ids=[
        "all shown",
        "a small one among others",
        "a hidden one hides the smallest field too",
        "0 would tell that each absent one has 1 to 3",
        "0 would tell that each absent one has 1",
        "fewer than k in all",
        "k 1",
        "no nodes",
    ],
)
def test_channel_fields_are_the_published_counts(
    channels: dict[str, int], k: int, fields: dict[str, int]
) -> None:
    usage = usage_of(channels, {"http": sum(channels.values())}, k)

    assert {n: v for n, v in usage.items() if "regist" not in n} == fields


@pytest.mark.parametrize(
    ("registrations", "fields"),
    [
        (
            {"http": 80, "iax": 20, "both": 6, "none": 9},
            {"registered_http": 86, "registered_iax": 26, "unregistered": 9},
        ),
        ({"http": 80, "iax": 20}, {"registered_http": 80, "registered_iax": 20, "unregistered": 0}),
        ({"http": 80, "iax": 20, "both": 2, "none": 9}, {}),
        ({"http": 80, "iax": 20, "none": 2}, {"registered_http": 80}),
        ({"http": 3}, {}),
    ],
    ids=["all shown", "two are 0", "both is hidden, and none with it", "none is hidden", "under k"],
)
def test_a_registration_field_is_there_where_each_of_its_parts_is(
    registrations: dict[str, int], fields: dict[str, int]
) -> None:
    usage = usage_of({"simpleusb": sum(registrations.values())}, registrations, 5)

    assert {n: v for n, v in usage.items() if "regist" in n} == fields


@given(units(), st.integers(1, 6))
def test_usage_fields_and_tables_subtract_to_nothing_under_k(made: list[Unit], k: int) -> None:
    day = day_of(made, SMALL)
    cells = published_tables(day, k)
    usage = usage_counts(cells, day.one_way, k)
    whole = {(c.dimension, c.value): c.count for c in cells if c.within == ALL}
    fields = sum(usage.get(name, 0) for name in CHANNEL_FIELDS)
    besides = sum(n for (d, v), n in whole.items() if d == "channel" and v not in CHANNEL_FIELDS)

    assert fields + usage["other_channels"] == len(made)
    assert usage["other_channels"] == besides
    for name in CHANNEL_FIELDS:
        assert usage.get(name, 0) == whole.get(("channel", name), 0)
    for name, value in (("registered_http", "http"), ("registered_iax", "iax")):
        if name in usage:
            parts = whole.get(("registration", value), 0), whole.get(("registration", "both"), 0)
            assert usage[name] == sum(parts)
            assert usage[name] == sum(unit["registration"] in {value, "both"} for unit in made)
