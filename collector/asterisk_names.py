"""Names that the operator gives to trunks, agents and conferences of one Asterisk. Pure.

Only these names are stored: the names of channels, interfaces and conferences may be numbers or
persons.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from collector.schema import NONE

_PREFIXES: Final = 4
"""Most parts of a channel's name that may name a trunk: `DAHDI/i1/5551234-1` has three."""


@dataclass(frozen=True, slots=True)
class Names:
    """Names that the operator gives, by Asterisk's own names.

    `trunks`: by technology and endpoint, as in the name of a channel: `PJSIP/provider`, `DAHDI/i1`.
    `agents`: by interface of a queue's member, `PJSIP/alice`. `conferences`: by a conference's name
    or number.
    """

    trunks: Mapping[str, str] = field(default_factory=dict)
    agents: Mapping[str, str] = field(default_factory=dict)
    conferences: Mapping[str, str] = field(default_factory=dict)

    def trunk(self, channel: str) -> str:
        """The name of the trunk that a channel belongs to, by the channel's name, or `none`.

        A channel's name is `TECH/ENDPOINT-NUMBER`, where the number is hexadecimal; a Local
        channel's ends with `;1` or `;2`.
        """
        if not self.trunks:
            return NONE
        endpoint = channel.rpartition("-")[0]
        for _ in range(_PREFIXES):
            if endpoint in self.trunks:
                return self.trunks[endpoint]
            endpoint = endpoint.rpartition("/")[0]
        return NONE
