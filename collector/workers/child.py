"""A worker process from within: it serves, and reports its health to its parent."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import Final

from collector import app
from collector.app.roles import Role
from collector.settings import Settings
from collector.supervisor import beside, stop_event
from collector.worker import Worker

_REPORT_S: Final = 1.0


async def work(settings: Settings, worker: Worker, health_fd: int, role: Role) -> None:
    """Run this process as a worker of a role until SIGTERM, or until its parent has ended.

    `health_fd` is the file descriptor of the pipe for its health. Raises CannotWork, and the
    errors of `app.running`.
    """
    stop = stop_event()
    # The parent writes nothing to it: it becomes readable only when it ends.
    asyncio.get_running_loop().add_reader(sys.stdin.fileno(), stop.set)
    async with app.running(settings, worker, role=role) as at:
        app.tune_interpreter()
        async with beside(_report_health(health_fd, at)):
            await at.supervisor.wait(stop)


async def _report_health(pipe: int, at: app.Running) -> None:
    while True:
        # Writes the gauges to the files from which the parent makes its metrics page.
        at.refresh()
        state = {"gone": at.health.gone(), "unavailable": at.health.unavailable()}
        with contextlib.suppress(BrokenPipeError):
            os.write(pipe, json.dumps(state).encode() + b"\n")
        await asyncio.sleep(_REPORT_S)
