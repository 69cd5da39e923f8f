"""Pseudonyms, and cell suppression of counts under k. Pure: no input or output, no clock.

The terms are those of statistical disclosure control. A *cell* is a count of units by one value or
by two; a *line* is a set of cells with a published total. *Primary* suppression hides a cell under
k. *Secondary* suppression hides further cells, because a line's total less its published cells (its
*loss*) tells what was hidden: a loss is safe only where it is 0 or at least k.
"""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import blake2b
from typing import TYPE_CHECKING, NewType, TypeVar

if TYPE_CHECKING:
    import networkx as nx

ServerPseudonym = NewType("ServerPseudonym", str)
NodePseudonym = NewType("NodePseudonym", str)
OwnerMark = NewType("OwnerMark", str)
"""Key under which an owner's opt-out is stored; no report is ever stored under it."""

KEY_LENGTH = 32
"""Length of the key in bytes."""

_DIGEST_SIZE = 8

RowKey = TypeVar("RowKey", str, tuple[str, str])


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


def suppress_line(cells: Mapping[str, int], total: int, k: int) -> dict[str, int]:
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

    A cell under k, or in a row or column without a total here, is hidden. Further cells, with the
    fewest units possible, are hidden so that the loss of every row and column is 0 or at least k.
    The result is sorted, and does not depend on the order of the input.

    An unsafe line is made safe by hiding any one of its published cells, so the problem is a
    minimum-weight edge cover of these lines. Any cover costs at least the sum of the lines'
    cheapest cells, less w(r) + w(c) - w(cell) for each row r and column c that one cell covers (w
    being a line's cheapest), and these pairs are a matching since a line need be covered only once.
    Conversely a matching, with the cheapest cell of every line outside it, is a cover of at most
    that cost. So a maximum-weight matching of those savings gives a cheapest cover (Schrijver,
    Combinatorial Optimization, 2003, chapter 19).

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
    for cell in _cheapest_cover(published, open_rows, open_columns):
        del published[cell]
    return published


def _loss(total: int, published: int) -> int:
    if published > total:
        raise ValueError(f"cells of {published} units in a line of {total}")
    return total - published


def _cheapest_cover(
    published: Mapping[tuple[RowKey, str], int], rows: set[RowKey], columns: set[str]
) -> set[tuple[RowKey, str]]:
    """The cells of least total weight that cover each of these lines; `published` is sorted."""
    import networkx as nx  # noqa: PLC0415 - commands that only make pseudonyms start without it

    row_cheapest: dict[RowKey, tuple[RowKey, str]] = {}
    column_cheapest: dict[str, tuple[RowKey, str]] = {}
    for cell, count in published.items():
        row, column = cell
        if row in rows and (row not in row_cheapest or count < published[row_cheapest[row]]):
            row_cheapest[row] = cell
        if column in columns and (
            column not in column_cheapest or count < published[column_cheapest[column]]
        ):
            column_cheapest[column] = cell

    # Vertices are numbers, so that the matching does not depend on the hash of a name.
    row_number = {row: number for number, row in enumerate(row_cheapest)}
    column_number = {c: number for number, c in enumerate(column_cheapest, start=len(row_number))}
    graph: nx.Graph[int] = nx.Graph()
    for cell, count in published.items():
        row, column = cell
        if row in row_number and column in column_number:
            saving = published[row_cheapest[row]] + published[column_cheapest[column]] - count
            if saving > 0:
                graph.add_edge(row_number[row], column_number[column], weight=saving, cell=cell)
    cover: set[tuple[RowKey, str]] = set()
    for edge in nx.max_weight_matching(graph):
        cell = graph.edges[edge]["cell"]
        cover.add(cell)
        del row_cheapest[cell[0]], column_cheapest[cell[1]]
    return cover.union(row_cheapest.values(), column_cheapest.values())
