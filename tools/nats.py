"""Real NATS servers with JetStream on loopback, alone or as a cluster, for tests and demo."""

from __future__ import annotations

import http.client
import json
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tools.embedded import HOST, START_TIMEOUT, Embedded, free_port, start_child


class NatsStartError(RuntimeError):
    """nats-server is missing, ended or was not ready at its start; the message says more."""


def find_server() -> Path:
    """Return nats-server: the one beside this interpreter, or on PATH. Raises NatsStartError."""
    own = Path(sys.executable).with_name("nats-server")
    found = str(own) if own.exists() else shutil.which("nats-server")
    if found is None:
        raise NatsStartError("there is no nats-server: run `make dev`, or install it on PATH")
    return Path(found)


class NatsServer(Embedded):
    """A nats-server process with its files in `directory`, alone or in a cluster.

    `routes` are the ports of all servers of the cluster, `cluster_port` this one's among them.
    `options` are lines of nats-server's configuration, `jetstream` those of its JetStream block.
    The process ends with the thread that started it; ports stay the same over restarts.
    """

    title = "nats-server"
    error = NatsStartError
    ready = ("/healthz", http.HTTPStatus.OK)

    def __init__(
        self,
        directory: Path,
        *,
        cluster_port: int = 0,
        routes: Sequence[int] = (),
        options: Sequence[str] = (),
        jetstream: Sequence[str] = (),
    ) -> None:
        super().__init__(directory)
        self.monitor_port = free_port()
        self.options = list(options)
        self.jetstream = list(jetstream)
        self._cluster_port = cluster_port
        self._routes = list(routes)

    @property
    def name(self) -> str:
        """The server's name within its cluster."""
        return self.directory.name

    @property
    def url(self) -> str:
        """The address for clients, as nats://HOST:PORT."""
        return f"nats://{HOST}:{self.port}"

    @property
    def urls(self) -> str:
        """The same, as for a cluster."""
        return self.url

    @property
    def store(self) -> Path:
        """The directory of its streams' files."""
        return self.directory / "store"

    @property
    def http_port(self) -> int:
        """The port of its monitoring, whose `/healthz` waits for JetStream and the cluster."""
        return self.monitor_port

    def _start_process(self) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        config = self.directory / "nats-server.conf"
        config.write_text(self._configuration())
        self._process = start_child(
            [find_server(), "--config", config], log=self.log, environment=os.environ
        )

    def wipe(self) -> None:
        """Kill it and delete its store, as when its disk is lost."""
        self.kill()
        shutil.rmtree(self.store, ignore_errors=True)

    def monitor(self, page: str) -> dict[str, Any]:
        """Return a page of its monitoring, such as `varz`; empty if it does not answer."""
        connection = http.client.HTTPConnection(HOST, self.monitor_port, timeout=2)
        try:
            connection.request("GET", f"/{page}")
            found: dict[str, Any] = json.loads(connection.getresponse().read())
        except (OSError, http.client.HTTPException, ValueError):
            return {}
        finally:
            connection.close()
        return found

    def _configuration(self) -> str:
        lines = [
            f"server_name: {self.name}",
            f'listen: "{HOST}:{self.port}"',
            f'http: "{HOST}:{self.monitor_port}"',
            "jetstream {",
            f"  store_dir: {json.dumps(str(self.store))}",
            "  max_file_store: 32GB",
            *(f"  {line}" for line in self.jetstream),
            "}",
            *self.options,
        ]
        if self._routes:
            others = [f"nats://{HOST}:{port}" for port in self._routes]
            lines += [
                "cluster {",
                "  name: collector",
                f'  listen: "{HOST}:{self._cluster_port}"',
                f"  routes: {json.dumps(others)}",
                "}",
            ]
        return "\n".join(lines) + "\n"


class NatsCluster:
    """Several NATS servers with JetStream as one cluster."""

    def __init__(self, directory: Path, size: int = 3, *, jetstream: Sequence[str] = ()) -> None:
        ports = [free_port() for _ in range(size)]
        self.servers = [
            NatsServer(
                directory / f"nats-{number}",
                cluster_port=port,
                routes=ports if size > 1 else (),
                jetstream=jetstream,
            )
            for number, port in enumerate(ports, start=1)
        ]

    @property
    def urls(self) -> str:
        """The addresses of all servers, for COLLECTOR_NATS_URL."""
        return ",".join(server.url for server in self.servers)

    def start(self) -> None:
        """Start the servers that do not run; return when all are ready."""
        for server in self.servers:
            server.launch()
        for server in self.servers:
            server.wait_ready()

    def kill(self) -> None:
        """Kill all servers."""
        for server in self.servers:
            server.kill()

    def wipe(self) -> None:
        """Kill all servers and delete their stores."""
        for server in self.servers:
            server.wipe()

    def leader(self, stream: str) -> NatsServer:
        """Return the server that leads a stream; waits for an election. Raises NatsStartError."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            for server in self.servers:
                if not server.running:
                    continue
                accounts = server.monitor("jsz?streams=true").get("account_details") or ()
                for account in accounts:
                    for one in account.get("stream_detail") or ():
                        name = (one.get("cluster") or {}).get("leader", "")
                        if one.get("name") == stream and name:
                            return next(each for each in self.servers if each.name == name)
            time.sleep(0.05)
        raise NatsStartError(f"stream {stream} has no leader")
