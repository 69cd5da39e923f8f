"""`make demo-cluster` as a stranger runs it: its processes die, its counts stay right."""

from __future__ import annotations

import re
import signal
from pathlib import Path

import pytest

from tests.demos import TOLD_S, run
from tests.length import repeat, seed
from tools.cluster.members import MemberError, find_haproxy
from tools.nats import NatsStartError, find_server

SEED = 20_261_126
FAULTS = repeat(3, 30)

pytestmark = [
    pytest.mark.timeout(900),
    pytest.mark.no_cover,  # processes are killed, and the rest is a demo
]


@pytest.fixture(autouse=True)
def _programs() -> None:
    """Skip where there is no HAProxy or no nats-server."""
    try:
        find_haproxy()
        find_server()
    except (MemberError, NatsStartError) as missing:
        pytest.skip(f"{missing} `make dev` brings both.")


def test_what_is_acknowledged_while_processes_are_killed_is_stored_once(tmp_path: Path) -> None:
    fast = ("--every", "1", "--away", "1", "--rate", "20", "--lease", "5")
    demo = run(tmp_path, "tools.cluster", *fast, "--seed", str(seed(SEED)))
    demo.wait_for("Ctrl-C stops the senders")
    children = demo.children()
    assert len(children) >= 5
    demo.wait_until(lambda said: len(re.findall(r"\(SIG(KILL|STOP)\)", said)) >= FAULTS)
    # A row of the table with reports that are acknowledged.
    demo.wait_until(lambda said: re.search(r"(?m)^ *\d+:\d\d +[\d,]+ +[1-9]", said) is not None)
    demo.process.send_signal(signal.SIGINT)
    assert demo.process.wait(2 * TOLD_S) == 0, demo.said()
    said = demo.said()
    words = r"After (\d+) faults: acknowledged ([\d,]+) = stored ([\d,]+)\. Lost 0, doubled 0\."
    result = re.search(words, said)
    assert result, said
    assert int(result[1]) >= FAULTS
    assert result[2] == result[3] != "0"
    published = re.search(r"today counts ([\d,]+) reports of the ([\d,]+) stored", said)
    assert published, said
    assert published[1] == published[2]
    assert "Traceback" not in said
    assert "\x1b" not in said
    demo.assert_nothing_is_left(children)


def test_demo_of_a_cluster_that_is_told_to_end_at_once_leaves_nothing(tmp_path: Path) -> None:
    demo = run(tmp_path, "tools.cluster")
    demo.wait_for("two InfluxDBs run")
    children = demo.children()
    assert demo.stop(signal.SIGTERM) == 128 + signal.SIGTERM
    assert "Traceback" not in demo.said()
    demo.assert_nothing_is_left(children)
