"""No secret is found where others may look: logs, answers, metrics, lists of processes, files."""

from __future__ import annotations

import base64
import contextlib
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from collector.settings import SECRETS, Settings, variable
from tests.command import command
from tests.conftest import Databases, StartServe, clean_environment
from tests.sender import GUARD_S, KEY, encoded, eventually, get, lay_key, post, report
from tools.embedded import free_port

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

USER, PASSWORD = "an-operator", "s3cret-of-influxdb"
TOKEN = f"{USER}:{PASSWORD}"


def forms() -> dict[str, bytes]:
    """Each secret as it might be written."""
    return {
        "token": TOKEN.encode(),
        "password": PASSWORD.encode(),
        "basic authentication": base64.b64encode(TOKEN.encode()),
        "key, hexadecimal": KEY.hex().encode(),
        "key, raw": KEY,
        "key, as Python shows it": repr(KEY).encode(),
    }


def found_in(data: bytes, place: str) -> list[str]:
    return [f"{what} in {place}" for what, secret in forms().items() if secret in data]


def family(process: int) -> Iterator[int]:
    """A process and all below it."""
    yield process
    for task in Path(f"/proc/{process}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from family(int(child))


def command_lines(process: int) -> bytes:
    return b"\n".join(Path(f"/proc/{one}/cmdline").read_bytes() for one in family(process))


@pytest.mark.parametrize("by_file", [False, True], ids=["variable", "file"])
@pytest.mark.parametrize("form", ["text", "json"])
def test_no_secret_is_where_others_may_look(
    databases: Databases,
    serve: StartServe,
    state_dir: Path,
    tmp_path: Path,
    form: str,
    by_file: bool,
) -> None:
    if databases.server.token:
        pytest.skip("this InfluxDB has a token of its own")
    lay_key(state_dir)
    secret = tmp_path / "token"
    secret.write_text(TOKEN + "\n")
    token = {"COLLECTOR_INFLUX_TOKEN_FILE": str(secret)} if by_file else {}
    environment = (
        databases.environment
        | {"COLLECTOR_LOG_LEVEL": "debug", "COLLECTOR_LOG_FORMAT": form}
        | (token or {"COLLECTOR_INFLUX_TOKEN": TOKEN})
    )
    collector = serve(environment)
    bodies = (encoded(report([2001])), b"{", encoded(report([1])))
    seen = [post(collector.url, body).body for body in bodies]
    seen.append(post(collector.url, encoded(report([2001])), path="/v1/my-data").body)
    server = databases.server
    eventually(lambda: server.count(databases.raw, "node_report", "node") == 1)
    leaks = found_in(command_lines(collector.process.pid), "the list of processes")
    for path in ("/metrics", "/healthz", "/readyz"):
        leaks += found_in(get(collector.metrics_url, path).body, path)
    for path in ("/", "/v1/daily", "/v1/freshness", "/openapi.json", "/nowhere"):
        leaks += found_in(get(collector.url, path).body, path)
    leaks += found_in(b"\n".join(seen), "an answer")

    asked = command(collector.environment, "check")
    assert "(hidden)" in asked.out
    leaks += found_in((asked.out + asked.err).encode(), "collector check")
    collector.terminate()
    leaks += found_in(collector.logs().encode(), "the log")
    assert leaks == []


@pytest.mark.usefixtures("brief_retries")
@pytest.mark.parametrize("url", ["http://127.0.0.1:9", "http://127.0.0.1:1/x"])
def test_no_secret_is_in_the_words_about_what_went_wrong(
    serve: StartServe, state_dir: Path, url: str
) -> None:
    lay_key(state_dir)
    environment = {
        "COLLECTOR_INFLUX_URL": url,
        "COLLECTOR_INFLUX_TOKEN": TOKEN,
        "COLLECTOR_LOG_LEVEL": "debug",
        "COLLECTOR_STATE_DIR": str(state_dir),
    }
    collector = serve(environment)
    answers = [get(collector.url, path).body for path in ("/v1/daily", "/", "/reports/daily")]
    answers.append(post(collector.url, encoded(report([2001])), path="/v1/my-data").body)
    eventually(lambda: "level=warning" in collector.logs())
    time.sleep(1)
    collector.terminate()
    leaks = found_in(b"\n".join(answers), "an answer") + found_in(collector.log.read_bytes(), "log")
    for arguments in (
        ("check",),
        ("rollup", "--from", "yesterday"),
        ("retention", "show"),
        ("quarantine", "list"),
    ):
        done = command(environment, *arguments)
        assert done.code == 1
        leaks += found_in((done.out + done.err).encode(), " ".join(arguments))
    assert leaks == []


def test_no_secret_is_in_the_words_about_a_wrong_setting(state_dir: Path) -> None:
    environment = {
        "COLLECTOR_INFLUX_TOKEN": TOKEN,
        "COLLECTOR_INFLUX_TOKEN_FILE": "/nowhere",
        "COLLECTOR_STATE_DIR": str(state_dir),
    }
    done = command(environment, "check")
    assert done.code == 2
    assert found_in((done.out + done.err).encode(), "the words") == []
    state_dir.mkdir(mode=0o700)
    (state_dir / "pseudonym.key").write_text(KEY.hex()[:-2] + "\n")
    (state_dir / "pseudonym.key").chmod(0o600)
    done = command({"COLLECTOR_STATE_DIR": str(state_dir)}, "check")
    assert KEY.hex()[:-2] not in done.out + done.err


def test_every_secret_is_a_secret_to_the_settings() -> None:
    suspicious = {
        name for name in Settings.model_fields if name.endswith(("token", "password", "secret"))
    }
    # The address of a database holds the password of its user.
    assert suspicious | {"records_url"} == SECRETS


def test_files_of_the_state_directory_are_the_owners_alone(
    databases: Databases, serve: StartServe
) -> None:
    collector = serve(databases.environment)
    assert post(collector.url, encoded(report([2001]))).status == 200
    modes = {}
    for path in [collector.state_dir, *collector.state_dir.rglob("*")]:
        # SQLite may delete a log meanwhile.
        with contextlib.suppress(FileNotFoundError):
            modes[path.relative_to(collector.state_dir)] = stat.S_IMODE(path.stat().st_mode)
    assert len(modes) > 4
    open_to_others = {str(path): oct(mode) for path, mode in modes.items() if mode & 0o077}
    assert open_to_others == {}


def test_metrics_are_on_loopback_unless_told_otherwise() -> None:
    fields = Settings.model_fields
    assert str(fields["metrics_listen"].default) == "127.0.0.1:16081"
    assert str(fields["listen"].default) == "127.0.0.1:16080"


HIDDEN_PASSWORD = "s3cret-of-the-node/list"


def said_by(environment: dict[str, str], *program: str) -> tuple[int, bytes]:
    """The exit code and the whole output of a program of the collector's Python."""
    done = subprocess.run(
        [sys.executable, *program],
        env=clean_environment() | environment,
        capture_output=True,
        check=False,
        timeout=GUARD_S,
    )
    return done.returncode, done.stdout + done.stderr


def leaks(output: bytes) -> list[str]:
    forms = {
        "as it is": HIDDEN_PASSWORD,
        "encoded": quote(HIDDEN_PASSWORD, safe=""),
        "last part": HIDDEN_PASSWORD.rpartition("/")[2] + "@",
        "first part": HIDDEN_PASSWORD.partition("/")[0],
    }
    return [what for what, form in forms.items() if form.encode() in output]


ADDRESSES = [name for name in Settings.model_fields if name.endswith("_url")]


@pytest.mark.parametrize(
    ("name", "password"),
    [
        *((name, HIDDEN_PASSWORD) for name in ADDRESSES),
        ("nodelist_url", quote(HIDDEN_PASSWORD, safe="")),
    ],
)
def test_password_in_an_address_is_not_printed(state_dir: Path, name: str, password: str) -> None:
    """Whether the setting is right or refused."""
    nowhere = free_port()
    environment = {
        "COLLECTOR_STATE_DIR": str(state_dir),
        "COLLECTOR_INFLUX_URL": f"http://127.0.0.1:{nowhere}",
        "COLLECTOR_LOG_LEVEL": "debug",
        variable(name): f"http://reader:{password}@127.0.0.1:{nowhere}/x",
    }
    code, output = said_by(environment, "-m", "collector", "check")
    assert code in (1, 2)
    assert not leaks(output), output
    assert b"Traceback" not in output


def test_password_in_an_address_is_in_no_log(databases: Databases, serve: StartServe) -> None:
    password = quote(HIDDEN_PASSWORD, safe="")
    collector = serve(
        databases.environment
        | {
            "COLLECTOR_NODELIST_URL": f"http://reader:{password}@127.0.0.1:{free_port()}/list",
            "COLLECTOR_LOG_LEVEL": "debug",
        }
    )
    eventually(lambda: "the node list could not be fetched" in collector.logs())
    assert collector.terminate() == 0
    assert not leaks(collector.logs().encode())


@pytest.mark.parametrize("after", ["", "; logging.getLogger('x').exception('oh')"])
def test_password_in_an_address_is_in_no_traceback(after: str) -> None:
    """An error that nobody foresaw, printed by Python itself and by the log."""
    program = f"""
import logging, sys
from collector import cli, settings
def fail(*_arguments, **_more):
    url = "http://reader:{HIDDEN_PASSWORD}@host"
    try:
        raise ValueError("cannot reach " + url + " as {HIDDEN_PASSWORD}")
    except ValueError:
        settings.load(){after}
        raise
class Failing:
    def only(self, _words):
        return fail
cli.cli = Failing()
cli.main()
"""
    environment = {"HTTPS_PROXY": f"http://reader:{HIDDEN_PASSWORD}@proxy:3128"}
    code, output = said_by(environment, "-c", program)
    assert code == 1
    assert b"cannot reach" in output
    assert not leaks(output), output


def test_password_of_the_old_database_is_not_printed(state_dir: Path) -> None:
    address = f"mysql://reader:{quote(HIDDEN_PASSWORD, safe='')}@127.0.0.1:{free_port()}/asl"
    environment = {"COLLECTOR_STATE_DIR": str(state_dir)}
    for dsn in (address, address + "?x=1"):
        code, output = said_by(environment, "-m", "collector", "import", "asl3-usage", "--dsn", dsn)
        assert code == 1
        assert not leaks(output), output
