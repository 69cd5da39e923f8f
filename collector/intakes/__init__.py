"""Intakes: a package for each kind of sender.

`intake` defines the base class of each package; `INTAKES` lists the packages. `door` has the checks
of all HTTP requests with a body, `gather` batches bodies that arrive together, `proof` identifies
the owner of a body.

An intake responds only after the outbox has made the report durable. It may use the clock and its
context (pseudonyms, timestamps, outbox, metrics); it does not access InfluxDB, write files, or pass
on a sender's identity. Its parser is pure and separate from the socket, so that past days can be
stored by the same code.
"""

from collections.abc import Sequence
from typing import Final

from collector.intakes.ami import Ami
from collector.intakes.asl import Asl
from collector.intakes.intake import Intake, IntakeContext, OpenIntake
from collector.intakes.librenms import LibreNMS
from collector.intakes.statsd import Statsd
from collector.intakes.telemetrics import Telemetrics
from collector.schema import ReportLayout

INTAKES: Final[Sequence[Intake]] = (Asl(), Statsd(), Ami(), LibreNMS(), Telemetrics())
"""All intakes of this collector."""


def layouts(intakes: Sequence[Intake] = INTAKES) -> tuple[ReportLayout, ...]:
    """The layouts of all reports that have an owner, including those of disabled senders."""
    return tuple(layout for intake in intakes for layout in intake.reports)


__all__ = ["INTAKES", "Intake", "IntakeContext", "OpenIntake", "layouts"]
