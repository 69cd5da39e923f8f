"""Intake of Asterisk's manager interface (AMI): the collector logs in and listens.

`protocol` parses bytes into messages, `connection` is one login with its questions and events,
`client` reconnects for ever, `state` turns messages into points, `follower` joins client and state
of one Asterisk, `intake` runs the followers and stores their points. `examine` tries the logins for
`collector check`.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from collector.intakes.intake import Intake, IntakeContext
from collector.schema import LIVE
from collector.schema.ami import AMI_MEASUREMENTS

if TYPE_CHECKING:
    from collector.intakes.ami.intake import AmiIntake

NAME: Final = "ami"


class Ami(Intake):
    """The intake of Asterisk's manager interface."""

    name = NAME
    measurements = AMI_MEASUREMENTS
    switch = "asterisk_file"
    retentions = MappingProxyType({LIVE: "retention_live"})
    privacy_values = MappingProxyType({"live": "retention_live"})

    @asynccontextmanager
    async def open(self, context: IntakeContext) -> AsyncIterator[AmiIntake]:
        """Follow the Asterisks, in the first worker, until the context ends."""
        from collector.intakes.ami.intake import AmiIntake

        intake = AmiIntake(context)
        if not context.is_first:
            yield intake
            return
        async with intake.running():
            yield intake
