"""Runs this machine's Grafana with the project's provisioning, for the demo and the tests."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tools.embedded import HOST, free_port

HOME_VARIABLE: Final = "GRAFANA_HOME"
"""Environment variable with the path of an unpacked Grafana."""

_SECRET: Final = "/etc/grafana/secrets/authorization"  # noqa: S105 - a path, not a secret
_PAGES: Final = 'href=\\"/'
_A_YEAR: Final = '"from": "now-1y/d"'
_POLL_S: Final = 0.2
_STOP_S: Final = 20.0
_LOG_TAIL: Final = 2000


class GrafanaError(Exception):
    """Grafana did not start; the text holds the end of its log."""


def find_grafana(home: Path | None = None) -> Path | None:
    """Find Grafana's home: the given one, GRAFANA_HOME, or that of the program on PATH.

    Returns None if there is none.
    """
    named = home or (Path(found) if (found := os.environ.get(HOME_VARIABLE, "")) else None)
    homes = [named] if named else []
    for name in ("grafana", "grafana-server"):
        if installed := shutil.which(name):
            # Packages install the program in another place than its home.
            homes += [Path(installed).resolve().parent.parent, Path("/usr/share/grafana")]
    return next((each for each in homes if (each / "conf/defaults.ini").is_file()), None)


@dataclass(frozen=True, kw_only=True)
class Grafana:
    """One of the project's Grafanas, `community` or `ops`, on a port of loopback.

    `home` is Grafana's home; its data goes to `directory`, an absolute path. `project` is the root
    of the checkout, `site` the URL of the collector's pages, `authorization` the whole header for
    InfluxDB. The community's dashboards show the last `days`, or their default range. `notify`
    names a contact point of `provisioning/ops/notify/`; `environment` holds further variables of
    the provisioning. With `hasty`, alerts fire half a minute after their condition holds.
    """

    home: Path
    directory: Path
    kind: str
    project: Path
    influx_url: str
    authorization: str
    prefix: str = ""
    days: int | None = None
    site: str = ""
    prometheus_url: str = f"http://{HOST}:9090"
    notify: str = "off"
    hasty: bool = False
    environment: Mapping[str, str] = field(default_factory=dict)
    admin_password: str = "admin"  # noqa: S105 - for loopback alone
    port: int = field(default_factory=free_port)

    @property
    def log(self) -> Path:
        """The path of its log."""
        return self.directory / "grafana.log"

    @property
    def url(self) -> str:
        """Its URL, without a trailing slash."""
        below = "/grafana" if self.kind == "community" else ""
        return f"http://{HOST}:{self.port}{below}"

    @contextmanager
    def running(self, *, ready_s: float = 120.0) -> Iterator[str]:
        """Run Grafana from entry, once it answers, to exit. Raises GrafanaError, OSError."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._lay()
        with self.log.open("ab") as log:
            process = subprocess.Popen(  # noqa: S603 - a program found on PATH or named by the user
                self._command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self._environment(),
                cwd=self.home,
                start_new_session=True,
            )
        try:
            self._wait(process, ready_s)
            yield self.url
        finally:
            process.terminate()
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _lay(self) -> None:
        """Copy the provisioning, with the paths of this machine's files."""
        secret = self.directory / "authorization"
        secret.touch(mode=0o600)
        secret.write_text(self.authorization, encoding="utf-8")
        source = self.project / "provisioning" / self.kind
        target = self.directory / "provisioning"
        shutil.copytree(source, target, dirs_exist_ok=True)
        for path in (target / "datasources").glob("*.yaml"):
            text = path.read_text(encoding="utf-8")
            path.write_text(text.replace(_SECRET, str(secret)), encoding="utf-8")
        if self.kind == "ops":
            shutil.copy(target / f"notify/{self.notify}.yaml", target / "alerting/notify.yaml")
            if self.hasty:
                _hasten(target / "alerting/rules.json")
        boards = self.directory / "dashboards"
        shutil.copytree(self.project / "grafana/dashboards", boards, dirs_exist_ok=True)
        for path in boards.rglob("*.json"):
            text = path.read_text(encoding="utf-8")
            text = text.replace(_PAGES, f'href=\\"{self.site}/')
            if self.days is not None:
                text = text.replace(_A_YEAR, f'"from": "now-{self.days}d/d"')
            path.write_text(text, encoding="utf-8")

    def _command(self) -> list[str]:
        here = [self.home / "bin/grafana", self.home / "bin/grafana-server"]
        program = next((str(path) for path in here if path.is_file()), None)
        program = program or shutil.which("grafana") or shutil.which("grafana-server")
        if program is None:
            raise GrafanaError(f"{self.home} holds no program `grafana` or `grafana-server`.")
        # Since 9.4 the server is a subcommand of `grafana`; before, it is a separate program.
        words = [program] if program.endswith("-server") else [program, "server"]
        return [*words, f"--homepath={self.home}", f"--config={self._ini()}"]

    def _ini(self) -> Path:
        return self.directory / "provisioning/grafana.ini"

    def _environment(self) -> dict[str, str]:
        outside = {name: text for name, text in os.environ.items() if not name.startswith("GF_")}
        return outside | {
            "GF_SERVER_HTTP_ADDR": HOST,
            "GF_SERVER_HTTP_PORT": str(self.port),
            "GF_PATHS_DATA": str(self.directory / "data"),
            "GF_PATHS_LOGS": str(self.directory / "logs"),
            "GF_PATHS_PLUGINS": str(self.directory / "plugins"),
            "GF_PATHS_PROVISIONING": str(self.directory / "provisioning"),
            "GF_SECURITY_ADMIN_PASSWORD": self.admin_password,
            "ROOT_URL": f"{self.url}/",
            "INFLUX_URL": self.influx_url,
            "PROMETHEUS_URL": self.prometheus_url,
            "DASHBOARDS": str(self.directory / "dashboards"),
            "USAGE_PREFIX": self.prefix,
            **self.environment,
        }

    def _wait(self, process: subprocess.Popen[bytes], ready_s: float) -> None:
        deadline = time.monotonic() + ready_s
        while time.monotonic() < deadline:
            if process.poll() is not None:
                raise GrafanaError(f"Grafana ended at start. Its log:\n{self._tail()}")
            if self._answers():
                return
            time.sleep(_POLL_S)
        raise GrafanaError(f"Grafana was not ready in {ready_s:.0f} s. Its log:\n{self._tail()}")

    def _answers(self) -> bool:
        connection = http.client.HTTPConnection(HOST, self.port, timeout=2)
        below = self.url.removeprefix(f"http://{HOST}:{self.port}")
        try:
            connection.request("GET", f"{below}/api/health")
            return connection.getresponse().status == http.HTTPStatus.OK
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _tail(self) -> str:
        return self.log.read_text(errors="replace")[-_LOG_TAIL:].strip()


def _hasten(path: Path) -> None:
    """Have the rules of a file evaluated every 10 s, and fire after half a minute at most."""
    rules = json.loads(path.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group["interval"] = "10s"
        for rule in group["rules"]:
            rule["for"] = rule["for"] if rule["for"] == "0s" else "30s"
    path.write_text(json.dumps(rules), encoding="utf-8")
