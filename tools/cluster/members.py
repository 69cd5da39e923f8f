"""Processes of the cluster besides NATS and InfluxDB: the collector's roles, and the balancer."""

from __future__ import annotations

import http.client
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from collector.settings import PREFIX
from tools.embedded import Embedded, start_child

ROOT: Final = Path(__file__).resolve().parents[2]
CONFIGURATION: Final = ROOT / "deploy/cluster/haproxy.cfg"
_LOCAL: Final = ROOT / ".local"


class MemberError(RuntimeError):
    """A process is missing, or did not start; the message holds the end of its log."""


class Role(Embedded):
    """A process of the collector in one role, with an address of loopback of its own.

    All have the same ports, as on machines. It is ready when it is healthy, which does not depend
    on NATS or InfluxDB.
    """

    title = "collector"
    error = MemberError
    ready = ("/healthz", http.HTTPStatus.OK)

    def __init__(
        self,
        directory: Path,
        role: str,
        *,
        host: str,
        port: int,
        metrics_port: int,
        settings: Mapping[str, str],
    ) -> None:
        super().__init__(directory, port=port)
        self.host = host
        self.role = role
        self.metrics_port = metrics_port
        self.state = self.directory / "state"
        self._settings = dict(settings) | {
            f"{PREFIX}LISTEN": self.address,
            f"{PREFIX}METRICS_LISTEN": f"{host}:{metrics_port}",
            f"{PREFIX}STATE_DIR": str(self.state),
        }

    @property
    def address(self) -> str:
        """The address of its role, HOST:PORT."""
        return f"{self.host}:{self.port}"

    @property
    def http_port(self) -> int:
        """The port of its metrics and health."""
        return self.metrics_port

    @property
    def environment(self) -> dict[str, str]:
        """The environment of its process and of its commands, without others' settings."""
        outside = {name: text for name, text in os.environ.items() if not name.startswith(PREFIX)}
        return outside | self._settings

    def _start_process(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        command = [sys.executable, "-m", "collector", self.role]
        self._process = start_child(command, log=self.log, environment=self.environment)


def find_haproxy() -> Path:
    """Return HAProxy: the one on PATH, or the one that the set-up unpacked. Raises MemberError."""
    places = (os.environ.get("PATH", ""), "/usr/sbin", str(_LOCAL / "haproxy/usr/sbin"))
    found = shutil.which("haproxy", path=os.pathsep.join(places))
    if found is None:
        raise MemberError("There is no `haproxy`: run `make demo-cluster`, or put one on PATH.")
    return Path(found)


def libraries() -> str:
    """Return the folders of libraries that the set-up unpacked, for LD_LIBRARY_PATH."""
    return os.pathsep.join(map(str, _LOCAL.glob("lib*/usr/lib/*-linux-gnu*")))


class Balancer(Embedded):
    """HAProxy with the shipped configuration, before two receivers and two publishers (HOST:PORT).

    `health_port` is where it asks for `/readyz`, on the hosts of all of them.
    """

    title = "haproxy"
    error = MemberError
    ready = ("/privacy", http.HTTPStatus.OK)

    def __init__(
        self,
        directory: Path,
        *,
        receivers: Sequence[str],
        publishers: Sequence[str],
        health_port: int,
        configuration: Path = CONFIGURATION,
    ) -> None:
        super().__init__(directory)
        self._configuration = configuration
        self._environment = {
            "BALANCER_LISTEN": f"{self.host}:{self.port}",
            "HEALTH_PORT": str(health_port),
            **{f"RECEIVER_{n}": one for n, one in enumerate(receivers, 1)},
            **{f"PUBLISHER_{n}": one for n, one in enumerate(publishers, 1)},
            "LD_LIBRARY_PATH": libraries(),
        }

    def _start_process(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        # Without a master process, which would be one more to kill.
        self._process = start_child(
            [find_haproxy(), "-db", "-f", self._configuration],
            log=self.log,
            environment=os.environ | self._environment,
        )
