"""Load by wrk: the bodies of a simulated fleet, each from a server of its own."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from tools.simulation.fleet import Fleet

_ROOT: Final = Path(__file__).resolve().parent.parent
_SCRIPT: Final = """
local bodies = {{}}
local file = io.open("{bodies}", "rb")
while true do
  local length = file:read("*l")
  if not length then break end
  bodies[#bodies + 1] = file:read(tonumber(length))
end
file:close()
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
local requests = {{}}
function init()
  for number = 1, #bodies do
    requests[number] = wrk.format(nil, nil, nil, bodies[number])
  end
end
local number = 0
function request()
  number = number % #requests + 1
  return requests[number]
end
{pause}
function done(summary, latency, requests)
  local e = summary.errors
  local broken = e.connect + e.read + e.write + e.timeout
  io.write(string.format("bench %d %d %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(50), latency:percentile(99), e.status, broken))
end
"""


@dataclass(frozen=True, slots=True)
class Load:
    """What wrk saw: answers a second, latencies in s, answers that were no 200, broken requests."""

    requests: int
    rate: float
    p50: float
    p99: float
    refused: int
    broken: int


def client_bodies(servers: int, *, seed: int = 1) -> list[bytes]:
    """Reports of one day of a believable fleet, which the intake accepts."""
    fleet = Fleet(servers=servers, days=1, start=datetime.now(UTC).date(), seed=seed, growth=0.0)
    return [item.body for item in fleet.day(datetime.now(UTC).date())]


class Wrk:
    """wrk on one thread, with bodies that it repeats in turn."""

    def __init__(self, bodies: Sequence[bytes], directory: Path) -> None:
        self._directory = directory
        self._bodies = directory / "bodies"
        self._bodies.write_bytes(b"".join(b"%d\n%b" % (len(body), body) for body in bodies))

    def run(
        self, url: str, *, seconds: int, connections: int = 128, pause_ms: int | None = None
    ) -> Load:
        """Post for so many seconds; with a pause, each connection waits so long after an answer.

        That is on average: pauses are exponentially distributed, as between senders that know
        nothing of each other. With equal ones all connections would soon send at the same time.
        """
        script = self._directory / "load.lua"
        drawn = f"math.floor(0.5 - math.log(1 - math.random()) * {pause_ms})"
        pause = f"function delay() return {drawn} end" if pause_ms else ""
        script.write_text(_SCRIPT.format(bodies=self._bodies, pause=pause))
        program, environment = _program()
        done = subprocess.run(
            [
                *(program, "-t1", f"-c{connections}", f"-d{seconds}s", "--latency"),
                *("--timeout", "30s", "-s", str(script), f"{url}/usage"),
            ],
            check=True,
            capture_output=True,
            text=True,
            env=environment,
        )
        found = re.search(r"^bench (\d+) (\d+) (\d+) (\d+) (\d+) (\d+)$", done.stdout, re.MULTILINE)
        assert found, done.stdout
        requests, micros, p50, p99, refused, broken = map(int, found.groups())
        return Load(requests, requests / (micros / 1e6), p50 / 1e6, p99 / 1e6, refused, broken)


def _program() -> tuple[str, dict[str, str]]:
    """Wrk on PATH, or Debian's as `make bench` unpacked it."""
    if found := shutil.which("wrk"):
        return found, dict(os.environ)
    local = _ROOT / ".local"
    libraries = ":".join(str(path.parent) for path in local.glob("libluajit*/usr/lib/*/*.so.2"))
    return str(local / "wrk/usr/bin/wrk"), {**os.environ, "LD_LIBRARY_PATH": libraries}
