"""`make demo` as a stranger runs it: all of it real, and nothing left behind."""

from __future__ import annotations

import os
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import urllib3

import collector
import tools
from tests.busy import measured
from tests.demos import STOP_S, TOLD_S, Demo, lives, run

# A fleet small enough for a busy machine; every step of the demo is taken all the same.
SERVERS = 30
SAMPLE = Path(__file__).parents[1] / "cases" / "asl" / "multi-node-mixed.json"

pytestmark = [
    pytest.mark.timeout(400),
    pytest.mark.no_cover,  # the slow repetition of what other tests cover
]


def start(tmp_path: Path, *arguments: str, environment: dict[str, str] | None = None) -> Demo:
    return run(
        tmp_path, "tools.demo", "--servers", str(SERVERS), *arguments, environment=environment
    )


@pytest.fixture
def short_demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo of a few days."""
    running = start(tmp_path, "--days", "3")
    yield running
    if running.process.poll() is None:
        running.stop(signal.SIGTERM)


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    """A demo under way; a real network's settings in the environment are none of its business."""
    real = {"COLLECTOR_INFLUX_URL": "http://192.0.2.1:8086", "COLLECTOR_K_ANONYMITY": "nonsense"}
    running = start(tmp_path, "--days", "33", environment=real)
    yield running
    if running.process.poll() is None:
        running.stop(signal.SIGTERM)


def program(folder: Path, name: str, text: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{text}\n")
    (folder / name).chmod(0o755)


def test_demo_shows_everything_serves_and_leaves_nothing(demo: Demo) -> None:
    said = demo.wait_for("Ctrl-C stops everything.")
    assert "\x1b" not in said
    # Paths and addresses are as long as they are.
    assert [line for line in said.splitlines() if "/" not in line and len(line) > 80] == []
    assert said.count('200 {"status":"accepted"') == 5
    assert "6/7  33 days counted" in said
    assert "lower line" in said
    assert said.count("times 200") == said.count("times 201") == 1
    assert re.search(r"Alert rules, evaluated as Grafana does \(\d+\): ", said)
    # Seven Asterisks replay what a real one sent; each has stored something by now.
    table = said.partition("What replayed Asterisks do now")[2].partition("recordings of a")[0]
    for name in ("office", "hotline", "callcentre", "branch", "edge", "remote", "doorbell"):
        assert re.search(rf"(?m)^{name} .*\d", table), table

    with urllib3.PoolManager() as http:
        post_to = demo.address("post reports to")
        assert http.request("POST", post_to, body=SAMPLE.read_bytes()).status == 200
        daily = http.request("GET", demo.address("daily numbers")).data.decode()
        assert daily.count(" 00:00:00 |") == 33
        assert "Distinct Nodes" in http.request("GET", demo.address("summary")).data.decode()
        metrics = http.request("GET", demo.address("metrics")).data.decode()
        assert 'collector_reports_total{intake="asl",outcome="accepted"}' in metrics
        influx = demo.address("InfluxDB")
        query = {"db": "asterisk_live", "q": "SHOW MEASUREMENTS"}
        stored = http.request("GET", f"{influx}/query", fields=query).data.decode()
        for name in ("statsd_traffic", "statsd_gauge", "ami_traffic", "queues", "calls"):
            assert f'"{name}"' in stored
        assert http.request("GET", f"{demo.address('InfluxDB')}/ping").status == 204
    assert "serving" in Path(demo.address("log")).read_text()

    children = demo.children()
    # InfluxDB and the collector, with Prometheus and PostgreSQL where there are.
    assert 2 <= len(children) <= 4
    with measured(*children) as spent:
        assert demo.stop(signal.SIGINT) == 0
    assert spent.own_s < 20
    assert "All that was started has ended" in demo.said()
    demo.assert_nothing_is_left(children)


@pytest.mark.parametrize(
    ("words", "number"),
    [("1/7", signal.SIGINT), ("3/7", signal.SIGTERM), ("5/7", signal.SIGINT)],
    ids=["at-start", "laying-down", "counting"],
)
def test_demo_stopped_in_the_middle_leaves_nothing(
    demo: Demo, words: str, number: signal.Signals
) -> None:
    demo.wait_for(words)
    children = demo.children()
    assert demo.stop(number) == 128 + number
    assert "Traceback" not in demo.said()
    demo.assert_nothing_is_left(children)


@pytest.mark.parametrize(
    ("child", "words"),
    [(b"serve", "2/7"), (b"serve", "Ctrl-C stops"), (b"influxd", "5/7")],
    ids=["collector-early", "collector", "influxdb"],
)
def test_demo_ends_with_words_when_what_it_started_dies(
    short_demo: Demo, child: bytes, words: str
) -> None:
    short_demo.wait_for(words)
    children = short_demo.children()
    os.kill(
        next(pid for pid in children if child in Path(f"/proc/{pid}/cmdline").read_bytes()),
        signal.SIGKILL,
    )
    assert short_demo.process.wait(TOLD_S) == 1
    assert re.search("has ended. Its log:|does not answer", short_demo.said())
    assert "Traceback" not in short_demo.said()
    short_demo.assert_nothing_is_left(children)


def test_killed_demo_takes_its_children_with_it(short_demo: Demo) -> None:
    short_demo.wait_for("2/7")
    children = short_demo.children()
    assert 2 <= len(children) <= 3
    short_demo.process.kill()
    short_demo.process.wait()
    deadline = time.monotonic() + STOP_S
    while any(map(lives, children)):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_demo_without_influxd_says_what_to_do(tmp_path: Path) -> None:
    # A copy outside the checkout, where no set-up has left an influxd.
    for package in (collector, tools):
        folder = Path(str(package.__file__)).parent
        shutil.copytree(folder, tmp_path / "copy" / folder.name)
    (tmp_path / "bin").mkdir()
    demo = start(
        tmp_path,
        environment={
            "PYTHONPATH": str(tmp_path / "copy"),
            "PATH": str(tmp_path / "bin"),
        },
    )
    assert demo.process.wait(STOP_S) == 1
    assert "No InfluxDB 1.x server was found" in demo.said()
    assert "make setup" in demo.said()
    assert "Traceback" not in demo.said()
    assert list(demo.temporary.iterdir()) == []


def test_demo_whose_influxd_does_not_start_shows_its_log(tmp_path: Path) -> None:
    script = 'if [ "$1" = version ]; then echo "InfluxDB v1.6.7"; else echo boom; exit 1; fi'
    program(tmp_path / "bin", "influxd", script)
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"
    demo = start(tmp_path, environment={"PATH": path})
    assert demo.process.wait(STOP_S) == 1
    assert "influxd ended at start" in demo.said()
    assert "boom" in demo.said()
    assert "Traceback" not in demo.said()
    assert list(demo.temporary.iterdir()) == []


def test_demo_told_to_stop_when_all_is_shown_does(tmp_path: Path) -> None:
    demo = start(tmp_path, "--servers", "1", "--days", "3", "--once")
    assert demo.process.wait(TOLD_S) == 0
    assert "Ready after" in demo.said()
    assert list(demo.temporary.iterdir()) == []
