"""The objectives of docs/slo.md on the operators' dashboards: what is left, how fast it goes."""

from __future__ import annotations

from typing import Final

from tools.dashboards import slo
from tools.dashboards.colours import painted
from tools.dashboards.kinds import lines
from tools.dashboards.meanings import ORANGE, PURPLE, RED
from tools.dashboards.model import Panel
from tools.dashboards.ops_parts import figure, prom

_LEFT: Final[tuple[tuple[float | None, str], ...]] = (
    (None, "red"),
    (0.0, "orange"),
    (0.25, "green"),
)


def _budget(title: str, description: str, share: str, budget: float) -> Panel:
    return figure(
        title,
        description,
        # Of 30 days: once is enough, a line of it would ask for them at each point.
        prom(slo.left(share, budget), now=True),
        width=3,
        unit="percentunit",
        no_value="not yet",
        steps=_LEFT,
        defaults={"decimals": 0},
    )


FIGURES: Final = (
    _budget(
        "Budget left: loss",
        "What is left of the reports that may be lost in 30 days, 0.5 %; below 0 the objective is"
        " missed. See docs/slo.md.",
        slo.lost(slo.PERIOD),
        slo.ACCEPTED_BUDGET,
    ),
    _budget(
        "Budget left: delay",
        "What is left of the time in 30 days, 1 %, in which the published series may be over an"
        " hour behind; below 0 the objective is missed. See docs/slo.md.",
        slo.behind(slo.PERIOD, "30m"),
        slo.FRESH_BUDGET,
    ),
)
"""What is left of each budget."""
ROW: Final = (
    lines(
        "How fast error budgets are spent",
        "At 1 a budget lasts its 30 days. Over 14.4 in the hour, or 6 in 6 hours, is an alert.",
        (
            prom(slo.burn(slo.lost("1h"), slo.ACCEPTED_BUDGET), "accepted, 1 h"),
            prom(slo.burn(slo.lost("6h"), slo.ACCEPTED_BUDGET), "accepted, 6 h"),
            prom(slo.burn(slo.behind("6h", "5m"), slo.FRESH_BUDGET), "fresh, 6 h"),
        ),
        width=24,
        height=7,
        unit="none",
        overrides=(
            painted("accepted, 1 h", RED),
            painted("accepted, 6 h", ORANGE),
            painted("fresh, 6 h", PURPLE),
        ),
        fill=0,
        no_value="not measured yet",
        defaults={"decimals": 1},
    ),
)
