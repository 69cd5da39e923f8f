"""Times from the death of the publisher at work until the other one has published.

`python -m bench.takeover` runs the cluster of `make demo-cluster` with the real lease, kills the
holder some times, and adds the times to bench/scaling.json, which docs/scaling.md is made from.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import tempfile
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random
from typing import Final

from bench.report import machine
from bench.scaling import FILE
from collector.settings import Settings
from tools.cluster.members import Role
from tools.cluster.plant import Plant, running

_ROUNDS: Final = 6
_LOOK_S: Final = 0.1
_ANSWER_S: Final = 2.0


async def main() -> None:
    """Measure, and write the times."""
    lease_s = int(Settings.model_fields["lease"].default)
    with tempfile.TemporaryDirectory() as directory:
        async with running(Path(directory), lease_s=lease_s, say=print) as plant:
            times = await asyncio.to_thread(_takeovers, plant)
    whole = json.loads(FILE.read_text(encoding="utf-8"))
    whole["takeover"] = {
        "made": datetime.now(UTC).date().isoformat(),
        "machine": machine(),
        "load": os.getloadavg()[0],
        "lease_s": lease_s,
        "rounds": times,
    }
    FILE.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")


def _takeovers(plant: Plant) -> list[dict[str, float]]:
    """Kill the holder again and again; return seconds until the other led, and had published."""
    random = Random(1)
    found = []
    for _ in range(_ROUNDS):
        holder = _leading(plant, published_after=0.0)
        time.sleep(random.uniform(0, 10))
        killed = time.time()
        holder.kill()
        other = next(one for one in plant.publishers.values() if one is not holder)
        while _metric(other, "collector_publisher_leads") != 1:
            time.sleep(_LOOK_S)
        leads = time.time()
        _leading(plant, published_after=killed)
        found.append({"leads_s": leads - killed, "published_s": time.time() - killed})
        print(found[-1])
        holder.launch()
        holder.wait_ready()
    return found


def _leading(plant: Plant, *, published_after: float) -> Role:
    """Wait for a publisher that leads and has computed days after a time; return it."""
    while True:
        for one in plant.publishers.values():
            last = _metric(one, "collector_rollup_last_success_timestamp_seconds")
            if _metric(one, "collector_publisher_leads") == 1 and last > published_after:
                return one
        time.sleep(_LOOK_S)


def _metric(role: Role, name: str) -> float:
    """The value of a metric without labels; 0 where nobody answers."""
    connection = http.client.HTTPConnection(role.host, role.metrics_port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/metrics")
        page = connection.getresponse().read().decode()
    except (OSError, http.client.HTTPException):
        return 0.0
    finally:
        connection.close()
    match = re.search(rf"^{name} (\S+)$", page, re.MULTILINE)
    return float(match[1]) if match else 0.0


if __name__ == "__main__":
    asyncio.run(main())
