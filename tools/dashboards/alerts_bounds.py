"""Bounds that alerts and the colours of panels share."""

from __future__ import annotations

from typing import Final

RTT_BOUND_MS: Final = 300
"""Nine in ten round trips to contacts must be shorter."""
SILENT_S: Final = 600
"""An Asterisk that is usually heard is silent after this."""
WAIT_BOUND_S: Final = 300
"""A caller who has waited longer has waited too long."""
LOSS_BOUND: Final = 0.03
"""Share of lost packets from which speech suffers."""
ABANDONED_BOUND: Final = 0.2
"""Share of callers who give up that is too many."""
WRONG_PASSWORDS: Final = '"kind" =~ /^(InvalidPassword|ChallengeResponseFailed|InvalidAccountID)$/'
"""Condition of the security events that are attempts to guess an account or its password."""
WRONG_PASSWORDS_MOST: Final = 50
"""So many of them in 5 minutes are a burst."""
