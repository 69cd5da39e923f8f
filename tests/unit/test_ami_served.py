"""Recorded sessions served by a manager interface: the same is stored as if read from the file."""

from __future__ import annotations

from tests.ami_served import Replay
from tools.replay.captures import AMI, read_capture


async def test_every_session_can_be_followed_in_pieces_of_97_bytes() -> None:
    for path in AMI:
        async with Replay(read_capture(path), cut=97).running() as replay:
            await replay.advance(1000)
            assert replay.flush(), path.name
