"""`collector check`, and the settings that `collector serve` will not start with."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.command import command as in_this_process
from tests.conftest import Databases, StartServe, clean_environment
from tests.sender import GUARD_S, encoded, lay_key, post, report
from tests.service.upstream import Answer, Upstream

SECRET = "s3cr3t-t0k3n"
NOWHERE = {"COLLECTOR_INFLUX_URL": "http://127.0.0.1:9"}


def run(command: str, settings: Mapping[str, str], state: Path) -> tuple[int, str, str]:
    """Exit code, output and errors of a command of `collector`; `serve` is a new process."""
    environment = {"COLLECTOR_STATE_DIR": str(state), **settings}
    if command != "serve":
        ended = in_this_process(environment, *command.split())
        return ended.code, ended.out, ended.err
    done = subprocess.run(
        [sys.executable, "-m", "collector", "serve"],
        env=clean_environment() | environment,
        capture_output=True,
        text=True,
        timeout=GUARD_S,
        cwd=state.parent,
        check=False,
    )
    assert "Traceback" not in done.stderr
    return done.returncode, done.stdout, done.stderr


def test_check_of_what_is_well_exits_0(databases: Databases, state_dir: Path) -> None:
    code, out, _ = run("check", databases.environment, state_dir)
    assert code == 0
    assert f"COLLECTOR_STATE_DIR={state_dir}" in out
    assert "COLLECTOR_K_ANONYMITY=5" in out
    assert "WRONG" not in out
    assert f"InfluxDB {'2' if databases.server.is_2 else '1'}." in out


def test_missing_database_is_not_said_to_be_readable(databases: Databases, state_dir: Path) -> None:
    settings = databases.environment | {"COLLECTOR_INFLUX_PREFIX": "not_made_yet_"}
    code, out, _ = run("check", settings, state_dir)
    assert (code, "can be read" in out) == (0, False)
    assert "not_made_yet_usage_raw is not there yet" in out
    code, _, err = run("verify", settings, state_dir)
    # One sentence, rather than one a day.
    assert (code, err.count("\n")) == (1, 1)
    assert "is COLLECTOR_INFLUX_PREFIX right?" in err


def test_check_beside_a_running_collector_is_well(databases: Databases, serve: StartServe) -> None:
    collector = serve(databases.environment)
    assert post(collector.url, encoded(report([2001]))).status == 200
    code, out, _ = run("check", collector.environment, collector.state_dir)
    assert (code, "WRONG" in out) == (0, False)


def test_check_says_that_influxdb_is_away_and_what_to_do(state_dir: Path) -> None:
    code, out, _ = run("check", NOWHERE, state_dir)
    assert code == 1
    why = "InfluxDB cannot be reached at 127.0.0.1:9 (Connection refused)"
    assert f"WRONG InfluxDB at http://127.0.0.1:9: {why}" in out
    assert "start it or set COLLECTOR_INFLUX_URL" in out


async def test_check_says_that_the_token_is_wrong(state_dir: Path) -> None:
    async with Upstream(query=Answer(401, "authorization failed")).running() as upstream:
        code, out, _ = await asyncio.to_thread(
            run, "check", {"COLLECTOR_INFLUX_URL": upstream.url}, state_dir
        )
    assert code == 1
    assert "authorization failed" in out
    assert "check COLLECTOR_INFLUX_TOKEN" in out


def test_check_says_that_another_program_answers(state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        other.settimeout(GUARD_S)
        settings = {"COLLECTOR_INFLUX_URL": f"http://127.0.0.1:{other.getsockname()[1]}"}

        def answer() -> None:
            # Each of its tries is answered, until the socket is closed.
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = other.accept()
                    with connection:
                        connection.recv(65536)
                        connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")

        answering = threading.Thread(target=answer)
        answering.start()
        code, out, _ = run("check", settings, state_dir)
        other.shutdown(socket.SHUT_RDWR)
        answering.join()
    assert code == 1
    assert "WRONG InfluxDB" in out


def test_check_says_that_the_state_directory_cannot_be_made(
    databases: Databases, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    code, out, _ = run("check", databases.environment, tmp_path / "file")
    assert code == 1
    assert "WRONG state directory" in out


def test_check_says_that_others_can_read_the_key(databases: Databases, state_dir: Path) -> None:
    lay_key(state_dir)
    (state_dir / "pseudonym.key").chmod(0o644)
    code, out, _ = run("check", databases.environment, state_dir)
    assert code == 1
    assert "chmod 600" in out


@pytest.mark.parametrize("file", [False, True])
def test_check_never_shows_a_secret(state_dir: Path, tmp_path: Path, *, file: bool) -> None:
    (tmp_path / "token").write_text(SECRET)
    secret = (
        {"COLLECTOR_INFLUX_TOKEN_FILE": str(tmp_path / "token")}
        if file
        else {"COLLECTOR_INFLUX_TOKEN": SECRET}
    )
    _, out, err = run("check", NOWHERE | secret, state_dir)
    assert "COLLECTOR_INFLUX_TOKEN=(hidden)" in out
    assert SECRET not in out + err


def test_misspelt_setting_is_said(state_dir: Path) -> None:
    _, _, err = run("check", NOWHERE | {"COLLECTOR_RATELIMIT": "5"}, state_dir)
    assert "COLLECTOR_RATELIMIT is no setting of this version; is COLLECTOR_RATE_LIMIT" in err


@pytest.mark.parametrize("command", ["serve", "check", "outbox dead"])
def test_wrong_setting_exits_2_and_names_it(state_dir: Path, command: str) -> None:
    code, out, err = run(command, {"COLLECTOR_INSTANCE": "1000"}, state_dir)
    assert (code, out) == (2, "")
    assert err.startswith("COLLECTOR_INSTANCE='1000': ")
    assert "0..999" in err


def test_wrong_setting_ends_serve_before_anything_is_opened(state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        # Were a port opened first, this one would be the trouble.
        listen = {"COLLECTOR_LISTEN": f"127.0.0.1:{taken.getsockname()[1]}"}
        code, _, err = run("serve", listen | {"COLLECTOR_K_ANONYMITY": "0"}, state_dir)
    assert code == 2
    assert "COLLECTOR_K_ANONYMITY" in err
    assert not state_dir.exists()


def test_port_that_is_taken_ends_serve_in_words(databases: Databases, state_dir: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        listen = {"COLLECTOR_LISTEN": f"127.0.0.1:{port}"}
        code, _, err = run("serve", databases.environment | listen, state_dir)
    assert code == 1
    assert str(port) in err


def test_outbox_command_says_where_it_looked(state_dir: Path) -> None:
    code, _, err = run("outbox dead", NOWHERE, state_dir)
    assert code == 1
    assert str(state_dir) in err
    assert "COLLECTOR_STATE_DIR" in err
