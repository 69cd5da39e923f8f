"""Pseudonyms, and cell suppression of counts under k. Pure: no input or output, no clock.

The terms are those of statistical disclosure control. A *cell* is a count of units by one value or
by two; a *line* is a set of cells with a published total. *Primary* suppression hides a cell under
k. *Secondary* suppression hides further cells, because a line's total less its published cells (its
*loss*) tells what was hidden: a loss is safe only where it is 0 or at least k.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from hashlib import blake2b
from heapq import heapify, heappop, heappush
from typing import NewType, TypeVar

ServerPseudonym = NewType("ServerPseudonym", str)
NodePseudonym = NewType("NodePseudonym", str)
OwnerMark = NewType("OwnerMark", str)
"""Key under which an owner's opt-out is stored; no report is ever stored under it."""

KEY_LENGTH = 32
"""Length of the key in bytes."""

_DIGEST_SIZE = 8

RowKey = TypeVar("RowKey", str, tuple[str, str])


def is_pseudonym(text: str) -> bool:
    """Whether a text has the form of a pseudonym or an owner mark."""
    return re.fullmatch(r"[0-9a-f]{16}", text) is not None


class Pseudonymiser:
    """Makes pseudonyms of servers and nodes: keyed BLAKE2b (RFC 7693), 16 hexadecimal digits.

    The same key and identity always give the same pseudonym. Each kind has its own personalisation
    string, so that pseudonyms of different kinds are unrelated.

    Raises ValueError if `key` is not 32 bytes long.
    """

    __slots__ = ("_node", "_owner", "_server")

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_LENGTH:
            raise ValueError(f"a pseudonym key is {KEY_LENGTH} bytes long, this one {len(key)}")
        # Keying hashes a block; copying a keyed state avoids doing so for each pseudonym.
        self._server = blake2b(key=key, digest_size=_DIGEST_SIZE, person=b"collector-server")
        self._node = blake2b(key=key, digest_size=_DIGEST_SIZE, person=b"collector-node")
        self._owner = blake2b(key=key, digest_size=_DIGEST_SIZE, person=b"collector-owner")

    def server(self, uuid: str) -> ServerPseudonym:
        """The pseudonym of a server, by its UUID in canonical lower-case form."""
        state = self._server.copy()
        state.update(uuid.encode("ascii"))
        return ServerPseudonym(state.hexdigest())

    def machine(self, machine_id: str) -> ServerPseudonym:
        """The pseudonym of a machine of telemetrics-client, by its id as sent."""
        state = self._server.copy()
        # A UUID holds no colon, so that no id of a machine is one.
        state.update(b"machine:" + machine_id.encode("utf-8", "surrogatepass"))
        return ServerPseudonym(state.hexdigest())

    def node(self, number: int) -> NodePseudonym:
        """The pseudonym of a node, by its number."""
        state = self._node.copy()
        state.update(b"%d" % number)
        return NodePseudonym(state.hexdigest())

    def mark(self, server: ServerPseudonym) -> OwnerMark:
        """The owner mark of a server, by its pseudonym."""
        state = self._owner.copy()
        state.update(server.encode("ascii"))
        return OwnerMark(state.hexdigest())


def is_safe(loss: int, k: int) -> bool:
    """Whether a line with `loss` units in hidden cells may be published."""
    return loss == 0 or loss >= k


def suppress_line(cells: Mapping[RowKey, int], total: int, k: int) -> dict[RowKey, int]:
    """The cells of one line that may be published with its `total`, sorted by name.

    A cell under k is hidden. If the loss is then 1..k-1, the smallest published cell is hidden too
    (of equal ones the first by name); as it has at least k units, one is enough. The loss stays
    under k only if every cell is hidden and `total` itself is under k.

    Raises ValueError if the published cells exceed `total`.
    """
    published = {name: cells[name] for name in sorted(cells) if cells[name] >= max(k, 1)}
    loss = _loss(total, sum(published.values()))
    if published and not is_safe(loss, k):
        del published[min(published, key=lambda name: (published[name], name))]
    return published


def suppress_grid(
    cells: Mapping[tuple[RowKey, str], int],
    rows: Mapping[RowKey, int],
    columns: Mapping[str, int],
    k: int,
) -> dict[tuple[RowKey, str], int]:
    """The cells (row, column) that may be published with the totals of `rows` and `columns`.

    A cell under k, or in a row or column without a total here, is hidden. Further cells are hidden
    until the loss of every row and column is 0 or at least k: hiding any published cell of a line
    makes it safe, and one cell may do so for its row and its column. Of the cells that make a line
    safe, the one with the fewest units for each line that it makes safe is hidden next; of equal
    ones the first by row and column. The result is sorted, and does not depend on the order of the
    input.

    This is the greedy method for weighted set cover. As a cell is in two lines, it hides at most
    half as many units again as the best choice would (V. Chvatal, "A greedy heuristic for the
    set-covering problem", Mathematics of Operations Research 4, 1979).

    Raises ValueError if the published cells of a line exceed its total.
    """
    published = {
        cell: cells[cell]
        for cell in sorted(cells)
        if cells[cell] >= max(k, 1) and cell[0] in rows and cell[1] in columns
    }
    row_sums = dict.fromkeys(rows, 0)
    column_sums = dict.fromkeys(columns, 0)
    for (row, column), count in published.items():
        row_sums[row] += count
        column_sums[column] += count
    open_rows = {r for r in rows if not is_safe(_loss(rows[r], row_sums[r]), k)}
    open_columns = {c for c in columns if not is_safe(_loss(columns[c], column_sums[c]), k)}

    def price(cell: tuple[RowKey, str]) -> int:
        """Twice the units for each line that hiding the cell makes safe; 0 if there is none."""
        lines = (cell[0] in open_rows) + (cell[1] in open_columns)
        return 2 * published[cell] // lines if lines else 0

    queue = [(cost, cell) for cell in published if (cost := price(cell))]
    heapify(queue)
    while queue:
        cost, cell = heappop(queue)
        # Prices only rise, so a cell whose price has changed is looked at again later.
        if (now := price(cell)) == cost:
            del published[cell]
            open_rows.discard(cell[0])
            open_columns.discard(cell[1])
        elif now:
            heappush(queue, (now, cell))
    return published


def _loss(total: int, published: int) -> int:
    if published > total:
        raise ValueError(f"cells of {published} units in a line of {total}")
    return total - published
