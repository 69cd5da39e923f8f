"""Plays recordings again and again at the speed at which they were made, as Asterisk would."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Sequence

from tools.replay.ami_script import Script
from tools.replay.ami_server import AmiServer
from tools.replay.pbx import Pbx

_PAUSE_S = 2.0
"""Time between the end of a recording and its next beginning: Asterisk starts anew."""


async def send_statsd(
    datagrams: Sequence[tuple[float, bytes]],
    to: tuple[str, int],
    *,
    source: str,
    pause_s: float = _PAUSE_S,
    again_from: float = 0.0,
) -> None:
    """Send datagrams, each with its time in s, from an IPv4 address of this host, for ever.

    The first time all of them, then those from `again_from` on. Raises OSError.
    """
    loop = asyncio.get_running_loop()
    since = 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        sender.setblocking(False)
        sender.bind((source, 0))
        while True:
            begun = loop.time() - since
            for at, datagram in datagrams:
                if at >= since:
                    await asyncio.sleep(begun + at - loop.time())
                    await loop.sock_sendto(sender, datagram, to)
            await asyncio.sleep(pause_s)
            since = again_from


async def serve_ami(
    server: AmiServer,
    script: Script,
    description: Sequence[str],
    *,
    pause_s: float = _PAUSE_S,
    again_from: float = 0.0,
) -> None:
    """Say the events of a recording to the clients of a listening server, for ever.

    At its end the connections are lost, as by a restart of Asterisk; with `again_from` they are
    kept, and the events from that time on are said again.
    """
    loop = asyncio.get_running_loop()
    server.recorded = script.answer
    since = script.begins
    while True:
        server.now = since
        begun = loop.time() - since
        for step in script.steps:
            if step.at < since:
                continue
            await asyncio.sleep(begun + step.at - loop.time())
            server.now = step.at
            if step.message is None:
                if step.restarted:
                    server.pbx.restarted(step.at)
                server.drop()
            else:
                server.pbx.take(step.message, step.at)
                await server.say(step.message)
        await asyncio.sleep(pause_s)
        if again_from:
            since = again_from
            continue
        server.pbx = Pbx(description)
        server.drop()
