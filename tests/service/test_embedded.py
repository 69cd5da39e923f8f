"""The InfluxDB that we start ourselves, with the real influxd."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import urllib3

from tests.sender import eventually
from tools.embedded import (
    PORTS_VARIABLE,
    EmbeddedInflux,
    InfluxdNotFoundError,
    InfluxdStartError,
    find_influxd,
    free_port,
    is_free,
    is_influxd_1,
)


def influxql(influx: EmbeddedInflux, statement: str, database: str = "") -> bytes:
    with urllib3.PoolManager() as http:
        answer = http.request(
            "POST", f"{influx.url}/query", fields={"q": statement, "db": database}
        )
        assert answer.status == 200
        return answer.data


def write(influx: EmbeddedInflux, database: str, line: str) -> None:
    with urllib3.PoolManager() as http:
        answer = http.request("POST", f"{influx.url}/write?db={database}", body=line)
        assert answer.status == 204


def process_lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def test_point_survives_kill_and_restart_on_the_same_port(own_influx: EmbeddedInflux) -> None:
    url = own_influx.url
    influxql(own_influx, "CREATE DATABASE d")
    write(own_influx, "d", "m f=42i")
    own_influx.kill()
    assert not own_influx.running
    own_influx.restart()
    assert own_influx.url == url
    assert b"42" in influxql(own_influx, "SELECT f FROM m", "d")


def test_restart_of_a_running_server_is_a_new_process(own_influx: EmbeddedInflux) -> None:
    before = own_influx.pid
    own_influx.restart()
    assert own_influx.pid not in {before, None}


def test_start_of_a_running_server_changes_nothing(own_influx: EmbeddedInflux) -> None:
    before = own_influx.pid
    own_influx.start()
    assert own_influx.pid == before


async def test_context_starts_and_stops_on_the_port_given(tmp_path: Path) -> None:
    port = free_port()
    async with EmbeddedInflux(tmp_path, port=port) as influx:
        assert influx.url == f"http://127.0.0.1:{port}"
        assert not is_free(port)
        influxql(influx, "SHOW DATABASES")
    assert not influx.running
    assert is_free(port)


def test_series_index_is_on_disk_and_directory_name_may_be_odd(tmp_path: Path) -> None:
    influx = EmbeddedInflux(tmp_path / 'an "odd" näme')
    influx.start()
    try:
        influxql(influx, "CREATE DATABASE d")
        write(influx, "d", "m f=1i")
        assert list(influx.directory.glob("data/d/autogen/*/index"))
    finally:
        influx.terminate()


def test_settings_of_the_callers_environment_have_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INFLUXDB_HTTP_AUTH_ENABLED", "true")
    influx = EmbeddedInflux(tmp_path)
    influx.start()
    try:
        influxql(influx, "CREATE DATABASE d")
    finally:
        influx.terminate()


def test_server_does_not_outlive_a_killed_owner(tmp_path: Path) -> None:
    owner = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import pathlib, sys, time; from tools.embedded import EmbeddedInflux\n"
            "influx = EmbeddedInflux(pathlib.Path(sys.argv[1])); influx.start()\n"
            "print(influx.pid, flush=True); time.sleep(60)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
    )
    assert owner.stdout is not None
    pid = int(owner.stdout.readline())
    assert process_lives(pid)
    owner.send_signal(signal.SIGKILL)
    owner.communicate()
    eventually(lambda: not process_lives(pid))


def test_ctrl_c_at_the_terminal_does_not_reach_the_server(own_influx: EmbeddedInflux) -> None:
    assert own_influx.pid is not None
    assert os.getpgid(own_influx.pid) != os.getpgid(0)


def test_taken_port_is_said_at_start(tmp_path: Path, own_influx: EmbeddedInflux) -> None:
    other = EmbeddedInflux(tmp_path / "other", port=own_influx.port)
    with pytest.raises(InfluxdStartError, match=f"Port {own_influx.port} .* in use"):
        other.start()
    assert not other.running


def test_death_at_start_shows_the_log(tmp_path: Path) -> None:
    broken = program(tmp_path / "influxd", "echo no such disk >&2; exit 1")
    with pytest.raises(InfluxdStartError, match="no such disk"):
        EmbeddedInflux(tmp_path / "data", influxd=broken).start()


async def test_death_at_start_of_the_context_shows_the_log(tmp_path: Path) -> None:
    broken = program(tmp_path / "influxd", "echo no such disk >&2; exit 1")
    with pytest.raises(InfluxdStartError, match="no such disk"):
        async with EmbeddedInflux(tmp_path / "data", influxd=broken):
            pass


def test_silent_server_is_given_up_and_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("tools.embedded.START_TIMEOUT", 0.3)
    silent = EmbeddedInflux(tmp_path, influxd=program(tmp_path / "influxd", "exec sleep 60"))
    with pytest.raises(InfluxdStartError, match="did not answer"):
        silent.start()
    assert not silent.running


def test_server_deaf_to_sigterm_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.embedded.STOP_TIMEOUT", 0.3)
    influx = EmbeddedInflux(tmp_path)
    influx.start()
    assert influx.pid is not None
    os.kill(influx.pid, signal.SIGSTOP)
    influx.terminate()
    assert not influx.running


def test_stopping_what_never_started_is_no_error(tmp_path: Path) -> None:
    influx = EmbeddedInflux(tmp_path)
    influx.kill()
    influx.terminate()
    assert influx.pid is None
    assert influx.log_tail() == ""


def test_influxd_on_path_comes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = program(tmp_path / "bin" / "influxd", "echo InfluxDB v1.8.10")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_influxd() == on_path


def test_influxd_2_on_path_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program(tmp_path / "bin" / "influxd", "echo InfluxDB v2.7.0")
    unpacked = program(tmp_path / ".local/influxdb/usr/bin/influxd", "echo InfluxDB v1.6.7")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert find_influxd(tmp_path) == unpacked


def test_missing_influxd_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InfluxdNotFoundError, match="make setup"):
        find_influxd(tmp_path)


def test_file_that_cannot_run_is_no_influxd(tmp_path: Path) -> None:
    (tmp_path / "influxd").write_text("")
    assert not is_influxd_1(tmp_path / "influxd")


def test_free_port_passes_over_a_taken_one(
    monkeypatch: pytest.MonkeyPatch, own_influx: EmbeddedInflux
) -> None:
    other = free_port()
    turns = iter([own_influx.port, other])
    monkeypatch.setattr("tools.embedded._turn", lambda: next(turns) - 20_000)
    assert free_port() == other


def test_processes_that_ask_at_once_get_different_ports() -> None:
    ask = "from tools.embedded import free_port; print(*(free_port() for _ in range(50)))"
    asking = [
        subprocess.Popen([sys.executable, "-c", ask], stdout=subprocess.PIPE) for _ in range(3)
    ]
    given = [port for one in asking for port in one.communicate()[0].split()]
    assert len(set(given)) == len(given) == 150


@pytest.mark.parametrize("left", ["", "no number", "11998"])
def test_ports_are_counted_from_what_an_earlier_process_has_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str
) -> None:
    count = tmp_path / "ports"
    count.write_text(left)
    monkeypatch.setenv(PORTS_VARIABLE, str(count))
    given = [free_port() for _ in range(5)]
    assert len(set(given)) == 5
    assert not left.isdigit() or 32_000 > given[0] >= 31_999 or given[0] < 20_100


def test_without_a_count_ports_are_taken_by_chance(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(PORTS_VARIABLE)
    assert len({free_port() for _ in range(5)}) > 1


def test_no_free_port_at_all_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tools.embedded.is_free", lambda _port: False)
    with pytest.raises(OSError, match="no free port"):
        free_port()


async def test_entering_the_context_of_a_running_server_starts_no_other(
    own_influx: EmbeddedInflux,
) -> None:
    before = own_influx.pid
    async with own_influx as influx:
        assert influx.pid == before
    assert not own_influx.running
