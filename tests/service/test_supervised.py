"""A process whose parts fail: loops come back, and one that is of no more use ends."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.conftest import Databases, StartServe
from tests.sender import GUARD_S, encoded, eventually, get, metric, post, report

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

SABOTAGE = Path(__file__).parents[1] / "sabotage.py"


@pytest.mark.parametrize(
    ("part", "words"),
    [("thread", "thread outbox has ended"), ("delivery", "loop delivery keeps failing")],
)
def test_process_that_can_do_its_work_no_more_ends_with_an_error(
    databases: Databases, serve: StartServe, part: str, words: str
) -> None:
    collector = serve(
        databases.environment, ready=False, under=[sys.executable, str(SABOTAGE), part]
    )
    assert collector.process.wait(GUARD_S) == 1
    assert words in collector.logs()
    assert "to be started again" in collector.logs()
    # What supervises it starts it again, and it goes on where it was.
    again = serve(collector.environment)
    assert post(again.url, encoded(report([2001]))).status == 200


def test_wrong_setting_ends_with_two_and_is_not_restarted(serve: StartServe) -> None:
    collector = serve({"COLLECTOR_K_ANONYMITY": "few"}, ready=False)
    assert collector.process.wait(GUARD_S) == 2
    unit = (Path(__file__).parents[2] / "deploy/systemd/collector.service").read_text()
    assert "RestartPreventExitStatus=2\n" in unit


def test_worker_that_ends_again_and_again_leaves_the_others_alone(
    databases: Databases, serve: StartServe, state_dir: Path
) -> None:
    state_dir.mkdir(mode=0o700)
    (state_dir / "worker-1").write_text("no directory")
    collector = serve(databases.environment | {"COLLECTOR_WORKERS": "3"})
    others = {number: pid for number, pid in collector.workers().items() if number != 1}
    assert others.keys() == {0, 2}
    # The kernel gives its connections to the others, so that nobody waits for it.
    for number in range(60):
        assert post(collector.url, encoded(report([2000 + number]))).status == 200
    eventually(lambda: b"worker 1" in get(collector.metrics_url, "/healthz").body)
    eventually(lambda: collector.logs().count("a worker has ended") >= 3)
    assert others.items() <= collector.workers().items()
    labels = {"intake": "asl", "outcome": "accepted"}
    assert metric(collector.metrics_url, "collector_reports_total", **labels) == 60

    (state_dir / "worker-1").unlink()
    eventually(lambda: get(collector.metrics_url, "/healthz").status == 200)
    for number in range(60):
        assert post(collector.url, encoded(report([3000 + number]))).status == 200
    assert collector.terminate() == 0
