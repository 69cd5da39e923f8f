"""The public node list as the rollup needs it: the pseudonyms of its nodes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from collector.lazy import pl
from collector.nodelist import FILE, load
from collector.privacy import Pseudonymiser
from collector.schema import FIRST_PUBLIC_NODE


class ListedNodes:
    """The intake's copy of the node list. `key` reads the pseudonym key; may raise StateError."""

    def __init__(self, directory: Path, key: Callable[[], bytes]) -> None:
        self._path = directory / FILE
        self._key = key
        self._of: object = None
        self._pseudonyms: pl.Series | None = None

    def pseudonyms(self) -> pl.Series | None:
        """The pseudonyms (UInt64) of all public nodes listed; None without a usable list. Blocks.

        Raises StateError.
        """
        try:
            found = self._path.stat()
        except OSError:
            return None
        if self._of != (found.st_mtime_ns, found.st_size):
            copy = load(self._path)
            self._pseudonyms = None
            if copy is not None:
                name = Pseudonymiser(self._key()).node
                names = [name(node) for node in copy.nodes if node >= FIRST_PUBLIC_NODE]
                self._pseudonyms = pl.Series(names).str.to_integer(base=16, dtype=pl.UInt64)
            self._of = (found.st_mtime_ns, found.st_size)
        return self._pseudonyms


def covered(listed: pl.Series, heard: pl.Series) -> int:
    """The number of listed nodes among those that were heard."""
    return int(heard.is_in(listed.implode()).sum())


def sample_fields(listed: int, covered: int, k: int) -> dict[str, int]:
    """The fields of `daily_usage` on the sample: nodes listed, and those heard in the last 30 days.

    `coverage` is rounded down to a multiple of k, and absent under k: less `nodes_30d`, it would
    count the nodes that have left the list, which anyone could name who reads the list.
    """
    fields = {"listed_nodes": listed}
    if published := covered // k * k:
        fields["coverage"] = published
    return fields
