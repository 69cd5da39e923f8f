"""Who tries to get in: Asterisk's security events, without addresses and accounts."""

from __future__ import annotations

from typing import Final

from collector.schema.ami import SECURITY
from tools.dashboards.alerts_bounds import WRONG_PASSWORDS, WRONG_PASSWORDS_MOST
from tools.dashboards.colours import painted
from tools.dashboards.kinds import bars
from tools.dashboards.live_calls import UNCOUNTED
from tools.dashboards.live_parts import (
    LAST_HOUR,
    drawn,
    each,
    figure,
    live,
    live_board,
    per_minute,
    source,
)
from tools.dashboards.meanings import BLUE, GREEN, GREY, MAUVE, ORANGE, PURPLE, RED, TEAL
from tools.dashboards.model import Override, Panel

_HARMLESS: Final = '"kind" !~ /^(SuccessfulAuth|ChallengeSent)$/'
_LATER: Final = "1m"
_SUCCEEDED: Final = "\"kind\" = 'SuccessfulAuth'"
_KINDS: Final = (
    painted("InvalidPassword", RED),
    painted("ChallengeResponseFailed", PURPLE),
    painted("InvalidAccountID", ORANGE),
    painted("FailedACL", BLUE),
    painted("RequestNotAllowed", MAUVE),
    painted("RequestBadFormat", TEAL),
    painted("ChallengeSent", GREY),
    painted("SuccessfulAuth", GREEN),
)
_RED_BARS: Final = (Override("byRegexp", "/.*/", {"color": {"mode": "fixed", "fixedColor": RED}}),)


def _hour(title: str, description: str, condition: str, orange: int, red: int) -> Panel:
    return figure(
        f"{title}, 1 h",
        f"{description} In the last hour.",
        live(f'SELECT sum("count") FROM {source(SECURITY.name, LAST_HOUR, condition)}'),
        width=4,
        steps=((None, "green"), (orange, "orange"), (red, "red")),
    )


ATTACKS_BOARD: Final = live_board(
    "asterisk-attacks",
    "Attacks",
    "Wrong passwords, unknown accounts, refusals. Addresses are in Asterisk's own log alone.",
    (
        _hour(
            "Wrong passwords",
            f"Wrong passwords, unknown accounts. {WRONG_PASSWORDS_MOST} in 5 minutes are an alert.",
            WRONG_PASSWORDS,
            1,
            WRONG_PASSWORDS_MOST,
        ),
        _hour(
            "Unknown accounts",
            "Attempts with an account that does not exist: scanners try numbers.",
            "\"kind\" = 'InvalidAccountID'",
            1,
            100,
        ),
        _hour(
            "Refused by address",
            "Attempts from an address that an access list refuses; an INVITE may count twice.",
            "\"kind\" = 'FailedACL'",
            1,
            100,
        ),
        _hour(
            "Bad requests",
            "Requests that are malformed, or that a user has no right to.",
            '"kind" =~ /^(RequestBadFormat|RequestNotAllowed)$/',
            1,
            100,
        ),
        _hour(
            "Attempts on AMI",
            "Failed logins and refused actions on AMI itself: nobody but the operator's own"
            " programs should reach it.",
            f"\"service\" = 'AMI' AND {_HARMLESS}",
            1,
            10,
        ),
        figure(
            "Successful logins, 1 h",
            "Logins and registrations that succeeded, of all services. In the last hour.",
            live(f'SELECT sum("count") FROM {source(SECURITY.name, LAST_HOUR, _SUCCEEDED)}'),
            width=4,
            colour="blue",
        ),
    ),
    (
        drawn(
            "Security events a minute, by kind",
            "Security events, a minute, by kind. `ChallengeSent` alone is usual: each registration"
            " has one. Many of them without `SuccessfulAuth` are a scanner that never answers.",
            per_minute(SECURITY.name, "count", "$tag_kind", tag="kind"),
            width=16,
            height=9,
            overrides=_KINDS,
            stacked=True,
            interval=_LATER,
        ),
        bars(
            "Attempts in the chosen time, by kind",
            "Security events in the chosen time, by kind, without those that are usual.",
            (each(SECURITY.name, 'sum("count")', "kind", _HARMLESS),),
            _RED_BARS,
            width=8,
            height=9,
            no_value="none",
        ),
    ),
    (
        drawn(
            "Attempts a minute, by Asterisk",
            "Security events that are not usual, a minute, by Asterisk.",
            per_minute(SECURITY.name, "count", "$tag_asterisk", _HARMLESS, tag="asterisk"),
            interval=_LATER,
        ),
        drawn(
            "Attempts a minute, by service",
            "Security events that are not usual, a minute, by what was asked: PJSIP, AMI, ...",
            per_minute(SECURITY.name, "count", "$tag_service", _HARMLESS, tag="service"),
            overrides=(painted("PJSIP", BLUE), painted("AMI", RED)),
            interval=_LATER,
        ),
        UNCOUNTED,
    ),
)
