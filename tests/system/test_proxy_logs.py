"""The shipped proxies, whatever goes wrong before and behind them, write no sender's address."""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.proxies import CADDY, NGINX, Proxy, caddy, nginx, shipped_caddy, shipped_nginx
from tests.sender import GUARD_S, encoded, report
from tools.embedded import free_port

pytestmark = pytest.mark.no_cover  # the slow repetition of what other tests cover

SENDER = "127.77.66.55"
BODY = encoded(report([2001]))
POST = (
    b"POST /usage HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n"
    b"X-Forwarded-For: " + SENDER.encode() + b"\r\nContent-Length: %d\r\n\r\n%b" % (len(BODY), BODY)
)
CONTEXT = ssl.create_default_context()
CONTEXT.check_hostname = False
CONTEXT.verify_mode = ssl.CERT_NONE
GET = b"GET /v1/daily HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def exchange(port: int, sent: bytes, *, tls: bool, leave: bool = False) -> bytes:
    """Send from the sender's address; what comes back, unless it leaves at once."""
    received = b""
    here = (SENDER, 0)
    with (
        suppress(OSError),
        socket.create_connection(("127.0.0.1", port), timeout=GUARD_S, source_address=here) as raw,
        CONTEXT.wrap_socket(raw, server_hostname="localhost") if tls else raw as wire,
    ):
        wire.sendall(sent)
        if not leave:
            while piece := wire.recv(65536):
                received += piece
    return received


def refuse(connection: socket.socket) -> None:
    """Close with no answer."""
    connection.recv(65536)


def hang(connection: socket.socket) -> None:
    """Never answer; the proxy or the sender gives up."""
    with suppress(OSError):
        while connection.recv(65536):
            pass


def break_off(connection: socket.socket) -> None:
    """Begin an answer and cut it."""
    connection.recv(65536)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nhalf")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")


def talk_nonsense(connection: socket.socket) -> None:
    """Answer in no HTTP."""
    connection.recv(65536)
    connection.sendall(b"\0nonsense\r\n\r\n")


@contextmanager
def behind(port: int, behaviour: Callable[[socket.socket], None]) -> Iterator[None]:
    """A collector that behaves like this to everyone."""
    with socket.create_server(("127.0.0.1", port)) as server:

        def one(connection: socket.socket) -> None:
            with connection, suppress(OSError):
                behaviour(connection)

        def run() -> None:
            with suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=one, args=(connection,), daemon=True).start()

        thread = threading.Thread(target=run)
        thread.start()
        try:
            yield
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def everything_goes_wrong(proxy: Proxy, collector: int) -> set[bytes]:
    """Send all kinds of requests while the collector is away or broken; the statuses that came."""
    came = [
        exchange(proxy.tls, POST, tls=True),
        exchange(proxy.tls, GET, tls=True),
        exchange(proxy.plain, POST, tls=False),
        exchange(proxy.plain, GET, tls=False),
        exchange(proxy.plain, b"\x16\x03nonsense\r\n\r\n", tls=False),
        exchange(proxy.plain, b"GET /" + b"y" * 40_000 + b" HTTP/1.1\r\n\r\n", tls=False),
        exchange(proxy.tls, b"GET / HTTP/9.9\r\n\r\n", tls=True),
        exchange(proxy.tls, POST.replace(b"Content-Length: ", b"Content-Length: 9"), tls=True),
        exchange(
            proxy.tls,
            POST.replace(b"Content-Length: %d" % len(BODY), b"Content-Length: 9999999"),
            tls=True,
        ),
        # No TLS where TLS is expected, and a handshake that breaks off.
        exchange(proxy.tls, POST, tls=False),
        exchange(proxy.tls, b"\x16\x03\x01\x00\x05hello", tls=False),
        exchange(proxy.tls, b"\x16\x03\x01", tls=False, leave=True),
        exchange(proxy.plain, POST[:60], tls=False, leave=True),
        exchange(proxy.plain, POST[:60], tls=False),
    ]
    for behaviour in (refuse, hang, break_off, talk_nonsense):
        with behind(collector, behaviour):
            if behaviour is hang:
                came.append(exchange(proxy.tls, POST, tls=True, leave=True))
                continue
            came += [exchange(proxy.tls, sent, tls=True) for sent in (POST, GET)]
    return {answer[9:12] for answer in came if answer}


def ports(tmp_path: Path, name: str) -> Proxy:
    return Proxy(free_port(), free_port(), tmp_path / name / "logs")


@pytest.mark.parametrize("kept", [True, False], ids=["as shipped", "without its promise"])
def test_nginx_writes_no_address(tmp_path: Path, kept: bool) -> None:
    proxy, collector = ports(tmp_path, "nginx"), free_port()
    home = tmp_path / "nginx"
    home.mkdir()
    text = shipped_nginx(NGINX.read_text(), home, proxy, collector)
    if not kept:
        text = text.replace("error_log /dev/null emerg;", "").replace("access_log off;", "")
    with nginx(home, text, proxy):
        statuses = everything_goes_wrong(proxy, collector)
        with behind(collector, hang):
            statuses.add(exchange(proxy.tls, POST, tls=True)[9:12])
    assert {b"301", b"400", b"502", b"504"} <= statuses
    assert (SENDER.encode() not in proxy.written()) is kept


@pytest.mark.parametrize("kept", [True, False], ids=["as shipped", "without its promise"])
def test_caddy_writes_no_address(tmp_path: Path, kept: bool) -> None:
    proxy, collector = ports(tmp_path, "caddy"), free_port()
    text = shipped_caddy(CADDY.read_text(), proxy, collector)
    if not kept:
        text = text.replace("exclude http\n", "level INFO\n")
    with caddy(tmp_path / "caddy", text, proxy):
        statuses = everything_goes_wrong(proxy, collector)
    assert {b"301", b"400", b"502"} <= statuses
    assert (SENDER.encode() not in proxy.written()) is kept
