from __future__ import annotations

import copy
import math
import pickle
import random
from hashlib import blake2b
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from collector.privacy import KEY_LENGTH, Pseudonymiser, is_safe, suppress_grid, suppress_line

KEY = bytes(range(KEY_LENGTH))
UUID = "d56da682-f200-4307-a97c-e67ab393c69c"

Grid = dict[tuple[str, str], int]

GRIDS = st.dictionaries(
    st.tuples(st.sampled_from("abcde"), st.sampled_from("vwxyz")),
    st.one_of(st.integers(0, 7), st.integers(0, 40)),
    max_size=14,
)
K = st.integers(1, 6)


def totals(cells: Grid, axis: int) -> dict[str, int]:
    sums: dict[str, int] = {}
    for cell, count in cells.items():
        sums[cell[axis]] = sums.get(cell[axis], 0) + count
    return sums


def reachable(cells: Grid, k: int) -> tuple[dict[str, int], dict[str, int]]:
    """The lines that a one-way table would publish; the rest is hidden in every table."""
    rows, columns = totals(cells, 0), totals(cells, 1)
    return (
        {row: total for row, total in rows.items() if total >= k},
        {column: total for column, total in columns.items() if total >= k},
    )


def is_closed(shown: Grid, rows: dict[str, int], columns: dict[str, int], k: int) -> bool:
    kept_rows, kept_columns = totals(shown, 0), totals(shown, 1)
    losses = [total - kept_rows.get(row, 0) for row, total in rows.items()]
    losses += [total - kept_columns.get(column, 0) for column, total in columns.items()]
    return all(loss == 0 or loss >= k for loss in losses)


def primary(cells: Grid, rows: dict[str, int], columns: dict[str, int], k: int) -> Grid:
    return {c: n for c, n in cells.items() if n >= k and c[0] in rows and c[1] in columns}


def by_the_rule(shown: Grid, rows: dict[str, int], columns: dict[str, int], k: int) -> Grid:
    """The rule as the method page says it, with everything counted again after each cell."""
    left = dict(shown)

    def price(cell: tuple[str, str]) -> float:
        """The units for each line that hiding this cell makes safe."""
        lines = 0
        for axis, totals_of in enumerate((rows, columns)):
            kept = sum(n for c, n in left.items() if c[axis] == cell[axis])
            lines += 0 < totals_of[cell[axis]] - kept < k
        return left[cell] / lines if lines else math.inf

    while any(price(cell) < math.inf for cell in left):
        del left[min(left, key=lambda cell: (price(cell), cell))]
    return left


def fewest_hidden(shown: Grid, rows: dict[str, int], columns: dict[str, int], k: int) -> int:
    """Every choice tried."""
    return min(
        sum(shown[cell] for cell in hidden)
        for size in range(len(shown) + 1)
        for hidden in combinations(sorted(shown), size)
        if is_closed({c: n for c, n in shown.items() if c not in hidden}, rows, columns, k)
    )


def test_pseudonyms_are_keyed_blake2b_of_the_identity_in_16_hexadecimal_digits() -> None:
    names = Pseudonymiser(KEY)

    server = blake2b(UUID.encode(), key=KEY, digest_size=8, person=b"collector-server")
    node = blake2b(b"460181", key=KEY, digest_size=8, person=b"collector-node")
    assert names.server(UUID) == server.hexdigest()
    assert names.node(460181) == node.hexdigest()
    assert len(names.server(UUID)) == len(names.node(1)) == 16


def test_pseudonyms_stay_the_same_however_many_are_made() -> None:
    names = Pseudonymiser(KEY)
    first = names.node(2000), names.server(UUID)
    for number in range(1000):
        names.node(number)

    assert (names.node(2000), names.server(UUID)) == first
    again = Pseudonymiser(KEY)
    assert (again.node(2000), again.server(UUID)) == first


def test_another_key_gives_other_pseudonyms() -> None:
    other = Pseudonymiser(bytes(KEY_LENGTH))

    assert Pseudonymiser(KEY).node(2000) != other.node(2000)
    assert Pseudonymiser(KEY).server(UUID) != other.server(UUID)


def test_a_server_and_a_node_of_the_same_text_differ() -> None:
    names = Pseudonymiser(KEY)

    assert str(names.server("2000")) != str(names.node(2000))


@given(st.sets(st.integers(1, 10**7), max_size=300))
def test_different_nodes_get_different_pseudonyms(numbers: set[int]) -> None:
    names = Pseudonymiser(KEY)

    assert len({names.node(number) for number in numbers}) == len(numbers)


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_key_of_another_length_is_refused_without_being_shown(length: int) -> None:
    with pytest.raises(ValueError, match=f"32 bytes long, this one {length}$"):
        Pseudonymiser(b"k" * length)


def test_a_pseudonymiser_shows_its_key_in_no_text_and_no_copy() -> None:
    names = Pseudonymiser(KEY)

    assert KEY.hex() not in repr(names)
    with pytest.raises(TypeError):
        pickle.dumps(names)
    with pytest.raises(TypeError):
        copy.deepcopy(names)


@pytest.mark.parametrize(
    ("loss", "k", "safe"), [(0, 5, True), (1, 5, False), (4, 5, False), (5, 5, True), (1, 1, True)]
)
def test_a_loss_is_safe_at_0_and_from_k(loss: int, k: int, *, safe: bool) -> None:
    assert is_safe(loss, k) is safe


@pytest.mark.parametrize(
    ("cells", "k", "shown"),
    [
        ({}, 5, {}),
        ({"a": 9, "b": 7}, 5, {"a": 9, "b": 7}),
        ({"a": 9, "b": 7, "c": 2}, 5, {"a": 9}),
        ({"a": 9, "b": 7, "c": 2, "d": 3}, 5, {"a": 9, "b": 7}),
        ({"a": 9, "b": 5, "c": 5, "d": 1}, 5, {"a": 9, "c": 5}),
        ({"a": 9, "b": 1}, 5, {}),
        ({"a": 2, "b": 1}, 5, {}),
        ({"a": 2, "b": 1, "c": 0}, 1, {"a": 2, "b": 1}),
    ],
)
def test_a_line_hides_counts_under_k_and_the_smallest_of_the_rest(
    cells: dict[str, int], k: int, shown: dict[str, int]
) -> None:
    assert suppress_line(cells, sum(cells.values()), k) == shown


def test_what_a_line_holds_beside_its_cells_is_a_loss() -> None:
    assert suppress_line({"a": 9, "b": 7}, 18, 5) == {"a": 9}
    assert suppress_line({"a": 9, "b": 7}, 21, 5) == {"a": 9, "b": 7}


def test_cells_that_exceed_their_total_are_refused() -> None:
    with pytest.raises(ValueError, match="16 units in a line of 15"):
        suppress_line({"a": 9, "b": 7}, 15, 5)
    with pytest.raises(ValueError, match="9 units in a line of 8"):
        suppress_grid({("a", "x"): 9}, {"a": 8}, {"x": 9}, 5)


def test_one_cell_closes_a_row_and_a_column_where_that_is_cheaper() -> None:
    cells = {("a", "x"): 8, ("a", "y"): 7, ("b", "x"): 7, ("b", "y"): 90}
    rows, columns = {"a": 17, "b": 97}, {"x": 17, "y": 97}

    assert cells.keys() - suppress_grid(cells, rows, columns, 5) == {("a", "x")}


def test_two_cells_close_a_row_and_a_column_where_the_shared_one_is_dear() -> None:
    cells = {("a", "x"): 30, ("a", "y"): 7, ("b", "x"): 7, ("b", "y"): 90}
    rows, columns = {"a": 39, "b": 97}, {"x": 39, "y": 97}

    hidden = cells.keys() - suppress_grid(cells, rows, columns, 5)
    assert hidden == {("a", "y"), ("b", "x")}


@given(GRIDS, K)
def test_a_grid_shows_counts_from_k_of_safe_lines_only(cells: Grid, k: int) -> None:
    rows, columns = reachable(cells, k)
    shown = suppress_grid(cells, rows, columns, k)

    assert shown.items() <= cells.items()
    assert all(n >= k and r in rows and c in columns for (r, c), n in shown.items())
    assert is_closed(shown, rows, columns, k)


@given(GRIDS, K)
def test_a_grid_hides_the_cheapest_cell_for_each_line_first(cells: Grid, k: int) -> None:
    rows, columns = reachable(cells, k)
    expected = by_the_rule(primary(cells, rows, columns, k), rows, columns, k)

    assert suppress_grid(cells, rows, columns, k) == expected


@given(GRIDS.filter(lambda cells: sum(n >= 3 for n in cells.values()) <= 9), st.integers(3, 6))
def test_a_grid_hides_at_most_half_again_what_the_best_choice_would(cells: Grid, k: int) -> None:
    rows, columns = reachable(cells, k)
    before = primary(cells, rows, columns, k)
    hidden = sum(before.values()) - sum(suppress_grid(cells, rows, columns, k).values())

    assert hidden <= 1.5 * fewest_hidden(before, rows, columns, k)


@given(GRIDS, K, st.randoms(use_true_random=False))
def test_a_grid_is_the_same_for_any_order_of_its_input(
    cells: Grid, k: int, shuffle: random.Random
) -> None:
    rows, columns = reachable(cells, k)
    items, row_items, column_items = list(cells.items()), list(rows.items()), list(columns.items())
    for mixed in (items, row_items, column_items):
        shuffle.shuffle(mixed)

    once = suppress_grid(cells, rows, columns, k)
    again = suppress_grid(dict(items), dict(row_items), dict(column_items), k)
    assert list(once.items()) == list(again.items())
