"""Parser of SWUPD's updates (`org.clearlinux/swupd-client/…`): old build, new build, result."""

from __future__ import annotations

import re
from typing import Final

from collector.records.parsers import FixedParser, Parsed
from collector.records.parsers.frames import shortened

_PAIR: Final = re.compile(r"^ *(?P<name>[a-z_]+) *= *(?P<value>.*)$", re.MULTILINE | re.IGNORECASE)
_FROM: Final = ("current_version", "from_version", "from", "old_version")
_TO: Final = ("server_version", "to_version", "to", "new_version")
_RESULT: Final = ("result", "ret", "status")
KIND: Final = "update"


class Updates(FixedParser):
    """Parses lines of `name=value`; the label is `FROM -> TO`."""

    prefixes = ("org.clearlinux/swupd-client/",)

    def parse(self, text: str) -> Parsed | None:
        """The versions of an update, its result (0 is success), and the other values."""
        pairs = _PAIR.finditer(shortened(text))
        said = {one["name"].lower(): one["value"].strip() for one in pairs}
        old, new = (_first(said, names) for names in (_FROM, _TO))
        if old is None or new is None:
            return None
        result = _first(said, _RESULT)
        detail = {"from": old, "to": new, "result": result, "said": said}
        return Parsed(KIND, f"{old} -> {new}", detail)


def _first(said: dict[str, str], names: tuple[str, ...]) -> str | None:
    return next((said[name] for name in names if said.get(name)), None)
