"""Intake of Asterisk's manager interface (AMI): the collector logs in and listens.

`protocol` parses bytes into messages, `connection` is one login with its questions and events,
`client` reconnects for ever, `state` turns messages into points, `follower` joins client and state
of one Asterisk, `intake` runs the followers and stores their points. `examine` tries the logins for
`collector check`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager

from collector.intakes.ami.intake import NAME, AmiIntake
from collector.intakes.intake import IntakeContext
from collector.operations import Operation
from collector.privacy_section import PrivacySection, privacy_section
from collector.schema import LIVE
from collector.schema.ami import AMI_MEASUREMENTS
from collector.settings import Settings


class Ami:
    """The intake of Asterisk's manager interface."""

    name = NAME
    measurements = AMI_MEASUREMENTS
    reports = ()
    proofs = ()

    def is_on(self, settings: Settings) -> bool:
        """Whether COLLECTOR_ASTERISK_FILE is given; its tables say which Asterisks have AMI."""
        return bool(settings.asterisk_file)

    def retention(self, settings: Settings) -> Mapping[str, int]:
        """The live database, which StatsD uses too."""
        return {LIVE: settings.retention_live}

    def operations(self) -> Iterable[Operation]:
        """None: AMI does not use HTTP."""
        return ()

    def privacy(self, settings: Settings) -> PrivacySection:
        """Privacy section of AMI's live values."""
        return privacy_section(__package__, {"live": settings.retention_live})

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[AmiIntake]:
        """Follow the Asterisks, in the first worker, until the context ends."""
        intake = AmiIntake(context)
        if not context.is_first:
            yield intake
            return
        async with intake.running():
            yield intake
