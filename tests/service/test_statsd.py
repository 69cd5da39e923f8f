"""StatsD end to end: real sockets, a real disk, a real InfluxDB, and processes that are killed."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from collector.intakes.statsd.aggregate import Aggregator
from collector.intakes.statsd.mapping import shipped
from collector.intakes.statsd.sockets import bound
from collector.memory import Journaled, Memory, Saved
from collector.schema.live import (
    MAY_BE_WRONG,
    STATSD_MEASUREMENTS,
    STATSD_TRAFFIC,
    UNCERTAIN,
)
from collector.setting_types import parse_endpoint
from tests import length
from tests.command import command
from tests.conftest import Databases, Serve, StartServe, clean_environment
from tests.queues import unread
from tests.remains import contents
from tests.sender import GUARD_S, eventually, lay_key, metric
from tests.statsd import Sender, gauges, live, newest, total
from tools.replay.captures import STATSD, read_capture

FLUSH = {"COLLECTOR_STATSD_FLUSH": "1s", "COLLECTOR_ASL": "0"}


@pytest.fixture
def port(free_port: Callable[[], int]) -> int:
    return free_port()


@pytest.fixture
def settings(databases: Databases, port: int) -> dict[str, str]:
    """Settings that take StatsD on UDP, without a file of Asterisks."""
    return databases.environment | FLUSH | {"COLLECTOR_STATSD_LISTEN": f"127.0.0.1:{port}"}


def asterisk_file(tmp_path: Path, asterisks: Mapping[str, str]) -> dict[str, str]:
    """A setting that names a file of Asterisks: name and where its StatsD comes from."""
    path = tmp_path / "asterisks.toml"
    path.write_text(
        "".join(f'["{name}"]\nstatsd_from = "{at}"\n' for name, at in asterisks.items())
    )
    return {"COLLECTOR_ASTERISK_FILE": str(path)}


def dropped(collector: Serve, reason: str) -> float:
    return metric(collector.metrics_url, "collector_statsd_dropped_total", reason=reason)


def wait_for_flush(collector: Serve) -> None:
    """Wait until a flush that has begun since then is stored."""

    def flushes() -> float:
        return metric(collector.metrics_url, "collector_statsd_flushes_total", outcome="stored")

    before = flushes()
    # The first may have begun before.
    eventually(lambda: flushes() > before + 1)


def test_all_types_are_stored_at_the_flush_and_the_rest_is_dropped_by_name(
    serve: StartServe, settings: dict[str, str], databases: Databases, port: int
) -> None:
    collector = serve(settings)
    with Sender(f"127.0.0.1:{port}") as sender:
        sender.send(b"channels.count:+1|g", b"calls:3|c", b"wait:12|ms", b"who:anna|s", b"nothing")
        sender.send(b"calls:1|c\ncalls:2|c")
        eventually(lambda: total(databases, "calls") == 6)
    assert gauges(databases, "channels", "count") == {(): 1.0}
    assert gauges(databases, "statsd_timer", "p99") == {("wait",): 12.0}
    assert gauges(databases, "statsd_set", "count") == {("who",): 1.0}
    counted = partial(metric, collector.metrics_url, asterisk="default")
    eventually(lambda: counted("collector_statsd_samples_total") == 6)
    assert counted("collector_statsd_datagrams_total") == 6
    assert counted("collector_statsd_last_datagram_timestamp_seconds") > time.time() - 60
    assert dropped(collector, "malformed") == 1
    wait_for_flush(collector)
    (row,) = live(databases, "SELECT sum(samples) AS s, sum(dropped) AS d FROM statsd_traffic")
    assert (row["s"], row["d"]) == (6, 1)
    times = {row["time"] for row in live(databases, "SELECT * FROM statsd_traffic")}
    assert all(at % 10**9 == 0 for at in times)


def test_what_is_odd_about_an_asterisk_is_counted(
    serve: StartServe, settings: dict[str, str], port: int
) -> None:
    collector = serve(settings)
    counted = partial(metric, collector.metrics_url, asterisk="default")
    starts = [b"PJSIP.contacts.states.%s:0|g" % state for state in (b"Reachable", b"Unknown")]
    with Sender(f"127.0.0.1:{port}") as sender:
        sender.send(b"in.queue:+1|g", b"channels.count_meter:+1|c", b"calls:1|c|T1656581400")
        sender.send(*starts, b"PJSIP.contacts.states.Reachable:-1|g")
        eventually(lambda: counted("collector_statsd_underflows_total") == 1)
        eventually(lambda: counted("collector_statsd_restarts_total") == 1)
        eventually(lambda: counted("collector_statsd_renamed_total") == 1)
        eventually(lambda: counted("collector_statsd_uncertain_gauges") >= 1)
        ignored = partial(metric, collector.metrics_url, "collector_statsd_ignored_total")
        assert ignored(part="timestamp") == 1
    assert metric(collector.metrics_url, "collector_statsd_receive_buffer_bytes") > 0


def test_every_transport_brings_the_same(
    serve: StartServe,
    databases: Databases,
    free_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    ways = [
        f"127.0.0.1:{free_port()}",
        f"udp://[::1]:{free_port()}",
        f"tcp://127.0.0.1:{free_port()}",
        f"tcp://[::1]:{free_port()}",
        f"unix:{tmp_path}/d.sock",
        f"unixstream:{tmp_path}/s.sock",
    ]
    serve(databases.environment | FLUSH | {"COLLECTOR_STATSD_LISTEN": ",".join(ways)})
    for number, way in enumerate(ways):
        with Sender(way) as sender:
            sender.send(b"way.%d:2|c" % number, b"all:1|c")
    eventually(lambda: total(databases, "all") == len(ways))
    assert [total(databases, f"way.{number}") for number in range(len(ways))] == [2.0] * len(ways)


def paced(path: Path, port: int) -> Iterator[bytes]:
    """The datagrams of a capture, with pauses until those that were sent are read.

    The kernel may hold some hundreds alone, and a busy collector reads them late.
    """
    for number, (_, datagram) in enumerate(read_capture(path).received(), start=1):
        yield datagram
        if number % 100 == 0:
            eventually(lambda: not unread(port, "udp"))


def test_each_capture_sent_at_once_is_stored_as_it_is_counted(
    serve: StartServe,
    settings: dict[str, str],
    databases: Databases,
    port: int,
    tmp_path: Path,
) -> None:
    """All captures at once, each from an Asterisk with an address of its own."""
    names = {f"a{number}": path for number, path in enumerate(STATSD)}
    sources = {name: f"127.0.1.{number + 1}" for number, name in enumerate(names)}
    serve(settings | asterisk_file(tmp_path, sources))
    oracles = {name: Aggregator(name, shipped()) for name in names}
    for name, path in names.items():
        with Sender(f"127.0.0.1:{port}", source=sources[name]) as sender:
            for datagram in paced(path, port):
                sender.send(datagram)
                oracles[name].take(datagram, time.time_ns())
    wanted = {name: oracle.counts.samples for name, oracle in oracles.items()}

    def samples() -> dict[str, int]:
        rows = live(databases, "SELECT sum(samples) AS n FROM statsd_traffic GROUP BY asterisk")
        return {row["asterisk"]: row["n"] for row in rows}

    eventually(lambda: samples() == wanted)
    # They may be of several flushes, unlike here.
    several = {"statsd_timer", "pjsip_rtt", "pjsip_rtt_all", "statsd_set"}
    for name, oracle in oracles.items():
        for point in oracle.flush(time.time_ns()):
            # Pauses tell where gauges start anew, and at this speed there are none.
            if point.measurement in {STATSD_TRAFFIC.name, *GAUGES}:
                continue
            tags = tuple(point.tags[tag] for tag in sorted(point.tags) if tag != "asterisk")
            for field in ("count", "value"):
                if field not in point.fields:
                    continue
                function = "sum" if point.measurement == "statsd_counter" else "last"
                if point.measurement in several:
                    continue
                found = gauges(databases, point.measurement, field, name, function=function)
                assert found[tags] == pytest.approx(point.fields[field]), (name, point)


def test_datagrams_from_elsewhere_are_dropped_and_no_address_is_written_anywhere(
    serve: StartServe,
    settings: dict[str, str],
    databases: Databases,
    port: int,
    tmp_path: Path,
) -> None:
    foreign, known = "127.77.13.9", "127.77.13.8"
    own = asterisk_file(tmp_path, {"pbx": f"{known}/32"})
    collector = serve(settings | own | {"COLLECTOR_LOG_LEVEL": "debug"})
    with (
        Sender(f"127.0.0.1:{port}", source=foreign) as other,
        Sender(f"127.0.0.1:{port}", source=known) as sender,
    ):
        other.send(b"calls:5|c", b"calls:7|c")
        sender.send(b"calls:1|c")
        eventually(lambda: total(databases, "calls", "pbx") == 1)
        eventually(lambda: dropped(collector, "foreign-address") == 2)
        held = contents(collector.state_dir).values()
        for address in (foreign.encode(), known.encode()):
            assert address not in collector.log.read_bytes()
            assert all(address not in content for content in held)
    assert total(databases, "calls", "pbx") == 1
    assert total(databases, "calls") == 0


def test_what_the_kernel_drops_is_counted_and_makes_gauges_uncertain(
    serve: StartServe, settings: dict[str, str], databases: Databases, port: int
) -> None:
    collector = serve(settings)
    sent = 60_000
    with Sender(f"127.0.0.1:{port}") as sender:
        sender.send(b"PJSIP.contacts.states.Reachable:0|g", b"PJSIP.contacts.states.Reachable:+1|g")
        reachable = {("Reachable",): 1.0}
        eventually(lambda: gauges(databases, "pjsip_contacts", "count") == reachable)
        assert gauges(databases, "pjsip_contacts", UNCERTAIN) == {}
        collector.process.send_signal(signal.SIGSTOP)
        for _ in range(sent):
            sender.send(b"calls:1|c")
        collector.process.send_signal(signal.SIGCONT)
        eventually(lambda: dropped(collector, "kernel") > 0)
        eventually(lambda: total(databases, "calls") + dropped(collector, "kernel") == sent)
        eventually(lambda: ("Reachable",) in gauges(databases, "pjsip_contacts", UNCERTAIN))
    assert "the kernel drops datagrams of StatsD" in collector.logs()


class Counting(threading.Thread):
    """Sends an increment every few milliseconds, and remembers when it sent each."""

    def __init__(self, port: int, *, pause_s: float = 0.001) -> None:
        super().__init__()
        self._pause_s = pause_s
        self.sent_ns: list[int] = []
        self._port = port
        self._end = threading.Event()

    def run(self) -> None:
        with Sender(f"127.0.0.1:{self._port}") as sender:
            for number in count():
                if self._end.wait(self._pause_s):
                    return
                sender.send(b"ticks:1|c\nlast:%d|g\nup:+1|g" % number)
                self.sent_ns.append(time.time_ns())

    def stop(self) -> None:
        self._end.set()
        self.join()


def test_kill_9_at_any_moment_loses_a_second_at_most_stores_nothing_twice_and_marks_gauges(
    serve: StartServe, settings: dict[str, str], databases: Databases, port: int
) -> None:
    chance = random.Random(length.seed(14))
    collector = serve(settings)
    counting = Counting(port)
    counting.start()
    dead: list[tuple[int, int]] = []
    for _ in range(length.repeat(3, 20)):
        time.sleep(1.2 + chance.random())
        collector.kill()
        killed_ns = time.time_ns()
        collector = serve(collector.environment)
        dead.append((killed_ns, time.time_ns()))
    time.sleep(1.2)
    counting.stop()
    sent = len(counting.sent_ns)
    # Two seconds, of which one is the promise, and one is for a machine that is busy.
    lost = sum(
        any(begin - 2 * 10**9 < at < end + 10**9 for begin, end in dead) for at in counting.sent_ns
    )
    assert collector.terminate() == 0
    stored = total(databases, "ticks")
    assert sent - lost <= stored <= sent
    assert gauges(databases, "statsd_gauge", "value")["up",] == stored
    assert gauges(databases, "statsd_gauge", UNCERTAIN)["up",] >= 1


GAUGES = {one.name: one.fields[0].name for one in STATSD_MEASUREMENTS if MAY_BE_WRONG in one.fields}
"""Each measurement of gauges, and its field."""
REPLAY_S = 10.0
"""How long the captures, of half an hour together, take when they are replayed at once."""


class Replaying(threading.Thread):
    """Sends every capture in its order, each from an address of its own and compressed in time."""

    def __init__(self, port: int, sources: Mapping[str, Path]) -> None:
        super().__init__()
        self._port = port
        self._due = sorted(
            (at / max(1.0, traffic[-1][0]) * REPLAY_S, source, datagram)
            for source, path in sources.items()
            for traffic in [list(read_capture(path).received())]
            for at, datagram in traffic
        )
        self.oracles = {source: Aggregator(source, shipped()) for source in sources}

    def run(self) -> None:
        with ExitStack() as stack:
            senders = {
                source: stack.enter_context(Sender(f"127.0.0.1:{self._port}", source=source))
                for source in self.oracles
            }
            begun = time.monotonic()
            for at, source, datagram in self._due:
                time.sleep(max(0.0, begun + at - time.monotonic()))
                senders[source].send(datagram)
                self.oracles[source].take(datagram, time.time_ns())


def test_gauges_after_kill_9_in_each_second_of_a_replay_are_right_or_say_that_they_may_not_be(
    serve: StartServe,
    settings: dict[str, str],
    databases: Databases,
    port: int,
    tmp_path: Path,
) -> None:
    names = {f"127.0.2.{number + 1}": path for number, path in enumerate(STATSD)}
    own = asterisk_file(tmp_path, {source: source for source in names})
    collector = serve(settings | own)
    replaying = Replaying(port, names)
    replaying.start()
    kills = 0
    while replaying.is_alive():
        replaying.join(1.0)
        collector.kill()
        kills += 1
        collector = serve(collector.environment)
    assert kills
    assert collector.terminate() == 0
    wrong = []
    for source, oracle in replaying.oracles.items():
        for point in oracle.flush(time.time_ns()):
            if point.measurement in GAUGES:
                tags = tuple(point.tags[tag] for tag in sorted(point.tags) if tag != "asterisk")
                row = newest(databases, point.measurement, source).get(tags)
                field = GAUGES[point.measurement]
                if row and row[field] != point.fields[field] and row.get(UNCERTAIN) is None:
                    wrong.append((source, point, row))
    assert not wrong


def test_stop_stores_what_came_since_the_last_flush_and_the_next_start_goes_on(
    serve: StartServe, settings: dict[str, str], databases: Databases, port: int
) -> None:
    collector = serve(settings | {"COLLECTOR_STATSD_FLUSH": "60s"})
    with Sender(f"127.0.0.1:{port}") as sender:
        sender.send(b"calls:3|c", b"up:+2|g", b"set:7|g")
        assert collector.terminate() == 0
        assert total(databases, "calls") == 3
        collector = serve(settings | {"COLLECTOR_STATSD_FLUSH": "60s"})
        sender.send(b"calls:4|c", b"up:+1|g")
        assert collector.terminate() == 0
    assert total(databases, "calls") == 7
    assert gauges(databases, "statsd_gauge", "value") == {("up",): 3.0, ("set",): 7.0}
    # Datagrams may have come while nobody listened.
    assert ("up",) in gauges(databases, "statsd_gauge", UNCERTAIN)


def test_flushes_come_back_from_a_damaged_outbox_and_a_replay_stores_nothing_twice(
    serve: StartServe, settings: dict[str, str], databases: Databases, port: int
) -> None:
    collector = serve(settings | {"COLLECTOR_INFLUX_URL": "http://127.0.0.1:9"})
    with Sender(f"127.0.0.1:{port}") as sender:
        for number in (3, 4):
            sender.send(b"calls:%d|c\nup:%d|g" % (number, number))
            wait_for_flush(collector)
    collector.kill()
    path = collector.state_dir / "outbox.sqlite3"
    path.write_bytes(b"\xff" * 100 + path.read_bytes()[100:])
    collector = serve(settings)
    environment = settings | {"COLLECTOR_STATE_DIR": str(collector.state_dir)}
    done = command(environment, "outbox", "recover", "--all")
    assert done.code == 0, done.err
    eventually(lambda: total(databases, "calls") == 7)
    assert collector.terminate() == 0
    points = live(databases, "SELECT * FROM statsd_gauge")
    again = command(environment, "outbox", "replay", "--since", "1h")
    assert again.code == 0, again.err
    collector = serve(collector.environment | {"COLLECTOR_STATSD_LISTEN": ""})
    eventually(
        lambda: metric(collector.metrics_url, "collector_outbox_reports", target="influx") == 0
    )
    assert total(databases, "calls") == 7
    assert live(databases, "SELECT * FROM statsd_gauge") == points
    assert gauges(databases, "statsd_gauge", "value") == {("up",): 4.0}


MAPPING = """
mappings:
- match: "calls.*"
  name: "statsd_counter"
  labels: {name: "%s"}
"""


def test_sighup_reads_the_mapping_again_and_a_wrong_one_changes_nothing(
    serve: StartServe, settings: dict[str, str], databases: Databases, port: int, tmp_path: Path
) -> None:
    path = tmp_path / "mapping.yml"
    path.write_text(MAPPING % "first")
    mapping = {"COLLECTOR_STATSD_MAPPING": str(path)}
    collector = serve(settings | mapping)
    with Sender(f"127.0.0.1:{port}") as sender:
        sender.send(b"calls.in:1|c")
        eventually(lambda: total(databases, "first") == 1)
        path.write_text(MAPPING % "second")
        collector.process.send_signal(signal.SIGHUP)
        eventually(lambda: "the mapping and the Asterisks are read again" in collector.logs())
        sender.send(b"calls.in:2|c")
        eventually(lambda: total(databases, "second") == 2)
        path.write_text("mappings: [{}]")
        collector.process.send_signal(signal.SIGHUP)
        eventually(lambda: "the mapping and the Asterisks are not changed" in collector.logs())
        sender.send(b"calls.in:3|c")
        eventually(lambda: total(databases, "second") == 5)
    assert total(databases, "first") == 1


def test_first_of_several_workers_takes_all_and_its_restart_loses_nothing(
    serve: StartServe,
    settings: dict[str, str],
    databases: Databases,
    port: int,
    tmp_path: Path,
) -> None:
    path = f"unixstream:{tmp_path}/s.sock"
    listen = {"COLLECTOR_STATSD_LISTEN": f"127.0.0.1:{port},{path}"}
    collector = serve(settings | listen | {"COLLECTOR_WORKERS": "2"})
    before = collector.workers()
    counting = Counting(port, pause_s=0.02)
    with Sender(f"127.0.0.1:{port}") as sender:
        sender.send(b"PJSIP.contacts.states.Reachable:0|g", b"PJSIP.contacts.states.Reachable:+2|g")
        counting.start()
        collector.process.send_signal(signal.SIGHUP)
        eventually(lambda: "all workers are restarted" in collector.logs())
        assert set(before.values()).isdisjoint(collector.workers().values())
        sender.send(b"PJSIP.contacts.states.Reachable:-1|g")
    with Sender(path) as sender:
        sender.send(b"by.connection:1|c")
    counting.stop()
    sent = len(counting.sent_ns)
    eventually(lambda: total(databases, "ticks") == sent)
    eventually(lambda: total(databases, "by.connection") == 1)
    eventually(lambda: gauges(databases, "pjsip_contacts", "count") == {("Reachable",): 1.0})
    assert gauges(databases, "pjsip_contacts", UNCERTAIN) == {}
    assert metric(collector.metrics_url, "collector_statsd_datagrams_total", asterisk="default")


HAND_OVER = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1"}
os.execv(sys.executable, [sys.executable, "-m", "collector", "serve"])
"""


def test_restart_loses_nothing_where_the_service_manager_holds_the_socket(
    settings: dict[str, str],
    databases: Databases,
    port: int,
    free_port: Callable[[], int],
    tmp_path: Path,
) -> None:
    environment = settings | {
        "COLLECTOR_LISTEN": f"127.0.0.1:{free_port()}",
        "COLLECTOR_METRICS_LISTEN": f"127.0.0.1:{free_port()}",
        "COLLECTOR_STATE_DIR": str(tmp_path / "state"),
    }
    log = tmp_path / "serve.log"

    def serve_as_unit(held: socket.socket) -> Serve:
        """Start a collector as systemd does: the socket is its file descriptor 3."""
        with log.open("ab") as output:
            process = subprocess.Popen(
                [sys.executable, "-c", HAND_OVER, str(held.fileno())],
                env=clean_environment() | environment,
                pass_fds=(held.fileno(),),
                stdout=output,
                stderr=output,
            )
        return Serve(environment, log, process)

    with bound([parse_endpoint(f"127.0.0.1:{port}")]) as (one,):
        collector = serve_as_unit(one.socket)
        try:
            collector.wait_ready()
            with Sender(f"127.0.0.1:{port}") as sender:
                sender.send(b"PJSIP.contacts.states.Reachable:0|g")
                sender.send(b"PJSIP.contacts.states.Reachable:+2|g")
                assert collector.terminate() == 0
                # Nobody reads it now, and it is not lost.
                sender.send(b"PJSIP.contacts.states.Reachable:+1|g", b"calls:5|c")
                collector = serve_as_unit(one.socket)
                eventually(lambda: total(databases, "calls") == 5)
        finally:
            collector.terminate()
        assert gauges(databases, "pjsip_contacts", "count") == {("Reachable",): 3.0}
        assert gauges(databases, "pjsip_contacts", UNCERTAIN) == {}
        environment["COLLECTOR_STATSD_LISTEN"] += ",127.0.0.1:1"
        collector = serve_as_unit(one.socket)
        assert collector.process.wait(GUARD_S) == 1
    assert "the socket unit has no socket for 127.0.0.1:1" in log.read_text()


WRONG = {
    "COLLECTOR_STATSD_LISTEN": {
        "8125": "must be HOST:PORT",
        "unix:here": "must have an absolute path",
        "127.0.0.1:8125,udp://127.0.0.1:8125": "names 127.0.0.1:8125 twice",
    },
    "COLLECTOR_STATSD_MAPPING": {"/nowhere/mapping.yml": "cannot be read"},
    "COLLECTOR_ASTERISK_FILE": {"/nowhere/asterisks.toml": "cannot be read"},
    "COLLECTOR_STATSD_FLUSH": {"0": "greater than or equal to 1", "2m": "less than or equal to 60"},
}


def test_wrong_settings_end_the_start_with_2_before_a_port_is_opened(
    settings: dict[str, str], state_dir: Path
) -> None:
    for name, cases in WRONG.items():
        for value, words in cases.items():
            done = command(settings | {"COLLECTOR_STATE_DIR": str(state_dir), name: value}, "serve")
            assert done.code == 2, done
            assert name in done.err
            assert words in done.err
            assert not state_dir.exists()


def test_address_that_cannot_be_listened_on_ends_the_start(
    serve: StartServe, settings: dict[str, str], port: int, tmp_path: Path
) -> None:
    with Sender(f"127.0.0.1:{port}"):
        pass
    here = settings | {"COLLECTOR_STATSD_LISTEN": f"unix:{tmp_path}/none/s.sock"}
    collector = serve(here, ready=False)
    assert collector.process.wait(GUARD_S) == 1
    assert f"cannot listen on unix:{tmp_path}/none/s.sock" in collector.logs()


def test_check_names_what_is_wrong_with_statsd(
    settings: dict[str, str], state_dir: Path, tmp_path: Path, port: int
) -> None:
    environment = settings | {"COLLECTOR_STATE_DIR": str(state_dir)}
    own = asterisk_file(tmp_path, {"a": "127.0.0.5", "b": f"unix:{tmp_path}/b.sock"})
    said = command(environment | own, "check").out
    assert f"ok    StatsD at 127.0.0.1:{port}: can be listened on" in said
    assert f"WRONG [b] sends to unix:{tmp_path}/b.sock, which COLLECTOR_STATSD_LISTEN" in said
    (tmp_path / "file").write_text("")
    listen = f"unix:{tmp_path}/none/s,unix:{tmp_path}/file,unixstream:{tmp_path}/b.sock"
    said = command(environment | own | {"COLLECTOR_STATSD_LISTEN": listen}, "check").out
    assert f"WRONG StatsD at unix:{tmp_path}/none/s: there is no directory" in said
    assert f"WRONG StatsD at unix:{tmp_path}/file: is a file, and no socket" in said
    assert f"ok    StatsD at unix:{tmp_path}/b.sock: can be listened on" in said
    assert "WRONG [a] sends from an address" in said
    wrong = {"COLLECTOR_STATSD_MAPPING": "/nowhere", "COLLECTOR_STATSD_LISTEN": "192.0.2.1:1"}
    done = command(environment | wrong, "check")
    assert done.code == 1
    assert "WRONG COLLECTOR_STATSD_MAPPING='/nowhere': cannot be read" in done.out
    assert "WRONG StatsD at 192.0.2.1:1: " in done.out
    with bound([parse_endpoint(f"127.0.0.1:{port}")]):
        said = command(environment, "check").out
    assert f"ok    StatsD at 127.0.0.1:{port}: in use" in said


def test_start_forgets_an_asterisk_that_was_taken_out_while_no_collector_ran(
    serve: StartServe, settings: dict[str, str], state_dir: Path, tmp_path: Path
) -> None:
    lay_key(state_dir)
    held = Memory(state_dir).live
    held.flush({"gone": {"heard": "1"}}, [])
    held.save([Journaled("gone", 1, [b"calls:1|c"])], delivered=True)
    serve(settings | asterisk_file(tmp_path, {"b": "127.0.0.3"}))
    assert held.read() == Saved({}, [], []) or held.read().states.keys() == {"b"}


def test_asterisk_that_is_taken_out_of_the_file_ends_its_series_and_its_gauges(
    serve: StartServe,
    settings: dict[str, str],
    databases: Databases,
    port: int,
    tmp_path: Path,
) -> None:
    def is_held(name: str) -> bool:
        return bool(gauges(databases, "statsd_gauge", "value", name))

    collector = serve(settings | asterisk_file(tmp_path, {"a": "127.0.0.2", "b": "127.0.0.3"}))
    for source in ("127.0.0.2", "127.0.0.3"):
        with Sender(f"127.0.0.1:{port}", source=source) as sender:
            sender.send(b"up:+1|g")
    for name in ("a", "b"):
        eventually(partial(is_held, name))
    heard = "collector_statsd_last_datagram_timestamp_seconds"
    assert metric(collector.metrics_url, heard, asterisk="a") > 0
    asterisk_file(tmp_path, {"b": "127.0.0.3"})
    collector.process.send_signal(signal.SIGHUP)
    eventually(lambda: metric(collector.metrics_url, heard, asterisk="a") == 0)
    begun = time.time_ns()

    def newest(name: str) -> int:
        """The time of the newest flush of an Asterisk."""
        rows = live(databases, "SELECT last(samples) FROM statsd_traffic GROUP BY asterisk")
        return max([row["time"] for row in rows if row["asterisk"] == name], default=0)

    eventually(lambda: newest("b") > begun)
    assert newest("a") < begun
    assert gauges(databases, "statsd_gauge", "value", "b") == {("up",): 1.0}
    assert Memory(collector.state_dir).live.read().states.keys() == {"b"}
