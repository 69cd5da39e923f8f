"""Runs a real nginx or Caddy before a collector: the one on PATH, or the unpacked one."""

from __future__ import annotations

import os
import re
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.certificates import self_signed
from tests.sender import GUARD_S
from tools.dashboards.asked import ROOT

LOCAL = ROOT / ".local"
START_TIMEOUT = GUARD_S
NGINX = ROOT / "deploy/nginx/collector.conf"
CADDY = ROOT / "deploy/caddy/Caddyfile"


@dataclass(frozen=True)
class Proxy:
    """A running proxy; its logs are in `logs`."""

    plain: int
    tls: int
    logs: Path

    def written(self) -> bytes:
        return b"".join(file.read_bytes() for file in self.logs.rglob("*") if file.is_file())


def program(name: str, path: str) -> Path:
    """The path of a proxy's program; skip the test if there is none."""
    found = shutil.which(name) or shutil.which(name, path=str(LOCAL / name / path))
    if found is None:
        pytest.skip(f"there is no {name}: `make dev` unpacks Debian's")
    return Path(found)


def listens(port: int) -> bool:
    with socket.socket() as tried:
        tried.settimeout(1)
        return tried.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def running(command: Sequence[str | Path], proxy: Proxy, home: Path) -> Iterator[Proxy]:
    proxy.logs.mkdir(parents=True, exist_ok=True)
    with (proxy.logs / "output").open("wb") as output:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=home,
            env=os.environ
            | {"HOME": str(home), "XDG_DATA_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
            | {"SITE_HOST": "localhost", "OPS_HOST": "ops.localhost"},
        )
    try:
        deadline = time.monotonic() + START_TIMEOUT
        while not (listens(proxy.plain) and listens(proxy.tls)):
            assert process.poll() is None, proxy.written().decode(errors="replace")
            assert time.monotonic() < deadline, proxy.written().decode(errors="replace")
            time.sleep(0.05)
        yield proxy
    finally:
        process.terminate()
        process.wait(START_TIMEOUT)


@contextmanager
def nginx(home: Path, servers: str, proxy: Proxy) -> Iterator[Proxy]:
    """Run an nginx with these servers in its http block, and with all logs on."""
    home.mkdir(parents=True, exist_ok=True)
    for folder in ("logs", "t"):
        (home / folder).mkdir(exist_ok=True)
    temporary = "".join(
        f"{name}_temp_path {home}/t/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    configuration = home / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes 1; pid {home}/pid;\n"
        f"error_log {proxy.logs}/error.log info;\n"
        "events { worker_connections 256; }\n"
        f"http {{\naccess_log {proxy.logs}/access.log;\n{temporary}{servers}\n}}\n"
    )
    fixed = ("-e", str(proxy.logs / "start.log"), "-p", str(home), "-c", str(configuration))
    with running([program("nginx", "usr/sbin"), *fixed], proxy, home) as started:
        yield started


def shipped_nginx(text: str, home: Path, proxy: Proxy, collector: int) -> str:
    """Adapt the shipped example to ports and files of a test, with short timeouts."""
    certificate = self_signed(home)
    text = re.sub(r"^\s*listen \[::\].*$", "", text, flags=re.MULTILINE)
    for shipped, ours in (
        ("listen 443 ", f"listen 127.0.0.1:{proxy.tls} "),
        ("listen 80 ", f"listen 127.0.0.1:{proxy.plain} "),
        ("127.0.0.1:16080", f"127.0.0.1:{collector}"),
        ("/etc/ssl/usage.example.org/fullchain.pem", str(certificate.file)),
        ("/etc/ssl/usage.example.org/key.pem", str(certificate.key)),
        ("proxy_read_timeout 60s", "proxy_read_timeout 1s"),
        ("client_header_timeout 10s", "client_header_timeout 1s"),
        ("client_body_timeout 30s", "client_body_timeout 1s"),
    ):
        assert shipped in text, shipped
        text = text.replace(shipped, ours)
    return text


def shipped_caddy(text: str, proxy: Proxy, collector: int) -> str:
    """Adapt the shipped Caddyfile to ports of a test, internal certificates, short timeouts."""
    ours = (
        f"{{\n\tadmin off\n\tskip_install_trust\n\tlocal_certs\n"
        f"\thttp_port {proxy.plain}\n\thttps_port {proxy.tls}\n\tdefault_bind 127.0.0.1\n"
    )
    text = re.sub(r"^\{\n", ours, text, count=1, flags=re.MULTILINE)
    for shipped, test in (
        ("collector:16080", f"127.0.0.1:{collector}"),
        ("read_body 30s", "read_body 1s"),
        ("read_header 10s", "read_header 1s"),
    ):
        assert shipped in text, shipped
        text = text.replace(shipped, test)
    return text


@contextmanager
def caddy(home: Path, text: str, proxy: Proxy) -> Iterator[Proxy]:
    """Run a Caddy with this Caddyfile from entry to exit."""
    home.mkdir(parents=True, exist_ok=True)
    (home / "Caddyfile").write_text(text)
    fixed = ("run", "--adapter", "caddyfile", "--config", str(home / "Caddyfile"))
    with running([program("caddy", "usr/bin"), *fixed], proxy, home) as started:
        yield started
