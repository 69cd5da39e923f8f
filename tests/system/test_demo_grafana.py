"""How a Grafana is found, started with our provisioning, and stopped; a stand-in plays Grafana."""

from __future__ import annotations

import json
import re
import sys
import urllib.request
from pathlib import Path

import pytest

from tests.sender import GUARD_S
from tools.dashboards.asked import ROOT
from tools.demo.grafana import Grafana, GrafanaError, find_grafana

SERVES = f"""#!{sys.executable}
import http.server, json, os, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path.endswith("/api/health") else 404)
        self.end_headers()
        known = {{k: v for k, v in os.environ.items() if k.isupper()}}
        self.wfile.write(json.dumps([sys.argv[1:], known]).encode())
    def log_message(self, *words): pass
address = os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])
http.server.HTTPServer(address, Handler).serve_forever()
"""


def home_of(tmp_path: Path, name: str, program: str) -> Path:
    home = tmp_path / "home"
    (home / "conf").mkdir(parents=True)
    (home / "conf/defaults.ini").touch()
    (home / "bin").mkdir()
    (home / "bin" / name).write_text(program)
    (home / "bin" / name).chmod(0o755)
    return home


def grafana(tmp_path: Path, home: Path, kind: str = "community") -> Grafana:
    return Grafana(
        home=home,
        directory=tmp_path / "run",
        kind=kind,
        project=ROOT,
        influx_url="http://127.0.0.1:8086",
        authorization="Token secret",
        site="http://127.0.0.1:16080",
        days=90,
    )


@pytest.mark.parametrize(("name", "words"), [("grafana", ["server"]), ("grafana-server", [])])
def test_it_is_started_with_the_projects_provisioning_and_stopped(
    tmp_path: Path, name: str, words: list[str]
) -> None:
    made = grafana(tmp_path, home_of(tmp_path, name, SERVES))
    with (
        made.running(ready_s=GUARD_S) as url,
        urllib.request.urlopen(f"{url}/api/health") as answer,  # noqa: S310 - our own child
    ):
        arguments, environment = json.load(answer)
    assert arguments[: len(words)] == words
    assert arguments[-1] == f"--config={tmp_path}/run/provisioning/grafana.ini"
    for path in (tmp_path / "run/provisioning").rglob("*"):
        if path.is_file():
            text = path.read_text()
            assert set(re.findall(r"\$\{(\w+)\}", text)) <= environment.keys()
            for secret in re.findall(r"\$__file\{([^}]+)\}", text):
                assert Path(secret).read_text() == "Token secret"
    assert (tmp_path / "run/authorization").stat().st_mode & 0o777 == 0o600
    overview = (tmp_path / "run/dashboards/community/overview.json").read_text()
    assert 'href=\\"http://127.0.0.1:16080/method\\"' in overview
    assert json.loads(overview)["time"]["from"] == "now-90d/d"
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(f"{url}/api/health")  # noqa: S310 - as above


def test_one_that_ends_at_start_says_so_with_its_log(tmp_path: Path) -> None:
    home = home_of(tmp_path, "grafana", "#!/bin/sh\necho no such plugin\nexit 1\n")
    made = grafana(tmp_path, home, "ops")
    with pytest.raises(GrafanaError, match="no such plugin"), made.running():
        pass


def test_one_that_stays_silent_is_given_up_and_ended(tmp_path: Path) -> None:
    made = grafana(tmp_path, home_of(tmp_path, "grafana", "#!/bin/sh\nexec sleep 60\n"))
    with pytest.raises(GrafanaError, match="not ready"), made.running(ready_s=0.5):
        pass


def test_a_home_without_a_program_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_of(tmp_path, "other", "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GrafanaError, match="no program"), grafana(tmp_path, home).running():
        pass


def test_it_is_found_by_its_variable_and_nowhere_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = home_of(tmp_path, "grafana", "#!/bin/sh\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("GRAFANA_HOME", raising=False)
    assert find_grafana() is None
    monkeypatch.setenv("GRAFANA_HOME", str(home))
    assert find_grafana() == home
    monkeypatch.setenv("GRAFANA_HOME", str(tmp_path))
    assert find_grafana() is None
    monkeypatch.delenv("GRAFANA_HOME")
    monkeypatch.setenv("PATH", str(home / "bin"))
    assert find_grafana() == home
