"""The addresses that a collector listens on, with one process and with several alike."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Callable
from functools import partial

import pytest

from collector.listen import accept, bind
from collector.setting_types import Address
from tests.conftest import Databases, Serve, StartServe
from tests.sender import GUARD_S, encoded, eventually, report

pytestmark = pytest.mark.no_cover  # what other tests cover, in whole processes

BODY = encoded(report([2001]))
IPV4, IPV6 = "127.0.0.1", "::1"


def status(host: str, port: int, method: str, path: str) -> int:
    """What is answered at an address; 0 where nothing listens."""
    connection = http.client.HTTPConnection(host, port, timeout=GUARD_S)
    try:
        connection.request(method, path, BODY if method == "POST" else None)
        return connection.getresponse().status
    except ConnectionError:
        return 0
    finally:
        connection.close()


def is_ready(port: int) -> bool:
    return status(IPV4, port, "GET", "/readyz") == 200


def port_of(collector: Serve, name: str) -> int:
    return int(collector.environment[name].rpartition(":")[2])


@pytest.mark.parametrize("workers", [1, 2])
def test_an_address_means_the_same_with_one_process_and_with_several(
    workers: int, databases: Databases, serve: StartServe, free_port: Callable[[], int]
) -> None:
    collector = serve(
        databases.environment
        | {
            "COLLECTOR_WORKERS": str(workers),
            "COLLECTOR_LISTEN": f"[::]:{free_port()}",
            "COLLECTOR_METRICS_LISTEN": f"localhost:{free_port()}",
        },
        ready=False,
    )
    port, metrics = (
        port_of(collector, f"COLLECTOR_{name}") for name in ("LISTEN", "METRICS_LISTEN")
    )
    eventually(partial(is_ready, metrics))
    for host in (IPV4, IPV6):
        assert status(host, port, "POST", "/usage") == 200
        assert status(host, metrics, "GET", "/readyz") == 200
    assert collector.terminate() == 0


@pytest.mark.parametrize("count", [1, 3])
@pytest.mark.parametrize("host", ["*", "::", "localhost", "127.0.0.1", "::1"])
def test_all_sockets_of_an_address_have_one_port_which_nobody_else_gets(
    host: str, count: int
) -> None:
    shares = bind(Address(host, 0), count)
    try:
        assert len(shares) == count
        sockets = [one for share in shares for one in share]
        (port,) = {one.getsockname()[1] for one in sockets}
        families = {one.family for one in sockets}
        assert len(families) == (1 if host in (IPV4, IPV6) else 2)
        assert all({one.family for one in share} == families for share in shares)
        accept(sockets)
        for again in (1, 2):
            with pytest.raises(OSError, match=rf"cannot listen on .*:{port}: .*in use"):
                bind(Address(host, port), again)
    finally:
        for share in shares:
            for one in share:
                one.close()


def test_an_address_that_cannot_be_had_is_named() -> None:
    with pytest.raises(OSError, match=r"cannot listen on 192\.0\.2\.1:80"):
        bind(Address("192.0.2.1", 80))
    with pytest.raises(socket.gaierror):
        bind(Address("no-such-host.invalid", 80))


def test_without_ipv6_everywhere_is_everywhere_in_ipv4(monkeypatch: pytest.MonkeyPatch) -> None:
    real = socket.socket

    class OfIpv4Alone(real):  # type: ignore[misc, valid-type]
        def __init__(self, family: int = socket.AF_INET, *more: int, **named: object) -> None:
            if family == socket.AF_INET6:
                raise OSError(97, "Address family not supported by protocol")
            super().__init__(family, *more, **named)

    monkeypatch.setattr(socket, "socket", OfIpv4Alone)
    for host in ("*", "::", "localhost"):
        ((one,),) = bind(Address(host, 0))
        assert one.family == socket.AF_INET
        one.close()
    with pytest.raises(OSError, match="not supported"):
        bind(Address(IPV6, 0))
