"""Names of the metrics that Asterisk's own modules send, with or without a prefix. Pure.

Sources: Asterisk's res_statsd, res_chan_stats, res_endpoint_stats, res_pjsip (pjsip_options.c) and
res_pjsip_outbound_registration.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from collector.intakes.statsd.line import COUNTER, GAUGE, METER, TIMER

NAME_MAX: Final = 512
"""Longest name that is matched, in characters; Asterisk's own are far shorter."""
SUBSCRIPTION: Final = "stasis.message.stasis_subscription_change_type"
"""Name of the meter that is sent when a module subscribes to the topic of all channels."""
PREFIX_MAX: Final = 40
"""Longest prefix that res_statsd sends, in bytes."""
METER_SUFFIX: Final = "_meter"
"""Suffix that `meter_support=no` adds to a name, by an error in Asterisk 20, 22 and 23."""


class Role(Enum):
    """Kinds of metrics by the times at which their values are right."""

    CHANNELS = auto()
    """Relative gauge; no channel outlives its Asterisk."""
    ENDPOINTS = auto()
    """Relative gauges; each start of Asterisk adds the whole set of endpoints."""
    ENDPOINT_CHANNELS = auto()
    """Absolute gauges, sent on a change only."""
    CONTACTS = auto()
    """Relative gauges that are set to 0 at each start of Asterisk."""
    REGISTRATIONS = auto()
    """As contacts, but also set to 0 when only their module is loaded again."""
    RTT = auto()
    """Timers; -1 stands for no answer."""
    OTHER = auto()
    """Everything else, from the dialplan and from other senders."""


_CONTACT_STATES: Final = "Unreachable|Reachable|Unknown|NonQualified|Removed"
# Each is `prefix.name`; a dialplan's own metrics may have the names in `_MISTAKABLE` too.
_UNMISTAKABLE: Final = (
    (Role.CONTACTS, GAUGE, rf"PJSIP\.contacts\.states\.(?:{_CONTACT_STATES})"),
    (Role.RTT, TIMER, r"PJSIP\.contacts\..+[;@]@[0-9a-f]{32}\.rtt"),
    (Role.REGISTRATIONS, GAUGE, r"PJSIP\.registrations\.(?:count|state\.[A-Za-z]+)"),
    (Role.ENDPOINTS, GAUGE, r"endpoints\.state\.(?:unknown|offline|online)"),
    (Role.OTHER, METER, r"stasis\.message\.[A-Za-z0-9_]+"),
)
_MISTAKABLE: Final = (
    (Role.CHANNELS, GAUGE, r"channels\.count"),
    (Role.OTHER, TIMER, r"channels\.calltime"),
    (Role.ENDPOINTS, GAUGE, r"endpoints\.count"),
    (Role.ENDPOINT_CHANNELS, GAUGE, r"endpoints\.[A-Za-z0-9_]+\..+\.channels"),
)
_PATTERNS: Final = tuple(
    (role, type_, re.compile(rf"(?:(.{{1,{PREFIX_MAX}}}?)\.)??({name})", re.DOTALL), certain)
    for group, certain in ((_UNMISTAKABLE, True), (_MISTAKABLE, False))
    for role, type_, name in group
)
_ENDS: Final = ("count", "calltime", "channels", "rtt")
_MIDDLES: Final = (".states.", ".state.", ".message.")


@dataclass(frozen=True, slots=True)
class Known:
    """A name of Asterisk's modules: its prefix without the dot, and the rest.

    `certain` is false where a dialplan's own metric could have the same name behind a prefix.
    """

    role: Role
    type: bytes
    prefix: str
    name: str
    certain: bool


def recognise(name: str, type_: bytes) -> Known | None:
    """Recognise a name of Asterisk's own modules; None for other and for overlong names."""
    if len(name) > NAME_MAX:
        return None
    if not name.endswith(_ENDS) and not any(middle in name for middle in _MIDDLES):
        return None
    for role, known_type, pattern, certain in _PATTERNS:
        if known_type == type_ and (found := pattern.fullmatch(name)):
            prefix = found[1] or ""
            if len(prefix.encode()) <= PREFIX_MAX:
                return Known(role, known_type, prefix, found[2], certain)
    return None


def without_meter_suffix(name: str, type_: bytes) -> Known | None:
    """The metric that `meter_support=no` has turned into a counter, `channels.count_meter:+1|c`.

    None for other names: the type of a dialplan's metric cannot be known.
    """
    if type_ != COUNTER or not name.endswith(METER_SUFFIX):
        return None
    plain = name.removesuffix(METER_SUFFIX)
    return recognise(plain, GAUGE) or recognise(plain, TIMER)
