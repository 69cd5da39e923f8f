"""The compose files: one collector on one machine, and a cluster of its roles."""

from __future__ import annotations

import contextlib
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

import yaml

from tools.dashboards.asked import ROOT, Json

SERVICE_KEYS: Final = frozenset(
    {
        "build",
        "cap_add",
        "cap_drop",
        "command",
        "depends_on",
        "deploy",
        "entrypoint",
        "environment",
        "healthcheck",
        "image",
        "init",
        "logging",
        "network_mode",
        "networks",
        "ports",
        "profiles",
        "read_only",
        "restart",
        "secrets",
        "security_opt",
        "stop_grace_period",
        "tmpfs",
        "user",
        "volumes",
    }
)
"""Keys of services that Compose knows, of those that the files use."""


@dataclass(frozen=True)
class Composed:
    """A compose file of the project and the names of its services."""

    file: str
    promised: frozenset[str]

    @property
    def text(self) -> str:
        return (ROOT / self.file).read_text(encoding="utf-8")

    @cached_property
    def whole(self) -> Json:
        found: Json = yaml.safe_load(self.text)
        return found

    @property
    def services(self) -> dict[str, Json]:
        found: dict[str, Json] = self.whole["services"]
        return found

    def published(self) -> dict[str, list[str]]:
        """Return the published ports of each service where nothing is set."""
        return {
            name: [defaults(port) for port in service["ports"]]
            for name, service in self.services.items()
            if "ports" in service
        }

    def holds(self, prefix: str) -> dict[str, set[str]]:
        """Return for each service the volumes of this prefix that it has."""
        return {
            name: {volume for volume in sources(service) if volume.startswith(prefix)}
            for name, service in self.services.items()
        }

    def __str__(self) -> str:
        return self.file


def sources(service: Mapping[str, list[str]]) -> list[str]:
    """Return the volumes and paths that a service mounts, where nothing is set."""
    return [defaults(mount).split(":")[0] for mount in service.get("volumes", ())]


def defaults(text: str) -> str:
    """Return a value of a compose file where nothing is set."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", text)
    return re.sub(r"\$\{\w+:\+[^}]*\}", "", text).replace("$$", "$")


def compose_program() -> list[str] | None:
    """Return Compose 2, docker's plugin or Debian 13's that `make dev` unpacks, or None."""
    plugin = ROOT / ".local/docker-compose/usr/libexec/docker/cli-plugins/docker-compose"
    for command in (["docker", "compose"], ["docker-compose"], [str(plugin)]):
        with contextlib.suppress(OSError):
            told = subprocess.run(
                [*command, "version", "--short"], check=False, capture_output=True, text=True
            )
            if told.returncode == 0 and told.stdout.lstrip("v").startswith(("2.", "5.")):
                return command
    return None


def secrets_made(directory: Path, *words: str) -> dict[str, str]:
    """Run deploy/secrets.sh in a directory; return what is then in its folder of secrets."""
    (directory / "deploy").mkdir(exist_ok=True)
    shutil.copy(ROOT / "deploy/secrets.sh", directory / "deploy")
    subprocess.run(
        ["/bin/sh", directory / "deploy/secrets.sh", *words], check=True, capture_output=True
    )
    return {path.name: path.read_text() for path in (directory / "secrets").iterdir()}


ROLES_OF_CLUSTER: Final = (
    *("receiver-1", "receiver-2"),
    *("writer-1", "writer-2"),
    *("publisher", "standby"),
)
"""Services of the cluster that are processes of the collector."""
CLUSTER_SECRETS: Final = frozenset(
    {"nats-password", "nats-route-password", "nats-token", "nats-auth.conf"}
)
"""Files that `sh deploy/secrets.sh cluster` makes and that are no secrets of one service alone."""
ONE: Final = Composed(
    "docker-compose.yml",
    frozenset(
        {
            "influxdb",
            "provision",
            "own-volumes",
            "collector",
            "grafana-community",
            "grafana-ops",
            "prometheus",
            "caddy",
        }
    ),
)
CLUSTER: Final = Composed(
    "docker-compose.cluster.yml",
    frozenset(
        {
            *("nats-1", "nats-2", "nats-3"),
            *("receiver-1", "receiver-2", "writer-1", "writer-2", "publisher", "standby"),
            *("influxdb", "influxdb-raw", "provision", "own-volumes"),
            *("balancer", "caddy"),
            *("grafana-community", "grafana-ops", "prometheus"),
        }
    ),
)
