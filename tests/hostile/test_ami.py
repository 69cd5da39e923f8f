"""An Asterisk's manager interface that attacks: floods, endless lines, a drip, and no answers.

The collector goes on, its memory stays flat, and what comes after is counted.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from bench.servers import Serving
from tests.conftest import Databases, StartServe
from tests.sender import eventually, get, until
from tests.service.test_ami import write_asterisks
from tools.replay.ami_script import script
from tools.replay.ami_server import AmiServer, event
from tools.replay.captures import AMI, read_capture

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

FLOOD = 200 if "TEST_LONG" in os.environ else 20
"""How often all recorded sessions are sent."""
MARK = event("MemoryLimit", "security", Service="AMI")
"""An event that nothing else here sends."""
MIB = 30
"""Memory that a collector may grow by under an attack, in MiB: far less than what is sent."""


def made_up(number: int) -> bytes:
    """Events that each name something new, as a forger may send them without end."""
    name = f"n{number}"
    return b"".join(
        [
            event("Newchannel", "call", Channel=f"PJSIP/{name}-1", Uniqueid=name, Linkedid=name),
            event("QueueCallerJoin", "agent", Queue=name, Count="1", Uniqueid=name),
            event("QueueMemberAdded", "agent", Queue=name, Interface=name, Status="1", Paused="0"),
            event("ConfbridgeStart", "call", Conference=name),
            event("DeviceStateChange", "call", Device=f"PJSIP/{name}", State="INUSE"),
            event("ContactStatus", "system", AOR=name, URI=name, ContactStatus="Reachable"),
            event("UserEvent", "user", UserEvent="Metric", Name=name, Value="1"),
            event("InvalidPassword", "security", Service=name),
        ]
    )


async def test_attacks_by_ami_neither_stop_nor_grow_the_collector(
    databases: Databases, serve: StartServe, tmp_path: Path
) -> None:
    steps = [step for path in AMI for step in script(read_capture(path)).steps]
    recorded = b"".join(step.message for step in steps if step.message is not None)
    async with AmiServer().listening() as bad, AmiServer().listening() as good:
        file = tmp_path / "asterisks.toml"
        write_asterisks(file, {"bad": bad, "good": good})
        environment = {"COLLECTOR_ASTERISK_FILE": str(file), "COLLECTOR_STATSD_FLUSH": "1s"}
        collector = await asyncio.to_thread(serve, databases.environment | environment)
        serving = Serving(collector.process.pid, collector.url, collector.metrics_url)

        def counted(asterisk: str, name: str) -> float:
            return serving.metric("collector_ami_events_total", asterisk=asterisk, event=name)

        await bad.logged_in()
        await good.logged_in()
        # Once, so that all that has a bound is at it.
        for first in range(0, 22_000, 200):
            await bad.say(b"".join(map(made_up, range(first, first + 200))))
        await bad.say(MARK)
        await asyncio.to_thread(eventually, lambda: counted("bad", "MemoryLimit") == 1)
        before = serving.resident_mib()
        for _ in range(FLOOD):
            await bad.say(recorded)
        for _ in range(FLOOD):
            await bad.say(b"Event: Hangup\r\nX: " + b"a" * (1 << 20))
            await bad.say(b"\r\n\r\n" + b"\xff\x00\r" * 5_000 + b"\r\n\r\n")
        await bad.say(MARK)
        await asyncio.to_thread(eventually, lambda: counted("bad", "MemoryLimit") == 2)
        grown = serving.resident_mib() - before
        assert grown < MIB
        assert bad.logins == 1
        # The other Asterisk is followed all the time.
        await good.say(MARK)
        await asyncio.to_thread(eventually, lambda: counted("good", "MemoryLimit") == 1)
        assert good.logins == 1
        page = (await asyncio.to_thread(get, collector.metrics_url, "/metrics")).body.decode()
        assert 'collector_ami_dropped_total{reason="too-long"}' in page
        assert "collector_loop_failures_total{" not in page
        assert (await asyncio.to_thread(get, collector.metrics_url, "/healthz")).status == 200
        bad.drop()
        await until(lambda: bad.logins == 2)
