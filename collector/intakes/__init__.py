"""Intakes: a package for each kind of sender, all of one shape.

`intake` is the contract that a sender's package fulfils, `INTAKES` the one list of them. `door` is
what every HTTP request with a body passes, `gather` handles bodies that arrive together as one
batch, `proof` says whose data a body is.

An intake answers only after the outbox has made the report durable. It may read the clock and use
its surroundings (pseudonyms, stamps, outbox, metrics); it does not talk to InfluxDB, write files,
or let a sender's identity past itself. Its parser is pure and apart from the socket, so that past
days can be stored through the same code.
"""

from collections.abc import Sequence
from typing import Final

from collector.intakes.asl import Asl
from collector.intakes.intake import Intake, OpenIntake, Surroundings
from collector.schema import ReportLayout

INTAKES: Final[Sequence[Intake]] = (Asl(),)
"""Every kind of sender that this collector knows."""


def layouts(intakes: Sequence[Intake] = INTAKES) -> tuple[ReportLayout, ...]:
    """The layouts of all reports that have an owner, of senders that are switched off too."""
    return tuple(layout for intake in intakes for layout in intake.reports)


__all__ = ["INTAKES", "Intake", "OpenIntake", "Surroundings", "layouts"]
